# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address is the node's: every rule, on recorded answers of ip and on made-up hosts."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import (
    Address,
    Link,
    Neighbour,
    NodeAddress,
    NodeAddressError,
    Route,
    Source,
    decide_node_address,
    decide_node_addresses,
    parse_links,
    parse_neighbour,
    parse_route_source,
    parse_routes,
)

from tests.unit.preflight_samples import DEFAULT_ROUTE, DEFAULT_ROUTE_6, ETH0, ETH1, LO

NAT = Link("eth0", 1500, "02:00:00:00:00:01", True, (Address("10.0.2.15", 24, "global"),))
VIRTUAL = ETH0.addresses[0]._replace(address="192.0.2.100", prefix_length=32)
WITH_VIP = ETH0._replace(addresses=(VIRTUAL, *ETH0.addresses))
DUAL = ETH0._replace(
    addresses=(
        *ETH0.addresses,
        Address("2001:db8::dead", 64, "global", short_lived=True),
        Address("2001:db8::11", 64, "global"),
    )
)
VIP = "192.0.2.100"
# Here the virtual address has a whole network and stands first, as after the interface was configured anew.
VIP_FIRST = ETH0._replace(addresses=(VIRTUAL._replace(prefix_length=24), *ETH0.addresses))
BOTH_NETWORKS = ETH0._replace(addresses=(*ETH1.addresses, VIRTUAL, *ETH0.addresses))
ONLY_VIP = ETH0._replace(addresses=(VIRTUAL._replace(prefix_length=24),))
DUMMY_VIP = Link("dummy0", 1500, "", True, (VIRTUAL,))
CNI = Link("cni0", 1450, "02:00:00:00:00:02", True, (Address("10.244.0.1", 24, "global"),))
ON_ETH0 = NodeAddress("192.0.2.11", "eth0", 1500)
ON_ETH1 = NodeAddress("198.51.100.11", "eth1", 9000)


@pytest.mark.parametrize(
    ("links", "options", "expected"),
    [
        pytest.param([LO, ETH0, ETH1], {"node_ip": "198.51.100.11"}, ON_ETH1, id="the given address"),
        pytest.param(
            [LO, DUAL], {"node_ip": "2001:0db8::11"}, NodeAddress("2001:db8::11", "eth0", 1500), id="spelling"
        ),
        pytest.param(
            [LO, ETH0, ETH1],
            {"node_ip": "192.0.2.11", "node_cidr": "198.51.100.0/24"},
            ON_ETH0,
            id="the address wins over the network",
        ),
        pytest.param([LO, NAT, ETH1], {"node_cidr": "198.51.100.0/24"}, ON_ETH1, id="inside the network"),
        pytest.param([LO, WITH_VIP], {"node_cidr": "192.0.2.0/24"}, ON_ETH0, id="no virtual address"),
        pytest.param(
            [LO, NAT, ETH1],
            {"peer_source": Source("198.51.100.11", "eth1"), "routes": [DEFAULT_ROUTE]},
            ON_ETH1,
            id="facing the peer",
        ),
        pytest.param(
            [LO, ETH0], {"peer_source": Source("192.0.2.11", "lo")}, ON_ETH0, id="the peer is the host itself"
        ),
        pytest.param(
            [LO, ETH0],
            {"peer_source": Source("127.0.0.1", "lo"), "routes": [DEFAULT_ROUTE]},
            ON_ETH0,
            id="the peer is a forwarded port on localhost",
        ),
        pytest.param([LO, ETH1, ETH0], {"routes": [DEFAULT_ROUTE]}, ON_ETH0, id="by the default route's device"),
        pytest.param(
            [LO, WITH_VIP, ETH1],
            {"routes": [Route(None, ("eth1",), metric=100), Route(None, ("eth0",), "192.0.2.11", 50)]},
            ON_ETH0,
            id="by the source of the best default route",
        ),
        pytest.param(
            [LO, DUAL],
            {"routes": [DEFAULT_ROUTE], "ip_version": 6},
            NodeAddress("2001:db8::11", "eth0", 1500),
            id="IPv6 without privacy addresses",
        ),
    ],
)
def test_decides(links, options, expected):
    assert decide_node_address(links, **options) == expected


