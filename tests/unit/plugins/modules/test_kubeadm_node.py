# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of kubeadm_node."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import init_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import kubelet_service_argv
from ansible_collections.groundplane.kubeadm.plugins.modules import kubeadm_node

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Any]

KUBELET = (kubelet_service_argv(), Result(0, "ActiveState=inactive\nUnitFileState=enabled\n", ""))
OPTIONS = {"state": "initialised", "configuration": "kind: InitConfiguration\n", "node_name": "master-1"}


@pytest.fixture
def on_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the module find a fresh host with exactly these commands."""

    def prepare(*commands: tuple[list[str], Result]) -> None:
        monkeypatch.setattr(kubeadm_node, "HostPaths", lambda: HostPaths(tmp_path))
        monkeypatch.setattr(kubeadm_node, "ModuleRunner", lambda module: FakeRunner(commands))

    return prepare


def test_prediction_and_run_agree(on_host: Callable[..., None], run_main: RunMain) -> None:
    on_host(KUBELET)
    predicted = run_main(kubeadm_node, OPTIONS, check=True, diff=True)
    on_host(KUBELET, (["timeout", "600", *init_argv()], Result(0, "abcdef.0123456789abcdef", "")))
    done = run_main(kubeadm_node, OPTIONS, diff=True)
    assert done == {**predicted, "invocation": done["invocation"]}
    assert (done["changed"], done["action"], done["stale"]) == (True, "init", False)
    assert done["steps"][1] == "initialise the control plane with kubeadm init"
    assert done["diff"] == {
        "before": "nothing of kubeadm is on this host\n",
        "after": "an initialised control plane\n",
    }
    assert done["invocation"]["module_args"]["configuration"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def test_nothing_to_reset(on_host: Callable[..., None], run_main: RunMain) -> None:
    on_host(KUBELET)
    assert run_main(kubeadm_node, {"state": "reset"})["changed"] is False


def test_failure_tells_what_to_do(on_host: Callable[..., None], run_main: RunMain) -> None:
    failed = Result(1, "", "\t[ERROR Port-6443]: Port 6443 is in use\nerror: error execution phase preflight: x\n")
    on_host(KUBELET, (["timeout", "600", *init_argv()], failed))
    result = run_main(kubeadm_node, OPTIONS)
    assert result["failed"] is True
    assert "[ERROR Port-6443]: Port 6443 is in use" in result["msg"]
    assert (result["rc"], result["logs"]) == (1, {})


def test_warnings_are_shown(on_host: Callable[..., None], run_main: RunMain, tmp_path: Path) -> None:
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/kubelet.conf").write_text("server: https://a:6443\n")
    on_host(KUBELET)
    result = run_main(kubeadm_node, {"state": "joined", "node_name": "w", "node_address": "192.0.2.1"}, check=True)
    assert result["action"] == "none"
    assert "nothing can be predicted" in str(result["warnings"])


@pytest.mark.parametrize("state", ["initialised", "joined"])
def test_required_options(on_host: Callable[..., None], run_main: RunMain, state: str) -> None:
    on_host()
    assert "missing" in run_main(kubeadm_node, {"state": state})["msg"]
