# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches what on a node: packets are led through the chains as the kernel leads them, first match first."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_policy import (
    API_CLIENTS,
    CONTROL_PLANE,
    EVERY_HOST,
    FEATURES,
    INPUT_CHAIN,
    LOAD_BALANCERS,
    NODE_PORT_CLIENTS,
    NODES,
    NODES_CHAIN,
    PODS,
    SERVICES,
    Choices,
    ClusterNode,
    Host,
    Ports,
    View,
    chains_for,
    choices_of,
    parse_cluster_port,
    peers_of,
    rule_problem,
    sources_of,
    view_of,
)

from tests.unit.conftest import FIXTURES

MASTER, OTHER_MASTER, WORKER = "192.0.2.11", "192.0.2.12", "192.0.2.21"
MASTER_6, OTHER_MASTER_6, WORKER_6 = "2001:db8::11", "2001:db8::12", "2001:db8::21"
POD_OF_A_NODE = "10.244.0.7"
POD, POD_6 = "10.244.3.7", "fd00:10:244::7"
ADMIN, LOAD_BALANCER, CLIENT = "198.51.100.5", "198.51.100.80", "198.51.100.200"
STRANGER, STRANGER_6 = "203.0.113.66", "2001:db8:bad::66"
LINK_LOCAL = "fe80::1"
SESSION = f"{ADMIN} 50022 {MASTER} 22"

#: A cluster of both families with everything that can be chosen without contradiction.
CHOICES = Choices(
    control_plane=True,
    features=("stacked-etcd", "keepalived", "flannel-vxlan"),
    node_sources=(MASTER, OTHER_MASTER, WORKER, MASTER_6, OTHER_MASTER_6, WORKER_6),
    control_plane_sources=(MASTER, OTHER_MASTER, MASTER_6, OTHER_MASTER_6),
    pod_ranges=("10.244.0.0/16", "fd00:10:244::/56"),
    service_ranges=("10.96.0.0/12", "fd00:10:96::/112"),
    api_sources=(ADMIN,),
    load_balancer_sources=(LOAD_BALANCER,),
    node_port_sources=(CLIENT,),
    ssh_connection=SESSION,
    own_addresses=(MASTER, MASTER_6),
)
WORKER_CHOICES = CHOICES._replace(control_plane=False)


class Packet(NamedTuple):
    source: str
    protocol: str
    port: int = 0
    destination: str = MASTER
    interface: str = "eth0"
    state: str = "NEW"
    icmp_type: str = ""

    @property
    def family(self) -> str:
        return "ipv6" if ":" in self.source else "ipv4"