@pytest.mark.parametrize(
    ("links", "options", "expected"),
    [
        pytest.param([LO, VIP_FIRST], {"node_ip": "192.0.2.11"}, ON_ETH0, id="the given address"),
        pytest.param([LO, VIP_FIRST], {"node_cidr": "192.0.2.0/24"}, ON_ETH0, id="inside the network"),
        pytest.param(
            [LO, VIP_FIRST],
            {"peer_source": Source(VIP, "eth0"), "routes": [DEFAULT_ROUTE]},
            ON_ETH0,
            id="the peer would be spoken to from the virtual address",
        ),
        pytest.param(
            [LO, ETH1, VIP_FIRST],
            {"peer_source": Source(VIP, "lo"), "routes": [Route(None, ("eth1",))]},
            ON_ETH0,
            id="the peer is the virtual address, which is here",
        ),
        pytest.param(
            [LO, BOTH_NETWORKS], {"peer_source": Source(VIP, "eth0")}, ON_ETH0, id="beside it in the same network"
        ),
        pytest.param(
            [LO, DUMMY_VIP, ETH0],
            {"peer_source": Source(VIP, "lo"), "routes": [DEFAULT_ROUTE]},
            ON_ETH0,
            id="nothing beside it",
        ),
        pytest.param(
            [LO, VIP_FIRST], {"routes": [Route(None, ("eth0",), VIP)]}, ON_ETH0, id="by a default route with it"
        ),
        pytest.param([LO, VIP_FIRST], {"routes": [DEFAULT_ROUTE]}, ON_ETH0, id="by the default route's device"),
        pytest.param([LO, ETH0], {"routes": [DEFAULT_ROUTE]}, ON_ETH0, id="another host has it"),
    ],
)
def test_never_chooses_the_virtual_address(links, options, expected):
    assert decide_node_address(links, vip=VIP, **options) == expected


def test_knows_the_virtual_address_in_any_spelling():
    link = ETH0._replace(addresses=(Address("fd00:2::100", 64, "global"), Address("fd00:2::12", 64, "global")))
    node = decide_node_address([LO, link], node_cidr="fd00:2::/64", vip="FD00:2:0:0::0100")
    assert node == NodeAddress("fd00:2::12", "eth0", 1500)


@pytest.mark.parametrize(
    ("links", "options", "found"),
    [
        pytest.param([LO, ETH0], {"node_ip": VIP}, "192.0.2.100 is given both", id="given, not here"),
        pytest.param([LO, VIP_FIRST], {"node_ip": VIP}, "192.0.2.100 is given both", id="given, here"),
        pytest.param(
            [LO, ONLY_VIP, ETH1],
            {"node_cidr": "192.0.2.0/24"},
            "192.0.2.100 (eth0) is the only address",
            id="the only one inside the network",
        ),
        pytest.param(
            [LO, ONLY_VIP], {"routes": [DEFAULT_ROUTE]}, "192.0.2.100 (eth0) is the only address", id="the only one"
        ),
    ],
)
def test_says_that_the_virtual_address_is_the_hosts_own(links, options, found):
    with pytest.raises(NodeAddressError) as error:
        decide_node_address(links, vip=VIP, **options)
    assert error.value.check == "vip-is-node-address"
    assert found in error.value.found


@pytest.mark.parametrize(
    ("options", "check"),
    [({"node_cidr": "203.0.113.0/24"}, "node-address-missing"), ({"node_ip": "192.0.2.99"}, "node-address-absent")],
)
def test_does_not_blame_the_virtual_address_for_everything(options, check):
    with pytest.raises(NodeAddressError) as error:
        decide_node_address([LO, VIP_FIRST], vip=VIP, **options)
    assert error.value.check == check
    assert "192.0.2.100" not in error.value.found


