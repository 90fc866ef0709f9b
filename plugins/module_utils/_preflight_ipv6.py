# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of what clusters with IPv6 ranges need of a host, alone or beside IPv4."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import Link
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

    Network managers that read advertisements themselves keep the kernel from it with accept_ra 0.
    """
    if 6 not in wanted.ip_versions:
        return
    for link in snapshot.network.links:
        setting = _key(link.name, "accept_ra")
        heeds = link.name in snapshot.ipv6.heeding and not _goes_on_heeding(link, wanted)
        learned = _learned(link, snapshot, wanted) if heeds else []
        if learned:
            yield Observation(
                f"the kernel has {' and '.join(learned)} from a router, with {setting} = 1",
                f"{setting} = 2, with which it goes on to heed routers when it forwards packets",
            )


def _key(entry: str, name: str) -> str:
    """Key of a kernel parameter; a dot in the name of an interface is a slash there."""
    return f"net.ipv6.conf.{entry.replace('.', '/')}.{name}"


def _goes_on_heeding(link: Link, wanted: Wanted) -> bool:
    """Whether the kernel is going to be told, in one of the two spellings of the parameter."""
    keys = (_key(link.name, "accept_ra"), f"net/ipv6/conf/{link.name}/accept_ra")
    return any(str(wanted.sysctls.get(key)) == "2" for key in keys)


def _learned(link: Link, snapshot: Snapshot, wanted: Wanted) -> list[str]:
    """What of the node depends on routers by an interface."""
    node = node_address(snapshot, wanted)
    own = node.addresses if node else ()
    found = [address.address for address in link.addresses if address.advertised and address.address in own]
    by_default = any(
        route.destination is None and route.protocol == _ADVERTISED and link.name in route.devices
        for route in snapshot.network.routes
    )
    return [*found, "the default route of IPv6"] if by_default else found


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
            remedy="Set net.ipv6.conf.INTERFACE.accept_ra to 2 in prereqs_sysctls, which counts before forwarding is "
            "turned on, or set address and route by hand.",
            variables=("prereqs_sysctls",),
        ),
        check_router_advertisements,
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
