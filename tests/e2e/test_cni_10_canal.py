# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of flannel becomes one of canal while it works, and from then on NetworkPolicy counts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.policies import (
    BY_LABEL,
    BY_NAMESPACE,
    BY_OTHER_PORT,
    BY_PORT,
    CLIENTS,
    DENY,
    DNS_EGRESS,
    NO_EGRESS,
    POLICED,
    POLICY_SECONDS,
    REQUEST_SECONDS,
    Policies,
    clients,
    deploy,
)
from tests.e2e.support.poller import Poller
from tests.e2e.support.site import Run, Site
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import PORT

# A cluster of its own, and its network changed: minutes.
pytestmark = pytest.mark.long

CANAL = {"cluster_cni": "canal"}
FLANNEL = {"cluster_cni": "flannel"}
CONFIGURATIONS = "ls /etc/cni/net.d"

#: How long a deployment may be silent while the network changes hands: one request that times out, and the next.
ALLOWED_GAP_SECONDS = 5.0


@pytest.fixture(scope="module")
def flannel_cluster(open_set: OpenSet, work: Path, phases: Phases) -> Iterator[Cluster]:
    """A cluster of its own, built with flannel."""
    with open_set(LabSet("e2e-cni", "trixie", "1.7")) as nodes:
        nodes.up(masters=1, workers=2, add_ons=["canal"])
        site = Site(nodes.inventory, work / "e2e-cni")
        with phases.phase("first run of site.yml with flannel"):
            site.run().require_success()
        yield Cluster(nodes, site)


@pytest.fixture(scope="module")
def unpoliced(flannel_cluster: Cluster) -> Policies:
    """The deployment and its clients in the network of flannel."""
    return deploy(flannel_cluster)


@dataclass(frozen=True)
class Change:
    """The run that put canal in the place of flannel, and what happened beside it."""

    policies: Policies
    run: Run
    poller: Poller
    started: float
    gap: float
    uids: set[str]
    addresses: set[str]

    @property
    def nodes(self) -> LabSet:
        """Nodes of the cluster."""
        return self.policies.nodes


@pytest.fixture(scope="module")
def change(unpoliced: Policies, phases: Phases) -> Iterator[Change]:
    """Canal takes over from flannel, while a deployment that is not restarted answers all the time."""
    cluster = unpoliced.cluster
    unpoliced.clear()
    before = unpoliced.web.pods()
    workers = [cluster.nodes.address(name) for name in cluster.nodes.workers]
    with Poller(workers, unpoliced.web.node_port) as poller:
        poller.wait_steady(3)
        started = time.monotonic()
        with phases.phase("site.yml changes flannel for canal"):
            run = cluster.site.run(variables=CANAL)
        poller.wait_steady(3)
        gap = poller.longest_gap(started)
    phases.figure(f"{gap:.1f} s without an answer at most while canal took over from flannel")
    yield Change(
        unpoliced,
        run,
        poller,
        started,
        gap,
        {pod["metadata"]["uid"] for pod in before},
        {pod["status"]["podIP"] for pod in before},
    )


@pytest.fixture(scope="module")
def policies(change: Change) -> Policies:
    """The deployment and its clients, made anew in the network of canal."""
    change.run.require_success()
    found = change.policies
    found.cluster.kubectl("rollout restart deployment/web")
    found.cluster.kubectl("rollout status deployment/web --timeout=120s")
    found.cluster.kubectl("delete pods friend stranger --namespace=default")
    found.cluster.kubectl("delete pods neighbour --namespace=trusted")
    found.make_clients()
    found.web.wait_ready()
    return found


def test_flannel_alone_blocks_nothing(unpoliced: Policies) -> None:
    unpoliced.cluster.apply(DENY)
    unpoliced.wait_reached_by(*CLIENTS)


def test_the_change_is_predicted_and_changes_nothing(unpoliced: Policies) -> None:
    run = unpoliced.cluster.site.run("--check", "--diff", variables=CANAL)
    run.require_success()
    assert run.changed_by("groundplane.kubeadm.kube_manifest")
    assert unpoliced.cluster.items("daemonsets --namespace=kube-flannel")
    assert not unpoliced.cluster.items("daemonsets --namespace=kube-system --selector=k8s-app=canal")


def test_a_change_without_every_node_is_refused(unpoliced: Policies) -> None:
    cluster = unpoliced.cluster
    limit = f"--limit={','.join([cluster.master, cluster.nodes.workers[0]])}"
    cluster.site.run(limit, variables=CANAL).require_refusal("network-change")


def test_canal_takes_over_from_flannel(change: Change) -> None:
    change.run.require_success()
    cluster = change.policies.cluster
    cluster.require_healthy()
    namespaces = {item["metadata"]["name"] for item in cluster.items("namespaces")}
    assert "kube-flannel" not in namespaces
    for listing in cluster.nodes.run_on(cluster.nodes.names, CONFIGURATIONS).values():
        assert [name for name in listing.split() if name.endswith(".conflist")] == ["10-canal.conflist"]


