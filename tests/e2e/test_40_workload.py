# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web deployment answers on every way on which pods, nodes and the world reach it."""

from __future__ import annotations

import pytest

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.phases import Phases
from tests.e2e.support.workload import Web


@pytest.fixture(scope="module")
def web(cluster: Cluster, phases: Phases) -> Web:
    """Three replicas, spread over the workers."""
    deployment = Web(cluster)
    with phases.phase("rolling out a web deployment of three replicas"):
        deployment.apply()
    return deployment


def test_the_replicas_are_spread_over_the_workers(web: Web, cluster: Cluster) -> None:
    assert {pod["spec"]["nodeName"] for pod in web.pods()} == set(cluster.nodes.workers)


def test_a_pod_reaches_a_pod_on_another_node_by_its_address(web: Web) -> None:
    one, other = web.pods_of_two_nodes()

    answer = web.ask_from(one["metadata"]["name"], f"http://{other['status']['podIP']}:8080/")
    answer_back = web.ask_from(other["metadata"]["name"], f"http://{one['status']['podIP']}:8080/")

    assert (answer, answer_back) == (other["metadata"]["name"], one["metadata"]["name"])


@pytest.mark.parametrize("name", ["web", "web.default.svc.cluster.local"])
def test_a_pod_reaches_the_service_by_its_dns_name(web: Web, name: str) -> None:
    for pod in web.pods():
        assert web.ask_from(pod["metadata"]["name"], f"http://{name}/") in web.names


def test_the_world_outside_reaches_the_node_port_on_every_node(web: Web, cluster: Cluster) -> None:
    for node in cluster.nodes.names:
        assert web.ask_from_outside(node) in web.names
