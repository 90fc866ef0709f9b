# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml makes three control plane nodes behind one virtual address, with no secret in sight."""

from __future__ import annotations

import pytest

from tests.e2e.support.api import ApiClient, is_served_under
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.leaks import files_open_to_others, readable_by_nobody, secrets_in
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run
from tests.e2e.support.workload import Web
from tests.lab.versions import kubernetes_version, minor


def test_five_nodes_are_ready_at_the_wanted_version(ha_cluster: Cluster) -> None:
    versions = ha_cluster.ready_nodes()

    assert sorted(versions) == sorted(ha_cluster.nodes.names)
    assert {minor(version) for version in versions.values()} == {minor(kubernetes_version())}


def test_the_run_ends_only_when_everything_runs_that_the_cluster_consists_of(ha_control_plane: ControlPlane) -> None:
    ha_control_plane.require_whole()


def test_etcd_has_three_voting_members(ha_control_plane: ControlPlane) -> None:
    members = ha_control_plane.members()

    assert [member.name for member in members] == ha_control_plane.nodes.masters
    assert not any(member.learner for member in members)


def test_every_api_server_is_trusted_under_every_name_that_leads_to_it(ha_cluster: Cluster) -> None:
    nodes = ha_cluster.nodes
    endpoint = ha_cluster.endpoint
    (kubeconfig,) = ha_cluster.site.artifacts.glob("*.conf")

    refusals = {
        (master, name): is_served_under(name, kubeconfig, nodes.address(master))
        for master in nodes.masters
        for name in (endpoint, nodes.vip, nodes.address(master))
    }
    assert not any(refusals.values()), refusals


def test_the_endpoint_leads_to_the_virtual_address_on_every_node(ha_cluster: Cluster) -> None:
    answers = ha_cluster.nodes.run_on(ha_cluster.nodes.names, f"getent ahostsv4 {ha_cluster.endpoint}")

    assert {answer.split()[0] for answer in answers.values()} == {ha_cluster.nodes.vip}


def test_the_operator_gets_a_kubeconfig_that_only_he_can_read_and_that_leads_to_the_virtual_address(
    ha_cluster: Cluster,
) -> None:
    (kubeconfig,) = ha_cluster.site.artifacts.glob("*.conf")

    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert f"https://{ha_cluster.nodes.vip}:6443" in kubeconfig.read_text()
    status, answer = ApiClient(kubeconfig, ha_cluster.nodes.vip, timeout=10).request("GET", "/api/v1/nodes")
    assert (status, len(answer["items"])) == (200, 5)


def test_no_secret_is_in_the_output_of_the_most_talkative_run(ha_cluster: Cluster, ha_first_run: Run) -> None:
    assert not secrets_in(ha_first_run.output)


def test_neither_join_tokens_nor_uploaded_certificates_are_left(ha_cluster: Cluster) -> None:
    assert not ha_cluster.join_secrets()


def test_no_secret_is_readable_by_others_on_any_machine(ha_cluster: Cluster) -> None:
    found = {name: readable_by_nobody(ha_cluster.nodes, name) for name in ha_cluster.nodes.names}

    assert not any(found.values()), found
    assert not files_open_to_others(ha_cluster.site.work)


def test_the_run_takes_few_evaluations_for_each_node(ha_cluster: Cluster, ha_first_run: Run, phases: Phases) -> None:
    phases.figure(f"{ha_first_run.count()} host-task evaluations for three control plane nodes and two workers")
    for host, recap in ha_first_run.recap.items():
        phases.figure(f"  {ha_first_run.count([host]):4d}  {host} {recap}")

    assert set(ha_cluster.nodes.names) <= set(ha_first_run.recap)


@pytest.fixture(scope="module")
def web(ha_cluster: Cluster, phases: Phases) -> Web:
    """Three replicas on the two workers."""
    deployment = Web(ha_cluster)
    with phases.phase("rolling out a web deployment of three replicas"):
        deployment.apply()
    return deployment


def test_pods_on_different_nodes_reach_each_other(web: Web, ha_cluster: Cluster) -> None:
    pods = {pod["spec"]["nodeName"]: pod for pod in web.pods()}
    assert set(pods) == set(ha_cluster.nodes.workers)
    one, other = pods.values()

    answer = web.ask_from(one["metadata"]["name"], f"http://{other['status']['podIP']}:8080/")
    answer_back = web.ask_from(other["metadata"]["name"], f"http://{one['status']['podIP']}:8080/")

    assert (answer, answer_back) == (other["metadata"]["name"], one["metadata"]["name"])
    assert web.ask_from(one["metadata"]["name"], "http://web.default.svc.cluster.local/") in web.names


def test_the_world_outside_reaches_the_node_port_on_every_node(web: Web, ha_cluster: Cluster) -> None:
    for node in ha_cluster.nodes.names:
        assert web.ask_from_outside(node) in web.names
