# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of kube-proxy's mode: what is written, in which order, and what a killed run leaves to the next."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import MARK
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_change import (
    Plan,
    State,
    apply_plan,
    decide,
    end_change,
    read_state,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import Kubectl

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

KUBECTL = "/usr/bin/kubectl"
DONE = Result(0, "", "")
NOW = "2026-11-21T07:48:52Z"
GET = ["get", "--ignore-not-found", "--output=json", "--filename=-"]
PATCH = ["--namespace=kube-system", "--type=merge", "--field-manager=groundplane", "--patch-file=/dev/stdin"]
CONFIG_MAP = ["patch", "ConfigMap/kube-proxy", *PATCH]
DAEMON_SET = ["patch", "DaemonSet.apps/kube-proxy", *PATCH]
ROLLOUT = ["rollout", "status", "DaemonSet.apps/kube-proxy", "--namespace=kube-system", "--timeout=300s"]


class Cluster:
    """The two objects of kube-proxy as kubeadm has made them, which patches change as the API server does."""

    def __init__(self, folder: Path, fixture_text: FixtureText) -> None:
        items = json.loads(fixture_text("kubectl/initialised_kube_system.json"))["items"]
        self.daemon_set = next(item for item in items if item["kind"] == "DaemonSet")
        self.config_map: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy", "namespace": "kube-system", "resourceVersion": "270"},
            "data": {"config.conf": fixture_text("kubeadm/kube_proxy_config.conf"), "kubeconfig.conf": "kind: Config"},
        }
        self.kubeconfig = folder / "admin.conf"
        self.kubeconfig.touch()

    @property
    def text(self) -> str:
        return str(self.config_map["data"]["config.conf"])

    def kubectl(self, *expected: tuple[list[str], Result]) -> tuple[Kubectl, FakeRunner]:
        commands = [([KUBECTL, f"--kubeconfig={self.kubeconfig}", *argv], result) for argv, result in expected]
        runner = FakeRunner(commands, {"kubectl": KUBECTL})
        return Kubectl(runner, str(self.kubeconfig)), runner

    def read(self, *items: Any) -> State | None:
        found = {"kind": "List", "apiVersion": "v1", "items": list(items) or [self.config_map, self.daemon_set]}
        kubectl, runner = self.kubectl((GET, Result(0, json.dumps(found), "")))
        state = read_state(kubectl)
        runner.assert_finished()
        return state

    def decide(self, mode: str = "", *, strict_arp: bool = False, moment: str = NOW) -> tuple[State, Plan]:
        state = self.read()
        assert state is not None
        return state, decide(state, mode=mode, strict_arp=strict_arp, moment=moment)

    def change(self, mode: str = "", *argvs: list[str], moment: str = NOW, **options: Any) -> list[Any]:
        """Carry a change out by exactly these commands, and have what they say in the objects."""
        state, plan = self.decide(mode, moment=moment, **options)
        kubectl, runner = self.kubectl(*((argv, DONE) for argv in argvs))
        apply_plan(kubectl, state, plan, 300)
        runner.assert_finished()
        return self.keep(runner)

    def keep(self, runner: FakeRunner) -> list[Any]:
        patches = [json.loads(text) for text in runner.stdin if text]
        for patch in patches:
            target = self.daemon_set if "spec" in patch else self.config_map
            merge(target, patch)
        return patches


def merge(below: dict[str, Any], over: dict[str, Any]) -> None:
    """A JSON merge patch."""
    for key, value in over.items():
        if value is None:
            below.pop(key, None)
        elif isinstance(value, dict):
            merge(below.setdefault(key, {}), value)
        else:
            below[key] = value


@pytest.fixture
def cluster(tmp_path: Path, fixture_text: FixtureText) -> Cluster:
    """A cluster in mode iptables, which nobody has changed yet."""
    return Cluster(tmp_path, fixture_text)


def test_nothing_to_do(cluster: Cluster) -> None:
    for mode in ("", "iptables"):
        state, plan = cluster.decide(mode, strict_arp=True)
        assert (plan.changed, plan.diff(), plan.change) == (False, [], None)
        kubectl, runner = cluster.kubectl()
        apply_plan(kubectl, state, plan, 300)
        runner.assert_finished()


def test_another_mode(cluster: Cluster) -> None:
    before = copy.deepcopy(cluster.config_map)
    mark = {MARK: f"iptables {NOW}"}
    written, restarted = cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT)

    assert written == {
        "metadata": {"resourceVersion": "270", "annotations": mark},
        "data": {"config.conf": before["data"]["config.conf"].replace("mode: iptables", "mode: nftables")},
    }
    assert restarted == {"spec": {"template": {"metadata": {"annotations": mark}}}}
    assert cluster.config_map["data"]["kubeconfig.conf"] == "kind: Config"


def test_the_diff_has_the_mode_and_the_restart(cluster: Cluster) -> None:
    _state, plan = cluster.decide("nftables")
    configuration, restart = plan.diff()
    assert configuration["before_header"] == "ConfigMap/kube-system/kube-proxy config.conf"
    assert (configuration["before"], configuration["after"]) == (plan.before.text, plan.after.text)
    assert restart["before_header"] == "DaemonSet/kube-system/kube-proxy"
    assert plan.changed


