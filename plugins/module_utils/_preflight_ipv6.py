# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of what clusters with IPv6 ranges need of a host, alone or beside IPv4."""

from __future__ import annotations

import ipaddress
from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import Link, Route
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_network import interface_of, node_address
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot

# Their flannel sends the packets of both families by one interface.
_NETWORKS_OF_ONE_INTERFACE = ("flannel", "canal")
# What the kernel calls itself as the maker of a route that a router has advertised.
_ADVERTISED = "ra"
_HEED_ROUTERS = (
    "Set net.ipv6.conf.INTERFACE.accept_ra to 2 in prereqs_sysctls, which counts before forwarding is "
    "turned on, or set address and route by hand."
)


def check_ipv6_disabled(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The kernel has IPv6, for the node's interface and for those that the pod network will make."""
    if 6 not in wanted.ip_versions:
        return
    expected = "IPv6, of which the cluster has ranges"
    if not snapshot.ipv6.present:
        yield Observation("a kernel without IPv6, or with ipv6.disable=1 on its command line", expected)
        return
    # Without IPv6 only the other family may tell which interface it is.
    nodes = [node_address(snapshot, wanted, (version,)) for version in wanted.ip_versions]
    interfaces = dict.fromkeys(node.interface for node in nodes if node)
    disabled = [entry for entry in ("all", "default", *interfaces) if entry in snapshot.ipv6.disabled]
    if disabled:
        yield Observation(", ".join(f"{_key(entry, 'disable_ipv6')} = 1" for entry in disabled), expected)


def check_router_advertisements(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Once it forwards packets the kernel heeds no router, unless it is told to.

    Network managers that read advertisements themselves keep the kernel from it with accept_ra 0. A default route that
    this session needs is left to check_router_advertisements_session.
    """
    needed = _needed_by_session(snapshot, wanted)
    for link in _turning_deaf(snapshot, wanted):
        learned = _learned_addresses(link, snapshot, wanted)
        if link not in needed and any(_is_learned_default(route, link) for route in snapshot.network.routes):
            learned.append("the default route of IPv6")
        if learned:
            yield _heeding(f"the kernel has {' and '.join(learned)} from a router", link)


def check_router_advertisements_session(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The run does not take away the route by which it comes: the host could be mended by its console alone."""
    session = snapshot.session
    if session is None:
        return
    for link in _needed_by_session(snapshot, wanted):
        way = "the default route of IPv6, which the kernel has from a router"
        yield _heeding(f"this session comes from {session.client} by {way}", link)


def _heeding(found: str, link: Link) -> Observation:
    """What depends on a router by an interface, and the parameter that decides whether it stays."""
    setting = _key(link.name, "accept_ra")
    return Observation(
        f"{found}, with {setting} = 1",
        f"{setting} = 2, with which it goes on to heed routers when it forwards packets",
    )


def _key(entry: str, name: str) -> str:
    """Key of a kernel parameter; a dot in the name of an interface is a slash there."""
    return f"net.ipv6.conf.{entry.replace('.', '/')}.{name}"


def _goes_on_heeding(link: Link, wanted: Wanted) -> bool:
    """Whether the kernel is going to be told, in one of the two spellings of the parameter."""
    keys = (_key(link.name, "accept_ra"), f"net/ipv6/conf/{link.name}/accept_ra")
    return any(str(wanted.sysctls.get(key)) == "2" for key in keys)


def _turning_deaf(snapshot: Snapshot, wanted: Wanted) -> list[Link]:
    """Interfaces on which the kernel heeds routers that it is going to ignore."""
    if 6 not in wanted.ip_versions:
        return []
    heeding = [link for link in snapshot.network.links if link.name in snapshot.ipv6.heeding]
    return [link for link in heeding if not _goes_on_heeding(link, wanted)]


def _needed_by_session(snapshot: Snapshot, wanted: Wanted) -> list[Link]:
    """Interfaces by whose default routes this session comes, where these routes are going to be deleted.

    That happens at the moment in which forwarding is turned on, and never where it is on already. What comes by a route
    of the same rank that nobody deletes is safe; a route of a lower rank has not shown yet that it leads to the client.
    """
    if snapshot.session is None or snapshot.ipv6.forwarding:
        return []
    deaf = _turning_deaf(snapshot, wanted)
    routes = _routes_to(snapshot.session.client, snapshot)
    deleted = [route for route in routes if any(_is_learned_default(route, link) for link in deaf)]
    if len(deleted) < len(routes):
        return []
    return [link for link in deaf if any(_is_learned_default(route, link) for route in deleted)]


def _routes_to(address: str, snapshot: Snapshot) -> list[Route]:
    """Routes by which packets leave for an address: of the longest prefix and, among these, the lowest metric.

    The host's own addresses have none, nor have link-local ones, whose interface is part of the address.
    """
    ip = ipaddress.ip_address(address)
    own = any(ip == found.ip for link in snapshot.network.links for found in link.addresses)
    if own or ip.is_loopback or ip.is_link_local:
        return []
    leading = [route for route in snapshot.network.routes if ip in route.network]
    best = min((_rank(route) for route in leading), default=None)
    return [route for route in leading if _rank(route) == best]


def _rank(route: Route) -> tuple[int, int]:
    return -route.network.prefixlen, route.metric


def _is_learned_default(route: Route, link: Link) -> bool:
    return route.destination is None and route.protocol == _ADVERTISED and link.name in route.devices


def _learned_addresses(link: Link, snapshot: Snapshot, wanted: Wanted) -> list[str]:
    """Addresses of the node that depend on routers by an interface."""
    node = node_address(snapshot, wanted)
    own = node.addresses if node else ()
    return [address.address for address in link.addresses if address.advertised and address.address in own]


def check_node_address_interfaces(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The addresses of the two families are on interfaces of their own."""
    node = node_address(snapshot, wanted)
    if node is None or wanted.network not in _NETWORKS_OF_ONE_INTERFACE:
        return
    interfaces = {address: interface_of(snapshot, address) for address in node.addresses}
    if len(set(interfaces.values())) > 1:
        yield Observation(
            " and ".join(f"{address} ({interface})" for address, interface in interfaces.items()),
            "both addresses of the node on one interface",
        )


IPV6_CHECKS = (
    Check(
        Description(
            id="ipv6-disabled",
            severity=ERROR,
            purpose="Where the cluster has IPv6 ranges the kernel has IPv6: on the interface of the node, and on those "
            "that the pod network is going to make (default).",
            remedy="Take ipv6.disable=1 from the kernel's command line, set disable_ipv6 to 0 in /etc/sysctl.d, and "
            "give the interface an address; or leave the IPv6 ranges out of cluster_pod_cidr and cluster_service_cidr.",
            variables=("cluster_pod_cidr", "cluster_service_cidr"),
        ),
        check_ipv6_disabled,
    ),
    Check(
        Description(
            id="router-advertisements",
            severity=WARNING,
            purpose="Where the cluster has IPv6 ranges, neither the node's address nor its default route depends on "
            "routers that the kernel ceases to heed. Nodes forward packets; with accept_ra 1 the default route is gone "
            "the moment they begin to, and the address when its time has run out.",
            remedy=_HEED_ROUTERS,
            variables=("prereqs_sysctls",),
        ),
        check_router_advertisements,
    ),
    Check(
        Description(
            id="router-advertisements-session",
            severity=ERROR,
            purpose="Where the cluster has IPv6 ranges, the session of SSH by which Ansible comes does not need a "
            "default route that is gone the moment the node begins to forward packets: the run would end itself "
            "halfway, and whoever administers the host by that route would be locked out. Sessions of IPv4, from the "
            "host's own networks and by routes of their own go on.",
            remedy=_HEED_ROUTERS,
            variables=("prereqs_sysctls",),
        ),
        check_router_advertisements_session,
    ),
    Check(
        Description(
            id="node-address-interfaces",
            severity=ERROR,
            purpose="In a dual-stack cluster with flannel or canal, both addresses of the node are on one interface: "
            "flannel sends the packets of both families by it.",
            remedy="Give cluster_node_ip or cluster_node_cidr addresses of one interface.",
            variables=("cluster_cni", "cluster_node_ip", "cluster_node_cidr"),
        ),
        check_node_address_interfaces,
    ),
)
