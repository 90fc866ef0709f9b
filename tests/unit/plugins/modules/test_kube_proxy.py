# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of kube_proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import MARK
from ansible_collections.groundplane.kubeadm.plugins.modules import kube_proxy

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Dict[str, Any]]
FixtureText = Callable[[str], str]

KUBECTL = "/usr/bin/kubectl"
DONE = Result(0, "", "")
GET = ["get", "--ignore-not-found", "--output=json", "--filename=-"]
PATCH = ["--namespace=kube-system", "--type=merge", "--field-manager=groundplane", "--patch-file=/dev/stdin"]
CONFIG_MAP = ["patch", "ConfigMap/kube-proxy", *PATCH]
DAEMON_SET = ["patch", "DaemonSet.apps/kube-proxy", *PATCH]
ROLLOUT = ["rollout", "status", "DaemonSet.apps/kube-proxy", "--namespace=kube-system", "--timeout=300s"]


class Host:
    """A control plane node of a cluster in mode iptables."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, fixture_text: FixtureText) -> None:
        self.kubeconfig = folder / "admin.conf"
        self.kubeconfig.touch()
        self.annotations: dict[str, str] = {}
        self._monkeypatch = monkeypatch
        self._text = fixture_text("kubeadm/kube_proxy_config.conf")
        items = json.loads(fixture_text("kubectl/initialised_kube_system.json"))["items"]
        self._daemon_set = next(item for item in items if item["kind"] == "DaemonSet")

    def found(self) -> tuple[list[str], Result]:
        metadata = {"name": "kube-proxy", "namespace": "kube-system", "resourceVersion": "270"}
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**metadata, "annotations": self.annotations},
            "data": {"config.conf": self._text},
        }
        items = [config_map, self._daemon_set]
        return GET, Result(0, json.dumps({"kind": "List", "apiVersion": "v1", "items": items}), "")

    def answers(self, *answers: tuple[list[str], Result]) -> FakeRunner:
        expected = [([KUBECTL, f"--kubeconfig={self.kubeconfig}", *argv], result) for argv, result in answers]
        runner = FakeRunner(expected, {"kubectl": KUBECTL})
        self._monkeypatch.setattr(kube_proxy, "ModuleRunner", lambda module: runner)
        return runner

    def options(self, **more: Any) -> dict[str, Any]:
        return {"kubeconfig": str(self.kubeconfig), **more}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixture_text: FixtureText) -> Host:
    return Host(tmp_path, monkeypatch, fixture_text)


def test_changes_the_mode(host: Host, run_main: RunMain) -> None:
    runner = host.answers(host.found(), (CONFIG_MAP, DONE), (DAEMON_SET, DONE), (ROLLOUT, DONE))

    result = run_main(kube_proxy, host.options(mode="nftables"))

    runner.assert_finished()
    assert (result["changed"], result["mode"], result["former_mode"]) == (True, "nftables", "iptables")
    documented = yaml.safe_load(kube_proxy.RETURN)
    assert set(result) - {"changed", "diff", "invocation"} == set(documented)
    patch = json.loads(runner.stdin[1] or "")
    former, moment = patch["metadata"]["annotations"][MARK].split(" ")
    assert former == "iptables"
    assert moment.endswith("Z")


def test_check_predicts(host: Host, run_main: RunMain) -> None:
    runner = host.answers(host.found())

    result = run_main(kube_proxy, host.options(mode="nftables"), check=True, diff=True)

    runner.assert_finished()
    assert (result["changed"], result["mode"]) == (True, "nftables")
    assert "mode: nftables" in result["diff"][0]["after"]


def test_the_mode_that_is_there(host: Host, run_main: RunMain) -> None:
    host.answers(host.found())
    result = run_main(kube_proxy, host.options(mode="iptables"))
    assert (result["changed"], result["mode"], result["former_mode"]) == (False, "iptables", "")


def test_ends_what_is_under_way(host: Host, run_main: RunMain) -> None:
    host.annotations = {MARK: "ipvs 2026-11-21T07:48:52Z"}
    runner = host.answers(host.found(), (CONFIG_MAP, DONE))

    result = run_main(kube_proxy, host.options(finish=True))

    runner.assert_finished()
    assert (result["changed"], result["former_mode"]) == (True, "")
    assert json.loads(runner.stdin[1] or "") == {"metadata": {"annotations": {MARK: None}}}


def test_check_ends_nothing(host: Host, run_main: RunMain) -> None:
    host.annotations = {MARK: "ipvs 2026-11-21T07:48:52Z"}
    runner = host.answers(host.found())
    assert run_main(kube_proxy, host.options(finish=True), check=True)["changed"] is True
    runner.assert_finished()


def test_nothing_is_under_way(host: Host, run_main: RunMain) -> None:
    host.answers(host.found())
    assert run_main(kube_proxy, host.options(finish=True))["changed"] is False


def test_a_cluster_without_kube_proxy(host: Host, run_main: RunMain) -> None:
    host.answers((GET, DONE))
    result = run_main(kube_proxy, host.options(mode="ipvs"))
    assert (result["changed"], result["mode"]) == (False, "")


@pytest.mark.parametrize("check", [False, True])
def test_a_host_without_cluster(host: Host, run_main: RunMain, check: bool) -> None:
    host.answers()
    host.kubeconfig.unlink()
    result = run_main(kube_proxy, host.options(mode="ipvs"), check=check)
    assert result.get("failed", False) is not check
    assert not result.get("changed")
