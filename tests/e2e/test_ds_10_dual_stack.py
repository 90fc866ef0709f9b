# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of IPv4 and IPv6: nodes, pods and Services have both, and answer on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support import fingerprint, packet_filter
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.dual_stack import PODS, RANGES, SERVICES, DualStackService, are_inside, skip_without_ipv6
from tests.e2e.support.elsewhere import CLIENT, INTERFACE, elsewhere
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import KUBEADM_NODE, PREFLIGHT, Site
from tests.e2e.support.workload import PORT, Web, address_of, in_url
from tests.lab.settings import HOST_ADDRESS_6, SUBNET_6

# A cluster of its own, and one of its tests wants MetalLB, which has to be built first.
pytestmark = pytest.mark.long

ONE_FAMILY = {"cluster_pod_cidr": str(PODS[0]), "cluster_service_cidr": str(SERVICES[0])}

#: What flannel leaves of 1500 bytes when a packet travels in one of IPv6.
POD_MTU = 1430
#: Headers of IP and of an echo request, by family.
ECHO_HEADERS = {4: 28, 6: 48}


@pytest.fixture(scope="module")
def fresh(open_set: OpenSet, phases: Phases) -> Iterator[LabSet]:
    """Nodes with addresses of both families that nothing has touched yet."""
    skip_without_ipv6()
    with open_set(LabSet("e2e-ds", "trixie", "1.7")) as nodes:
        with phases.phase("making one control plane node and two workers with IPv6"):
            nodes.up(masters=1, workers=2, add_ons=["metallb"])
        yield nodes


@pytest.fixture(scope="module")
def site(fresh: LabSet, work: Path) -> Site:
    """The playbook for them, with the packet filter from the very first run on."""
    variables = {
        **RANGES,
        "firewall_enabled": True,
        "firewall_api_sources": [packet_filter.controller_address(fresh)],
    }
    return Site(fresh.inventory, work / "e2e-ds", variables=variables)


@pytest.fixture(scope="module")
def dual(fresh: LabSet, site: Site, phases: Phases) -> Cluster:
    """The dual-stack cluster."""
    with phases.phase("first run of site.yml, dual-stack"):
        site.run().require_success()
    return Cluster(fresh, site)


@pytest.fixture(scope="module")
def web(dual: Cluster) -> Web:
    """The web deployment on both workers."""
    deployment = Web(dual)
    deployment.apply()
    return deployment


@pytest.fixture(scope="module")
def service(web: Web) -> DualStackService:
    """A Service of both families in front of it."""
    found = DualStackService(web.cluster, "web-dual")
    found.apply()
    return found


