# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MetalLB on a running cluster: addresses from pools, who answers for them, and what a power cut does to that."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.load_balancer import PORT, LoadBalancer, answering_pod
from tests.e2e.support.phases import Phases
from tests.e2e.support.poller import Poller
from tests.e2e.support.site import Run
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import Web
from tests.lab.settings import HOST_ADDRESS

# A dozen runs of site.yml on the main cluster: minutes.
pytestmark = pytest.mark.long

LONGEST_GAP_SECONDS = 12
STEADY_SECONDS = 5
BACK_SECONDS = 30
ROLLOUT_SECONDS = 120
OWN = "app.kubernetes.io/managed-by=groundplane.kubeadm"
SHARED = {"metallb.io/allow-shared-ip": "web"}
MANIFEST = "groundplane.kubeadm.kube_manifest"


class Pools:
    """Pools inside of the network of a set, far from its nodes."""

    def __init__(self, cluster: Cluster) -> None:
        """Take the network of the first node."""
        self._base = int(ipaddress.ip_address(cluster.nodes.address(cluster.master))) & ~0xFF

    def pool(self, name: str, first: int, last: int, **fields: Any) -> dict[str, Any]:
        """Entry of metallb_address_pools."""
        start, end = (ipaddress.ip_address(self._base + number) for number in (first, last))
        return {"name": name, "addresses": [f"{start}-{end}"], **fields}

    def variables(self, *pools: dict[str, Any]) -> dict[str, Any]:
        """Variables of a run that has these pools."""
        return {"metallb_enabled": True, "metallb_address_pools": list(pools)}


def contains(pool: dict[str, Any], address: str) -> bool:
    first, _dash, last = pool["addresses"][0].partition("-")
    return ipaddress.ip_address(first) <= ipaddress.ip_address(address) <= ipaddress.ip_address(last)


@pytest.fixture(scope="module")
def cluster(cluster: Cluster) -> Cluster:
    """The main cluster, in a lab that has MetalLB."""
    cluster.nodes.up(masters=1, workers=2, add_ons=["metallb"])
    return cluster


@pytest.fixture(scope="module")
def pools(cluster: Cluster) -> Pools:
    return Pools(cluster)


@pytest.fixture(scope="module")
def default_pool(pools: Pools) -> dict[str, Any]:
    return pools.pool("default", 200, 209)


@pytest.fixture(scope="module")
def installed(cluster: Cluster, pools: Pools, default_pool: dict[str, Any], phases: Phases) -> Run:
    """The run that adds MetalLB to the main cluster."""
    Web(cluster).apply()
    with phases.phase("site.yml with MetalLB on a running cluster"):
        return cluster.site.run(variables=pools.variables(default_pool))


@pytest.fixture
def service(cluster: Cluster, installed: Run) -> Iterator[LoadBalancer]:
    installed.require_success()
    found = LoadBalancer(cluster, "web-public")
    found.apply()
    yield found
    found.delete()


def test_check_mode_predicts_on_a_cluster_without_metallb(
    cluster: Cluster, pools: Pools, default_pool: dict[str, Any]
) -> None:
    run = cluster.site.run("--check", variables=pools.variables(default_pool))
    run.require_success()
    predicted = [item for item in run.evaluations if (item["module"], item["outcome"]) == (MANIFEST, "changed")]
    assert len(predicted) == 2
    assert "metallb-system" not in {item["metadata"]["name"] for item in cluster.items("namespaces")}


def test_a_second_run_changes_nothing(
    cluster: Cluster, installed: Run, pools: Pools, default_pool: dict[str, Any]
) -> None:
    installed.require_success()
    secret = "get secret memberlist --namespace=metallb-system --output=jsonpath={.metadata.uid}"
    before = cluster.kubectl(secret)
    cluster.site.run(variables=pools.variables(default_pool)).require_unchanged()
    assert cluster.kubectl(secret) == before


def test_a_service_answers_from_outside(cluster: Cluster, service: LoadBalancer, default_pool: dict[str, Any]) -> None:
    assert service.ask() in Web(cluster).names
    assert contains(default_pool, service.wait_address())


