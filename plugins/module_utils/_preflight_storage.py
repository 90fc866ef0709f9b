# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of the file systems: room, how they are mounted, what they can do, and how fast they write."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_storage import (
    CNI_FOLDER,
    CONTAINERD_FOLDER,
    ETCD_FOLDER,
    KUBELET_FOLDER,
    LOG_FOLDER,
    MANIFEST_FOLDER,
    Disk,
    written_folders,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot

# How the space that a host needs is divided among its folders, in parts; with the defaults, one part is 1 GiB of what
# is recommended. Only the state of a control plane node has etcd in it.
_SHARES = {CONTAINERD_FOLDER: 20.0, ETCD_FOLDER: 8.0, KUBELET_FOLDER: 1.0, LOG_FOLDER: 0.75, MANIFEST_FOLDER: 0.25}
# kubelet evicts pods and takes no more while a smaller part than this is free (evictionHard).
_EVICTION_SHARES = {CONTAINERD_FOLDER: 0.15, KUBELET_FOLDER: 0.10}
_EVICTION_INODES = 0.05
_SCARCE_INODES = 0.10
# The kernel takes no upper layer of an overlay on these, or loses the attributes that it keeps there.
_NO_OVERLAY = frozenset(
    {"9p", "aufs", "cifs", "ecryptfs", "exfat", "msdos", "nfs", "nfs4", "ntfs", "ntfs3", "overlay", "smb3", "vfat"}
)
_ZFS_WITH_OVERLAY = (2, 2)


def _in_use(disk: Disk, wanted: Wanted) -> list[str]:
    """Folders of a file system that the host will fill."""
    return [folder for folder in disk.folders if folder != wanted.etcd_folder or wanted.role == CONTROL_PLANE]


def _needed_mib(folders: list[str], whole_mib: int, wanted: Wanted) -> int:
    """What of the space that a host needs as a whole falls to some folders."""
    total = sum(share for folder, share in _SHARES.items() if folder != ETCD_FOLDER or wanted.role == CONTROL_PLANE)
    shares = {**_SHARES, wanted.etcd_folder: _SHARES[ETCD_FOLDER]}
    return int(whole_mib * sum(shares[folder] for folder in folders) / total)


