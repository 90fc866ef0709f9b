# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Go compiler: the machine's own where that is new enough, else Debian's, unpacked into the cache."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.lab import archive
from tests.lab.process import attempt, run
from tests.lab.progress import Report, step
from tests.lab.recipes import finished_folder
from tests.lab.settings import Paths

#: From this version on, Go fetches the newer toolchain that a go.mod asks for by itself.
OLDEST_GO = (1, 21)

#: Release of Debian whose Go is unpacked. Its programs are linked statically and so run on any other release, too.
GO_SUITE = "trixie"

#: Where Go's own instructions put it; adding that to PATH is left to the user.
OFFICIAL_FOLDER = "/usr/local/go/bin"


def ensure_go(paths: Paths, report: Report) -> Path:
    """Return a Go command that is new enough; get one when the machine has none."""
    installed = installed_go(os.pathsep.join([os.environ.get("PATH", os.defpath), OFFICIAL_FOLDER]))
    if installed is not None:
        return installed
    final = paths.root / "go" / GO_SUITE
    if not final.is_dir():
        with step(report, f"programs: getting Go from Debian {GO_SUITE}"), finished_folder(final) as target:
            _unpack(target)
    return final / "usr" / "bin" / "go"


def installed_go(search_path: str) -> Path | None:
    """Return the first Go command along a search path that is new enough."""
    for folder in search_path.split(os.pathsep):
        found = shutil.which("go", path=folder)
        if found is not None and is_new_enough(_version(found)):
            return Path(found)
    return None


def is_new_enough(version: str) -> bool:
    """Judge Go's own name of a version, such as go1.26.8; one that names no release is not new enough."""
    match = re.search(r"\bgo(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= OLDEST_GO


def _version(go: str) -> str:
    """Ask a Go command for its version; one that does not work has none."""
    return attempt([go, "env", "GOVERSION"], environment={"GOTOOLCHAIN": "local"}).stdout.strip()


def _unpack(target: Path) -> None:
    start = archive.mmdebstrap_command(archive.carried_settings())
    run(
        [*start, "--variant=extract", "--include=golang-go", GO_SUITE, str(target), "-"],
        stdin=archive.sources_file(archive.archives_for(GO_SUITE)),
    )
