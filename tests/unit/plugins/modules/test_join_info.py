# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of join_info."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import nodes_argv, objects_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.modules import join_info

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Any]


def test_reads_in_check_mode_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: RunMain, fixture_text: Callable[[str], str]
) -> None:
    kubeconfig = tmp_path / "admin.conf"
    kubeconfig.write_text(fixture_text("kubeadm/worker_kubelet.conf"))
    names = ["configmap/kubeadm-config", "secret/kubeadm-certs"]
    commands = [
        (
            objects_argv(str(kubeconfig), "kube-system", names),
            Result(0, fixture_text("kubectl/kubeadm_config.json"), ""),
        ),
        (nodes_argv(str(kubeconfig)), Result(0, fixture_text("kubectl/nodes.json"), "")),
    ]
    monkeypatch.setattr(join_info, "ModuleRunner", lambda module: FakeRunner(commands))
    result = run_main(join_info, {"kubeconfig": str(kubeconfig)}, check=True)
    assert (result["changed"], result["endpoint"], len(result["nodes"])) == (False, "10.77.5.11:6443", 2)


def test_no_cluster_yet(tmp_path: Path, run_main: RunMain) -> None:
    options = {"kubeconfig": str(tmp_path / "admin.conf")}
    predicted = run_main(join_info, options, check=True)
    assert (predicted["nodes"], predicted["ca_cert_hashes"], predicted["etcd_members"]) == ([], [], [])
    assert "does not exist" in run_main(join_info, options)["msg"]


def test_asks_etcd_only_when_told(monkeypatch: pytest.MonkeyPatch, run_main: RunMain) -> None:
    asked: list[str] = []
    monkeypatch.setattr(join_info, "read_join_info", lambda runner, kubeconfig, socket: asked.append(socket) or {})
    run_main(join_info, {"cri_socket": "unix:///run/x.sock"})
    run_main(join_info, {"cri_socket": "unix:///run/x.sock", "etcd": True})
    assert asked == ["", "unix:///run/x.sock"]
