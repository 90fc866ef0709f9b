# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of the host's network: its node address, the cluster's ranges, ports, name servers and proxies."""

from __future__ import annotations

import ipaddress
from itertools import combinations
from typing import Iterator, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._metallb import Span, readable_spans
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import (
    IPNetwork,
    NodeAddress,
    NodeAddressError,
    decide_node_addresses,
    is_cluster_device,
    parts_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    HAPROXY,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Listener, Snapshot

# Two routes of this length together are how VPNs replace the default route.
_HALF_OF_EVERYTHING = 1
_PODS = "cluster_pod_cidr"
_SERVICES = "cluster_service_cidr"


class Range(NamedTuple):
    """A network together with the variable that gave it."""

    variable: str
    network: IPNetwork

    def __str__(self) -> str:
        """As the findings name it."""
        return f"{self.variable} {self.network}"


def cluster_ranges(wanted: Wanted) -> list[Range]:
    """Ranges of pods and Services, as far as they can be read."""
    given = ((_PODS, wanted.pod_cidr), (_SERVICES, wanted.service_cidr))
    return [
        Range(variable, network)
        for variable, text in given
        for network in (_network(part) for part in parts_of(text))
        if network is not None
    ]


def node_address(snapshot: Snapshot, wanted: Wanted, ip_versions: Sequence[int] = ()) -> NodeAddress | None:
    """The node's address, None when it cannot be decided; the findings then say why.

    :arg ip_versions: families to decide for, by default those of the cluster.
    """
    try:
        return _decide(snapshot, wanted, ip_versions or wanted.ip_versions)
    except NodeAddressError:
        return None


def interface_of(snapshot: Snapshot, address: str) -> str:
    """The interface that has an address of the host."""
    ip = ipaddress.ip_address(address)
    return next(link.name for link in snapshot.network.links if any(own.ip == ip for own in link.addresses))


def _decide(snapshot: Snapshot, wanted: Wanted, ip_versions: Sequence[int]) -> NodeAddress | None:
    if _malformed_addresses(wanted.node_ip) or _malformed_networks(wanted.node_cidr):
        # check_cidr_form reports it.
        return None
    return decide_node_addresses(
        snapshot.network.links,
        node_ip=wanted.node_ip,
        node_cidr=wanted.node_cidr,
        peer_source=snapshot.network.peer_source,
        routes=snapshot.network.routes,
        ip_versions=ip_versions,
        vip="" if wanted.virtual_address is None else wanted.vip,
    )


def _network(text: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _malformed_networks(text: str) -> bool:
    """Whether a text is anything else than one network of a family, or one of each."""
    return _several_of_a_family(text) or any(_network(part) is None for part in parts_of(text))


def _malformed_addresses(text: str) -> bool:
    """Whether a text is anything else than one address of a family, or one of each."""
    return _several_of_a_family(text) or any(_malformed_address(part) for part in parts_of(text))


def _several_of_a_family(text: str) -> bool:
    families = [":" in part for part in parts_of(text)]
    return len(families) > len(set(families))


def _malformed_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(text)
    return False


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _address_problem(snapshot: Snapshot, wanted: Wanted, check: str) -> Iterator[Observation]:
    try:
        _decide(snapshot, wanted, wanted.ip_versions)
    except NodeAddressError as error:
        if error.check == check:
            yield Observation(error.found, error.expected)


def check_node_address_absent(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The given address is on no interface."""
    return _address_problem(snapshot, wanted, "node-address-absent")


def check_node_address_missing(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """No address can be chosen."""
    return _address_problem(snapshot, wanted, "node-address-missing")


def check_node_address_unusable(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The given address leads nowhere."""
    return _address_problem(snapshot, wanted, "node-address-unusable")


def check_node_address_family(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """There is no address of the other family to choose."""
    return _address_problem(snapshot, wanted, "node-address-family")


def check_vip_is_node_address(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The virtual address would have to be the node's."""
    return _address_problem(snapshot, wanted, "vip-is-node-address")


def check_cidr_form(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Every range and address that was given can be read as one."""
    for variable, text in (("cluster_pod_cidr", wanted.pod_cidr), ("cluster_service_cidr", wanted.service_cidr)):
        if _malformed_networks(text):
            yield Observation(
                f'{variable} is "{text}"', "one network such as 10.244.0.0/16 without host bits, or one of each family"
            )
    if _malformed_networks(wanted.node_cidr):
        yield Observation(
            f'cluster_node_cidr is "{wanted.node_cidr}"', "one network such as 192.0.2.0/24, or one of each family"
        )
    if _malformed_addresses(wanted.node_ip):
        yield Observation(
            f'cluster_node_ip is "{wanted.node_ip}"', "an address such as 192.0.2.11, or one of each family"
        )
    if _malformed_address(wanted.vip):
        yield Observation(f'cluster_vip is "{wanted.vip}"', "an address such as 192.0.2.100, without a prefix")


def check_cidr_overlap(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Pods, Services and nodes have ranges of their own."""
    ranges = cluster_ranges(wanted)
    nodes = (_network(part) for part in parts_of(wanted.node_cidr))
    ranges += [Range("cluster_node_cidr", network) for network in nodes if network is not None]
    for one, other in combinations(ranges, 2):
        if _overlap(one.network, other.network):
            yield Observation(f"{one} overlaps {other}", "ranges that share no address")


def check_cidr_address_overlap(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """No address of the host is one that a pod or Service may get.

    A pod network gives each node an address of its own, on a device of whatever name: on a node of a cluster only the
    node's interface is judged by the range of the pods.
    """
    node = node_address(snapshot, wanted) if snapshot.cluster.known else None
    own = {interface_of(snapshot, address) for address in node.addresses} if node else set()
    addresses = [
        (link.name, address)
        for link in snapshot.network.links
        if not link.made_by_cluster
        for address in link.addresses
        if address.scope == "global"
    ]
    for cluster_range in cluster_ranges(wanted):
        inside = [
            f"{address.address} ({name})"
            for name, address in addresses
            if address.ip in cluster_range.network
            if node is None or name in own or cluster_range.variable != _PODS
        ]
        if inside:
            yield Observation(f"{', '.join(inside)} inside {cluster_range}", "no address of the host in this range")


def check_pool_address_overlap(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """No address of the host is one that a Service may get from MetalLB."""
    addresses = [
        (link.name, address.ip)
        for link in snapshot.network.links
        if not link.made_by_cluster
        for address in link.addresses
    ]
    for text, span in readable_spans(wanted.pool_ranges):
        inside = [f"{address} ({name})" for name, address in addresses if span.overlaps(Span(address, address))]
        if inside:
            yield Observation(
                f"{', '.join(inside)} inside metallb_address_pools {text}", "no address of the host in it"
            )


def check_cidr_route_overlap(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """No route of the host competes with the pods' and Services' ranges.

    A route inside a range wins over it and cuts pods off: an error. One around it loses: only what lies behind it
    and inside the range becomes unreachable, a warning. One that equals the Services' range is for them.
    """
    for cluster_range in cluster_ranges(wanted):
        inside: list[str] = []
        around: list[str] = []
        for destination, devices in _foreign_routes(snapshot, cluster_range):
            for_services = cluster_range.variable == _SERVICES and destination == cluster_range.network
            if for_services or _made_by_routed_pod_network(snapshot, cluster_range, destination):
                continue
            if _overlap(destination, cluster_range.network):
                narrower = destination.prefixlen >= cluster_range.network.prefixlen
                (inside if narrower else around).append(f"{destination} by {', '.join(devices)}")
        expected = f"no route that overlaps {cluster_range}"
        if inside:
            yield Observation(f"route {'; '.join(inside)}", expected)
        if around:
            yield Observation(
                f"route {'; '.join(around)}",
                expected,
                severity=WARNING,
                remedy="Make sure that nothing that pods or nodes must reach has an address in this range, "
                "or choose another range.",
            )


def check_service_route(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A packet of the host itself to a Service needs a route, whichever, before kube-proxy can redirect it.

    In a cluster of both families the programs of the host use the first one, as kubelet and the API server do.
    """
    for cluster_range in cluster_ranges(wanted):
        version = cluster_range.network.version
        routes = [route.destination for route in snapshot.network.routes if route.ip_version == version]
        networks = [network for network in map(_network, filter(None, routes)) if network is not None]
        is_covered = None in routes or any(_contains(network, cluster_range.network) for network in networks)
        if cluster_range.variable == _SERVICES and not is_covered:
            first = version == wanted.ip_version
            yield Observation(
                f"no default route{'' if version == 4 else ' of IPv6'}, and no route to {cluster_range}",
                "a route",
                severity="" if first else WARNING,
                remedy="" if version == 4 else _DEFAULT_ROUTE_REMEDY.format("ip -6 route"),
            )


def _foreign_routes(snapshot: Snapshot, cluster_range: Range) -> Iterator[tuple[IPNetwork, tuple[str, ...]]]:
    """Routes that are neither the default nor made by the pod network, with their devices.

    Those that come with an address inside the range are left to check_cidr_address_overlap.
    """
    for route in snapshot.network.routes:
        if route.source and ipaddress.ip_address(route.source) in cluster_range.network:
            continue
        devices = tuple(device for device in route.devices if not is_cluster_device(device))
        destination = _network(route.destination or "")
        if devices and destination is not None and destination.prefixlen > _HALF_OF_EVERYTHING:
            yield destination, devices


def _made_by_routed_pod_network(snapshot: Snapshot, cluster_range: Range, destination: IPNetwork) -> bool:
    """Whether a route leads to the pods of another node: some pod networks route over the ordinary interface."""
    return (
        snapshot.cluster.known
        and cluster_range.variable == "cluster_pod_cidr"
        and _overlap(destination, cluster_range.network)
        and destination.prefixlen > cluster_range.network.prefixlen
    )


def check_port_in_use(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Ports of Kubernetes are free, or taken by the program of Kubernetes to which they belong.

    The latter is what a second run and a run after an interruption find; whose program it is, kubeadm_node decides.
    """
    foreign: dict[tuple[int, str], list[str]] = {}
    for listener in snapshot.listeners:
        if not _belongs_there(listener, wanted):
            foreign.setdefault((listener.port, listener.program), []).append(listener.address)
    for (port, program), addresses in foreign.items():
        yield Observation(
            f"{program or 'an unknown program'} listens on port {port} of {', '.join(addresses)}",
            f"{port} free for {wanted.ports[port]}",
        )


def _belongs_there(listener: Listener, wanted: Wanted) -> bool:
    """Whether a listener is Kubernetes' own; haproxy is, where it takes nothing but the virtual address."""
    if listener.program == HAPROXY:
        at_vip = wanted.may_hold_vip and ipaddress.ip_address(listener.address) == wanted.virtual_address
        return at_vip and listener.port == wanted.endpoint_port
    return listener.program == wanted.ports[listener.port]


def check_firewall_active(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A distribution's firewall closes the ports between nodes by default."""
    if snapshot.firewalls:
        ports = ", ".join(str(port) for port in sorted(wanted.ports))
        vrrp = ", VRRP (IP protocol 112)" if wanted.may_hold_vip else ""
        nodes = "TCP {0}{1} and the pod network's own ports (flannel: UDP 8472) open between the nodes"
        yield Observation(f"{', '.join(snapshot.firewalls)} active", nodes.format(ports, vrrp))


def check_resolv_conf(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """CoreDNS forwards to the node's name servers: there must be one, and it must not be the node itself."""
    stub = any(_is_loopback(server) for server in snapshot.nameservers)
    upstream = snapshot.nameservers
    if stub and snapshot.resolved_nameservers is not None:
        upstream = snapshot.resolved_nameservers
    loops = [server for server in upstream if _is_loopback(server)]
    expected = "the address of a name server that pods can reach"
    if loops:
        yield Observation(f"name server {', '.join(loops)}, which inside a pod is the pod itself", expected)
    elif not upstream:
        yield Observation("no name server", expected)


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_proxy_exceptions(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A proxy of every session must not be asked for the cluster's own addresses: kubeadm hands it to static pods."""
    if not {"http_proxy", "https_proxy"} & set(snapshot.proxies):
        return
    exceptions = [part.strip() for part in snapshot.proxies.get("no_proxy", "").split(",")]
    if "*" in exceptions:
        return
    networks = [network for network in (_network(part) for part in exceptions) if network is not None]
    node = node_address(snapshot, wanted)
    needed = [entry.network for entry in cluster_ranges(wanted)]
    if node:
        needed += [ipaddress.ip_network(address) for address in node.addresses]
    uncovered = [str(target) for target in needed if not any(_contains(network, target) for network in networks)]
    if uncovered:
        yield Observation(
            f"/etc/environment sets a proxy, and its no_proxy lacks {', '.join(uncovered)}",
            "no_proxy with the nodes, pods and Services",
        )


def _contains(network: IPNetwork, other: IPNetwork) -> bool:
    return _overlap(network, other) and network.prefixlen <= other.prefixlen


_DEFAULT_ROUTE_REMEDY = (
    "Add a default route. On machines without a way out one to a dummy interface is enough: "
    "ip link add dummy0 type dummy; ip link set dummy0 up; {} add default dev dummy0 metric 1000. "
    "Make it permanent in the network configuration."
)

_ADDRESS_VARIABLES = ("cluster_node_ip", "cluster_node_cidr")
_RANGE_VARIABLES = ("cluster_pod_cidr", "cluster_service_cidr")

NETWORK_CHECKS = (
    Check(
        Description(
            id="node-address-absent",
            severity=ERROR,
            purpose="cluster_node_ip is an address of the host.",
            remedy="Correct cluster_node_ip of this host, or configure the interface.",
            variables=_ADDRESS_VARIABLES,
        ),
        check_node_address_absent,
    ),
    Check(
        Description(
            id="node-address-missing",
            severity=ERROR,
            purpose="One address of the host can be chosen as the node's: the one inside cluster_node_cidr, else the "
            "one that faces the first control plane node, else the default route's.",
            remedy="Set cluster_node_cidr to the network that the nodes share, or cluster_node_ip for this host.",
            variables=_ADDRESS_VARIABLES,
        ),
        check_node_address_missing,
    ),
    Check(
        Description(
            id="node-address-unusable",
            severity=ERROR,
            purpose="cluster_node_ip is no loopback, link-local or multicast address, and none of which the kernel has "
            "found that another machine has it.",
            remedy="Set cluster_node_ip to an address that this host alone has, in the network that the nodes share.",
            variables=_ADDRESS_VARIABLES,
        ),
        check_node_address_unusable,
    ),
    Check(
        Description(
            id="node-address-family",
            severity=ERROR,
            purpose="In a dual-stack cluster, the host has an address of the second family as well: as cluster_node_ip "
            "or cluster_node_cidr gives it, else a global one on the interface of the first that is neither temporary "
            "nor deprecated nor another machine's as well (dadfailed).",
            remedy="Give the interface an address of this family, or say which one is meant: two addresses in "
            "cluster_node_ip, or two networks in cluster_node_cidr.",
            variables=("cluster_pod_cidr", *_ADDRESS_VARIABLES),
        ),
        check_node_address_family,
    ),
    Check(
        Description(
            id="vip-is-node-address",
            severity=ERROR,
            purpose="The virtual address of the API is no host's own address: it moves between the control plane "
            "nodes, and what listens at a node's address must stay there.",
            remedy="Set cluster_vip to a free address in the network of the control plane nodes.",
            variables=("cluster_vip", *_ADDRESS_VARIABLES),
        ),
        check_vip_is_node_address,
    ),
    Check(
        Description(
            id="cidr-form",
            severity=ERROR,
            purpose="Ranges and addresses that were given can be read, ranges have no host bits set, and there is one "
            "of each family at most.",
            remedy="Correct the variable.",
            variables=(*_RANGE_VARIABLES, *_ADDRESS_VARIABLES, "cluster_vip"),
        ),
        check_cidr_form,
    ),
    Check(
        Description(
            id="cidr-overlap",
            severity=ERROR,
            purpose="The ranges of pods, Services and nodes share no address.",
            remedy="Choose ranges that do not overlap; they cannot be changed once the cluster is there.",
            variables=(*_RANGE_VARIABLES, "cluster_node_cidr"),
        ),
        check_cidr_overlap,
    ),
    Check(
        Description(
            id="cidr-address-overlap",
            severity=ERROR,
            purpose="No address of the host lies in the range of pods or Services; devices of the pod network aside. "
            "On a node of a cluster these may have any name, so that its own interface alone is judged by the range of "
            "pods.",
            remedy="Choose another range for the cluster, or another address for the interface.",
            variables=_RANGE_VARIABLES,
        ),
        check_cidr_address_overlap,
    ),
    Check(
        Description(
            id="pool-address-overlap",
            severity=ERROR,
            purpose="No address of the host is among those that MetalLB gives away; it would answer for it as well.",
            remedy="Take the address out of metallb_address_pools, or give the interface another one.",
            variables=("metallb_address_pools",),
        ),
        check_pool_address_overlap,
    ),
    Check(
        Description(
            id="cidr-route-overlap",
            severity=ERROR,
            purpose="No route of the host leads into the range of pods or Services; routes of the pod network aside. "
            "A wider route that only contains the range is a warning, and one to the whole range of Services is fine.",
            remedy="Choose another range for the cluster, or remove the route.",
            variables=_RANGE_VARIABLES,
        ),
        check_cidr_route_overlap,
    ),
    Check(
        Description(
            id="service-route",
            severity=ERROR,
            purpose="The host has a default route or one to the Services. Without any, programs in the host's own "
            "network, such as flannel and the API server when it calls webhooks, cannot reach a ClusterIP. For the "
            "second family of a dual-stack cluster it is a warning.",
            remedy=_DEFAULT_ROUTE_REMEDY.format("ip route"),
            variables=("cluster_service_cidr",),
        ),
        check_service_route,
    ),
    Check(
        Description(
            id="port-in-use",
            severity=ERROR,
            purpose="The ports of the host's role are free or held by the program of Kubernetes that belongs there. "
            f"Control plane: {', '.join(str(port) for port in sorted(Wanted(role=CONTROL_PLANE).ports))} "
            "(6443 being cluster_api_port), and cluster_endpoint_port where there is a cluster_vip; worker: 10250. "
            "haproxy belongs there as far as it listens at cluster_vip only.",
            remedy="Stop the program or give it another port (ss -ltnp shows its process).",
            variables=("cluster_api_port", "cluster_endpoint_port", "cluster_vip"),
        ),
        check_port_in_use,
    ),
    Check(
        Description(
            id="firewall-active",
            severity=WARNING,
            purpose="Neither ufw nor firewalld is active, or the operator knows that it lets the nodes talk.",
            remedy="Open these ports between the nodes and waive this check, or switch the firewall off "
            "(ufw disable, systemctl disable --now firewalld).",
        ),
        check_firewall_active,
    ),
    Check(
        Description(
            id="resolv-conf",
            severity=WARNING,
            purpose="The name servers that CoreDNS will forward to exist and are not the loopback address, which "
            "inside a pod would be CoreDNS itself. systemd-resolved's list of real servers counts where it runs.",
            remedy="Put a reachable name server into /etc/resolv.conf, or run systemd-resolved.",
        ),
        check_resolv_conf,
    ),
    Check(
        Description(
            id="proxy-exceptions",
            severity=WARNING,
            purpose="A proxy that /etc/environment sets for every session leaves out the node, pods and Services. "
            "kubeadm copies these variables into the control plane's pods.",
            remedy="Complete no_proxy in /etc/environment, or take the proxy out there: the roles use "
            "cluster_http_proxy and cluster_https_proxy where a proxy is needed.",
            variables=("cluster_http_proxy", "cluster_https_proxy"),
        ),
        check_proxy_exceptions,
    ),
)
