# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a host on which kubeadm has been at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import (
    HostState,
    InitRecord,
    kubelet_service_argv,
    read_host,
    read_record,
    running_kubeadm,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hash

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    """A host without anything."""
    return HostPaths(tmp_path)


def write(paths: HostPaths, path: str, text: str = "content\n") -> Path:
    """A file of the host."""
    target = paths.at(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def read(paths: HostPaths, shown: str = "ActiveState=inactive\nUnitFileState=enabled\n", **options: str) -> HostState:
    """State of the host, with what systemd says of the kubelet."""
    return read_host(FakeRunner([(kubelet_service_argv(), Result(0, shown, ""))]), paths, **options)


def test_fresh_host(paths: HostPaths) -> None:
    host = read(paths)
    assert host == HostState(kubelet_enabled=True)
    assert not host.touched


@pytest.mark.parametrize(
    ("shown", "running", "enabled"),
    [
        ("ActiveState=active\nUnitFileState=enabled\n", True, True),
        ("ActiveState=activating\nUnitFileState=disabled\n", True, False),
        ("ActiveState=failed\nUnitFileState=enabled\n", False, True),
        ("ActiveState=inactive\nUnitFileState=\n", False, False),
        ("", False, False),
    ],
    ids=["active", "restarting", "failed", "not installed", "silent"],
)
def test_kubelet(paths: HostPaths, shown: str, running: bool, enabled: bool) -> None:
    assert read(paths, shown) == HostState(kubelet_running=running, kubelet_enabled=enabled)


def test_recorded_answer_of_systemd(paths: HostPaths, fixture_text: FixtureText) -> None:
    host = read(paths, fixture_text("systemctl/show_kubelet.txt"))
    assert (host.kubelet_running, host.kubelet_enabled) == (True, True)


def test_joined_worker(paths: HostPaths, fixture_text: FixtureText) -> None:
    write(paths, "/etc/kubernetes/kubelet.conf", fixture_text("kubeadm/worker_kubelet.conf"))
    write(paths, "/etc/kubernetes/pki/ca.crt", fixture_text("kubeadm/ca.crt"))
    write(paths, "/var/lib/kubelet/config.yaml")
    write(paths, "/var/lib/kubelet/pki/kubelet-client-current.pem")
    host = read(paths)
    assert host == HostState(
        kubelet_conf=True,
        kubelet_credentials=True,
        kubelet_rotates=True,
        kubelet_configuration=True,
        kubelet_enabled=True,
        ca_hashes=(ca_cert_hash(fixture_text("kubeadm/ca.crt")),),
        server="https://10.77.5.11:6443",
        pki=("ca.crt",),
    )
    assert host.touched
    assert host.kubelet_remains
    assert not host.control_plane


def test_lost_certificate_of_the_kubelet(paths: HostPaths, fixture_text: FixtureText) -> None:
    write(paths, "/etc/kubernetes/kubelet.conf", fixture_text("kubeadm/worker_kubelet.conf"))
    assert not read(paths).kubelet_credentials


def test_certificate_inside_kubelet_conf(paths: HostPaths) -> None:
    write(paths, "/etc/kubernetes/kubelet.conf", "clusters:\n- cluster:\n    server: https://a:6443\n")
    host = read(paths)
    assert host.kubelet_credentials
    assert host.ca_hashes == ()


def test_interrupted_join(paths: HostPaths, fixture_text: FixtureText) -> None:
    write(paths, "/etc/kubernetes/bootstrap-kubelet.conf", fixture_text("kubeadm/worker_kubelet.conf"))
    host = read(paths)
    assert (host.bootstrap_kubelet_conf, host.kubelet_conf, host.kubelet_credentials) == (True, False, False)
    assert host.ca_hashes == (ca_cert_hash(fixture_text("kubeadm/ca.crt")),)


def test_cut_off_kubelet_conf(paths: HostPaths, fixture_text: FixtureText) -> None:
    write(paths, "/etc/kubernetes/kubelet.conf", "apiVersion: v1\nclus")
    write(paths, "/etc/kubernetes/pki/ca.crt", fixture_text("kubeadm/ca.crt"))
    host = read(paths)
    assert (host.kubelet_conf, host.kubelet_credentials) == (True, False)
    assert host.ca_hashes == (ca_cert_hash(fixture_text("kubeadm/ca.crt")),)


def test_control_plane(paths: HostPaths) -> None:
    write(paths, "/etc/kubernetes/admin.conf")
    write(paths, "/etc/kubernetes/super-admin.conf")
    write(paths, "/etc/kubernetes/pki/etcd/ca.crt")
    write(paths, "/etc/kubernetes/pki/ca.key")
    write(paths, "/etc/kubernetes/manifests/etcd.yaml")
    write(paths, "/etc/kubernetes/manifests/haproxy.yaml")
    write(paths, "/var/lib/etcd/member/snap/db")
    host = read(paths)
    assert host == HostState(
        kubelet_enabled=True,
        pki=("ca.key", "etcd/ca.crt"),
        admin_conf=True,
        super_admin_conf=True,
        manifests=("etcd",),
        etcd_data=True,
    )
    assert host.control_plane


def test_etcd_data_elsewhere(paths: HostPaths) -> None:
    write(paths, "/data/etcd/member/snap/db")
    assert not read(paths).etcd_data
    assert read(paths, etcd_data="/data/etcd").etcd_data
    write(
        paths,
        "/var/lib/groundplane/kubeadm-init.json",
        '{"configuration_sha256": "x", "etcd_data": "/data/etcd", "pki_before": ["ca.crt"]}',
    )
    host = read(paths)
    assert host.etcd_data
    assert host.record == InitRecord("x", "/data/etcd", ("ca.crt",))
    assert replace(host, etcd_data=False).touched


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_unreadable_record_proves_nothing(paths: HostPaths, text: str) -> None:
    write(paths, "/var/lib/groundplane/kubeadm-init.json", text)
    assert read_record(paths) is None


def test_remains_of_a_pod_network(paths: HostPaths) -> None:
    write(paths, "/sys/class/net/cni0")
    write(paths, "/sys/class/net/flannel.1")
    host = read(paths)
    assert host.network.links == ("cni0", "flannel.1")
    assert (host.touched, host.kubeadm_remains) == (True, False)


def test_network_of_a_node_is_not_read(paths: HostPaths) -> None:
    write(paths, "/var/lib/kubelet/config.yaml")
    write(paths, "/sys/class/net/flannel.1")
    assert not read(paths).network


def test_running_kubeadm(paths: HostPaths) -> None:
    write(paths, "/proc/1/cmdline", "/sbin/init\0")
    write(paths, "/proc/2/cmdline", "")
    write(paths, "/proc/31/cmdline", "/usr/bin/kubeadm\0init\0--config\0/dev/stdin\0")
    write(paths, "/proc/32/cmdline", "kubeadm\0token\0list\0")
    write(paths, "/proc/33/cmdline", "timeout\0600\0kubeadm\0join\0")
    write(paths, "/proc/34/cmdline", "kubeadm\0")
    paths.at("/proc/35").mkdir()
    write(paths, "/proc/self/cmdline", "kubeadm\0init\0")
    assert running_kubeadm(paths) == {31: "kubeadm init"}


def test_files_that_a_power_cut_has_left_empty_are_not_there(paths: HostPaths) -> None:
    for path in ("pki/sa.key", "admin.conf", "manifests/etcd.yaml"):
        write(paths, f"/etc/kubernetes/{path}", "")
    host = read(paths)
    assert (host.admin_conf, host.manifests) == (False, ())
    assert host.damaged == (
        "etc/kubernetes/pki/sa.key",
        "etc/kubernetes/admin.conf",
        "etc/kubernetes/manifests/etcd.yaml",
    )