def check_disk_space(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the free space of each file system with what its folders take.

    Where they already take it, too little left is a warning: a run that was interrupted must be able to go on.
    """
    prepared = snapshot.cluster.prepared
    for disk in snapshot.storage.disks:
        folders = _in_use(disk, wanted)
        found = f"{disk.free_mib} MiB free for {', '.join(folders)}"
        least = _needed_mib(folders, wanted.thresholds.disk_mib, wanted)
        recommended = _needed_mib(folders, wanted.thresholds.recommended_disk_mib, wanted)
        evicting = max((_EVICTION_SHARES.get(folder, 0.0) for folder in folders), default=0.0)
        if disk.free_mib < least:
            yield Observation(found, f"at least {least} MiB", severity=WARNING if prepared else ERROR)
        elif disk.free_mib < recommended and not prepared:
            yield Observation(found, f"{recommended} MiB or more", severity=WARNING)
        elif disk.free_mib < evicting * disk.total_mib:
            yield Observation(
                f"{found}, which is {100 * disk.free_mib // disk.total_mib} % of the file system",
                f"{evicting:.0%} or more, below which kubelet evicts pods",
                severity=WARNING,
                remedy="Free space or enlarge the file system, or give kubelet other thresholds (evictionHard).",
            )


def check_inodes(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the number of files that a file system can still take with the one at which kubelet evicts pods."""
    for disk in snapshot.storage.disks:
        folders = _in_use(disk, wanted)
        if not disk.inodes or not folders:
            continue
        share = disk.free_inodes / disk.inodes
        found = f"{disk.free_inodes} inodes ({share:.0%}) free for {', '.join(folders)}"
        if share < _EVICTION_INODES and {CONTAINERD_FOLDER, KUBELET_FOLDER} & set(folders):
            severity = WARNING if snapshot.cluster.prepared else ERROR
            yield Observation(found, f"{_EVICTION_INODES:.0%}, below which kubelet evicts pods", severity=severity)
        elif share < _SCARCE_INODES:
            yield Observation(found, f"{_SCARCE_INODES:.0%} or more", severity=WARNING)


def check_read_only(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Everything that a run or kubelet writes to lies on a file system that takes it."""
    points: dict[str, list[str]] = {}
    for folder in written_folders(wanted.etcd_folder):
        mount = snapshot.storage.mount(folder)
        if mount and "ro" in mount.options:
            points.setdefault(mount.point, []).append(folder)
    for point, folders in points.items():
        yield Observation(f"{point} is mounted read-only ({', '.join(folders)})", "a file system that can be written")


def check_mount_options(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Programs are started from these folders by containerd, and from volumes of pods."""
    plugins = snapshot.storage.mount(CNI_FOLDER)
    if plugins and "noexec" in plugins.options:
        yield Observation(f"{plugins.point} is mounted noexec, and {CNI_FOLDER} lies there", "exec")
    volumes = snapshot.storage.mount(KUBELET_FOLDER)
    if volumes and "noexec" in volumes.options:
        yield Observation(
            f"{volumes.point} is mounted noexec, and {KUBELET_FOLDER} lies there",
            "exec",
            severity=WARNING,
            remedy="Take noexec out of the options of this mount in /etc/fstab and mount it anew; programs in volumes "
            "of pods, emptyDir among them, cannot be started otherwise.",
        )


def check_containerd_file_system(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """containerd keeps containers as layers of an overlay, which not every file system can carry."""
    mount = snapshot.storage.mount(CONTAINERD_FOLDER)
    if mount is None:
        return
    version = tuple(int(number) for number in snapshot.storage.zfs_version.split("-")[0].split(".")[:2] if number)
    if mount.kind in _NO_OVERLAY:
        yield Observation(f"{CONTAINERD_FOLDER} lies on {mount.kind} ({mount.point})", "ext4, xfs or btrfs")
    elif mount.kind == "zfs" and version and version < _ZFS_WITH_OVERLAY:
        yield Observation(
            f"{CONTAINERD_FOLDER} lies on zfs {snapshot.storage.zfs_version} ({mount.point})",
            "zfs 2.2 or newer, ext4, xfs or btrfs",
        )


def check_etcd_latency(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the time that a small write takes to the disk with what etcd bears."""
    seconds = snapshot.storage.write_seconds
    if seconds is None:
        return
    found = f"one in ten writes to the file system of {wanted.etcd_folder} takes {1000 * seconds:.0f} ms or longer"
    most, recommended = wanted.thresholds.etcd_latency_ms, wanted.thresholds.recommended_etcd_latency_ms
    if 1000 * seconds > most:
        yield Observation(found, f"at most {most} ms", severity=ERROR)
    elif 1000 * seconds > recommended:
        yield Observation(found, f"at most {recommended} ms")


STORAGE_CHECKS = (
    Check(
        Description(
            id="disk-space",
            severity=ERROR,
            purpose="Images, containers, etcd and logs find room. As a whole, a host needs 4096 MiB, below which is an "
            "error; 30720 MiB are recommended for a control plane node and 22528 MiB for a worker, below which is a "
            "warning. Of every 30 parts 20 are for /var/lib/containerd, 8 for etcd, 2 for /var/lib/kubelet, "
            "/var/log and /etc/kubernetes; each file system is asked for the parts that lie on it. A smaller free "
            "part than kubelet wants (15 % for images, 10 % for pods) is a warning as well. On a host that already "
            "holds images or state nothing of this is an error.",
            remedy="Enlarge the file system or give these folders their own; kubelet evicts pods when space runs out.",
            variables=("prereqs_preflight_minimum_disk_mib", "prereqs_preflight_recommended_disk_mib"),
        ),
        check_disk_space,
    ),
    Check(
        Description(
            id="inodes",
            severity=ERROR,
            purpose="The file systems can take more files: below 10 % of their inodes is a warning, below 5 %, at "
            "which kubelet evicts pods, an error.",
            remedy="Remove what fills the file system with small files, or make it anew with more inodes (mkfs -N).",
        ),
        check_inodes,
    ),
    Check(
        Description(
            id="read-only",
            severity=ERROR,
            purpose="Everything that a run and Kubernetes write to can be written: /etc, /opt, /usr, /var/lib, the "
            "folders of Kubernetes below them, /var/log and the kernel's settings in /proc/sys. A kernel that has "
            "met a damaged file system makes it read-only.",
            remedy="Read dmesg for errors of the disk, then mount it with mount -o remount,rw POINT and correct "
            "/etc/fstab; a container has to be privileged.",
        ),
        check_read_only,
    ),
    Check(
        Description(
            id="mount-options",
            severity=ERROR,
            purpose="Programs can be started from /opt/cni/bin, where the plugins of the pod network lie. "
            "/var/lib/kubelet, where volumes of pods lie, mounted noexec is a warning.",
            remedy="Take noexec out of the options of this mount in /etc/fstab and mount it anew.",
        ),
        check_mount_options,
    ),
    Check(
        Description(
            id="containerd-file-system",
            severity=ERROR,
            purpose="/var/lib/containerd lies on a file system that can carry an overlay; network file systems, FAT, "
            "another overlay and zfs before 2.2 cannot.",
            remedy="Mount a file system of its own, such as ext4, at /var/lib/containerd.",
        ),
        check_containerd_file_system,
    ),
    Check(
        Description(
            id="etcd-latency",
            severity=WARNING,
            purpose="Where a member of etcd is to run, small writes reach the disk fast: 10 ms are recommended, above "
            "100 ms is an error. Writes are made for half a second to a file without a name, and one in ten of the "
            "calmest round decides. It is not measured on a node that has its member already.",
            remedy="Put the data of etcd on a faster disk, with nothing else on it that writes much.",
            variables=(
                "prereqs_preflight_recommended_etcd_latency_ms",
                "prereqs_preflight_maximum_etcd_latency_ms",
                "control_plane_external_etcd",
                "control_plane_cluster_configuration",
            ),
        ),
        check_etcd_latency,
    ),
)
