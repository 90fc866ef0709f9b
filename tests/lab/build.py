# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds everything that a lab without a way to the official places needs: programs, packages, manifests, images."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import recipes
from tests.lab.images import ensure_images
from tests.lab.manifests import ensure_manifests
from tests.lab.parts import Part
from tests.lab.programs import ensure_programs
from tests.lab.progress import Report, step
from tests.lab.repository import ensure_repository
from tests.lab.settings import Paths

#: Debian packages whose programs the build calls. Go is not among them: Debian 12 has none that is new enough, so
#: toolchain.py looks after it.
REQUIRED_PACKAGES = (
    "apt-utils",
    "debian-archive-keyring",
    "docker-registry",
    "dpkg",
    "gcc",
    "gpg",
    "gpg-agent",
    "libc6-dev",
    "mmdebstrap",
    "skopeo",
    "util-linux",
)

RECIPE_FOLDER = Path(__file__).resolve().parent

#: Everything here that says what is built, and how.
RECIPE_FILES = (
    *("images.py", "manifests.py", "oci.py", "packages.py", "parts.py", "programs.py", "registry_storage.py"),
    *("repository.py", "recipes.py", "rootfs.py", "versions.py", "modules/**/go.*", "modules/**/*.go"),
    *("calico/*", "packaging/*", "pause/*"),
)


def ensure_built(paths: Paths, add_ons: Collection[Part], report: Report) -> None:
    """Build whatever is missing of the base and these add-ons; everything that is there already stays."""
    wanted = [part for part in Part if part is Part.BASE or part in add_ons]
    if not _missing(paths, wanted):
        return
    with _only_one_build(paths, report):
        missing = _missing(paths, wanted)
        if not missing:
            return
        for left_over in paths.root.glob(f"{recipes.UNFINISHED_PREFIX}*"):
            shutil.rmtree(left_over)
        # Once a folder that was removed is back, nothing else would tell that it holds nothing of the other parts.
        for part in _missing(paths, Part):
            _marker(paths, part).unlink(missing_ok=True)
        with step(report, f"building the lab's Kubernetes ({', '.join(part.value for part in missing)})"):
            ensure_programs(paths, missing, report)
            ensure_repository(paths, report)
            ensure_manifests(paths, missing, report)
            ensure_images(paths, missing, report)
        for part in missing:
            _marker(paths, part).write_text(_recipe())


def _missing(paths: Paths, parts: Iterable[Part]) -> list[Part]:
    """Those of these parts that are not there as the recipe of today would make them."""
    recipe = _recipe()
    if not all(folder.is_dir() for folder in (paths.programs, paths.web, paths.registry)):
        return list(parts)
    markers = {part: _marker(paths, part) for part in parts}
    return [part for part, marker in markers.items() if not marker.is_file() or marker.read_text() != recipe]


def _marker(paths: Paths, part: Part) -> Path:
    return paths.root / f".complete-{part.value}"


def _recipe() -> str:
    return recipes.digest(sorted(file for pattern in RECIPE_FILES for file in RECIPE_FOLDER.glob(pattern)))


@contextmanager
def _only_one_build(paths: Paths, report: Report) -> Iterator[None]:
    """Let a second build wait for the first; a killed one lets go by itself."""
    paths.root.mkdir(parents=True, exist_ok=True)
    with (paths.root / ".build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(report, "waiting for the end of another build"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
