# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pools and announcements can be used, and the objects that they become."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.filter.metallb_objects import FilterModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._metallb import (
    configuration_problems,
    networks_of,
    objects_of,
    parse_span,
)

POOL = {"name": "web", "addresses": ["192.0.2.200-192.0.2.220"]}
CLUSTER = {
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/12",
    "cluster_vip": "192.0.2.100",
    "cluster_endpoint_address": "",
    "cluster_node_ip": "192.0.2.11",
}
DUAL = {
    **CLUSTER,
    "cluster_pod_cidr": "10.244.0.0/16, fd00:10::/56",
    "cluster_service_cidr": "10.96.0.0/16, fd00:96::/108",
}
LAX = {"ipvs": {"strictARP": False}}
PEER = {"name": "router", "myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}


def pools(*addresses: str) -> dict[str, Any]:
    return {"metallb_address_pools": [{"name": "web", "addresses": list(addresses)}]}


def found(values: dict[str, Any], cluster: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    problems = configuration_problems({**(cluster or CLUSTER), **values})
    return [(problem.subject, problem.found) for problem in problems]


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("192.0.2.200-192.0.2.203", ["192.0.2.200/30"]),
        ("192.0.2.200 - 192.0.2.202", ["192.0.2.200/31", "192.0.2.202/32"]),
        ("192.0.2.240/28", ["192.0.2.240/28"]),
        ("2001:db8::10-2001:db8::11", ["2001:db8::10/127"]),
    ],
)
def test_addresses_as_networks(text: str, networks: list[str]) -> None:
    assert networks_of([text]) == networks


def test_entries_that_are_no_addresses_are_left_to_the_validation() -> None:
    assert networks_of(["lan", "192.0.2.1/32"]) == ["192.0.2.1/32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.200", "has no prefix length"),
        ("192.0.2.1/24", "has host bits set"),
        ("192.0.2.220-192.0.2.200", "ends before it begins"),
        ("192.0.2.1-2001:db8::1", "begins in one family and ends in the other"),
        ("192.0.2.1-lan", "does not appear to be"),
    ],
)
def test_addresses_that_metallb_would_not_take(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_span(text)


@pytest.mark.parametrize(
    ("values", "cluster"),
    [
        ({}, CLUSTER),
        (pools("192.0.2.200-192.0.2.220", "192.0.2.240/28"), CLUSTER),
        (pools("192.0.2.101-192.0.2.110"), CLUSTER),
        (pools("192.0.2.200/32", "2001:db8::/124", "2001:db8::200-2001:db8::21f"), DUAL),
        (pools("192.0.2.200/32"), {}),
        ({"cluster_proxy_mode": "ipvs"}, CLUSTER),
        ({"cluster_proxy_mode": "nftables", "control_plane_kube_proxy_configuration": LAX}, CLUSTER),
        (
            {"cluster_proxy_mode": "ipvs", "control_plane_kube_proxy_configuration": {"ipvs": {"strictARP": True}}},
            CLUSTER,
        ),
        (
            {
                "metallb_address_pools": [POOL],
                "metallb_l2_advertisements": [{"name": "all"}, {"name": "web", "ipAddressPools": ["web"]}],
                "metallb_bgp_peers": [{**PEER, "passwordSecret": {"name": "router"}}],
                "metallb_bgp_advertisements": [{"name": "web", "ipAddressPools": ["web"], "peers": ["router"]}],
            },
            CLUSTER,
        ),
    ],
)
def test_what_can_be_used(values: dict[str, Any], cluster: dict[str, Any]) -> None:
    assert found(values, cluster) == []


@pytest.mark.parametrize(
    ("addresses", "problem"),
    [
        ((), "no addresses in pool web"),
        (("192.0.2.5",), "'192.0.2.5' has no prefix length (pool web)"),
        (("10.244.3.0/28",), "10.244.3.0/28 of pool web, which overlaps cluster_pod_cidr 10.244.0.0/16"),
        (("10.0.0.0-10.255.0.1",), "10.0.0.0-10.255.0.1 of pool web, which overlaps cluster_pod_cidr 10.244.0.0/16"),
        (("10.100.0.1/32",), "10.100.0.1/32 of pool web, which overlaps cluster_service_cidr 10.96.0.0/12"),
        (("192.0.2.100-192.0.2.110",), "192.0.2.100-192.0.2.110 of pool web, which overlaps cluster_vip 192.0.2.100"),
        (("192.0.2.1-192.0.2.11",), "192.0.2.1-192.0.2.11 of pool web, which overlaps cluster_node_ip 192.0.2.11"),
        (("2001:db8::/124",), "2001:db8::/124 of pool web, which is IPv6"),
        (("224.0.0.0/28",), "224.0.0.0/28 of pool web"),
        (("127.0.0.5/32",), "127.0.0.5/32 of pool web"),
        (("169.254.1.0/30",), "169.254.1.0/30 of pool web"),
        (("0.0.0.0/32",), "0.0.0.0/32 of pool web"),
        (
            ("192.0.2.200/30", "192.0.2.203-192.0.2.205"),
            "192.0.2.200/30 of pool web, which overlaps 192.0.2.203-192.0.2.205 of pool web",
        ),
    ],
)
def test_addresses_that_cannot_be_given_away(addresses: tuple[str, ...], problem: str) -> None:
    assert ("metallb_address_pools", problem) in found(pools(*addresses))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("192.0.2.11/32", "192.0.2.11/32 of pool web, which overlaps cluster_node_ip 192.0.2.11"),
        ("2001:db8::11/128", "2001:db8::11/128 of pool web, which overlaps cluster_node_ip 2001:db8::11"),
        ("fd00:10::/64", "fd00:10::/64 of pool web, which overlaps cluster_pod_cidr fd00:10::/56"),
        ("fd00:96::10/124", "fd00:96::10/124 of pool web, which overlaps cluster_service_cidr fd00:96::/108"),
        ("fe80::10/124", "fe80::10/124 of pool web"),
    ],
)
def test_addresses_of_either_family_that_somebody_has(address: str, problem: str) -> None:
    cluster = {**DUAL, "cluster_node_ip": "192.0.2.11, 2001:db8::11"}
    assert found(pools(address), cluster) == [("metallb_address_pools", problem)]


