# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A highly available cluster with canal from the first run on, the firewall around its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support import fingerprint, packet_filter
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.policies import BY_LABEL, CLIENTS, DENY, POLICED, Policies, deploy
from tests.e2e.support.site import Site
from tests.e2e.support.workload import PORT

# A cluster of five nodes, and Calico has to be built for it: minutes.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fresh(open_set: OpenSet) -> Iterator[LabSet]:
    """Nodes that nothing has touched yet."""
    with open_set(LabSet("e2e-cni-ha", "trixie", "1.7")) as nodes:
        nodes.up(masters=3, workers=2, add_ons=["canal"])
        yield nodes


@pytest.fixture(scope="module")
def site(fresh: LabSet, work: Path) -> Site:
    """The playbook for them."""
    variables = {
        "cluster_cni": "canal",
        "firewall_enabled": True,
        "firewall_api_sources": [packet_filter.controller_address(fresh)],
    }
    return Site(fresh.inventory, work / "e2e-cni-ha", variables=variables)


@pytest.fixture(scope="module")
def canal(fresh: LabSet, site: Site, phases: Phases) -> Cluster:
    """The cluster."""
    with phases.phase("first run of site.yml, canal on five nodes"):
        site.run().require_success()
    return Cluster(fresh, site)


@pytest.fixture(scope="module")
def policies(canal: Cluster) -> Policies:
    """The deployment and its clients."""
    return deploy(canal)


def test_check_mode_predicts_on_fresh_nodes(fresh: LabSet, site: Site, phases: Phases) -> None:
    before = fingerprint.take(fresh)
    with phases.phase("check mode, canal on five fresh nodes"):
        run = site.run("--check").require_success()
    assert run.changed_by("groundplane.kubeadm.kube_manifest")
    assert not fingerprint.differences(before, fingerprint.take(fresh))


def test_the_cluster_is_whole(canal: Cluster) -> None:
    ControlPlane(canal).require_whole()
    canal.require_healthy()


def test_pods_of_different_nodes_and_services_answer(policies: Policies) -> None:
    web = policies.web
    assert all(POLICED in pod["metadata"]["annotations"] for pod in web.pods())
    one, other = web.pods_of_two_nodes()
    answer = web.ask_from(one["metadata"]["name"], f"http://{other['status']['podIP']}:{PORT}/")
    assert answer == other["metadata"]["name"]
    assert web.ask_from(one["metadata"]["name"], "http://web.default.svc.cluster.local/") in web.names
    for node in policies.nodes.names:
        assert web.ask_from_outside(node) in web.names


def test_a_policy_counts(policies: Policies) -> None:
    policies.wait_reached_by(*CLIENTS)
    policies.cluster.apply(DENY)
    policies.wait_reached_by()
    policies.cluster.apply(BY_LABEL)
    policies.wait_reached_by("friend")
    policies.clear()


def test_a_second_run_changes_nothing(canal: Cluster, site: Site, phases: Phases) -> None:
    with phases.phase("second run, canal on five nodes"):
        site.run().require_unchanged()