def inside(address: str, networks: list[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks)


def has_port(port: int, ports: list[str]) -> bool:
    ranges = [(int(text.split(":")[0]), int(text.split(":")[-1])) for text in ports]
    return any(first <= port <= last for first, last in ranges)


def matches(rule: dict[str, Any], packet: Packet) -> bool:
    """What the module's documentation promises of a rule."""
    addresses = rule.get("sources", []) + rule.get("destinations", [])
    versions = {"ipv6" if ":" in address else "ipv4" for address in addresses}
    protocols = {"icmpv6": "ipv6"}.get(rule.get("protocol", ""), "")
    return all(
        (
            rule.get("family", "") in ("", packet.family),
            protocols in ("", packet.family),
            not versions or packet.family in versions,
            rule.get("protocol", packet.protocol) == packet.protocol,
            "ports" not in rule or has_port(packet.port, rule["ports"]),
            "sources" not in rule or inside(packet.source, rule["sources"]),
            "destinations" not in rule or inside(packet.destination, rule["destinations"]),
            rule.get("interface", packet.interface) == packet.interface,
            "states" not in rule or packet.state in rule["states"],
            "icmp_types" not in rule or packet.icmp_type in rule["icmp_types"],
        )
    )


def walk(chains: dict[str, list[dict[str, Any]]], name: str, packet: Packet) -> str:
    for rule in chains[name]:
        if not matches(rule, packet):
            continue
        if rule["target"] == "return":
            return ""
        verdict = walk(chains, rule["target"], packet) if rule["target"] in chains else rule["target"]
        if verdict:
            return verdict
    return ""


def verdict(choices: Choices, packet: Packet) -> str:
    """What becomes of a packet; nothing where it is left to the host's own rules in INPUT."""
    chains = {chain["name"]: chain["rules"] for chain in chains_for(choices)}
    return walk(chains, INPUT_CHAIN, packet) or "left to the host"


#: Sources of each kind, and packets that come from nobody known.
PEOPLE = {
    CONTROL_PLANE: (OTHER_MASTER, OTHER_MASTER_6),
    NODES: (WORKER, WORKER_6),
    PODS: (POD, POD_6),
    API_CLIENTS: (ADMIN,),
    LOAD_BALANCERS: (LOAD_BALANCER,),
    NODE_PORT_CLIENTS: (CLIENT,),
    "strangers": (STRANGER, STRANGER_6, LINK_LOCAL),
}
EVERYBODY = set(PEOPLE)
#: Control plane nodes are nodes, too.
ALL_NODES = {CONTROL_PLANE, NODES}

API = {*ALL_NODES, PODS, API_CLIENTS}
#: Who reaches a port on a control plane node and on a worker: the expectation in other words than those of the table.
REACHED = [
    ("stacked-etcd", "tcp", 22, EVERYBODY, EVERYBODY),
    ("stacked-etcd", "udp", 22, set(), set()),
    ("stacked-etcd", "tcp", 6443, API, set()),
    ("stacked-etcd", "tcp", 2379, {CONTROL_PLANE}, set()),
    ("stacked-etcd", "tcp", 2380, {CONTROL_PLANE}, set()),
    ("flannel-vxlan", "tcp", 2379, set(), set()),
    ("flannel-vxlan", "tcp", 2380, set(), set()),
    ("stacked-etcd", "tcp", 2381, set(), set()),
    ("stacked-etcd", "tcp", 10250, {*ALL_NODES, PODS}, {*ALL_NODES, PODS}),
    ("stacked-etcd", "tcp", 10248, set(), set()),
    ("stacked-etcd", "tcp", 10249, set(), set()),
    ("stacked-etcd", "tcp", 10256, {LOAD_BALANCERS}, {LOAD_BALANCERS}),
    ("stacked-etcd", "tcp", 10257, set(), set()),
    ("stacked-etcd", "tcp", 10259, set(), set()),
    ("keepalived", "112", 0, {CONTROL_PLANE}, set()),
    ("stacked-etcd", "112", 0, set(), set()),
    ("flannel-vxlan", "udp", 8472, ALL_NODES, ALL_NODES),
    ("canal", "udp", 8472, ALL_NODES, ALL_NODES),
    ("flannel-host-gw", "udp", 8472, set(), set()),
    ("flannel-wireguard", "udp", 8472, set(), set()),
    ("flannel-wireguard", "udp", 51820, ALL_NODES, ALL_NODES),
    ("flannel-wireguard", "udp", 51821, ALL_NODES, ALL_NODES),
    ("flannel-vxlan", "udp", 51820, set(), set()),
    ("calico-vxlan", "udp", 4789, ALL_NODES, ALL_NODES),
    ("flannel-vxlan", "udp", 4789, set(), set()),
    ("calico-ipip", "4", 0, ALL_NODES, ALL_NODES),
    ("flannel-vxlan", "4", 0, set(), set()),
    ("calico-bgp", "tcp", 179, ALL_NODES, ALL_NODES),
    ("calico-wireguard", "udp", 51821, ALL_NODES, ALL_NODES),
    ("calico-typha", "tcp", 5473, ALL_NODES, ALL_NODES),
    ("metallb", "tcp", 7946, ALL_NODES, ALL_NODES),
    ("metallb", "udp", 7946, ALL_NODES, ALL_NODES),
    ("flannel-vxlan", "tcp", 7946, set(), set()),
    ("metallb", "tcp", 7472, set(), set()),
    ("metallb-metrics", "tcp", 7472, {*ALL_NODES, PODS}, {*ALL_NODES, PODS}),
    ("metallb-metrics", "tcp", 7473, {*ALL_NODES, PODS}, {*ALL_NODES, PODS}),
    ("metallb-metrics", "tcp", 9120, {*ALL_NODES, PODS}, {*ALL_NODES, PODS}),
    ("node-local-dns", "udp", 53, {PODS}, {PODS}),
    ("node-local-dns", "tcp", 53, {PODS}, {PODS}),
    ("flannel-vxlan", "udp", 53, set(), set()),
    ("flannel-vxlan", "tcp", 30000, {LOAD_BALANCERS, NODE_PORT_CLIENTS}, {LOAD_BALANCERS, NODE_PORT_CLIENTS}),
    ("flannel-vxlan", "tcp", 32767, {LOAD_BALANCERS, NODE_PORT_CLIENTS}, {LOAD_BALANCERS, NODE_PORT_CLIENTS}),
    ("flannel-vxlan", "udp", 31000, {NODE_PORT_CLIENTS}, {NODE_PORT_CLIENTS}),
    ("flannel-vxlan", "tcp", 32768, set(), set()),
    ("ipvs", "tcp", 31000, EVERYBODY - {API_CLIENTS, "strangers"}, EVERYBODY - {API_CLIENTS, "strangers"}),
    ("ipvs", "udp", 31000, {*ALL_NODES, PODS, NODE_PORT_CLIENTS}, {*ALL_NODES, PODS, NODE_PORT_CLIENTS}),
    ("flannel-vxlan", "tcp", 80, set(), set()),
    ("flannel-vxlan", "2", 0, set(), set()),
]


@pytest.mark.parametrize(
    ("feature", "protocol", "port", "on_master", "on_worker"), REACHED, ids=lambda value: str(value)[:20]
)
def test_who_reaches_what(feature, protocol, port, on_master, on_worker):
    for choices, expected in ((CHOICES, on_master), (WORKER_CHOICES, on_worker)):
        for person, addresses in PEOPLE.items():
            for address in addresses:
                found = verdict(choices._replace(features=(feature,)), Packet(address, protocol, port))
                opened = "left to the host" if (protocol, port) == ("tcp", 22) else "accept"
                assert found == (opened if person in expected else "drop"), (choices.control_plane, person, address)


def test_every_choice_is_tried_above():
    assert {row[0] for row in REACHED} | {"multicast-vrrp"} == FEATURES


def test_every_port_of_the_table_is_tried_above():
    ports = Ports()._asdict()
    listed = {(service.protocol, text.format(**ports)) for service in SERVICES for text in service.ports or ("0",)}
    tried = {(row[1], row[2]) for row in REACHED}
    untried = [
        item for item in listed if not any(proto == item[0] and has_port(port, [item[1]]) for proto, port in tried)
    ]
    assert untried == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_table_names_only_what_is_known(service):
    assert service.host in (CONTROL_PLANE, EVERY_HOST)
    assert set(service.sources) <= EVERYBODY - {"strangers"}
    # A service of the nodes' chain has either a source of its own or none.
    assert not {CONTROL_PLANE, NODES} <= set(service.sources)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (Packet(STRANGER, "tcp", 9, state="ESTABLISHED"), "accept"),
        (Packet(STRANGER, "udp", 9, state="RELATED"), "accept"),
        # A ban of the host ends a session that has begun, too.
        (Packet(STRANGER, "tcp", 22, state="ESTABLISHED"), "left to the host"),
        (Packet("127.0.0.1", "tcp", 22, interface="lo"), "left to the host"),
        (Packet(STRANGER, "tcp", 9, state="INVALID"), "drop"),
        # What comes after the virtual address has moved here may look like this; a reset helps its client.
        (Packet(ADMIN, "tcp", 6443, state="INVALID"), "accept"),
        (Packet("127.0.0.1", "tcp", 2381, interface="lo"), "accept"),
        (Packet("::1", "tcp", 2381, interface="lo"), "accept"),
        (Packet("127.0.0.1", "tcp", 2381), "drop"),
        (Packet(STRANGER, "icmp", icmp_type="3"), "left to the host"),
        (Packet(STRANGER, "icmp", icmp_type="8"), "left to the host"),
        (Packet(STRANGER, "icmp", icmp_type="5"), "drop"),
        (Packet(STRANGER, "icmp", icmp_type="13"), "drop"),
        *((Packet(LINK_LOCAL, "icmpv6", icmp_type=str(number)), "left to the host") for number in (130, 131, 132, 143)),
        *((Packet("::", "icmpv6", icmp_type=str(number)), "left to the host") for number in range(133, 137)),
        *((Packet(STRANGER_6, "icmpv6", icmp_type=str(number)), "left to the host") for number in (1, 2, 3, 4, 128)),
        (Packet(STRANGER_6, "icmpv6", icmp_type="139"), "drop"),
        (Packet(STRANGER_6, "icmp", icmp_type="3"), "drop"),
        (Packet("192.0.2.1", "udp", 68, destination="255.255.255.255"), "left to the host"),
        (Packet(LINK_LOCAL, "udp", 546), "left to the host"),
        (Packet(STRANGER_6, "udp", 546), "drop"),
        (Packet(STRANGER_6, "udp", 68), "drop"),
        (Packet(STRANGER, "udp", 546), "drop"),
        (Packet(STRANGER, "2", destination="224.0.0.1"), "drop"),
        (Packet(STRANGER, "47"), "drop"),
    ],
    ids=str,
)
def test_what_every_host_needs(packet, expected):
    assert verdict(CHOICES, packet) == expected
    if packet.port != 6443:
        assert verdict(WORKER_CHOICES, packet) == expected