def test_the_deployment_answered_on(change: Change) -> None:
    assert change.gap <= ALLOWED_GAP_SECONDS
    assert {pod["metadata"]["uid"] for pod in change.policies.web.pods()} == change.uids


def test_the_run_names_the_pods_without_policy(change: Change) -> None:
    assert all(f"default/{name}" in change.run.output for name in change.policies.web.names)


def test_old_and_new_pods_of_one_node_find_each_other(change: Change) -> None:
    cluster = change.policies.cluster
    old = change.policies.web.pods()[0]
    pod = {
        **clients()[1],
        "metadata": {"name": "new", "namespace": "default", "labels": {"app": "new"}},
        "spec": {**clients()[1]["spec"], "nodeName": old["spec"]["nodeName"]},
    }
    cluster.apply(pod)
    cluster.kubectl("wait pod/new --for=condition=Ready --timeout=60s")
    new = json.loads(cluster.kubectl("get pod new --output=json"))

    assert new["status"]["podIP"] not in change.addresses
    assert POLICED in new["metadata"]["annotations"]
    ping = f"busybox ping -c 3 -W {REQUEST_SECONDS}"
    cluster.kubectl(f"exec new -- {ping} {old['status']['podIP']}")
    cluster.kubectl(f"exec {old['metadata']['name']} -- {ping} {new['status']['podIP']}")
    cluster.kubectl("delete pod new --now")


def test_a_second_run_changes_nothing(change: Change) -> None:
    change.run.require_success()
    change.policies.cluster.site.run(variables=CANAL).require_unchanged()


def test_check_mode_predicts_no_change(change: Change) -> None:
    change.run.require_success()
    change.policies.cluster.site.run("--check", "--diff", variables=CANAL).require_unchanged()


def test_the_way_back_is_refused(change: Change) -> None:
    change.run.require_success()
    change.policies.cluster.site.run(variables=FLANNEL).require_refusal("network-change", "cluster_cni: canal")


def test_pods_are_calicos_with_the_mtu_that_flannel_leaves(policies: Policies) -> None:
    for pod in policies.web.pods():
        assert POLICED in pod["metadata"]["annotations"]
        name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
        mtu = policies.cluster.kubectl(f"exec {name} -- cat /sys/class/net/eth0/mtu").strip()
        assert mtu == policies.cluster.nodes.run(node, "cat /sys/class/net/flannel.1/mtu").strip()


def test_dns_services_and_node_ports_work(policies: Policies) -> None:
    web = policies.web
    policies.clear()
    one, other = web.pods_of_two_nodes()

    answer = web.ask_from(one["metadata"]["name"], f"http://{other['status']['podIP']}:{PORT}/")

    assert answer == other["metadata"]["name"]
    assert web.ask_from(one["metadata"]["name"], "http://web.default.svc.cluster.local/") in web.names
    for node in policies.cluster.nodes.names:
        assert web.ask_from_outside(node) in web.names


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (DENY, ()),
        (BY_LABEL, ("friend",)),
        (BY_NAMESPACE, ("neighbour",)),
        (BY_PORT, tuple(CLIENTS)),
        (BY_OTHER_PORT, ()),
    ],
    ids=["default deny", "by label", "by namespace", "by port", "by another port"],
)
def test_policy_for_incoming_connections(policies: Policies, rules: Any, allowed: tuple[str, ...]) -> None:
    policies.clear()
    policies.wait_reached_by(*CLIENTS)
    policies.cluster.apply(rules)
    policies.wait_reached_by(*allowed)


def test_policy_for_outgoing_connections(policies: Policies) -> None:
    policies.clear()
    policies.wait_reached_by(*CLIENTS)
    policies.cluster.apply(NO_EGRESS)
    policies.wait_reached_by("stranger", "neighbour")
    assert not policies.resolves("friend")
    policies.cluster.apply(DNS_EGRESS)
    wait_for("DNS for the friend", lambda: "" if policies.resolves("friend") else "an answer", seconds=POLICY_SECONDS)
    assert not policies.reaches("friend")


def test_policies_outlive_a_restart_of_felix(policies: Policies) -> None:
    policies.clear()
    policies.cluster.apply(DENY)
    policies.wait_reached_by()
    policies.cluster.kubectl("rollout restart daemonset/canal --namespace=kube-system")
    policies.cluster.kubectl("rollout status daemonset/canal --namespace=kube-system --timeout=240s")
    assert not any(policies.reaches(client) for client in CLIENTS)
    policies.clear()
    policies.wait_reached_by(*CLIENTS)
