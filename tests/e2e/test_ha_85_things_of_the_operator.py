# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own load balancer, and the operator's own etcd, take the place of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.balancer import Balancer
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.own_etcd import own_etcd
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run, Site

# Two clusters of their own: minutes.
pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Balanced:
    """A cluster whose API is behind a load balancer of the operator."""

    cluster: Cluster
    balancer: Balancer
    first_run: Run


@pytest.fixture(scope="module")
def balanced(open_set: OpenSet, work: Path, phases: Phases) -> Iterator[Balanced]:
    """One control plane node and one worker; the load balancer listens at another port than the API server."""
    with open_set(LabSet("e2e-balancer")) as nodes:
        nodes.up(masters=1, workers=1)
        with Balancer([nodes.address(name) for name in nodes.masters]) as balancer:
            variables = {"cluster_endpoint_address": balancer.address, "cluster_endpoint_port": balancer.port}
            site = Site(nodes.inventory, work / "balancer", variables=variables)
            with phases.phase("first run with a load balancer of the operator, one control plane node and one worker"):
                run = site.run()
            yield Balanced(Cluster(nodes, site), balancer, run)


def test_a_cluster_is_built_behind_a_load_balancer_of_the_operator(balanced: Balanced) -> None:
    balanced.first_run.require_success()
    balanced.cluster.require_healthy()


def test_every_node_reaches_the_api_through_the_load_balancer(balanced: Balanced) -> None:
    balanced.first_run.require_success()
    nodes = balanced.cluster.nodes
    endpoint = balanced.cluster.endpoint

    answers = nodes.run_on(nodes.names, f"getent ahostsv4 {endpoint}")
    (worker,) = nodes.workers

    assert {answer.split()[0] for answer in answers.values()} == {balanced.balancer.address}
    assert f"server: https://{endpoint}:{balanced.balancer.port}" in nodes.run(
        worker, "cat /etc/kubernetes/kubelet.conf"
    )
    assert balanced.balancer.connections[nodes.address(worker)]
    (kubeconfig,) = balanced.cluster.site.artifacts.glob("*.conf")
    assert f"https://{balanced.balancer.address}:{balanced.balancer.port}" in kubeconfig.read_text()


def test_nothing_of_ours_balances(balanced: Balanced) -> None:
    balanced.first_run.require_success()
    (master,) = balanced.cluster.nodes.masters

    assert not balanced.cluster.nodes.attempt(master, "pgrep --list-name --exact 'haproxy|keepalived'").stdout


def test_a_second_run_with_the_load_balancer_of_the_operator_changes_nothing(balanced: Balanced) -> None:
    balanced.first_run.require_success()
    balanced.cluster.site.run().require_unchanged()


def test_two_control_plane_nodes_share_an_etcd_of_the_operator(
    open_set: OpenSet, work: Path, tmp_path: Path, phases: Phases
) -> None:
    with own_etcd(tmp_path) as etcd, open_set(LabSet("e2e-own-etcd")) as nodes:
        nodes.up(masters=2, workers=0)
        files = {"ca": str(etcd.certificate), "certificate": str(etcd.certificate), "key": str(etcd.key)}
        variables = {"control_plane_external_etcd": {"endpoints": [etcd.endpoint], **files}}
        cluster = Cluster(nodes, Site(nodes.inventory, work / "own-etcd", variables=variables))
        with phases.phase("first run with an etcd of the operator, two control plane nodes"):
            cluster.site.run().require_success()

        cluster.require_healthy()
        assert sorted(cluster.ready_nodes()) == sorted(nodes.names)
        assert {f"/registry/minions/{name}" for name in nodes.names} <= set(etcd.keys())
        for name in nodes.masters:
            assert not nodes.attempt(name, "pgrep --exact etcd").stdout
        cluster.site.run().require_unchanged()
