# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems of a host: mounts recorded on a lab node, and what a measurement of writes comes to."""

from __future__ import annotations

import os

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _host_storage
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_storage import (
    STATE_FOLDERS,
    Storage,
    measure_writes,
    nearest_folder,
    parse_mounts,
    read_storage,
    slow_share,
)


@pytest.fixture
def recorded(tmp_path, fixture_text):
    """A root with the mounts of a lab node."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text(fixture_text("proc/mounts-trixie"))
    return tmp_path


def test_a_folder_lies_on_the_mount_of_its_nearest_parent(recorded):
    storage = read_storage(recorded, measure=False)
    assert storage.mount("/var/lib/containerd").point == "/var/lib"
    assert storage.mount("/var/lib/containerd").kind == "ext4"
    assert storage.mount("/etc").point == "/"
    assert storage.mount("/proc/sys").point == "/proc"
    assert {storage.mount(folder).point for folder in STATE_FOLDERS} == {"/", "/var/lib"}
    assert storage.write_seconds is None
    assert not any("ro" in mount.options for mount in storage.mounts.values())


def test_the_last_mount_of_a_point_counts(recorded):
    with (recorded / "proc/self/mounts").open("a") as mounts:
        mounts.write("tmpfs /var/lib tmpfs ro,noexec 0 0\n")
    mount = read_storage(recorded, measure=False).mount("/var/lib/etcd")
    assert (mount.kind, mount.options) == ("tmpfs", frozenset({"ro", "noexec"}))


def test_names_with_spaces_and_lines_that_are_none():
    assert [mount.point for mount in parse_mounts("a /mnt/my\\040disk ext4 rw 0 0\nbroken\n")] == ["/mnt/my disk"]


def test_no_mounts_at_all(tmp_path):
    storage = read_storage(tmp_path, measure=False)
    assert storage.mount("/etc") is None
    assert Storage().mount("/etc") is None
    assert storage.zfs_version == ""


def test_zfs(tmp_path):
    (tmp_path / "sys/module/zfs").mkdir(parents=True)
    (tmp_path / "sys/module/zfs/version").write_text("2.1.11-1\n")
    assert read_storage(tmp_path, measure=False).zfs_version == "2.1.11-1"


def test_every_file_system_is_read_once(tmp_path):
    (disk,) = read_storage(tmp_path, measure=False).disks
    assert disk.folders == STATE_FOLDERS
    assert 0 < disk.free_mib <= disk.total_mib
    assert disk.free_inodes <= disk.inodes


def test_nearest_folder(tmp_path):
    (tmp_path / "var/lib").mkdir(parents=True)
    assert nearest_folder(tmp_path, "/var/lib/etcd") == tmp_path / "var/lib"
    assert nearest_folder(tmp_path, "/srv") == tmp_path


def test_measuring_leaves_nothing_behind(tmp_path):
    seconds = read_storage(tmp_path, measure=True).write_seconds
    assert seconds is not None
    assert 0 < seconds < 10
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    assert measure_writes(tmp_path / "absent") is None


def test_a_file_system_that_is_full(tmp_path, monkeypatch):
    def write(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    assert measure_writes(tmp_path) is None


@pytest.fixture
def disk(monkeypatch):
    """A disk that takes the given seconds for its writes, the last of them for all that follow."""

    def of(*seconds):
        now = [0.0]
        left = list(seconds)
        written = []

        def synchronise(descriptor):
            written.append(descriptor)
            now[0] += left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setattr(os, "fdatasync", synchronise)
        monkeypatch.setattr(_host_storage.time, "monotonic", lambda: now[0])
        return written, now

    return of


def test_a_slow_disk_is_slow_in_every_round(tmp_path, disk):
    disk(0.02)
    assert measure_writes(tmp_path) == pytest.approx(0.02)


@pytest.mark.parametrize("hiccup", [0.15, 3.0])
def test_a_hiccup_does_not_decide(tmp_path, disk, hiccup):
    disk(hiccup, hiccup, 0.001)
    assert measure_writes(tmp_path) == pytest.approx(0.001)


def test_a_fast_disk_is_not_written_to_for_long(tmp_path, disk):
    written, now = disk(0.0001)
    measure_writes(tmp_path)
    assert len(written) == 180
    assert now[0] < 0.1


def test_a_very_slow_disk_costs_one_write_in_each_round(tmp_path, disk):
    written, now = disk(2.0)
    assert measure_writes(tmp_path) == 2.0
    assert len(written) == 3


def test_the_slow_tenth_of_the_calmest_round():
    assert slow_share([[0.5] * 10, [0.001] * 9 + [0.9], [0.2]]) == 0.001


def test_etcd_may_have_its_data_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text("/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw 0 0\n")
    measured = []
    monkeypatch.setattr(_host_storage, "measure_writes", measured.append)
    storage = read_storage(tmp_path, measure=True, etcd_folder="/data/etcd")
    assert measured == [tmp_path / "data"]
    assert storage.mount("/data/etcd").point == "/data"
    assert storage.mount("/var/lib/etcd") is None
    assert "/data/etcd" in storage.disks[0].folders
    assert "/var/lib/etcd" not in storage.disks[0].folders
