# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Kubernetes' state will lie on a host: file systems, their free space, and how fast a write is on the disk."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, NamedTuple, Sequence

CONTAINERD_FOLDER = "/var/lib/containerd"
ETCD_FOLDER = "/var/lib/etcd"
KUBELET_FOLDER = "/var/lib/kubelet"
MANIFEST_FOLDER = "/etc/kubernetes"
LOG_FOLDER = "/var/log"
CNI_FOLDER = "/opt/cni/bin"
STATE_FOLDERS = (CONTAINERD_FOLDER, ETCD_FOLDER, KUBELET_FOLDER, MANIFEST_FOLDER, LOG_FOLDER)
#: What a run writes to; /proc/sys is read-only in containers that may not set anything.
WRITTEN_FOLDERS = ("/etc", "/opt", "/proc/sys", "/usr", "/var/lib", *STATE_FOLDERS)

# The size that kubeadm's and etcd's documentation use to measure a disk for etcd.
_WRITE_BYTES = 2300
# A disk that is slow is slow all the time; the calmest of three rounds leaves the load of other programs out.
_ROUNDS = 3
_ROUND_SECONDS = 0.17
_ROUND_WRITES = 60
# Fewer writes than this say nothing about the slowest tenth of them.
_FEWEST_WRITES = 3
_SLOW_SHARE = 0.9


class Disk(NamedTuple):
    """A file system with the folders of it that will hold Kubernetes' state.

    :arg total_mib: its size, 0 when it does not tell.
    :arg inodes: how many files it can hold, 0 when it has no such limit.
    """

    folders: tuple[str, ...]
    free_mib: int
    total_mib: int = 0
    inodes: int = 0
    free_inodes: int = 0


class Mount(NamedTuple):
    """The file system on which a folder lies."""

    point: str
    kind: str
    options: frozenset[str]


@dataclass(frozen=True)
class Storage:
    """Everything about the file systems.

    :arg mounts: by folder; a folder that does not exist yet has the one of its nearest parent.
    :arg zfs_version: of the loaded module, empty without one.
    :arg write_seconds: what nine in ten small synchronous writes to etcd's folder stay below; None when not measured.
    """

    disks: tuple[Disk, ...] = ()
    mounts: Mapping[str, Mount] | None = None
    zfs_version: str = ""
    write_seconds: float | None = None

    def mount(self, folder: str) -> Mount | None:
        """The file system of a folder."""
        return (self.mounts or {}).get(folder)


def state_folders(etcd_folder: str) -> tuple[str, ...]:
    """Where state will lie when etcd has its data in a folder."""
    return tuple(etcd_folder if folder == ETCD_FOLDER else folder for folder in STATE_FOLDERS)


def written_folders(etcd_folder: str) -> tuple[str, ...]:
    """What a run writes to then."""
    return tuple(etcd_folder if folder == ETCD_FOLDER else folder for folder in WRITTEN_FOLDERS)


def read_storage(root: Path, *, measure: bool, etcd_folder: str = ETCD_FOLDER) -> Storage:
    """Read the file systems.

    :arg measure: write to the file system of etcd as well; the file has no name and is gone when it is closed.
    """
    mounts = list(parse_mounts(_text(root / "proc/self/mounts")))
    return Storage(
        disks=_read_disks(root, state_folders(etcd_folder)),
        mounts={
            folder: mount
            for folder in (*written_folders(etcd_folder), CNI_FOLDER)
            for mount in _mount_of(mounts, folder)
        },
        zfs_version=_text(root / "sys/module/zfs/version").strip(),
        write_seconds=measure_writes(nearest_folder(root, etcd_folder)) if measure else None,
    )


def parse_mounts(text: str) -> Iterator[Mount]:
    """Lines of /proc/mounts in their order; the last one for a point is the visible one."""
    for fields in map(str.split, text.splitlines()):
        if len(fields) > 3:
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[1])
            yield Mount(point, fields[2], frozenset(fields[3].split(",")))


def _mount_of(mounts: Sequence[Mount], folder: str) -> Iterator[Mount]:
    """The mount that a folder lies on, as an iterator of one or none."""
    parents = [folder, *map(str, Path(folder).parents)]
    points = {mount.point: mount for mount in mounts}
    yield from [points[parent] for parent in parents if parent in points][:1]


def nearest_folder(root: Path, folder: str) -> Path:
    """The folder below root, or the nearest parent that exists."""
    path = root / folder.lstrip("/")
    while not path.is_dir():
        path = path.parent
    return path


def _read_disks(root: Path, folders: Sequence[str]) -> tuple[Disk, ...]:
    """Every file system once, with all folders that lie on it."""
    devices: dict[int, tuple[Path, list[str]]] = {}
    for folder in folders:
        path = nearest_folder(root, folder)
        devices.setdefault(path.stat().st_dev, (path, []))[1].append(folder)
    return tuple(_disk(os.statvfs(path), tuple(held)) for path, held in devices.values())


def _disk(space: os.statvfs_result, folders: tuple[str, ...]) -> Disk:
    return Disk(
        folders,
        free_mib=space.f_bavail * space.f_frsize // 2**20,
        total_mib=space.f_blocks * space.f_frsize // 2**20,
        inodes=space.f_files,
        free_inodes=space.f_favail,
    )


def measure_writes(folder: Path) -> float | None:
    """Seconds that nine in ten small writes stay below, each brought to the disk; None where that cannot be tried."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except OSError:
        return None
    try:
        rounds = [_write_round(descriptor) for _round in range(_ROUNDS)]
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return slow_share(rounds)


def _write_round(descriptor: int) -> list[float]:
    """Durations of as many writes as a round has time for."""
    content = bytes(_WRITE_BYTES)
    durations: list[float] = []
    end = time.monotonic() + _ROUND_SECONDS
    while len(durations) < _ROUND_WRITES and (time.monotonic() < end or len(durations) < _FEWEST_WRITES):
        begin = time.monotonic()
        os.write(descriptor, content)
        os.fdatasync(descriptor)
        durations.append(time.monotonic() - begin)
        if durations[-1] > _ROUND_SECONDS:
            break
    return durations


def slow_share(rounds: Sequence[Sequence[float]]) -> float:
    """What nine in ten writes of the calmest round stay below."""
    return min(sorted(durations)[int((len(durations) - 1) * _SLOW_SHARE)] for durations in rounds)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