def test_multicast_vrrp_is_heard_of_the_group():
    choices = CHOICES._replace(features=("keepalived", "multicast-vrrp"))
    assert verdict(choices, Packet(STRANGER, "2", destination="224.0.0.1")) == "accept"
    assert verdict(choices, Packet(STRANGER, "2")) == "drop"
    assert verdict(choices, Packet(LINK_LOCAL, "112", destination="ff02::12")) == "accept"
    assert verdict(choices, Packet(OTHER_MASTER, "112", destination="224.0.0.18")) == "accept"
    assert verdict(choices, Packet(STRANGER, "112", destination="224.0.0.18")) == "drop"
    worker = choices._replace(control_plane=False)
    assert verdict(worker, Packet(STRANGER, "2", destination="224.0.0.1")) == "drop"
    assert verdict(worker, Packet(LINK_LOCAL, "112", destination="ff02::12")) == "drop"


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (WORKER, "10.96.0.1", "accept"),
        (POD, "10.96.0.1", "accept"),
        (POD_6, "fd00:10:96::1", "accept"),
        (WORKER_6, "fd00:10:96::1", "accept"),
        (STRANGER, "10.96.0.1", "drop"),
        (STRANGER_6, "fd00:10:96::1", "drop"),
        (POD, MASTER, "drop"),
    ],
)
def test_services_in_ipvs_are_addresses_of_the_host(source, destination, expected):
    packet = Packet(source, "tcp", 443, destination=destination)
    assert verdict(CHOICES._replace(features=("ipvs",)), packet) == expected
    assert verdict(CHOICES, packet) == "drop"


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (STRANGER, "192.0.2.200", "accept"),
        (STRANGER, "192.0.2.202", "accept"),
        (STRANGER_6, "2001:db8::ff01", "accept"),
        (STRANGER, "192.0.2.203", "drop"),
        (STRANGER_6, "2001:db8::fe00", "drop"),
    ],
)
def test_addresses_of_load_balancers_in_ipvs_are_for_everybody(source, destination, expected):
    ranges = ("192.0.2.200-192.0.2.202", "2001:db8::ff00/120")
    packet = Packet(source, "tcp", 80, destination=destination)
    assert verdict(CHOICES._replace(features=("ipvs",), pool_ranges=ranges), packet) == expected
    assert verdict(CHOICES._replace(pool_ranges=ranges), packet) == "drop"


