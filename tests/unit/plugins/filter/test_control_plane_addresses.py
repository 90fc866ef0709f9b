# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a control plane, of which some hosts may be down."""

from __future__ import annotations

from typing import Any

from ansible_collections.groundplane.kubeadm.plugins.filter.control_plane_addresses import FilterModule

addresses = FilterModule().filters()["control_plane_addresses"]
ORDER = ["one", "two", "three"]


def host(name: str, hostname: str, address: str) -> dict[str, Any]:
    return {
        "inventory_hostname": name,
        "__cluster_preflight": {"facts": {"hostname": hostname}},
        "__cluster_node": {"address": address},
    }


def node(name: str, *addresses: str, control_plane: bool = True) -> dict[str, Any]:
    return {"name": name, "addresses": [*addresses, name], "control_plane": control_plane}


ONE = host("one", "One", "192.0.2.11")
TWO = host("two", "two", "192.0.2.12")


def test_hosts_of_a_fresh_cluster_are_named_as_their_nodes_will_be() -> None:
    assert addresses([ONE, TWO], [], ORDER) == {"one": "192.0.2.11", "two": "192.0.2.12"}


def test_a_member_that_is_down_keeps_its_place() -> None:
    nodes = [node("one", "192.0.2.11"), node("two", "192.0.2.12")]
    assert list(addresses([TWO], nodes, ORDER).items()) == [("one", "192.0.2.11"), ("two", "192.0.2.12")]


def test_a_member_that_the_inventory_does_not_know_comes_last() -> None:
    assert list(addresses([ONE], [node("ancient", "192.0.2.1")], ORDER)) == ["one", "ancient"]


def test_workers_of_the_cluster_are_left_out() -> None:
    assert addresses([ONE], [node("worker", "192.0.2.21", control_plane=False)], ORDER) == {"one": "192.0.2.11"}


def test_a_node_that_is_being_removed_is_left_out() -> None:
    assert addresses([ONE], [node("two", "192.0.2.12")], ORDER, "two") == {"one": "192.0.2.11"}


def test_a_node_that_has_been_given_another_address_counts_once() -> None:
    assert addresses([ONE], [node("one", "192.0.2.99")], ORDER) == {"one": "192.0.2.11"}


def test_a_host_under_another_node_name_counts_once() -> None:
    assert addresses([ONE], [node("old-name", "192.0.2.11")], ORDER) == {"one": "192.0.2.11"}
