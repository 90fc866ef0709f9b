# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and labels of nodes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.lab import nodes
from tests.lab.nodes import CONTROL_PLANE, WORKERS, Node
from tests.lab.process import LabError
from tests.lab.settings import HOST_ADDRESS_6, SUBNET_6

KIND = ("trixie", "1.7", "built")


def plan(set_name: str, octet: int, masters: int = 1, workers: int = 2) -> list[Node]:
    return nodes.plan_set(set_name, octet, {CONTROL_PLANE: masters, WORKERS: workers}, *KIND)


def test_nodes_of_the_default_set_have_short_names():
    assert [(node.name, str(node.address)) for node in plan("lab", 0)] == [
        ("master-1", "10.77.0.11"),
        ("worker-1", "10.77.0.21"),
        ("worker-2", "10.77.0.22"),
    ]


def test_addresses_of_ipv6_have_the_same_digits():
    (node,) = plan("e2e", 254, masters=1, workers=0)
    assert str(node.address_6) == "fd77::254:11"
    assert [str(node.address_6) for node in plan("lab", 0)] == ["fd77::11", "fd77::21", "fd77::22"]
    everybody = [*plan("lab", 0, 9, 200), *plan("one", 1, 9, 200), *plan("last", 254, 9, 200)]
    addresses = {node.address_6 for node in everybody}
    assert len(addresses) == len(everybody)
    assert HOST_ADDRESS_6 not in addresses
    assert all(address in SUBNET_6 for address in addresses)


def test_nodes_of_other_sets_carry_the_name_of_the_set():
    assert [(node.name, str(node.address)) for node in plan("e2e", 7, masters=3, workers=0)] == [
        ("e2e-master-1", "10.77.7.11"),
        ("e2e-master-2", "10.77.7.12"),
        ("e2e-master-3", "10.77.7.13"),
    ]


def test_a_larger_plan_contains_the_smaller_one():
    assert set(plan("e2e", 1, 1, 1)) < set(plan("e2e", 1, 3, 4))


def test_groups_do_not_run_into_each_other():
    planned = plan("e2e", 1, masters=9, workers=200)
    assert len({node.address for node in planned}) == len(planned)


def test_the_virtual_address_of_a_set_belongs_to_none_of_its_nodes():
    planned = plan("e2e", 7, masters=9, workers=200)
    assert {node.virtual_address for node in planned} == {IPv4Address("10.77.7.10")}
    assert IPv4Address("10.77.7.10") not in {node.address for node in planned}


@pytest.mark.parametrize("counts", [{CONTROL_PLANE: 10}, {WORKERS: 201}, {WORKERS: -1}])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(LabError, match="possible are 0 to"):
        nodes.plan_set("lab", 0, counts, *KIND)


def test_the_default_set_always_has_the_same_addresses():
    assert nodes.set_octet("lab", plan("e2e", 1)) == 0


def test_a_new_set_gets_the_lowest_free_octet():
    assert nodes.set_octet("new", [*plan("lab", 0), *plan("one", 1), *plan("three", 3)]) == 2


def test_an_existing_set_keeps_its_octet():
    assert nodes.set_octet("three", [*plan("lab", 0), *plan("three", 3)]) == 3


def test_no_set_is_made_when_all_octets_are_taken():
    taken = [node for octet in range(1, 255) for node in plan(f"set-{octet}", octet, 1, 0)]
    with pytest.raises(LabError, match="All 254 ranges"):
        nodes.set_octet("new", taken)


@pytest.mark.parametrize("name", ["lab", "e2e", "a", "my-set-2", "a" * 20])
def test_names_that_fit_into_a_host_name_are_accepted(name):
    assert nodes.check_set_name(name) == name


@pytest.mark.parametrize("name", ["", "Lab", "2e2", "-x", "x-", "a" * 21, "a b", "../x", "a\n"])
def test_other_names_are_refused(name):
    with pytest.raises(LabError, match="is no name for a set"):
        nodes.check_set_name(name)


def test_a_node_is_read_back_from_its_labels():
    (node,) = plan("e2e", 3, 1, 0)
    container = {"Id": "abc", "Names": [node.container], "State": "exited", "Labels": node.labels()}
    assert nodes.found_node(container) == nodes.FoundNode(node, "abc", "exited")


def test_a_node_of_an_earlier_lab_can_still_be_read():
    (node,) = plan("e2e", 3, 1, 0)
    labels = {key: value for key, value in node.labels().items() if not key.endswith("source")}
    container = {"Id": "abc", "Names": [node.container], "State": "running", "Labels": labels}
    assert nodes.found_node(container).node == replace(node, source="unknown")


def test_mac_addresses_are_local_and_follow_the_address():
    (node,) = plan("e2e", 3, 1, 0)
    assert node.mac_address == "02:67:0a:4d:03:0b"


def test_a_set_is_of_one_kind():
    existing = plan("e2e", 1)
    nodes.check_same_kind(existing, existing)
    with pytest.raises(LabError, match=r"down --name e2e"):
        nodes.check_same_kind([replace(node, release="bookworm") for node in existing], existing)


def test_other_sets_may_be_of_another_kind():
    nodes.check_same_kind([replace(node, release="bookworm") for node in plan("new", 2)], plan("e2e", 1))


def test_nodes_are_found_by_name_in_the_order_asked_for():
    first, second, third = plan("lab", 0)
    assert nodes.find(["worker-2", "master-1"], [first, second, third]) == [third, first]


def test_an_unknown_node_is_named_together_with_those_that_exist():
    with pytest.raises(LabError, match=r"no node worker-9; existing nodes: master-1, worker-1"):
        nodes.find(["worker-9"], plan("lab", 0))


def test_the_address_belongs_to_the_network_of_the_lab():
    assert plan("lab", 0)[0].address == IPv4Address("10.77.0.11")