@pytest.mark.parametrize(
    ("ports", "port", "expected"),
    [
        (Ports(api="16443", endpoint="16443"), 16443, API),
        (Ports(api="16443", endpoint="16443"), 6443, set()),
        (Ports(api="16443", endpoint="443"), 443, API),
        (Ports(api="16443", endpoint="443"), 16443, API),
    ],
)
def test_chosen_ports_of_the_api(ports, port, expected):
    for person, addresses in PEOPLE.items():
        found = verdict(CHOICES._replace(ports=ports), Packet(addresses[0], "tcp", port))
        assert found == ("accept" if person in expected else "drop"), person


def test_the_port_of_an_external_load_balancer_is_not_opened():
    choices = CHOICES._replace(features=("stacked-etcd",), ports=Ports(endpoint="443"))
    assert verdict(choices, Packet(WORKER, "tcp", 443)) == "drop"


def test_one_port_for_both_is_opened_once():
    rules = [rule for chain in chains_for(CHOICES) for rule in chain["rules"] if rule.get("ports") == ["6443"]]
    # Nodes, pods of each family in one rule, clients.
    assert len(rules) == 3


@pytest.mark.parametrize(
    ("ports", "features", "port"),
    [
        (Ports(vxlan="4789"), ("flannel-vxlan",), 4789),
        (Ports(wireguard="1024"), ("flannel-wireguard",), 1024),
        (Ports(wireguard_ipv6="1025"), ("flannel-wireguard",), 1025),
    ],
)
def test_chosen_ports_of_the_pod_network(ports, features, port):
    choices = CHOICES._replace(ports=ports, features=features)
    assert verdict(choices, Packet(WORKER, "udp", port)) == "accept"
    assert verdict(choices, Packet(STRANGER, "udp", port)) == "drop"


def test_a_cluster_of_one_family_opens_nothing_else_to_the_other():
    choices = CHOICES._replace(
        node_sources=(MASTER, WORKER), control_plane_sources=(MASTER,), pod_ranges=("10.244.0.0/16",)
    )
    reached = [
        port
        for port in (2379, 2380, 6443, 10250, 10256, 31000)
        for source in (WORKER_6, MASTER_6, POD_6, STRANGER_6)
        if verdict(choices, Packet(source, "tcp", port)) == "accept"
    ]
    assert reached == []
    assert verdict(choices, Packet(STRANGER_6, "tcp", 22)) == "left to the host"


def test_a_cluster_of_ipv6_alone():
    choices = CHOICES._replace(
        node_sources=(MASTER_6, WORKER_6), control_plane_sources=(MASTER_6,), pod_ranges=("fd00:10:244::/56",)
    )
    assert verdict(choices, Packet(WORKER_6, "tcp", 6443)) == "accept"
    assert verdict(choices, Packet(MASTER_6, "tcp", 2380)) == "accept"
    assert verdict(choices, Packet(WORKER, "tcp", 6443)) == "drop"


def test_a_control_plane_node_is_a_node_though_nobody_lists_it_as_one():
    choices = CHOICES._replace(node_sources=(WORKER,))
    assert verdict(choices, Packet(OTHER_MASTER, "tcp", 2380)) == "accept"


def test_cluster_ports_are_for_nodes_and_pods():
    choices = WORKER_CHOICES._replace(cluster_ports=("9100/tcp", "9000:9010/udp"))
    for source, expected in ((WORKER, "accept"), (POD, "accept"), (POD_6, "accept"), (STRANGER, "drop")):
        assert verdict(choices, Packet(source, "tcp", 9100)) == expected
        assert verdict(choices, Packet(source, "udp", 9005)) == expected
        assert verdict(choices, Packet(source, "udp", 9100)) == "drop"


@pytest.mark.parametrize("text", ["9100", "9100/icmp", "0/tcp", "70000/tcp", "20:10/udp", "http/tcp", ""])
def test_cluster_ports_that_are_none(text):
    with pytest.raises(GroundplaneError, match="firewall_cluster_ports"):
        parse_cluster_port(text)


# SSH


def position(rules, comment):
    return next(number for number, rule in enumerate(rules) if rule["comment"] == comment)


def test_the_order_of_the_rules():
    choices = CHOICES._replace(
        rules_before=[{"target": "drop", "comment": "mine, early"}],
        rules_after=[{"target": "accept", "comment": "mine, late"}],
    )
    (first, second) = chains_for(choices)
    assert [chain["name"] for chain in (first, second)] == [INPUT_CHAIN, NODES_CHAIN]
    assert [chain["hook"] for chain in (first, second)] == [True, False]
    order = [
        "SSH",
        "replies to what was allowed or asked for",
        "the host itself",
        "errors, path MTU, ping",
        "errors, path MTU, ping, neighbours, routers, multicast listeners",
        "mine, early",
        "nodes of the cluster",
        "kubelet",
        "answers to the DHCP client",
        "answers to the DHCPv6 client",
        "mine, late",
        "everything else",
    ]
    positions = [position(first["rules"], comment) for comment in order]
    assert positions == sorted(positions)
    assert positions[:7] == list(range(7))
    assert positions[-1] == len(first["rules"]) - 1


