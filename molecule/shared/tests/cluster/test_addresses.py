# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One address for each node, the same one for everybody who uses it, also on machines with several interfaces."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from testinfra.host import Host

Items = Callable[[str], list[dict]]

PUBLIC_ADDRESS = "flannel.alpha.coreos.com/public-ip"


@pytest.fixture(scope="module")
def addresses(items: Items) -> dict[str, list[str]]:
    """Internal addresses by node."""
    return {
        node["metadata"]["name"]: [
            entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"
        ]
        for node in items("nodes")
    }


def test_no_two_nodes_share_an_address(addresses: dict[str, list[str]]) -> None:
    every = [address for of_node in addresses.values() for address in of_node]
    assert len(every) >= len(addresses)
    assert len(set(every)) == len(every)


def test_every_address_is_in_the_network_of_the_nodes(
    addresses: dict[str, list[str]], settings: dict[str, Any]
) -> None:
    network = settings.get("cluster_node_cidr")
    if not network:
        pytest.skip("the inventory names no cluster_node_cidr")
    outside = {name: found for name, found in addresses.items() if ip_address(found[0]) not in ip_network(network)}
    assert outside == {}


def test_flannel_sends_to_the_address_of_the_node(
    addresses: dict[str, list[str]], items: Items, settings: dict[str, Any]
) -> None:
    if settings.get("cluster_cni", "flannel") == "none" or ip_address(next(iter(addresses.values()))[0]).version == 6:
        pytest.skip("this pod network keeps no address in that annotation")
    known = {node["metadata"]["name"]: node["metadata"]["annotations"].get(PUBLIC_ADDRESS) for node in items("nodes")}
    assert known == {name: found[0] for name, found in addresses.items()}


def test_the_control_plane_listens_at_the_address_of_its_node(
    control_plane_nodes: list[Host], addresses: dict[str, list[str]]
) -> None:
    for node in control_plane_nodes:
        manifest = node.file("/etc/kubernetes/manifests/kube-apiserver.yaml").content_string
        assert f"--advertise-address={addresses[node.check_output('hostname').lower()][0]}\n" in manifest
