# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main cluster, built with one control plane node and no virtual address, becomes highly available."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.support.api import is_served_under
from tests.e2e.support.cluster import KUBECTL, Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.phases import Phases
from tests.e2e.support.poller import Poller
from tests.e2e.support.site import REMOVE_NODE, Run
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import Web

# Two joins of control plane nodes, a second run and the loss of a node: several minutes.
pytestmark = pytest.mark.long

#: Who a worker is to the cluster. A change would mean that it had to join again.
IDENTITY = "sha256sum /etc/kubernetes/kubelet.conf /var/lib/kubelet/pki/kubelet-client-current.pem"
HOSTS_OF_KUBE_PROXY = (
    "cat /var/lib/kubelet/pods/$(crictl pods --name '^kube-proxy-' --state ready --output json"
    ' | python3 -c \'import json, sys; print(json.load(sys.stdin)["items"][0]["metadata"]["uid"])\')/etc-hosts'
)

LEASES = "get leases --namespace=kube-node-lease --output=json"

#: A worker's connection to a dead API server is noticed by kubelet's HTTP/2 ping at the latest.
HEARTBEAT_SECONDS = 90


@dataclass(frozen=True)
class Growth:
    """The run that added two control plane nodes, and what happened beside it."""

    control_plane: ControlPlane
    run: Run
    poller: Poller
    started: float
    gap: float
    identities_before: dict[str, str]


@pytest.fixture(scope="module")
def growth(cluster: Cluster, phases: Phases) -> Iterator[Growth]:
    """Two more control plane nodes and a virtual address in the inventory, while a deployment answers all the time."""
    nodes = cluster.nodes
    workers = nodes.workers
    web = Web(cluster)
    web.apply()
    identities = nodes.run_on(workers, IDENTITY)
    nodes.up(masters=3, workers=len(workers))
    with Poller([nodes.address(name) for name in workers], web.node_port) as poller:
        poller.wait_steady(3)
        started = time.monotonic()
        with phases.phase("site.yml makes three control plane nodes of one"):
            run = cluster.site.run()
        gap = poller.longest_gap(started)
        yield Growth(ControlPlane(cluster), run, poller, started, gap, identities)


def test_the_only_control_plane_node_cannot_be_removed(cluster: Cluster, phases: Phases) -> None:
    with phases.phase("remove_node.yml for the only control plane node"):
        run = cluster.site.run("-e", f"node={cluster.master}", playbook=REMOVE_NODE)

    run.require_refusal(cluster.master, "To do:")
    cluster.require_healthy()


def test_the_cluster_gets_three_voting_members(growth: Growth) -> None:
    growth.run.require_success()
    growth.control_plane.require_whole()


def test_no_answer_of_a_workload_is_lost_while_the_cluster_grows(growth: Growth, phases: Phases) -> None:
    growth.run.require_success()
    phases.figure(
        f"{growth.gap:.1f} s between two answers of a deployment at most, "
        f"while one control plane node became three; {len(growth.poller.answered)} answers"
    )

    assert not growth.poller.failures_since(growth.started)


def test_the_endpoint_leads_to_the_virtual_address_everywhere(growth: Growth) -> None:
    growth.run.require_success()
    nodes = growth.control_plane.nodes
    endpoint = growth.control_plane.cluster.endpoint

    answers = nodes.run_on(nodes.names, f"getent ahostsv4 {endpoint}")
    inside = nodes.run_on(nodes.names, HOSTS_OF_KUBE_PROXY)

    assert {answer.split()[0] for answer in answers.values()} == {nodes.vip}
    found = {
        name: {line.split()[0] for line in text.splitlines() if endpoint in line.split()}
        for name, text in inside.items()
    }
    assert found == {name: {nodes.vip} for name in nodes.names}


def test_the_workers_keep_their_identity(growth: Growth) -> None:
    growth.run.require_success()
    nodes = growth.control_plane.nodes

    assert nodes.run_on(growth.identities_before, IDENTITY) == growth.identities_before


def test_every_api_server_is_trusted_under_the_virtual_address(growth: Growth) -> None:
    growth.run.require_success()
    nodes = growth.control_plane.nodes
    (kubeconfig,) = growth.control_plane.cluster.site.artifacts.glob("*.conf")

    refusals = {name: is_served_under(nodes.vip, kubeconfig, nodes.address(name)) for name in nodes.masters}
    assert not any(refusals.values()), refusals
    assert f"https://{nodes.vip}:6443" in kubeconfig.read_text()


def test_neither_join_tokens_nor_uploaded_certificates_are_left(growth: Growth) -> None:
    growth.run.require_success()
    assert not growth.control_plane.cluster.join_secrets()


def test_the_next_run_changes_nothing(growth: Growth, phases: Phases) -> None:
    growth.run.require_success()
    with phases.phase("run after the growth"):
        run = growth.control_plane.cluster.site.run()

    run.require_unchanged()


def test_workers_stay_ready_without_the_first_control_plane_node(growth: Growth, phases: Phases) -> None:
    growth.run.require_success()
    nodes = growth.control_plane.nodes
    first, second, _third = nodes.masters
    others = growth.control_plane.through(second).cluster
    before, ready_since = _heartbeats(others.kubectl(LEASES)), _ready_since(others, nodes.workers)
    cut = time.monotonic()
    nodes.kill([first])

    def waiting() -> str:
        # Nor does the API answer until the virtual address has moved.
        answer = nodes.attempt(second, f"{KUBECTL} {LEASES}")
        if answer.returncode != 0:
            return f"an answer of the API ({answer.stderr.strip()})"
        now = _heartbeats(answer.stdout)
        still = [worker for worker in nodes.workers if now[worker] <= before[worker]]
        return f"a heartbeat of {', '.join(still)}" if still else ""

    # The last heartbeat of before may be younger than the cut, so two are awaited.
    with phases.phase("workers find another API server than the one that died"):
        for _time in range(2):
            wait_for("The workers at work without the first node", waiting, seconds=HEARTBEAT_SECONDS)
            before = _heartbeats(others.kubectl(LEASES))

    assert _ready_since(others, nodes.workers) == ready_since
    assert not growth.poller.failures_since(cut)


def _heartbeats(leases: str) -> dict[str, str]:
    """When each node last renewed its lease, as text that sorts by time."""
    return {lease["metadata"]["name"]: lease["spec"]["renewTime"] for lease in json.loads(leases)["items"]}


def _ready_since(cluster: Cluster, names: list[str]) -> dict[str, tuple[str, str]]:
    """Whether each named node is Ready, and since when it is so."""
    conditions = {
        node["metadata"]["name"]: condition
        for node in cluster.items("nodes")
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    return {name: (conditions[name]["status"], conditions[name]["lastTransitionTime"]) for name in names}