def test_no_rule_of_the_operators_can_end_ssh():
    choices = CHOICES._replace(rules_before=[{"target": "drop"}])
    assert verdict(choices, Packet(STRANGER, "tcp", 22)) == "left to the host"
    assert verdict(choices, Packet(WORKER, "tcp", 6443)) == "drop"


def test_only_what_the_cluster_needs_is_kept_from_the_hosts_own_rules():
    """An accepted packet is seen by no ban and by no restriction that stands behind our chains."""
    rules = [rule for chain in chains_for(CHOICES) for rule in chain["rules"]]
    returned = {rule["comment"] for rule in rules if rule["target"] == "return"}
    assert returned == {
        "SSH",
        "errors, path MTU, ping",
        "errors, path MTU, ping, neighbours, routers, multicast listeners",
        "answers to the DHCP client",
        "answers to the DHCPv6 client",
    }
    accepted = {rule["comment"] for rule in rules if rule["target"] == "accept"}
    assert accepted - {service.name for service in SERVICES} == {
        "replies to what was allowed or asked for",
        "the host itself",
    }


@pytest.mark.parametrize(
    ("changes", "open_ports"),
    [
        ({}, {22}),
        ({"ssh_connection": f"{ADMIN} 50022 {MASTER} 2022"}, {2022}),
        ({"ssh_connection": f"{ADMIN} 50022 {MASTER} 2022", "ssh_ports": [22, 2022]}, {22, 2022}),
        ({"ssh_connection": f"{MASTER} 50022 {MASTER} 2022"}, {2022}),
        ({"ssh_connection": "", "ssh_ports": ["2222"]}, {2222}),
        ({"ssh_connection": "nonsense", "ssh_ports": [2022]}, {2022}),
        ({"ssh_connection": "a b c d", "ssh_ports": [2022]}, {2022}),
        ({"ssh_connection": "UNKNOWN 0 UNKNOWN 65535", "ssh_ports": [2022]}, {2022}),
    ],
)
def test_the_port_of_ssh_is_the_one_on_the_node(changes, open_ports):
    choices = CHOICES._replace(**changes)
    found = {port for port in (22, 2022, 2222) if verdict(choices, Packet(STRANGER, "tcp", port)) != "drop"}
    assert found == open_ports


@pytest.mark.parametrize(
    ("sources", "reached", "refused"),
    [
        (("0.0.0.0/0", "::/0"), (STRANGER, STRANGER_6), ()),
        (("0.0.0.0/0",), (STRANGER,), (STRANGER_6,)),
        (("0.0.0.0/0", "2001:db8:bad::/48"), (STRANGER, STRANGER_6), (LINK_LOCAL,)),
        (("198.51.100.0/24",), (ADMIN,), (STRANGER, STRANGER_6, WORKER)),
        (("198.51.100.5", "2001:db8:bad::66"), (ADMIN, STRANGER_6), (STRANGER, LINK_LOCAL)),
    ],
)
def test_sources_of_ssh(sources, reached, refused):
    choices = CHOICES._replace(ssh_sources=sources)
    assert {verdict(choices, Packet(source, "tcp", 22)) for source in reached} == {"left to the host"}
    assert {verdict(choices, Packet(source, "tcp", 22)) for source in refused} <= {"drop"}


@pytest.mark.parametrize("sources", [("192.0.2.0/24",), ("::/0",), ()])
def test_sources_without_the_controller_are_refused(sources):
    with pytest.raises(GroundplaneError, match="firewall_ssh_sources.*The rules were not changed"):
        chains_for(CHOICES._replace(ssh_sources=sources))


def test_without_a_session_the_port_of_sshd_has_to_be_given():
    with pytest.raises(GroundplaneError, match="firewall_ssh_ports.*The rules were not changed"):
        chains_for(CHOICES._replace(ssh_connection=""))


@pytest.mark.parametrize("client", ["", MASTER, MASTER_6, "127.0.0.1", "::1", f"::ffff:{MASTER}"])
@pytest.mark.parametrize("sources", [("192.0.2.0/24", "2001:db8::/64", "127.0.0.0/8", "::1"), ("0.0.0.0/0",)])
def test_a_login_from_the_host_itself_proves_nothing_about_sources(client, sources):
    connection = f"{client} 50022 {client} 22" if client else ""
    choices = CHOICES._replace(ssh_connection=connection, ssh_ports=[22])
    with pytest.raises(GroundplaneError, match="another machine.*The rules were not changed"):
        chains_for(choices._replace(ssh_sources=sources))
    assert verdict(choices, Packet(STRANGER, "tcp", 22)) == "left to the host"


def test_a_login_from_another_host_proves_its_source():
    choices = CHOICES._replace(ssh_connection=f"{WORKER} 50022 {MASTER} 22", ssh_sources=("192.0.2.0/24",))
    assert verdict(choices, Packet(WORKER, "tcp", 22)) == "left to the host"
    assert verdict(choices, Packet(STRANGER, "tcp", 22)) == "drop"


# Who uses the API

#: ss -Htn state established state time-wait sport = :6443, by a socket of both families and by one of IPv4.
CONNECTIONS = (FIXTURES / "ss" / "api-connections").read_text(encoding="utf-8")
CONNECTIONS_IPV4 = (FIXTURES / "ss" / "api-connections-ipv4").read_text(encoding="utf-8")
CHECKER = "198.51.100.81"


