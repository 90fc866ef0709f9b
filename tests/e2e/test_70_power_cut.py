# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a power cut of all nodes at once the cluster is healthy again by itself, behind the same firewall."""

from __future__ import annotations

import pytest

from tests.e2e.support import packet_filter
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.packet_filter import FIREWALL, Rules
from tests.e2e.support.phases import Phases
from tests.e2e.support.workload import Web

RECOVERY_SECONDS = 300
MODULES = ("overlay", "br_netfilter")
SYSCTLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward")


@pytest.fixture(scope="module")
def rules_before(cluster: Cluster) -> Rules:
    """Our chains before the power cut."""
    cluster.site.run(playbook=FIREWALL).require_success()
    return packet_filter.of_ours(packet_filter.everything(cluster.nodes))


@pytest.fixture(scope="module")
def restarted(cluster: Cluster, rules_before: Rules, phases: Phases) -> Cluster:
    """The main cluster after a power cut, with a deployment that was there before."""
    assert all(rules_before.values())
    Web(cluster).apply()
    names = cluster.nodes.names
    with phases.phase("power cut of all nodes at once, until they answer again"):
        cluster.nodes.kill(names)
        cluster.nodes.start(names)
    return cluster


def test_the_cluster_is_healthy_again_by_itself(restarted: Cluster, phases: Phases) -> None:
    with phases.phase("the cluster recovers from the power cut"):
        restarted.wait_healthy(seconds=RECOVERY_SECONDS)
        Web(restarted).wait_ready()


def test_workloads_answer_again(restarted: Cluster) -> None:
    web = Web(restarted)
    for node in restarted.nodes.names:
        assert web.ask_from_outside(node) in web.names
    for pod in web.pods():
        assert web.ask_from(pod["metadata"]["name"], "http://web/") in web.names


def test_our_rules_are_the_same_and_were_there_before_kubelet(restarted: Cluster, rules_before: Rules) -> None:
    names = restarted.nodes.names
    rules = packet_filter.everything(restarted.nodes)

    assert packet_filter.of_ours(rules) == rules_before
    order = "systemctl show --property=ActiveEnterTimestampMonotonic --value"
    for service in ("containerd", "kubelet"):
        for name, times in restarted.nodes.run_on(names, f"{order} {packet_filter.SERVICE} {service}").items():
            ours, theirs = (int(time) for time in times.split())
            assert 0 < ours < theirs, f"{name}: {service}"


def test_our_files_hold_chains_of_ours_alone(restarted: Cluster) -> None:
    for text in restarted.nodes.run_on(restarted.nodes.names, "cat /etc/groundplane/firewall/rules.v?").values():
        foreign = [line for line in text.splitlines() if line[:1] in (":", "-") and packet_filter.OURS not in line]
        assert not foreign


def test_swap_is_off_on_every_node(restarted: Cluster) -> None:
    assert set(restarted.nodes.run_on(restarted.nodes.names, "swapon --noheadings").values()) == {""}


def test_modules_and_kernel_settings_are_back_on_every_node(restarted: Cluster) -> None:
    for persisted in restarted.nodes.run_on(restarted.nodes.names, "cat /etc/modules-load.d/*.conf").values():
        assert set(MODULES) <= set(persisted.split())
    values = restarted.nodes.run_on(restarted.nodes.names, f"sysctl --values {' '.join(SYSCTLS)}")
    assert {tuple(text.split()) for text in values.values()} == {("1",) * len(SYSCTLS)}


def test_the_name_of_the_endpoint_resolves_on_every_node(restarted: Cluster) -> None:
    endpoint = restarted.kubectl("config view --output=jsonpath={.clusters[0].cluster.server}")
    name = endpoint.removeprefix("https://").rsplit(":", 1)[0]

    answers = restarted.nodes.run_on(restarted.nodes.names, f"getent hosts {name}")

    master = restarted.nodes.address(restarted.master)
    assert {answer.split()[0] for answer in answers.values()} == {master}


def test_a_run_after_the_power_cut_changes_nothing(restarted: Cluster) -> None:
    restarted.site.run(variables={"firewall_enabled": True}).require_unchanged()