def test_pools_have_addresses_of_their_own() -> None:
    other = {"name": "other", "addresses": ["192.0.2.220/32"]}
    (problem,) = found({"metallb_address_pools": [POOL, other]})
    assert "overlaps 192.0.2.220/32 of pool other" in problem[1]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"metallb_address_pools": [{**POOL, "name": "Web"}]}, ("metallb_address_pools", "the name 'Web'")),
        ({"metallb_bgp_peers": [{}]}, ("metallb_bgp_peers", "the name ''")),
        (
            {"metallb_bgp_peers": [PEER, PEER]},
            ("metallb_bgp_peers", "2 entries with the name 'router'"),
        ),
        (
            {"metallb_l2_advertisements": [{"name": "a", "ipAddressPools": ["wbe"]}]},
            ("metallb_l2_advertisements", "'wbe' in ipAddressPools of a"),
        ),
        (
            {"metallb_bgp_advertisements": [{"name": "a", "ipAddressPools": ["wbe"]}]},
            ("metallb_bgp_advertisements", "'wbe' in ipAddressPools of a"),
        ),
        (
            {"metallb_bgp_advertisements": [{"name": "a", "peers": ["router"]}]},
            ("metallb_bgp_advertisements", "'router' in peers of a"),
        ),
        (
            {"metallb_bgp_peers": [{**PEER, "password": "secret"}]},
            ("metallb_bgp_peers", "the password of router itself, which everybody would read"),
        ),
        (
            {"cluster_proxy_mode": "ipvs", "control_plane_kube_proxy_configuration": LAX},
            ("control_plane_kube_proxy_configuration", "ipvs.strictARP false"),
        ),
    ],
)
def test_what_cannot_be_used(values: dict[str, Any], problem: tuple[str, str]) -> None:
    assert found(values) == [problem]


def test_objects_carry_our_label_and_say_nothing_that_is_null() -> None:
    entry = {**POOL, "labels": {"tier": "edge"}, "autoAssign": False, "serviceAllocation": None}
    assert objects_of({"IPAddressPool": [entry], "BGPPeer": [PEER]}) == [
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {
                "name": "web",
                "namespace": "metallb-system",
                "labels": {"tier": "edge", "app.kubernetes.io/managed-by": "groundplane.kubeadm"},
            },
            "spec": {"addresses": ["192.0.2.200-192.0.2.220"], "autoAssign": False},
        },
        {
            "apiVersion": "metallb.io/v1beta2",
            "kind": "BGPPeer",
            "metadata": {
                "name": "router",
                "namespace": "metallb-system",
                "labels": {"app.kubernetes.io/managed-by": "groundplane.kubeadm"},
            },
            "spec": {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"},
        },
    ]


def test_the_filter() -> None:
    metallb_objects = FilterModule().filters()["metallb_objects"]
    assert metallb_objects({"IPAddressPool": []}) == []
    with pytest.raises(AnsibleFilterError, match="not MetalLB's: 'BFDProfile'"):
        metallb_objects({"BFDProfile": [{"name": "a"}]})