def test_peers_of_connections():
    assert peers_of(CONNECTIONS) == sorted(
        ["127.0.0.1", POD_OF_A_NODE, MASTER, OTHER_MASTER, LOAD_BALANCER, CHECKER, WORKER_6]
    )
    assert peers_of(CONNECTIONS_IPV4) == [LOAD_BALANCER]
    assert peers_of("\n0 0 [fe80::1]%eth0:6443 [fe80::2%eth0]:50022\nnonsense\n") == ["fe80::2"]


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"api_sources": ()}, f"{LOAD_BALANCER}, {CHECKER}"),
        ({"api_sources": (LOAD_BALANCER,)}, CHECKER),
        # What a load balancer may ask of kube-proxy is not what it asks of the API server.
        ({"api_sources": (LOAD_BALANCER,), "load_balancer_sources": (CHECKER,)}, CHECKER),
        (
            {"api_sources": (LOAD_BALANCER, CHECKER), "node_sources": (), "pod_ranges": ()},
            f"{POD_OF_A_NODE}, {WORKER_6}",
        ),
        ({"api_sources": (LOAD_BALANCER,), "rules_before": [{"target": "reject", "sources": [CHECKER]}]}, CHECKER),
        (
            {
                "api_sources": (LOAD_BALANCER,),
                "rules_before": [{"target": "accept", "protocol": "tcp", "ports": ["6000:6400"]}],
            },
            CHECKER,
        ),
    ],
)
def test_clients_of_the_api_are_not_shut_out_unawares(changes, lost):
    with pytest.raises(GroundplaneError) as error:
        chains_for(CHOICES._replace(**changes, api_connections=CONNECTIONS))
    assert f"from {lost}, which" in str(error.value)
    assert "The rules were not changed" in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"api_sources": (LOAD_BALANCER, CHECKER)},
        {"api_sources": ("198.51.100.0/24",)},
        {"node_sources": (OTHER_MASTER, WORKER_6, "198.51.100.0/24")},
        {"rules_before": [{"target": "accept", "protocol": "tcp", "ports": ["6443"]}]},
        {"rules_after": [{"target": "return", "protocol": 6}]},
        {"rules_after": [{"target": "accept", "protocol": "tcp", "ports": ["6000:7000"]}]},
        # Whether they come through it is not known here.
        {"rules_after": [{"target": "accept", "interface": "eth1"}]},
        {
            "api_sources": ("198.51.100.0/24",),
            "rules_before": [{"target": "drop", "destinations": ["192.0.2.100"], "sources": ["198.51.100.0/24"]}],
        },
    ],
)
def test_clients_of_the_api_who_remain(changes):
    assert chains_for(CHOICES._replace(**{"api_sources": (), **changes}, api_connections=CONNECTIONS))


def test_nobody_is_missed_who_is_not_there():
    assert chains_for(CHOICES._replace(api_sources=(), api_connections=""))


# Rules of the operator's


def test_rules_of_the_operators_are_handed_on():
    rule = {
        "target": "reject",
        "protocol": "tcp",
        "ports": [80, "8000:8010"],
        "sources": ["198.51.100.0/24", "2001:db8::/32"],
        "destinations": None,
        "interface": "eth1",
        "states": ["NEW"],
        "comment": "web",
    }
    rules = chains_for(CHOICES._replace(rules_after=[rule]))[0]["rules"]
    assert rules[-2] == {
        "target": "reject",
        "protocol": "tcp",
        "ports": ["80", "8000:8010"],
        "sources": ["198.51.100.0/24", "2001:db8::/32"],
        "interface": "eth1",
        "states": ["NEW"],
        "comment": "web",
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [{}]),
        ({"sources": None}, [{}]),
        ({"sources": []}, []),
        ({"sources": ["0.0.0.0/0", "::/0"]}, [{}]),
        ({"sources": ["::/0"]}, [{"family": "ipv6"}]),
        ({"sources": ["::/0"], "family": "ipv4"}, []),
        ({"sources": ["::/0", "192.0.2.1"]}, [{"family": "ipv6"}, {"sources": ["192.0.2.1"]}]),
        ({"protocol": 47}, [{"protocol": "47"}]),
    ],
)
def test_what_sources_mean(given, expected):
    rules = chains_for(CHOICES._replace(rules_before=[{"target": "accept", **given}]))[0]["rules"]
    comment = "firewall_rules_before, rule 1"
    found = [rule for rule in rules if rule["comment"] == comment]
    assert found == [{"target": "accept", "comment": comment, **more} for more in expected]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"target": "ACCEPT"}, "target"),
        ({}, "target"),
        ({"target": NODES_CHAIN}, "target"),
        ({"target": "accept", "port": 80}, "option port"),
        ({"target": "accept", "ports": ["80"]}, "without the protocol"),
        ({"target": "accept", "protocol": "icmp", "ports": ["80"]}, "without the protocol"),
        ({"target": "accept", "protocol": "tcp", "ports": ["80", 70000]}, "70000 among its ports"),
        ({"target": "accept", "protocol": "tcp", "ports": ["90:80"]}, "'90:80' among its ports"),
        ({"target": "accept", "comment": "x" * 201}, "comment"),
        ({"target": "accept", "sources": ["192.0.2.1/24"]}, "sources"),
        ({"target": "accept", "destinations": ["here"]}, "destinations"),
    ],
)
def test_unusable_rules(rule, words):
    assert words in rule_problem(rule)
    with pytest.raises(GroundplaneError, match="rule 2 of firewall_rules_after"):
        chains_for(CHOICES._replace(rules_after=[{"target": "accept"}, rule]))


