# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signed apt repository of the lab, in the layout of pkgs.k8s.io."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import packages, recipes
from tests.lab.packages import PACKAGING_FOLDER, all_packages, debian_architecture, pack
from tests.lab.process import run
from tests.lab.progress import Report, step
from tests.lab.recipes import UNFINISHED_PREFIX
from tests.lab.settings import Paths
from tests.lab.versions import kubernetes_version, minor

SIGNER = "groundplane.kubeadm lab"
RECIPE_FILE = ".recipe"


def repository_folder(paths: Paths) -> Path:
    """Folder of the repository below the document root, at the same path as on pkgs.k8s.io."""
    return paths.web / "core:" / "stable:" / minor(kubernetes_version()) / "deb"


def ensure_repository(paths: Paths, report: Report) -> None:
    """Pack the programs and index the packages, unless the repository already holds just these."""
    final = repository_folder(paths)
    recipe = _recipe(paths)
    recipe_file = final / RECIPE_FILE
    if recipe_file.is_file() and recipe_file.read_text() == recipe:
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.root, prefix=UNFINISHED_PREFIX) as temporary:
        fresh = Path(temporary) / "deb"
        architecture = debian_architecture()
        _pack_all(paths, architecture, Path(temporary), fresh / architecture, report)
        with step(report, "packages: indexing and signing"), signing_home(paths) as home:
            _index(fresh)
            _sign(fresh, home)
        (fresh / RECIPE_FILE).write_text(recipe)
        fresh.chmod(0o755)
        if final.exists():
            final.rename(Path(temporary) / "superseded")
        fresh.rename(final)


@contextmanager
def signing_home(paths: Paths) -> Iterator[Path]:
    """Give gpg's home folder with the key of the lab, which is made once."""
    home = paths.root / "signing"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if not run([*_gpg(home), "--list-secret-keys", "--with-colons"]):
            run([*_gpg(home), "--passphrase", "", "--quick-generate-key", SIGNER, "rsa3072", "sign", "never"])
        yield home
    finally:
        run(["gpgconf", "--homedir", str(home), "--kill", "all"])


def _recipe(paths: Paths) -> str:
    """Digest of what goes into the packages; a compiled program's path names its version and recipe."""
    names = [repr(package) for package in all_packages(paths)]
    return recipes.digest([*names, *sorted(PACKAGING_FOLDER.iterdir()), Path(packages.__file__), Path(__file__)])


def _pack_all(paths: Paths, architecture: str, workshops: Path, target: Path, report: Report) -> None:
    target.mkdir(parents=True)
    wanted = all_packages(paths)
    for position, package in enumerate(wanted, start=1):
        with step(report, f"packages: {package.name} {package.version} ({position} of {len(wanted)})"):
            pack(package, architecture, workshops / package.name, target)
            shutil.rmtree(workshops / package.name)


def _index(folder: Path) -> None:
    """Write the indexes of a flat repository."""
    scan = run(["env", "--chdir", str(folder), "apt-ftparchive", "packages", "."])
    listing = scan.replace("Filename: ./", "Filename: ")
    (folder / "Packages").write_text(listing)
    (folder / "Packages.gz").write_bytes(gzip.compress(listing.encode(), mtime=0))
    fields = {"Origin": SIGNER, "Label": SIGNER, "Architectures": debian_architecture()}
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
    (folder / "Release").write_text(run(["apt-ftparchive", *options, "release", str(folder)]))


def _sign(folder: Path, home: Path) -> None:
    """Sign the index both ways that apt knows, and offer the public key beside it."""
    release = str(folder / "Release")
    run([*_gpg(home), "--armor", "--detach-sign", "--output", f"{release}.gpg", release])
    run([*_gpg(home), "--clear-sign", "--output", str(folder / "InRelease"), release])
    run([*_gpg(home), "--armor", "--export", "--output", f"{release}.key"])


def _gpg(home: Path) -> list[str]:
    return ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