def test_another_node_takes_over_from_one_without_power(cluster: Cluster, installed: Run, phases: Phases) -> None:
    """The pod is on a node that does not announce: Kubernetes would be much later to notice that one is dead."""
    installed.require_success()
    service = LoadBalancer(cluster, "web-elsewhere", app="elsewhere")
    with answering_pod(cluster, "elsewhere", cluster.master):
        service.apply()
        try:
            assert service.ask() == "elsewhere"
            address, announcer = service.wait_address(), service.wait_announcer()
            # kubeadm labels control plane nodes with node.kubernetes.io/exclude-from-external-load-balancers.
            assert announcer in cluster.nodes.workers
            with Poller([address], PORT) as client:
                client.wait_steady(STEADY_SECONDS)
                moment = time.monotonic()
                cluster.nodes.kill([announcer])
                try:
                    client.wait_steady(STEADY_SECONDS)
                    gap = client.longest_gap(moment)
                    others = set(service.announcers) - {announcer}
                finally:
                    cluster.nodes.start([announcer])
        finally:
            service.delete()
    phases.figure(f"{gap:6.1f} s  a LoadBalancer silent after the node that announced it lost power")
    cluster.wait_healthy()
    Web(cluster).wait_ready()
    for workload in ("deployment/controller", "daemonset/speaker"):
        cluster.kubectl(f"rollout status {workload} --namespace=metallb-system --timeout={ROLLOUT_SECONDS}s")
    assert others
    assert gap < LONGEST_GAP_SECONDS


def test_services_share_an_address(cluster: Cluster, installed: Run) -> None:
    installed.require_success()
    one, other = LoadBalancer(cluster, "shared-one"), LoadBalancer(cluster, "shared-other")
    try:
        one.apply(annotations=SHARED)
        address = one.wait_address()
        other.apply(port=81, annotations={**SHARED, "metallb.io/loadBalancerIPs": address})
        assert other.wait_address() == address
        assert {one.ask(), other.ask(81)} <= Web(cluster).names
    finally:
        one.delete()
        other.delete()


def test_traffic_to_local_pods_alone(cluster: Cluster, installed: Run) -> None:
    """The node that announces is the one with a pod, and the pod sees the client's own address."""
    installed.require_success()
    for node in cluster.nodes.workers[:2]:
        name = f"local-{node}"
        service = LoadBalancer(cluster, name, app=name)
        with answering_pod(cluster, name, node):
            service.apply(local=True)
            try:
                assert service.ask() == name
                assert service.wait_announcer() == node
                assert re.search(rf"{re.escape(str(HOST_ADDRESS))}\]?:\d", cluster.kubectl(f"logs {name}"))
            finally:
                service.delete()


def test_pools_come_go_and_hand_over_their_addresses(
    cluster: Cluster, installed: Run, pools: Pools, default_pool: dict[str, Any]
) -> None:
    installed.require_success()
    second = pools.pool("second", 220, 221, autoAssign=False)
    cluster.site.run(variables=pools.variables(default_pool, second)).require_success()
    service = LoadBalancer(cluster, "web-second")
    try:
        service.apply(annotations={"metallb.io/address-pool": "second"})
        assert contains(second, service.wait_address())
        service.ask()

        renamed = {**second, "name": "renamed"}
        cluster.site.run(variables=pools.variables(default_pool, renamed)).require_success()
        assert _names(cluster) == {"default", "renamed"}
    finally:
        service.delete()
    cluster.site.run(variables=pools.variables(default_pool)).require_success()
    assert _names(cluster) == {"default"}


def test_pools_of_others_stay(cluster: Cluster, installed: Run, pools: Pools, default_pool: dict[str, Any]) -> None:
    installed.require_success()
    foreign = pools.pool("foreign", 230, 231)
    cluster.apply(
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "foreign", "namespace": "metallb-system"},
            "spec": {"addresses": foreign["addresses"]},
        }
    )
    try:
        cluster.site.run(variables=pools.variables(default_pool)).require_unchanged()
        assert "foreign" in _names(cluster, own=False)
    finally:
        cluster.kubectl("delete ipaddresspools.metallb.io foreign --namespace=metallb-system")


def test_without_pools_services_give_their_addresses_back(
    cluster: Cluster, service: LoadBalancer, pools: Pools
) -> None:
    service.wait_address()
    cluster.site.run(variables=pools.variables()).require_success()
    assert not _names(cluster)
    wait_for("The end of the address", lambda: ", ".join(service.addresses), seconds=BACK_SECONDS)


def test_metallb_can_be_taken_away(cluster: Cluster, installed: Run) -> None:
    installed.require_success()
    absent = {"metallb_enabled": True, "metallb_state": "absent"}
    cluster.site.run(variables=absent).require_success()
    wait_for(
        "The end of MetalLB",
        lambda: cluster.kubectl("get namespace metallb-system --ignore-not-found --output=name").strip(),
        seconds=60,
    )
    cluster.site.run(variables=absent).require_unchanged()


def _names(cluster: Cluster, *, own: bool = True) -> set[str]:
    selector = f" --selector={OWN}" if own else ""
    found = cluster.items(f"ipaddresspools.metallb.io --namespace=metallb-system{selector}")
    return {pool["metadata"]["name"] for pool in found}