def test_unknown_choices_are_refused():
    with pytest.raises(GroundplaneError, match="flanel"):
        chains_for(CHOICES._replace(features=("flanel",)))
    with pytest.raises(GroundplaneError, match="sources"):
        choices_of({"sources": []})
    with pytest.raises(GroundplaneError, match="ssh"):
        choices_of({"ports": {"ssh": 22}})


def test_choices_come_from_a_dictionary():
    assert choices_of({"control_plane": True, "ports": {"api": 8443}}) == Choices(
        control_plane=True, ports=Ports(api="8443")
    )
    assert choices_of({}) == Choices()


@pytest.mark.parametrize("choices", [CHOICES, WORKER_CHOICES, CHOICES._replace(features=tuple(FEATURES))])
def test_every_rule_is_one_of_the_modules(choices):
    chains = chains_for(choices)
    known = {"target", "comment", "protocol", "ports", "sources", "destinations"}
    known |= {"interface", "states", "icmp_types", "family"}
    for rule in [rule for chain in chains for rule in chain["rules"]]:
        assert set(rule) <= known
        assert rule["target"] in ("accept", "return", "drop", NODES_CHAIN)
        assert 0 < len(rule["comment"]) <= 200
        # A list that is empty would match nothing, and a rule that matches nothing is a mistake here.
        assert all(rule[name] for name in rule)
        assert all(isinstance(port, str) for port in rule.get("ports", []))


def test_rules_do_not_depend_on_the_order_of_the_hosts():
    backwards = CHOICES._replace(node_sources=tuple(reversed(CHOICES.node_sources)))
    assert chains_for(backwards) == chains_for(CHOICES)


# Who is a node


HOSTS = (
    Host("m1", "m1", MASTER, (MASTER, "10.0.2.15", MASTER_6)),
    Host("w1", "w1", WORKER, (WORKER, "10.0.2.15", WORKER_6)),
)
VIEW = View(hosts=HOSTS, inventory=("m1", "w1"), control_plane=("m1",))
NODE_M1 = ClusterNode("m1", (MASTER, "m1"), True)
NODE_M2 = ClusterNode("m2", (OTHER_MASTER, "m2"), True)
NODE_W1 = ClusterNode("w1", (WORKER, "w1"), False)
NODE_W9 = ClusterNode("w9", ("192.0.2.29", "w9", "203.0.113.29"), False)


@pytest.mark.parametrize(
    ("view", "nodes", "control_plane"),
    [
        pytest.param(VIEW, {MASTER, WORKER}, {MASTER}, id="a fresh cluster"),
        pytest.param(
            VIEW._replace(nodes=(NODE_M1, NODE_M2, NODE_W1, NODE_W9)),
            {MASTER, OTHER_MASTER, WORKER, "192.0.2.29", "203.0.113.29"},
            {MASTER, OTHER_MASTER},
            id="nodes that the inventory does not know",
        ),
        pytest.param(
            VIEW._replace(hosts=HOSTS[1:], limited=True, nodes=(NODE_M1, NODE_W1)),
            {MASTER, WORKER},
            {MASTER},
            id="a control plane node outside of --limit",
        ),
        pytest.param(
            VIEW._replace(inventory=("m1", "w1", "w2"), nodes=(NODE_M1, NODE_W1)),
            {MASTER, WORKER},
            {MASTER},
            id="a host that is down and no node",
        ),
        pytest.param(
            VIEW._replace(members=("https://192.0.2.13:2380", "https://[2001:db8::13]:2380", "unix:///x")),
            {MASTER, WORKER, "192.0.2.13", "2001:db8::13"},
            {MASTER, "192.0.2.13", "2001:db8::13"},
            id="members of etcd without a Node",
        ),
        pytest.param(
            VIEW._replace(further_sources=("198.51.100.0/24", "192.0.2.16/28")),
            {MASTER, "192.0.2.16/28", "198.51.100.0/24"},
            {MASTER},
            id="a network that holds a node",
        ),
        pytest.param(
            VIEW._replace(dual_stack=True),
            {MASTER, WORKER, MASTER_6, WORKER_6},
            {MASTER, MASTER_6},
            id="both families, but not the other networks of the machines",
        ),
        pytest.param(
            VIEW._replace(hosts=(HOSTS[0], HOSTS[1]._replace(secondary="2001:db8:5::21")), dual_stack=True),
            {MASTER, WORKER, MASTER_6, WORKER_6, "2001:db8:5::21"},
            {MASTER, MASTER_6},
            id="both addresses of a node, and what else the kernel may speak from",
        ),
        pytest.param(
            VIEW._replace(
                hosts=HOSTS[:1],
                nodes=(NODE_M1, NODE_W1._replace(addresses=(WORKER, WORKER_6, "w1"))),
                dual_stack=True,
            ),
            {MASTER, WORKER, MASTER_6, WORKER_6},
            {MASTER, MASTER_6},
            id="both addresses of a Node that was not read",
        ),
    ],
)
def test_nodes(view, nodes, control_plane):
    sources = sources_of(view)
    assert set(sources.nodes) == nodes
    assert set(sources.control_plane) == control_plane


