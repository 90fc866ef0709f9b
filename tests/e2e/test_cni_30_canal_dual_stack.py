# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Canal in a dual-stack cluster with nftables for its Services, the firewall around it: policies of both families."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support import fingerprint, packet_filter
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.dual_stack import PODS, RANGES, DualStackService, are_inside, skip_without_ipv6
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.policies import BY_LABEL, CLIENTS, DENY, NO_EGRESS, POLICED, Policies, deploy
from tests.e2e.support.proxy import NFTABLES, Proxy
from tests.e2e.support.site import Site
from tests.e2e.support.workload import PORT, address_of, in_url

# A cluster of its own, and Calico has to be built for it: minutes.
pytestmark = pytest.mark.long

FAMILIES = [4, 6]


@pytest.fixture(scope="module")
def fresh(open_set: OpenSet) -> Iterator[LabSet]:
    """Nodes with addresses of both families that nothing has touched yet."""
    skip_without_ipv6()
    with open_set(LabSet("e2e-cni-ds", "bookworm", "2.x")) as nodes:
        nodes.up(masters=1, workers=2, add_ons=["canal"])
        yield nodes


@pytest.fixture(scope="module")
def site(fresh: LabSet, work: Path) -> Site:
    """The playbook for them."""
    variables = {
        **RANGES,
        "cluster_cni": "canal",
        "cluster_proxy_mode": NFTABLES,
        "firewall_enabled": True,
        "firewall_api_sources": [packet_filter.controller_address(fresh)],
    }
    return Site(fresh.inventory, work / "e2e-cni-ds", variables=variables)


@pytest.fixture(scope="module")
def canal(fresh: LabSet, site: Site, phases: Phases) -> Cluster:
    """The cluster."""
    with phases.phase("first run of site.yml, canal and nftables in a dual-stack cluster"):
        site.run().require_success()
    return Cluster(fresh, site)


@pytest.fixture(scope="module")
def policies(canal: Cluster) -> Policies:
    """The deployment and its clients."""
    return deploy(canal)


def test_check_mode_predicts_on_fresh_nodes(fresh: LabSet, site: Site) -> None:
    before = fingerprint.take(fresh)
    run = site.run("--check", "--diff").require_success()
    assert run.changed_by("groundplane.kubeadm.kube_manifest")
    assert not fingerprint.differences(before, fingerprint.take(fresh))


def test_pods_are_calicos_and_have_an_address_of_each_family(policies: Policies) -> None:
    for pod in policies.web.pods():
        assert POLICED in pod["metadata"]["annotations"]
        assert are_inside([entry["ip"] for entry in pod["status"]["podIPs"]], PODS)


@pytest.mark.parametrize("family", FAMILIES)
def test_pods_of_two_nodes_reach_each_other(policies: Policies, family: int) -> None:
    one, other = policies.web.pods_of_two_nodes()
    url = f"http://{in_url(address_of(other, family))}:{PORT}/"
    assert policies.web.ask_from(one["metadata"]["name"], url) == other["metadata"]["name"]


def test_services_answer_in_mode_nftables(policies: Policies) -> None:
    proxy = Proxy(policies.cluster, policies.web)
    proxy.require(NFTABLES)
    proxy.require_services()


def test_a_service_answers_at_both_addresses(policies: Policies) -> None:
    web, nodes = policies.web, policies.nodes
    service = DualStackService(policies.cluster, "web-dual")
    service.apply()
    for pod in web.pods_of_two_nodes():
        for address in service.cluster_addresses:
            assert web.ask_from(pod["metadata"]["name"], f"http://{in_url(address)}/") in web.names
    for name in nodes.names:
        for address in (nodes.address(name), nodes.address_6(name)):
            assert web.ask_at(address, service.node_port) in web.names


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_counts(policies: Policies, family: int) -> None:
    in_family = replace(policies, family=family)
    in_family.wait_reached_by(*CLIENTS)
    in_family.cluster.apply(DENY)
    in_family.wait_reached_by()
    in_family.cluster.apply(BY_LABEL)
    in_family.wait_reached_by("friend")
    in_family.clear()
    in_family.wait_reached_by(*CLIENTS)
    in_family.cluster.apply(NO_EGRESS)
    in_family.wait_reached_by("stranger", "neighbour")
    in_family.clear()


def test_a_second_run_changes_nothing(policies: Policies) -> None:
    policies.cluster.site.run().require_unchanged()


def test_check_mode_predicts_no_change(policies: Policies) -> None:
    policies.cluster.site.run("--check", "--diff").require_unchanged()