def test_a_host_without_ipv6_is_refused(fresh: LabSet, site: Site) -> None:
    worker = fresh.workers[0]
    fresh.run(worker, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
    try:
        run = site.run()
    finally:
        fresh.run(
            worker,
            "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0"
            f" && ip address replace {fresh.address_6(worker)}/{SUBNET_6.prefixlen} dev eth0 nodad"
            f" && ip -6 route replace default via {HOST_ADDRESS_6}",
        )
    run.require_refusal("ipv6-disabled", "net.ipv6.conf.eth0.disable_ipv6", "node-address-family", worker)


def test_one_address_of_ipv6_on_two_hosts_is_refused(fresh: LabSet, site: Site) -> None:
    one, other = fresh.workers
    shared = f"{fresh.address_6(one)}/{SUBNET_6.prefixlen}"
    own = f"{fresh.address_6(other)}/{SUBNET_6.prefixlen}"
    fresh.run(other, f"ip address delete {own} dev eth0 && ip address add {shared} dev eth0 nodad")
    try:
        run = site.run()
    finally:
        fresh.run(
            other,
            f"ip address delete {shared} dev eth0 && ip address add {own} dev eth0 nodad"
            f" && ip -6 route replace default via {HOST_ADDRESS_6}",
        )
    run.require_refusal("duplicate-node-address", fresh.address_6(one), one, other)


def test_a_run_that_would_cut_its_own_session_is_refused(fresh: LabSet, site: Site, tmp_path: Path) -> None:
    worker = fresh.workers[0]
    heeding = {"prereqs_sysctls": {f"net.ipv6.conf.{INTERFACE}.accept_ra": 2}}
    with elsewhere(fresh, worker) as outside:
        from_outside = f"--inventory={outside.inventory(tmp_path)}"
        refused = site.run(from_outside)
        heeded = site.run(from_outside, playbook=PREFLIGHT, variables=heeding)
        from_the_network = site.run(playbook=PREFLIGHT)
        assert outside.has_default_route()
        # What the run would have done.
        fresh.run(worker, "sysctl -qw net.ipv6.conf.all.forwarding=1")
        try:
            assert not outside.has_default_route()
        finally:
            fresh.run(worker, "sysctl -qw net.ipv6.conf.all.forwarding=0")
    refused.require_refusal("router-advertisements-session", CLIENT, worker, f"net.ipv6.conf.{INTERFACE}.accept_ra")
    assert "router-advertisements" not in heeded.require_success().message
    assert "router-advertisements" in from_the_network.require_success().message
    assert "router-advertisements-session" not in from_the_network.message


def test_check_mode_predicts_on_fresh_nodes(fresh: LabSet, site: Site) -> None:
    before = fingerprint.take(fresh)
    run = site.run("--check", "--diff")
    run.require_success()
    assert run.changed_by(KUBEADM_NODE) == sorted(fresh.names)
    assert not fingerprint.differences(before, fingerprint.take(fresh))


def test_nodes_have_an_address_of_each_family(dual: Cluster) -> None:
    dual.wait_healthy()
    nodes = dual.nodes
    found = {node["metadata"]["name"]: _internal_addresses(node) for node in dual.items("nodes")}
    assert found == {name: [nodes.address(name), nodes.address_6(name)] for name in nodes.names}


def test_nodes_forward_both_families(dual: Cluster) -> None:
    keys = "net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.default.forwarding"
    assert set(dual.nodes.run_on(dual.nodes.names, f"sysctl -n {keys}").values()) == {"1\n1\n1\n"}


def test_flannel_uses_the_addresses_of_the_nodes(dual: Cluster) -> None:
    prefix = "flannel.alpha.coreos.com/public-"
    for node in dual.items("nodes"):
        annotations = node["metadata"]["annotations"]
        assert [annotations[f"{prefix}ip"], annotations[f"{prefix}ipv6"]] == _internal_addresses(node)
        assert len(node["spec"]["podCIDRs"]) == 2
    mtus = dual.nodes.run_on(dual.nodes.names, "cat /sys/class/net/flannel.1/mtu /sys/class/net/flannel-v6.1/mtu")
    assert set(mtus.values()) == {f"{POD_MTU}\n{POD_MTU}\n"}


def test_nodes_accept_each_other_by_both_addresses(dual: Cluster) -> None:
    nodes = dual.nodes
    rules = packet_filter.of_ours(packet_filter.everything(nodes))
    for host in nodes.names:
        for peer in nodes.names:
            assert f"-s {nodes.address(peer)}/32 " in rules[host]
            assert f"-s {nodes.address_6(peer)}/128 " in rules[host]


def test_pods_have_an_address_of_each_family(web: Web) -> None:
    assert {pod["spec"]["nodeName"] for pod in web.pods()} == set(web.cluster.nodes.workers)
    for pod in web.pods():
        assert are_inside([entry["ip"] for entry in pod["status"]["podIPs"]], PODS)


@pytest.mark.parametrize("family", [4, 6])
def test_pods_of_two_nodes_reach_each_other(web: Web, family: int) -> None:
    one, other = web.pods_of_two_nodes()
    address = address_of(other, family)
    assert web.ask_from(one["metadata"]["name"], f"http://{in_url(address)}:{PORT}/") == other["metadata"]["name"]
    # A packet of the whole MTU of the pods, which no node has to shorten.
    size = POD_MTU - ECHO_HEADERS[family]
    web.cluster.kubectl(f"exec {one['metadata']['name']} -- busybox ping -c 3 -W 3 -s {size} {address}")


def test_a_service_has_an_address_of_each_family(service: DualStackService) -> None:
    assert are_inside(service.cluster_addresses, SERVICES)


def test_pods_of_every_node_reach_the_service_by_both_addresses(web: Web, service: DualStackService) -> None:
    for pod in web.pods_of_two_nodes():
        for address in service.cluster_addresses:
            assert web.ask_from(pod["metadata"]["name"], f"http://{in_url(address)}/") in web.names


def test_dns_knows_both_addresses(web: Web, service: DualStackService) -> None:
    pod = web.pods()[0]["metadata"]["name"]
    answer = web.cluster.kubectl(f"exec {pod} -- busybox nslookup {service.name}.default.svc.cluster.local")
    addresses = {line.split()[-1] for line in answer.splitlines() if line.startswith("Address")}
    assert set(service.cluster_addresses) <= addresses


def test_the_world_outside_reaches_every_node_by_both_addresses(web: Web, service: DualStackService) -> None:
    nodes = web.cluster.nodes
    for name in nodes.names:
        for address in (nodes.address(name), nodes.address_6(name)):
            assert web.ask_at(address, service.node_port) in web.names


def test_the_second_run_changes_nothing(dual: Cluster) -> None:
    dual.site.run().require_unchanged()


def test_check_mode_on_the_running_cluster_predicts_no_change(dual: Cluster) -> None:
    dual.site.run("--check", "--diff").require_unchanged()


def test_a_dual_stack_cluster_does_not_become_one_of_one_family(dual: Cluster) -> None:
    refused = dual.site.run(variables=ONE_FAMILY)
    refused.require_refusal("range-change", RANGES["cluster_pod_cidr"], RANGES["cluster_service_cidr"])


def test_metallb_gives_an_address_of_each_family(web: Web) -> None:
    cluster = web.cluster
    # Addresses beside those of the nodes, in the networks of both families.
    starts = (
        cluster.nodes.address(cluster.master).rpartition(".")[0] + ".",
        cluster.nodes.address_6(cluster.master).rpartition(":")[0] + ":",
    )
    pool = {"name": "default", "addresses": [f"{start}200-{start}209" for start in starts]}
    cluster.site.run(variables={"metallb_enabled": True, "metallb_address_pools": [pool]}).require_success()
    balancer = DualStackService(cluster, "web-public", "LoadBalancer")
    balancer.apply()
    try:
        addresses = balancer.wait_load_balancer_addresses()
        assert {":" in address for address in addresses} == {False, True}
        for address in addresses:
            assert web.ask_at(address, 80) in web.names
    finally:
        balancer.delete()


def _internal_addresses(node: dict[str, Any]) -> list[str]:
    return [entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]
