# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods reach names, Services and each other across nodes, and policies count where the network knows any."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.workload import LARGE_BYTES, NAME, NAMESPACE, Pod, Workload, allow_ourselves, deny_all
from tests.e2e.support.waiting import wait_for

#: A Service and a policy count only a moment after they are there: the nodes have to hear of them.
HEARING_SECONDS = 30

#: Long enough for a policy to count on a network that has them.
OBSERVED_SECONDS = 5


@pytest.fixture(scope="module")
def domain(settings: dict[str, Any]) -> str:
    """Domain of the Services."""
    return settings.get("cluster_dns_domain", "cluster.local")


@pytest.fixture(scope="module")
def ways(workload: Workload) -> list[tuple[Pod, Pod]]:
    """Ways between nodes."""
    found = workload.ways()
    if not found:
        pytest.skip("a single node has no way to another one")
    return found


@pytest.fixture
def network(workload: Workload, settings: dict[str, Any]) -> Iterator[str]:
    """The pod network, and no policy of a test left when it is over."""
    yield settings.get("cluster_cni", "flannel")
    workload.remove_policies()


def test_every_node_has_a_pod(workload: Workload, items: Callable[[str], list[dict]]) -> None:
    assert [pod.node for pod in workload.pods()] == sorted(node["metadata"]["name"] for node in items("nodes"))


def test_pods_of_every_node_resolve_names(workload: Workload, domain: str) -> None:
    for pod in workload.pods():
        assert f"kubernetes.default.svc.{domain}" in workload.resolve(pod, f"kubernetes.default.svc.{domain}")


def test_pods_of_every_node_reach_a_service_by_its_name(workload: Workload, domain: str) -> None:
    names = {pod.node for pod in workload.pods()}

    def problem() -> str:
        try:
            answers = {pod.node: workload.ask(pod, f"{NAME}.{NAMESPACE}.svc.{domain}") for pod in workload.pods()}
        except AssertionError as error:
            return str(error)
        return ", ".join(f"an answer to {node}" for node, answer in answers.items() if answer not in names)

    wait_for("The Service", problem, seconds=HEARING_SECONDS)


def test_pods_reach_pods_on_other_nodes_by_every_address(workload: Workload, ways: list[tuple[Pod, Pod]]) -> None:
    for pod, peer in ways:
        assert {address: workload.ask(pod, address) for address in peer.addresses} == dict.fromkeys(
            peer.addresses, peer.node
        )


def test_large_answers_arrive_whole_from_other_nodes(workload: Workload, ways: list[tuple[Pod, Pod]]) -> None:
    for pod, peer in ways:
        assert workload.count(pod, peer.addresses[0]) == LARGE_BYTES


def test_policies_are_enforced(workload: Workload, ways: list[tuple[Pod, Pod]], network: str) -> None:
    if network != "canal":
        pytest.skip(f"the network {network} is not known to have policies")
    open_ways = len(ways)
    workload.apply(deny_all())
    wait_for(
        "A policy that lets nobody in",
        lambda: "" if len(workload.unanswered()) == open_ways else "silence on every way between nodes",
        seconds=HEARING_SECONDS,
    )
    workload.apply(allow_ourselves())
    wait_for("A policy that lets pods in by label", lambda: ", ".join(workload.unanswered()), seconds=HEARING_SECONDS)


@pytest.mark.usefixtures("ways")
def test_flannel_alone_enforces_no_policy(workload: Workload, network: str) -> None:
    if network != "flannel":
        pytest.skip(f"the network is {network}")
    workload.apply(deny_all())
    end = time.monotonic() + OBSERVED_SECONDS
    while time.monotonic() < end:
        assert workload.unanswered() == []