@pytest.mark.parametrize(
    ("links", "options", "check", "found"),
    [
        pytest.param(
            [LO, ETH0],
            {"node_ip": "192.0.2.99"},
            "node-address-absent",
            "no interface has 192.0.2.99; the host has 192.0.2.11 (eth0)",
            id="an address that is not there",
        ),
        pytest.param(
            [LO],
            {"node_ip": "192.0.2.99"},
            "node-address-absent",
            "no interface has 192.0.2.99; the host has no usable address",
            id="nothing there",
        ),
        pytest.param(
            [LO, ETH0],
            {"node_ip": "127.0.0.1"},
            "node-address-unusable",
            "127.0.0.1 reaches",
            id="the loopback address",
        ),
        pytest.param(
            [LO, ETH0], {"node_ip": "169.254.1.1"}, "node-address-unusable", "169.254.1.1 reaches", id="link-local"
        ),
        pytest.param(
            [LO, NAT],
            {"node_cidr": "198.51.100.0/24"},
            "node-address-missing",
            "no address inside 198.51.100.0/24; the host has 10.0.2.15 (eth0)",
            id="outside the network",
        ),
        pytest.param(
            [LO, CNI, ETH0],
            {},
            "node-address-missing",
            "nor a default route; the host has 192.0.2.11 (eth0)",
            id="lost",
        ),
        pytest.param(
            [LO, ETH0],
            {"routes": [Route(None, ("ppp0",)), Route("10.0.0.0/8", ("eth0",))]},
            "node-address-missing",
            "nor a default route",
            id="a default route without address",
        ),
    ],
)
def test_says_why_there_is_none(links, options, check, found):
    with pytest.raises(NodeAddressError) as error:
        decide_node_address(links, **options)
    assert error.value.check == check
    assert found in error.value.found
    assert error.value.expected


BOTH = {"routes": [DEFAULT_ROUTE, DEFAULT_ROUTE_6], "ip_versions": (4, 6)}
SECOND = NodeAddress("192.0.2.11", "eth0", 1500, "2001:db8::11")
ULA = Address("fd00:3::11", 64, "global")
SEVERAL = DUAL._replace(addresses=(*DUAL.addresses, ULA))
ETH1_BOTH = ETH1._replace(addresses=(*ETH1.addresses, ULA))


@pytest.mark.parametrize(
    ("links", "options", "expected"),
    [
        pytest.param([LO, DUAL], {}, SECOND, id="on the same interface, and no privacy address"),
        pytest.param(
            [LO, DUAL],
            {"ip_versions": (6, 4)},
            NodeAddress("2001:db8::11", "eth0", 1500, "192.0.2.11"),
            id="the first range decides which is the first",
        ),
        pytest.param([LO, DUAL], {"ip_versions": (4,)}, ON_ETH0, id="one family has one address"),
        pytest.param(
            [LO, ETH0, SEVERAL],
            {"node_ip": "fd00:3::11, 192.0.2.11"},
            SECOND._replace(secondary="fd00:3::11"),
            id="both are given",
        ),
        pytest.param(
            [LO, SEVERAL],
            {"node_ip": "fd00:3::11"},
            SECOND._replace(secondary="fd00:3::11"),
            id="the second is given",
        ),
        pytest.param(
            [LO, SEVERAL],
            {"node_ip": "192.0.2.11", "node_cidr": "198.51.100.0/24,fd00:3::/64"},
            SECOND._replace(secondary="fd00:3::11"),
            id="each family has its own precedence",
        ),
        pytest.param(
            [LO, DUAL, ETH1_BOTH],
            {"node_cidr": "192.0.2.0/24,fd00:3::/64"},
            SECOND._replace(secondary="fd00:3::11"),
            id="inside two networks, on two interfaces",
        ),
        pytest.param(
            [LO, ETH1_BOTH, DUAL],
            {"node_cidr": "192.0.2.0/24"},
            SECOND,
            id="inside the first network, and beside it",
        ),
        pytest.param(
            [LO, DUAL._replace(addresses=(ETH0.addresses[0], ULA._replace(advertised=True), DUAL.addresses[-1]))],
            {},
            SECOND,
            id="set by hand before advertised",
        ),
        pytest.param(
            [LO, ETH0._replace(addresses=(*ETH0.addresses, ULA._replace(advertised=True)))],
            {},
            SECOND._replace(secondary="fd00:3::11"),
            id="advertised where nothing else is there",
        ),
        pytest.param(
            [LO, DUAL._replace(addresses=(*ETH0.addresses, ULA, DUAL.addresses[-1]))],
            {},
            SECOND,
            id="the lowest, in whatever order the kernel lists them",
        ),
        pytest.param(
            [LO, SEVERAL], {"vip": "2001:db8::11"}, SECOND._replace(secondary="fd00:3::11"), id="no virtual address"
        ),
        pytest.param([LO, DUAL], {"vip": VIP}, SECOND, id="the virtual address is of the first family"),
    ],
)
def test_decides_for_both_families(links, options, expected):
    assert decide_node_addresses(links, **{**BOTH, **options}) == expected