@pytest.mark.parametrize(
    ("view", "words"),
    [
        pytest.param(VIEW._replace(hosts=HOSTS[:1], nodes=None), "w1 could not be read", id="a silent cluster"),
        pytest.param(VIEW._replace(nodes=None), "none of whose API servers", id="a silent cluster, all hosts read"),
        pytest.param(
            VIEW._replace(nodes=None, further_sources=("192.0.2.0/24",)),
            "-e firewall_state=absent",
            id="a silent cluster and a network that need not hold all of its nodes",
        ),
        pytest.param(
            VIEW._replace(hosts=HOSTS[:1], nodes=(NODE_M1, NODE_W1), dual_stack=True),
            "one of the two addresses of w1, which was not read",
            id="the other family of a node",
        ),
        pytest.param(
            VIEW._replace(hosts=(), nodes=(NODE_M1, NODE_W1), dual_stack=True),
            "m1, w1, which were not read",
            id="the other family of two nodes",
        ),
        pytest.param(
            VIEW._replace(hosts=HOSTS[1:], nodes=(NODE_M1,), limited=True),
            "w1 is new, in a run without m1",
            id="a new worker alone",
        ),
        pytest.param(
            VIEW._replace(
                hosts=(HOSTS[0], Host("m2", "m2", OTHER_MASTER)),
                inventory=("m1", "m2", "w1"),
                control_plane=("m1", "m2"),
                nodes=(NODE_W1,),
                further_sources=("192.0.2.0/24",),
                limited=True,
            ),
            "m1, m2 are new, in a run without w1",
            id="new control plane nodes, which no network makes known to etcd",
        ),
    ],
)
def test_nobody_is_shut_out(view, words):
    with pytest.raises(GroundplaneError) as error:
        sources_of(view)
    assert words in str(error.value)
    assert "The rules were not changed" in str(error.value)


@pytest.mark.parametrize(
    "view",
    [
        VIEW._replace(hosts=HOSTS[1:], nodes=(NODE_M1,)),
        VIEW._replace(hosts=HOSTS[1:], nodes=(NODE_M1,), limited=True, further_sources=("192.0.2.0/24",)),
        VIEW._replace(hosts=HOSTS, nodes=(NODE_M1,), limited=True),
        VIEW._replace(hosts=HOSTS[1:], nodes=(NODE_M1, NODE_W1._replace(name="elsewhere")), limited=True),
        VIEW._replace(hosts=HOSTS[1:], nodes=(NODE_M1, NODE_W1._replace(addresses=("w1",))), limited=True),
        VIEW._replace(hosts=HOSTS[:1], nodes=(), limited=True),
        VIEW._replace(hosts=HOSTS[:1], nodes=(NODE_M1, NODE_W1), dual_stack=True, further_sources=("2001:db8::/64",)),
        VIEW._replace(
            hosts=HOSTS[:1],
            nodes=(NODE_M1, NODE_W1._replace(addresses=(WORKER, WORKER_6, "w1"))),
            dual_stack=True,
        ),
    ],
    ids=[
        "a host that is down",
        "a new worker in a network that is known",
        "nobody left out",
        "a node known by its address",
        "a node known by its name",
        "a cluster that does not exist yet",
        "the other family given as a network",
        "the other family in the Node",
    ],
)
def test_runs_that_may_leave_hosts_out(view):
    assert sources_of(view).nodes


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "192.0.2.0/24", "203.0.113.1/32", "fe80::1%eth0", ""])
def test_a_node_can_name_no_network_as_its_address(text):
    compromised = NODE_W1._replace(addresses=(WORKER, text), control_plane=True)
    view = VIEW._replace(nodes=(NODE_M1, compromised), members=("https://0.0.0.0/0:2380", "https://[::]/0:2380"))
    assert set(sources_of(view).nodes) <= {MASTER, WORKER, "0.0.0.0", "::"}
    assert set(sources_of(view).control_plane) <= {MASTER, WORKER, "0.0.0.0", "::"}


def test_a_network_in_a_node_does_not_stand_for_the_other_family():
    node = NODE_W1._replace(addresses=(WORKER, "::/0"))
    with pytest.raises(GroundplaneError, match="one of the two addresses of w1"):
        sources_of(VIEW._replace(hosts=HOSTS[:1], nodes=(NODE_M1, node), dual_stack=True))


def test_a_mistake_in_the_operators_networks_is_an_error():
    with pytest.raises(ValueError, match="there"):
        sources_of(VIEW._replace(further_sources=("there",)))


def test_a_view_comes_from_the_variables_of_hosts():
    host = {
        "inventory_hostname": "w1",
        "__cluster_node": {"address": WORKER},
        "__cluster_preflight": {"facts": {"hostname": "W1", "addresses": [WORKER, WORKER_6]}},
    }
    node = {"name": "m1", "addresses": [MASTER], "control_plane": True, "uid": "1", "ready": True}
    values = {"inventory": ["m1", "w1"], "control_plane": ["m1"]}
    hosts = [Host("w1", "w1", WORKER, [WORKER, WORKER_6])]
    view = View(hosts=hosts, inventory=["m1", "w1"], control_plane=["m1"])
    assert view_of([host], {**values, "nodes": [node]}) == view._replace(nodes=[ClusterNode("m1", [MASTER], True)])
    assert view_of([host], {**values, "nodes": None}) == view._replace(nodes=None)
    host["__cluster_node"]["secondary"] = WORKER_6
    assert view_of([host], values).hosts[0].secondary == WORKER_6
