# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible-test sanity` on this checkout, whatever the folder is called in which it lies.

ansible-test insists on a folder .../ansible_collections/<namespace>/<name>, hence the copy. It runs under a home of its
own in the cache folder: its environments survive there between runs, and nothing is left in the user's home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = Path("ansible_collections/groundplane/kubeadm")

#: The oldest Python that ansible-core supports on nodes; its import and compile tests run where it is installed.
FLOOR = "3.8"

#: The pip that the pinned ansible-core asks for; its script is looked for under this name.
PIP_SCRIPT = "get_pip_24_2.py"


def cache_root() -> Path:
    """Folder for what is built or downloaded once, the one that the lab uses as well."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "groundplane"
    return Path(os.environ.get("GROUNDPLANE_CACHE", default))


def copy_checkout(target: Path) -> None:
    """Copy what git tracks or would track; the link under .collections would make the copy contain itself."""
    # The checkout may belong to another user than the one who runs the tests in a container.
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in sorted(set(names) - {""}):
        source = ROOT / name
        if name.startswith(".collections/") or not source.exists():
            continue
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, destination, follow_symlinks=False)


def prepare_home(home: Path) -> None:
    """Give ansible-test the script that installs pip and the pip settings that are in force here.

    ansible-test hands no PIP_ variable on, so the settings are written to where pip looks for a user's.
    """
    script = home / ".ansible/test/cache" / PIP_SCRIPT
    script.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("get_pip.py"), script)

    listing = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    settings = dict(line.rpartition("=")[::2] for line in listed.splitlines())
    lines = [f"{name.rpartition('.')[2]} = {value.strip(chr(39))}" for name, value in settings.items()]
    configuration = home / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text("\n".join(["[global]", "quiet = 1", *sorted(set(lines)), ""]), encoding="utf-8")


def find_floor() -> Path | None:
    """Path of the oldest supported Python, also where pyenv keeps it."""
    program = shutil.which(f"python{FLOOR}")
    if program is None:
        return None
    ask = [program, "-c", "import sys; print(sys.executable)"]
    environment = {**os.environ, "PYENV_VERSION": FLOOR}
    answer = subprocess.run(ask, env=environment, check=False, capture_output=True, text=True)
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


def main() -> int:
    """Run every sanity test and return the exit code of ansible-test."""
    home = cache_root() / "ansible-test"
    prepare_home(home)

    folders = [str(Path(sys.executable).parent)]
    floor = find_floor()
    if floor is None:
        print(f"No Python {FLOOR} on this machine: that the modules fit it is checked by `make lint` alone.")
    else:
        print(f"Python {FLOOR} for the import and compile tests: {floor}")
        folders.append(str(floor.parent))
    # Only these Pythons, so that every machine runs the same tests.
    environment = {**os.environ, "HOME": str(home), "PATH": os.pathsep.join([*folders, "/usr/bin", "/bin"])}
    # A path in here would be searched for the collection before the copy.
    environment.pop("ANSIBLE_COLLECTIONS_PATH", None)
    environment.pop("ANSIBLE_CONFIG", None)

    with tempfile.TemporaryDirectory(prefix="sanity-") as folder:
        collection = Path(folder) / COLLECTION
        copy_checkout(collection)
        command = ["ansible-test", "sanity", "--local", "--truncate", "0", *sys.argv[1:]]
        return subprocess.run(command, cwd=collection, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