@pytest.mark.parametrize(
    ("links", "options", "check", "found"),
    [
        pytest.param(
            [LO, ETH0],
            {},
            "node-address-family",
            "no IPv6 address on eth0 beside 192.0.2.11; the host has no usable address",
            id="none at all",
        ),
        pytest.param(
            [LO, ETH0, ETH1_BOTH],
            {},
            "node-address-family",
            "no IPv6 address on eth0 beside 192.0.2.11; the host has fd00:3::11 (eth1)",
            id="on another interface",
        ),
        pytest.param(
            [LO, DUAL], {"vip": "2001:db8::11"}, "node-address-family", "no usable address", id="the virtual one alone"
        ),
        pytest.param([LO, DUAL], {"node_ip": "2001:db8::99"}, "node-address-absent", "2001:db8::99", id="absent"),
        pytest.param([LO, DUAL], {"node_ip": "fe80::1"}, "node-address-unusable", "fe80::1", id="link-local"),
        pytest.param([LO, DUAL], {"node_cidr": "fd00:9::/64"}, "node-address-missing", "fd00:9::/64", id="outside"),
        pytest.param(
            [LO, DUAL],
            {"node_ip": "2001:db8::11", "vip": "2001:db8::11"},
            "vip-is-node-address",
            "2001:db8::11 is given both",
            id="the virtual address",
        ),
        pytest.param([LO, ETH0], {"ip_versions": (6, 4)}, "node-address-missing", "default route", id="no first one"),
    ],
)
def test_says_why_there_is_no_second_one(links, options, check, found):
    with pytest.raises(NodeAddressError) as error:
        decide_node_addresses(links, **{**BOTH, **options})
    assert error.value.check == check
    assert found in error.value.found
    assert error.value.expected


def test_a_cluster_of_one_family_takes_the_address_of_that_family(fixture_text):
    links = parse_links(fixture_text("iproute2/bookworm-address.json"))
    both = "fd00::2,192.0.2.2"
    assert decide_node_addresses(links, node_ip=both).addresses == ("192.0.2.2",)
    assert decide_node_addresses(links, node_ip=both, ip_versions=(6,)).addresses == ("fd00::2",)
    assert decide_node_addresses(links, node_ip="fd00::2").addresses == ("fd00::2",)


def test_the_default_route_of_the_family_decides():
    links = [LO, DUAL, ETH1_BOTH]
    routes = [Route(None, ("eth0",)), Route(None, ("eth1",), metric=1024, ip_version=6)]
    assert decide_node_address(links, routes=routes, ip_version=6).address == "fd00:3::11"
    assert decide_node_address(links, routes=routes, ip_version=4).address == "192.0.2.11"


def test_knows_what_a_router_has_advertised(fixture_text):
    links = parse_links(fixture_text("iproute2/slaac-address.json"))
    advertised = {address.address for link in links for address in link.addresses if address.advertised}
    assert advertised == {"2001:db8:5:0:3058:d7ff:fee1:192e"}
    routes = parse_routes(fixture_text("iproute2/slaac-route-6.json"), 6)
    assert [route.protocol for route in routes if route.destination is None] == ["ra"]
    assert {route.ip_version for route in routes} == {6}
    node = decide_node_addresses(links, node_cidr="192.0.2.0/24", routes=routes, ip_versions=(4, 6))
    assert node.addresses == ("192.0.2.11", "fd00:1::11")


def test_takes_no_address_that_another_machine_has(fixture_text):
    links = parse_links(fixture_text("iproute2/dadfailed-address.json"))
    beside = {"node_cidr": "192.0.2.0/24", "ip_versions": (4, 6)}
    assert decide_node_addresses(links, **beside).addresses == ("192.0.2.11", "fd00:1::11")
    with pytest.raises(NodeAddressError) as error:
        decide_node_addresses(links, node_ip="2001:db8::11", **beside)
    assert error.value.check == "node-address-unusable"
    assert error.value.found == "2001:db8::11 on eth0 is another machine's as well (dadfailed)"