def test_a_run_killed_before_the_restart(cluster: Cluster) -> None:
    kubectl, runner = cluster.kubectl((CONFIG_MAP, DONE), (DAEMON_SET, Result(1, "", "connection lost\n")))
    state, plan = cluster.decide("nftables")
    with pytest.raises(CommandError, match="connection lost"):
        apply_plan(kubectl, state, plan, 300)
    runner.stdin.pop()
    cluster.keep(runner)

    _state, plan = cluster.decide("nftables", moment="later")
    assert (plan.writes, plan.restart, len(plan.diff())) == (False, True, 1)
    (restarted,) = cluster.change("nftables", DAEMON_SET, ROLLOUT, moment="later")
    assert restarted["spec"]["template"]["metadata"]["annotations"] == {MARK: f"iptables {NOW}"}


def test_a_run_killed_before_the_end(cluster: Cluster) -> None:
    cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT)
    state, plan = cluster.decide("nftables")
    assert (plan.changed, plan.ends_by_itself) == (False, False)
    assert state.proxy.as_dict()["former_mode"] == "iptables"
    # The pods may still be on their way.
    assert cluster.change("nftables", ROLLOUT) == []


def test_the_end(cluster: Cluster) -> None:
    cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT)
    kubectl, runner = cluster.kubectl((CONFIG_MAP, DONE))
    end_change(kubectl)
    cluster.keep(runner)

    state, plan = cluster.decide("nftables")
    assert (plan.changed, state.proxy.change) == (False, None)
    assert cluster.change("nftables") == []


def test_back_before_the_end(cluster: Cluster) -> None:
    """Pods of mode nftables have been there, whatever the mode was before."""
    cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT)
    cluster.change("iptables", CONFIG_MAP, DAEMON_SET, ROLLOUT, moment="later")
    state, plan = cluster.decide("iptables")
    assert state.proxy.as_dict() == {"mode": "iptables", "strict_arp": False, "former_mode": "nftables"}
    assert (plan.changed, plan.ends_by_itself) == (False, False)


def test_every_change_starts_the_pods_anew(cluster: Cluster) -> None:
    """Somebody has changed the mode by hand meanwhile, and the mark of the pods is that of the last change."""
    cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT)
    kubectl, runner = cluster.kubectl((CONFIG_MAP, DONE))
    end_change(kubectl)
    cluster.keep(runner)
    cluster.config_map["data"]["config.conf"] = cluster.text.replace("mode: nftables", "mode: iptables")
    cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT, moment="later")


def test_kubeadm_writes_both_objects_anew(cluster: Cluster, tmp_path: Path, fixture_text: FixtureText) -> None:
    """As at an upgrade, which keeps the mode and starts the pods itself."""
    cluster.change("nftables", CONFIG_MAP, DAEMON_SET, ROLLOUT)
    anew = Cluster(tmp_path, fixture_text)
    anew.config_map["data"]["config.conf"] = cluster.text
    _state, plan = anew.decide("nftables")
    assert (plan.changed, plan.change) == (False, None)


@pytest.mark.parametrize("mode", ["", "ipvs"])
def test_strict_arp_ends_by_itself(cluster: Cluster, mode: str) -> None:
    cluster.config_map["data"]["config.conf"] = cluster.text.replace("mode: iptables", "mode: ipvs")
    *_written, ended = cluster.change(mode, CONFIG_MAP, DAEMON_SET, ROLLOUT, CONFIG_MAP, strict_arp=True)
    assert ended == {"metadata": {"annotations": {MARK: None}}}
    assert "  strictARP: true\n" in cluster.text
    _state, plan = cluster.decide(mode, strict_arp=True)
    assert (plan.changed, plan.change) == (False, None)


def test_strict_arp_along_with_the_mode(cluster: Cluster) -> None:
    written, _restarted = cluster.change("ipvs", CONFIG_MAP, DAEMON_SET, ROLLOUT, strict_arp=True)
    assert "\nmode: ipvs\n" in written["data"]["config.conf"]
    assert "\n  strictARP: true\n" in written["data"]["config.conf"]


def test_strict_arp_while_the_mode_changes(cluster: Cluster) -> None:
    """The change of the mode stays under way until somebody has looked at the nodes."""
    cluster.change("ipvs", CONFIG_MAP, DAEMON_SET, ROLLOUT)
    cluster.change("", CONFIG_MAP, DAEMON_SET, ROLLOUT, strict_arp=True, moment="later")
    state, _plan = cluster.decide()
    assert state.proxy.as_dict() == {"mode": "ipvs", "strict_arp": True, "former_mode": "iptables"}


def test_a_kube_proxy_that_is_none_of_kubeadms(cluster: Cluster) -> None:
    assert cluster.read(cluster.config_map) is None
    assert cluster.read(cluster.daemon_set) is None
    cluster.config_map["data"] = {"config.conf": "{}"}
    assert cluster.read() is None


def test_an_api_server_that_does_not_answer(cluster: Cluster) -> None:
    kubectl, _runner = cluster.kubectl((GET, Result(1, "", "The connection was refused\n")))
    with pytest.raises(CommandError, match="The connection was refused"):
        read_state(kubectl)


def test_pods_that_do_not_start(cluster: Cluster) -> None:
    pods = ["get", "pods", "--namespace=kube-system", "--selector=k8s-app=kube-proxy", "--output=json"]
    late = Result(1, "", "error: timed out waiting for the condition\n")
    kubectl, _runner = cluster.kubectl(
        (CONFIG_MAP, DONE), (DAEMON_SET, DONE), (ROLLOUT, late), (pods, Result(0, '{"items": []}', ""))
    )
    state, plan = cluster.decide("nftables")
    with pytest.raises(GroundplaneError, match="DaemonSet/kube-system/kube-proxy is not rolled out after 300 s"):
        apply_plan(kubectl, state, plan, 300)
