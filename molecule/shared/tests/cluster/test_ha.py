# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A control plane of several nodes behind one address."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

ETCDCTL = (
    "etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/peer.crt"
    " --key /etc/kubernetes/pki/etcd/peer.key --endpoints https://127.0.0.1:2379"
)


@pytest.fixture(scope="module", autouse=True)
def several(control_plane_nodes: list[Host]) -> None:
    """A single control plane node has none of this."""
    if len(control_plane_nodes) == 1:
        pytest.skip("the inventory has one control plane node")


@pytest.fixture(scope="module")
def virtual_address(settings: dict[str, Any]) -> str:
    """The address that the control plane nodes share."""
    if not settings.get("cluster_vip"):
        pytest.skip("the inventory names no cluster_vip")
    return settings["cluster_vip"]


def test_these_nodes_are_the_control_plane(control_plane_nodes: list[Host], items: Callable[[str], list[dict]]) -> None:
    masters = {
        node["metadata"]["name"]
        for node in items("nodes")
        if "node-role.kubernetes.io/control-plane" in node["metadata"]["labels"]
    }
    assert masters == {node.check_output("hostname").lower() for node in control_plane_nodes}


def test_every_one_of_them_votes_in_etcd(control_plane_nodes: list[Host], settings: dict[str, Any]) -> None:
    if settings.get("control_plane_external_etcd"):
        pytest.skip("etcd runs somewhere else")
    asked = control_plane_nodes[0]
    container = asked.check_output("crictl ps --quiet --name '^etcd$'")
    members = json.loads(asked.check_output(f"crictl exec {container} {ETCDCTL} member list --write-out json"))
    voters = {member["name"] for member in members["members"] if not member.get("isLearner")}
    assert voters == {node.check_output("hostname").lower() for node in control_plane_nodes}


def test_exactly_one_of_them_holds_the_virtual_address(control_plane_nodes: list[Host], virtual_address: str) -> None:
    holders = [
        node for node in control_plane_nodes if node.check_output(f"ip -brief address show to {virtual_address}")
    ]
    assert len(holders) == 1


@pytest.mark.parametrize("unit", ["groundplane-haproxy", "groundplane-keepalived"])
@pytest.mark.usefixtures("virtual_address")
def test_the_endpoint_is_served_on_each_now_and_at_boot(control_plane_nodes: list[Host], unit: str) -> None:
    services = [node.service(unit) for node in control_plane_nodes]
    assert [(service.is_running, service.is_enabled) for service in services] == [(True, True)] * len(services)


def test_no_certificate_to_join_is_left_behind(items: Callable[[str], list[dict]]) -> None:
    assert "kubeadm-certs" not in {secret["metadata"]["name"] for secret in items("secrets")}
