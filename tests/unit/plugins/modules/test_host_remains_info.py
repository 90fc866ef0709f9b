# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left on a host is listed, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import kubelet_service_argv
from ansible_collections.groundplane.kubeadm.plugins.modules import host_remains_info

from tests.unit.fake_runner import FakeRunner

Run = Callable[[str], Any]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: Callable[..., Any]) -> Run:
    """Run the module on a host made of files, with what systemd says of the kubelet."""

    def run(active: str) -> Any:
        shown = (kubelet_service_argv(), Result(0, f"ActiveState={active}\nUnitFileState=enabled\n", ""))
        monkeypatch.setattr(host_remains_info, "HostPaths", lambda: HostPaths(tmp_path))
        monkeypatch.setattr(host_remains_info, "ModuleRunner", lambda module: FakeRunner([shown]))
        return run_main(host_remains_info, {}, check=True)

    return run


def write(root: Path, path: str, text: str = "") -> str:
    """A file of the host."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return str(target)


def test_node(read: Run, tmp_path: Path) -> None:
    kubelet_conf = write(tmp_path, "/etc/kubernetes/kubelet.conf")
    ca = write(tmp_path, "/etc/kubernetes/pki/ca.crt")
    manifest = write(tmp_path, "/etc/kubernetes/manifests/etcd.yaml")
    config = write(tmp_path, "/var/lib/kubelet/config.yaml")
    member = write(tmp_path, "/var/lib/etcd/member/snap/db")
    write(tmp_path, "/proc/self/mounts", "tmpfs /var/lib/kubelet/pods/1 tmpfs rw 0 0\n/dev/sda1 /var/lib ext4 rw 0 0\n")
    write(tmp_path, "/sys/class/net/flannel.1/ifindex")
    write(tmp_path, "/etc/cni/net.d/87-podman.conflist")
    result = read("active")
    assert result["remains"] == [
        "kubelet runs",
        "mount /var/lib/kubelet/pods/1",
        kubelet_conf,
        str(Path(ca).parent),
        manifest,
        config,
        str(Path(member).parents[1]),
        "link flannel.1",
    ]
    assert ["87-podman" in note for note in result["notes"]] == [True]


def test_host_that_was_reset(read: Run, tmp_path: Path) -> None:
    for folder in ("etc/kubernetes/manifests", "var/lib/kubelet", "var/lib/etcd", "var/lib/groundplane"):
        (tmp_path / folder).mkdir(parents=True)
    result = read("inactive")
    assert (result["changed"], result["remains"], result["notes"]) == (False, [], [])
