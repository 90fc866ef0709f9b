# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml on fresh nodes ends with a healthy cluster and no secret in sight."""

from __future__ import annotations

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.leaks import files_open_to_others, readable_by_nobody, secrets_in
from tests.e2e.support.site import Run
from tests.lab.versions import kubernetes_version, minor


def test_three_nodes_are_ready_at_the_wanted_version(cluster: Cluster) -> None:
    versions = cluster.ready_nodes()

    assert sorted(versions) == sorted(cluster.nodes.names)
    assert len(set(versions.values())) == 1
    assert minor(next(iter(versions.values()))) == minor(kubernetes_version())


def test_the_run_ends_only_when_every_system_pod_runs_and_coredns_is_complete(cluster: Cluster) -> None:
    cluster.require_healthy()


def test_every_node_is_registered_with_its_own_address(cluster: Cluster) -> None:
    registered = {
        node["metadata"]["name"]: [
            address["address"] for address in node["status"]["addresses"] if address["type"] == "InternalIP"
        ]
        for node in cluster.items("nodes")
    }

    assert registered == {name: [cluster.nodes.address(name)] for name in cluster.nodes.names}


def test_no_secret_is_in_the_output_of_the_most_talkative_run(cluster: Cluster, first_run: Run) -> None:
    assert not secrets_in(first_run.output)


def test_no_join_secret_is_left_in_the_cluster(cluster: Cluster) -> None:
    assert not cluster.join_secrets()


def test_no_secret_is_readable_by_others_on_any_node(cluster: Cluster) -> None:
    found = {name: readable_by_nobody(cluster.nodes, name) for name in cluster.nodes.names}

    assert not any(found.values()), found


def test_no_secret_is_readable_by_others_on_the_controller(cluster: Cluster) -> None:
    assert not files_open_to_others(cluster.site.work)


def test_the_operator_gets_a_kubeconfig_that_only_he_can_read(cluster: Cluster) -> None:
    (kubeconfig,) = cluster.site.artifacts.glob("*.conf")

    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert f"https://{cluster.nodes.address(cluster.master)}:6443" in kubeconfig.read_text()