def test_reads_the_interfaces_of_debian_13(fixture_text):
    links = parse_links(fixture_text("iproute2/trixie-address.json"))
    assert [(link.name, link.mtu, link.mac, link.up) for link in links] == [
        ("lo", 65536, "", True),
        ("eth0", 1500, "02:67:0a:4d:07:15", True),
    ]
    assert links[1].addresses[0] == Address("10.77.7.21", 16, "global")


def test_decides_on_debian_13_by_the_route_to_the_master(fixture_text):
    links = parse_links(fixture_text("iproute2/trixie-address.json"))
    source = parse_route_source(fixture_text("iproute2/trixie-route-get.json"))
    assert decide_node_address(links, peer_source=source) == NodeAddress("10.77.7.21", "eth0", 1500)


def test_decides_on_debian_12_by_the_default_route(fixture_text):
    links = parse_links(fixture_text("iproute2/bookworm-address.json"))
    routes = parse_routes(fixture_text("iproute2/bookworm-route-4.json"))
    assert decide_node_address(links, routes=routes) == NodeAddress("192.0.2.2", "eth0", 1400)
    routes += parse_routes(fixture_text("iproute2/bookworm-route-6.json"))
    assert decide_node_address(links, routes=routes, ip_version=6) == NodeAddress("fd00::2", "eth0", 1400)


def test_decides_on_the_first_master_by_the_route_to_itself(fixture_text):
    links = parse_links(fixture_text("iproute2/bookworm-address.json"))
    source = parse_route_source(fixture_text("iproute2/bookworm-route-get-own.json"))
    assert source == Source("192.0.2.2", "lo")
    assert decide_node_address(links, peer_source=source) == NodeAddress("192.0.2.2", "eth0", 1400)


def test_decides_on_a_holder_whose_kernel_prefers_the_virtual_address(fixture_text):
    links = parse_links(fixture_text("iproute2/vip-first-address.json"))
    source = parse_route_source(fixture_text("iproute2/vip-first-route-get.json"))
    assert source == Source("192.0.2.100", "pfv1")
    assert decide_node_address(links, peer_source=source, vip=VIP) == NodeAddress("192.0.2.12", "pfv1", 1500)


def test_decides_on_a_holder_whose_peer_is_the_virtual_address(fixture_text):
    links = parse_links(fixture_text("iproute2/vip-address.json"))
    source = parse_route_source(fixture_text("iproute2/vip-route-get-own.json"))
    assert source == Source("192.0.2.100", "lo")
    assert decide_node_address(links, peer_source=source, vip=VIP) == NodeAddress("192.0.2.12", "pfv1", 1500)


@pytest.mark.parametrize("family", ["4", "6"])
def test_reads_a_neighbour(fixture_text, family):
    assert parse_neighbour(fixture_text(f"iproute2/neigh-{family}.json")) == Neighbour("d6:a9:bc:2b:08:5a", True)


def test_prefers_the_neighbour_that_has_answered():
    row = '{"dst":"192.0.2.100","dev":"%s","lladdr":"02:00:00:00:00:0%d","state":["%s"]}'
    rows = [row % ("eth0", 1, "STALE"), row % ("eth1", 2, "REACHABLE"), row % ("eth2", 3, "DELAY")]
    assert parse_neighbour(f"[{','.join(rows)}]") == Neighbour("02:00:00:00:00:02", True)
    assert parse_neighbour(f"[{rows[0]}]") == Neighbour("02:00:00:00:00:01", False)


def test_nobody_answers(fixture_text):
    assert parse_neighbour(fixture_text("iproute2/neigh-nobody.json")) is None


@pytest.mark.parametrize("text", ["", "[]", "[{}]", "[ ]\n"])
def test_accepts_that_there_is_nothing(text):
    assert parse_links(text) == ()
    assert parse_routes(text) == ()
    assert parse_route_source(text) is None
    assert parse_neighbour(text) is None


def test_reads_a_route_over_several_hops():
    text = '[{"dst":"10.9.0.0/16","flags":[],"nexthops":[{"gateway":"192.0.2.1","dev":"eth0"},{"dev":"eth1"}]}]'
    assert parse_routes(text) == (Route("10.9.0.0/16", ("eth0", "eth1")),)


def test_ignores_an_unreachable_destination():
    assert parse_route_source('[{"type":"unreachable","dst":"10.9.0.1","dev":"lo"}]') is None
