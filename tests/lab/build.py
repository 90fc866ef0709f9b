# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds everything that a lab without a way to the official places needs: programs, packages, manifests, images."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import recipes
from tests.lab.images import ensure_images
from tests.lab.manifests import ensure_manifests
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
RECIPE_PARTS = (
    *("images.py", "manifests.py", "oci.py", "packages.py", "programs.py", "registry_storage.py", "repository.py"),
    *("recipes.py", "rootfs.py", "versions.py", "modules/**/go.*", "modules/**/*.go"),
    *("calico/*", "packaging/*", "pause/*"),
)


def ensure_built(paths: Paths, report: Report) -> None:
    """Build whatever is missing below the cache root; everything that is there already stays."""
    if _is_complete(paths):
        return
    with _only_one_build(paths, report):
        if _is_complete(paths):
            return
        for left_over in paths.root.glob(f"{recipes.UNFINISHED_PREFIX}*"):
            shutil.rmtree(left_over)
        with step(report, "building the lab's Kubernetes"):
            ensure_programs(paths, report)
            ensure_repository(paths, report)
            ensure_manifests(paths, report)
            ensure_images(paths, report)
        _marker(paths).write_text(_recipe())


def _is_complete(paths: Paths) -> bool:
    marker = _marker(paths)
    folders = (paths.programs, paths.web, paths.registry)
    return marker.is_file() and marker.read_text() == _recipe() and all(folder.is_dir() for folder in folders)


def _marker(paths: Paths) -> Path:
    return paths.root / ".complete"


def _recipe() -> str:
    return recipes.digest(sorted(file for pattern in RECIPE_PARTS for file in RECIPE_FOLDER.glob(pattern)))


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
