# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall around a running cluster: everything works on, strangers see SSH, nothing of others is touched."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.e2e.support import packet_filter
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.packet_filter import FIREWALL, Rules
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import PORT, Web

SSH = 22
PROXY_SECONDS = 60


@dataclass(frozen=True)
class Guard:
    """The run that put the rules in force, with the packet filter before and after."""

    run: Run
    before: Rules
    after: Rules


@pytest.fixture(scope="module")
def guard(cluster: Cluster, phases: Phases) -> Guard:
    """Rules around the main cluster, which has grown up without any."""
    Web(cluster).apply()
    wait_for("kube-proxy's rules for every pod on every node", lambda: _unwritten(cluster), seconds=PROXY_SECONDS)
    before = packet_filter.everything(cluster.nodes)
    with phases.phase("firewall.yml on a running cluster"):
        run = cluster.site.run(playbook=FIREWALL)
    return Guard(run, before, packet_filter.everything(cluster.nodes))


def _unwritten(cluster: Cluster) -> str:
    """Pods that kube-proxy of some node does not know yet: what it writes later would be taken for our doing."""
    wanted = {f"{pod['status']['podIP']}:{PORT}" for pod in Web(cluster).pods()}
    rules = packet_filter.everything(cluster.nodes)
    missing = {name: [pod for pod in wanted if f" {pod}\n" not in text] for name, text in rules.items()}
    return ", ".join(f"{' '.join(pods)} on {name}" for name, pods in missing.items() if pods)


def test_every_node_has_our_chains_in_both_families(guard: Guard, cluster: Cluster) -> None:
    guard.run.require_success()
    for name in cluster.nodes.names:
        ours = packet_filter.of_ours(guard.after)[name].splitlines()
        assert ours.count("-A INPUT -j GROUNDPLANE-INPUT") == 2, ours


def test_nothing_of_others_has_changed(guard: Guard) -> None:
    guard.run.require_success()
    assert packet_filter.of_others(guard.after) == packet_filter.of_others(guard.before)


def test_a_second_run_changes_nothing(guard: Guard, cluster: Cluster) -> None:
    guard.run.require_success()
    cluster.site.run(playbook=FIREWALL).require_unchanged()
    assert packet_filter.of_ours(packet_filter.everything(cluster.nodes)) == packet_filter.of_ours(guard.after)


def test_a_stranger_sees_ssh_alone(guard: Guard, cluster: Cluster, phases: Phases) -> None:
    guard.run.require_success()
    for name in cluster.nodes.names:
        assert packet_filter.reached(cluster.nodes, name) == {SSH}, name
    phases.figure(f"a stranger reaches 1 of {len(packet_filter.PORTS)} ports of each node, which is SSH")


def test_the_pod_network_dns_and_node_ports_work_on(guard: Guard, cluster: Cluster) -> None:
    guard.run.require_success()
    web = Web(cluster)
    one, other = web.pods_of_two_nodes()

    answer = web.ask_from(one["metadata"]["name"], f"http://{other['status']['podIP']}:8080/")

    assert answer == other["metadata"]["name"]
    assert web.ask_from(one["metadata"]["name"], "http://web.default.svc.cluster.local/") in web.names
    for name in cluster.nodes.names:
        assert web.ask_from_outside(name) in web.names


def test_pods_reach_the_api_by_its_service(guard: Guard, cluster: Cluster) -> None:
    guard.run.require_success()
    connect = "busybox nc -w 5 kubernetes.default.svc.cluster.local 443 < /dev/null"
    for pod in Web(cluster).pods():
        cluster.kubectl(f'exec {pod["metadata"]["name"]} -- sh -c "{connect}"')


def test_logs_and_exec_reach_every_kubelet(guard: Guard, cluster: Cluster) -> None:
    guard.run.require_success()
    pods = cluster.items("pods --namespace=kube-system --selector=k8s-app=kube-proxy")
    assert {pod["spec"]["nodeName"] for pod in pods} == set(cluster.nodes.names)
    for pod in pods:
        assert cluster.kubectl(f"logs --namespace=kube-system --tail=1 {pod['metadata']['name']}")


def test_check_mode_predicts_that_nothing_changes(guard: Guard, cluster: Cluster) -> None:
    guard.run.require_success()
    cluster.site.run("--check", "--diff", playbook=FIREWALL).require_unchanged()


def test_taking_it_back_leaves_the_rules_from_before(guard: Guard, cluster: Cluster, phases: Phases) -> None:
    guard.run.require_success()
    with phases.phase("firewall.yml takes the rules back"):
        cluster.site.run("-e", "firewall_state=absent", playbook=FIREWALL).require_success()

    assert packet_filter.everything(cluster.nodes) == guard.before
    look = f"ls -d /etc/groundplane/firewall; systemctl cat {packet_filter.SERVICE}; true"
    assert set(cluster.nodes.run_on(cluster.nodes.names, look).values()) == {""}


def test_the_rules_are_put_in_force_again_by_site(guard: Guard, cluster: Cluster, phases: Phases) -> None:
    guard.run.require_success()
    with phases.phase("site.yml with firewall_enabled on a running cluster"):
        cluster.site.run(variables={"firewall_enabled": True}).require_success()

    rules = packet_filter.everything(cluster.nodes)
    assert packet_filter.of_ours(rules) == packet_filter.of_ours(guard.after)
