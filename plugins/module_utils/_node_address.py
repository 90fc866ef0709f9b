# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links, addresses, routes and neighbours of a host, and the one decision which of its addresses is the node's."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, NamedTuple, Sequence, Union

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
IPNetwork = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# Devices that the pod network, kube-proxy or the container runtime make for themselves, by the beginning of the name.
CLUSTER_DEVICES = (
    "cali",
    "cilium",
    "cni",
    "flannel",
    "kube-bridge",
    "kube-dummy-if",
    "kube-ipvs",
    "lxc",
    "nodelocaldns",
    "tunl",
    "veth",
    "vxlan-v6.calico",
    "vxlan.calico",
    "wireguard.cali",
)


class Address(NamedTuple):
    """One address of an interface.

    :ivar advertised: the kernel has made it of what a router advertises.
    :ivar duplicate: another machine has it, so that the kernel does not use it.
    """

    address: str
    prefix_length: int
    scope: str
    short_lived: bool = False
    advertised: bool = False
    duplicate: bool = False

    @property
    def ip(self) -> IPAddress:
        """The address as a number that can be compared with networks."""
        return ipaddress.ip_address(self.address)

    @property
    def network(self) -> IPNetwork:
        """The network that the address opens up."""
        return ipaddress.ip_network((self.address, self.prefix_length), strict=False)


class Link(NamedTuple):
    """A network interface."""

    name: str
    mtu: int
    mac: str
    up: bool
    addresses: tuple[Address, ...] = ()

    @property
    def made_by_cluster(self) -> bool:
        """Whether Kubernetes or its pod network made this device."""
        return is_cluster_device(self.name)


class Route(NamedTuple):
    """An entry of the main routing table; destination is None for the default route.

    :ivar protocol: who has made it; ra stands for what a router advertises.
    """

    destination: str | None
    devices: tuple[str, ...]
    source: str = ""
    metric: int = 0
    ip_version: int = 4
    protocol: str = ""

    @property
    def network(self) -> IPNetwork:
        """The network that it leads to."""
        return ipaddress.ip_network(self.destination or {4: "0.0.0.0/0", 6: "::/0"}[self.ip_version])


class Source(NamedTuple):
    """The address from which the host would speak to a destination."""

    address: str
    device: str


class Neighbour(NamedTuple):
    """The machine that has an address, by its MAC; confirmed when it has just answered."""

    mac: str
    confirmed: bool


class NodeAddress(NamedTuple):
    """The decision: the node's address, the interface that carries it and that interface's MTU.

    :ivar secondary: address of the other family, in a cluster of both.
    """

    address: str
    interface: str
    mtu: int
    secondary: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The address, and the one of the other family where there is one."""
        return (self.address, self.secondary) if self.secondary else (self.address,)


class _Clues(NamedTuple):
    """What there is to decide by, in the order of precedence."""

    node_ip: str
    node_cidr: str
    peer_source: Source | None
    routes: Sequence[Route]
    ip_version: int


class NodeAddressError(GroundplaneError):
    """No address of the host can be the node's address.

    :arg check: id of the preflight check that reports it.
    """

    def __init__(self, check: str, found: str, expected: str) -> None:
        self.check = check
        super().__init__(found, expected=expected)


def is_cluster_device(name: str) -> bool:
    """Whether a device is one that Kubernetes or its pod network makes for itself."""
    return name.startswith(CLUSTER_DEVICES)


def parse_links(text: str) -> tuple[Link, ...]:
    """Interfaces from `ip -json address`."""
    return tuple(
        Link(
            name=item["ifname"],
            mtu=item["mtu"],
            mac=item.get("address", "") if item.get("link_type") == "ether" else "",
            up="UP" in item.get("flags", ()),
            addresses=tuple(_address(entry) for entry in item.get("addr_info", ()) if "local" in entry),
        )
        for item in _items(text)
    )


def parse_routes(text: str, ip_version: int = 4) -> tuple[Route, ...]:
    """Routes from `ip -json route` of one family."""
    return tuple(
        Route(
            destination=None if item["dst"] == "default" else item["dst"],
            devices=tuple(hop["dev"] for hop in [item, *item.get("nexthops", ())] if "dev" in hop),
            source=item.get("prefsrc", ""),
            metric=item.get("metric", 0),
            ip_version=ip_version,
            protocol=item.get("protocol", ""),
        )
        for item in _items(text)
    )


def parse_route_source(text: str) -> Source | None:
    """Source address from `ip -json route get DESTINATION`, None when there is no route."""
    for item in _items(text):
        if "prefsrc" in item and "dev" in item:
            return Source(item["prefsrc"], item["dev"])
    return None


def parse_neighbour(text: str) -> Neighbour | None:
    """Neighbour from `ip -json neigh show to ADDRESS`, None when no machine is known to have the address."""
    found = [
        Neighbour(item["lladdr"].lower(), "REACHABLE" in item.get("state", ()))
        for item in _items(text)
        if item.get("lladdr")
    ]
    return max(found, key=lambda neighbour: neighbour.confirmed, default=None)


def _items(text: str) -> list[dict[str, Any]]:
    """Objects of a JSON answer of ip, which prints nothing at all or empty objects where it has nothing to say."""
    items = json.loads(text) if text.strip() else []
    return [item for item in items if item]


def _address(entry: dict[str, Any]) -> Address:
    return Address(
        address=entry["local"],
        prefix_length=entry["prefixlen"],
        scope=entry.get("scope", "global"),
        short_lived=bool(entry.get("temporary") or entry.get("deprecated")),
        advertised=bool(entry.get("mngtmpaddr")) or entry.get("protocol") == "kernel_ra",
        duplicate=bool(entry.get("dadfailed")),
    )


def parts_of(text: str) -> list[str]:
    """Addresses or networks that a comma separates."""
    return [part.strip() for part in text.split(",") if part.strip()]


def of_family(text: str, ip_version: int) -> str:
    """The first one of a family among addresses or networks, empty without any."""
    return next((part for part in parts_of(text) if (":" in part) == (ip_version == 6)), "")


def given_for_first(text: str, ip_versions: Sequence[int]) -> str:
    """What is given for the first of the cluster's families; in a cluster of one family whatever is given."""
    return of_family(text, ip_versions[0]) or ("" if len(ip_versions) > 1 else text)


def decide_node_addresses(
    links: Sequence[Link],
    *,
    node_ip: str = "",
    node_cidr: str = "",
    peer_source: Source | None = None,
    routes: Sequence[Route] = (),
    ip_versions: Sequence[int] = (4,),
    vip: str = "",
) -> NodeAddress:
    """The node's address, and in a cluster of both families the other one's beside it.

    :arg node_ip: an address, or one of each family.
    :arg node_cidr: a network, or one of each family.
    :arg ip_versions: the cluster's families, the one of the node's address first.
    """
    primary = decide_node_address(
        links,
        node_ip=given_for_first(node_ip, ip_versions),
        node_cidr=given_for_first(node_cidr, ip_versions),
        peer_source=peer_source,
        routes=routes,
        ip_version=ip_versions[0],
        vip=vip,
    )
    for version in ip_versions[1:]:
        ip, cidr = of_family(node_ip, version), of_family(node_cidr, version)
        if ip or cidr:
            second = decide_node_address(links, node_ip=ip, node_cidr=cidr, ip_version=version, vip=vip)
        else:
            second = _address_beside(links, primary, version, vip)
        primary = primary._replace(secondary=second.address)
    return primary


def _address_beside(links: Sequence[Link], primary: NodeAddress, ip_version: int, vip: str) -> NodeAddress:
    """The address of the other family on the interface of the node's address."""
    usable = [
        node
        for node in _usable(links, ip_version)
        if not vip or ipaddress.ip_address(node.address) != ipaddress.ip_address(vip)
    ]
    for node in usable:
        if node.interface == primary.interface:
            return node
    raise NodeAddressError(
        "node-address-family",
        f"no IPv{ip_version} address on {primary.interface} beside {primary.address}; the host has {_listing(usable)}",
        f"an IPv{ip_version} address beside it, because the cluster has ranges of both families",
    )


def decide_node_address(
    links: Sequence[Link],
    *,
    node_ip: str = "",
    node_cidr: str = "",
    peer_source: Source | None = None,
    routes: Sequence[Route] = (),
    ip_version: int = 4,
    vip: str = "",
) -> NodeAddress:
    """The node's address: as given, else inside node_cidr, else as seen by the peer, else by the default route.

    :arg peer_source: source address of the route towards the API endpoint or the first master.
    :arg routes: routes of the host, of which the default ones are looked at.
    :arg ip_version: 4 or 6, the cluster's first family.
    :arg vip: virtual address of the API; it moves between hosts, so it is no node's, whoever has it now.
    """
    clues = _Clues(node_ip, node_cidr, peer_source, routes, ip_version)
    if not vip:
        return _decide(links, clues)
    virtual = ipaddress.ip_address(vip)
    if _same(node_ip, virtual):
        raise _virtual_address_error(f"{vip} is given both as this node's address and as the virtual address")
    own = [
        link._replace(addresses=tuple(address for address in link.addresses if address.ip != virtual)) for link in links
    ]
    try:
        return _decide(own, _without(clues, virtual, links, own))
    except NodeAddressError as error:
        try:
            only = _decide(links, clues)
        except NodeAddressError:
            raise error from None
        raise _virtual_address_error(
            f"{only.address} ({only.interface}) is the only address of the host that can be its node's"
        ) from error


def _virtual_address_error(found: str) -> NodeAddressError:
    return NodeAddressError("vip-is-node-address", found, "a virtual address that is no machine's own")


def _same(address: str, virtual: IPAddress) -> bool:
    return bool(address) and ipaddress.ip_address(address) == virtual


def _without(clues: _Clues, virtual: IPAddress, links: Sequence[Link], own: Sequence[Link]) -> _Clues:
    """The clues that lead to the virtual address made to lead to the host's own address beside it."""
    routes = [route._replace(source="") if _same(route.source, virtual) else route for route in clues.routes]
    source = clues.peer_source
    if source and _same(source.address, virtual):
        source = _source_beside(virtual, links, _usable(own, clues.ip_version))
    return clues._replace(routes=routes, peer_source=source)


def _source_beside(virtual: IPAddress, links: Sequence[Link], usable: Sequence[NodeAddress]) -> Source | None:
    """What else the host has on the interface of the virtual address, preferably in the same network."""
    holders = [link for link in links if any(address.ip == virtual for address in link.addresses)]
    same_network = {address.address for link in holders for address in link.addresses if virtual in address.network}
    beside = [node for node in usable if node.interface in {link.name for link in holders}]
    nearest = min(beside, key=lambda node: node.address not in same_network, default=None)
    return Source(nearest.address, nearest.interface) if nearest else None


def _decide(links: Sequence[Link], clues: _Clues) -> NodeAddress:
    if clues.node_ip:
        return _given_address(links, clues.node_ip)
    if clues.node_cidr:
        return _address_inside(links, clues.node_cidr)
    usable = _usable(links, clues.ip_version)
    if clues.peer_source:
        # The route to an address of the host itself leads over lo: only the address tells which interface it is.
        for node in usable:
            if ipaddress.ip_address(node.address) == ipaddress.ip_address(clues.peer_source.address):
                return node
    return _address_of_default_route(usable, clues)


def _given_address(links: Sequence[Link], node_ip: str) -> NodeAddress:
    ip = ipaddress.ip_address(node_ip)
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise NodeAddressError(
            "node-address-unusable",
            f"{node_ip} reaches no other machine",
            "an address under which the other nodes reach this host",
        )
    for link in links:
        for address in link.addresses:
            if address.ip == ip and address.duplicate:
                raise NodeAddressError(
                    "node-address-unusable",
                    f"{node_ip} on {link.name} is another machine's as well (dadfailed)",
                    "an address that this host alone has",
                )
            if address.ip == ip:
                return NodeAddress(str(ip), link.name, link.mtu)
    raise NodeAddressError(
        "node-address-absent",
        f"no interface has {node_ip}; the host has {_listing(_usable(links, ip.version))}",
        f"{node_ip} on an interface of the host",
    )


def _address_inside(links: Sequence[Link], node_cidr: str) -> NodeAddress:
    network = ipaddress.ip_network(node_cidr)
    usable = _usable(links, network.version)
    for node in usable:
        if ipaddress.ip_address(node.address) in network:
            return node
    raise NodeAddressError(
        "node-address-missing",
        f"no address inside {node_cidr}; the host has {_listing(usable)}",
        f"an address inside {node_cidr}",
    )


def _address_of_default_route(usable: Sequence[NodeAddress], clues: _Clues) -> NodeAddress:
    """The address of the best default route, of one of the other family only where its own leads nowhere."""
    defaults = sorted(
        (route for route in clues.routes if route.destination is None),
        key=lambda route: (route.ip_version != clues.ip_version, route.metric),
    )
    for route in defaults:
        for node in usable:
            if node.address == route.source or (not route.source and node.interface in route.devices):
                return node
    raise NodeAddressError(
        "node-address-missing",
        "neither a route to the first control plane node nor a default route; the host has " + _listing(usable),
        "a route, or the address given",
    )


def _usable(links: Sequence[Link], ip_version: int) -> list[NodeAddress]:
    """Addresses that can be a node's; single ones, which may be virtual addresses, after those of a whole network.

    What a router advertises comes after what was set by hand, because it changes with the router's network.
    """
    found = [
        (_rank(address), NodeAddress(address.address, link.name, link.mtu))
        for link in links
        if not link.made_by_cluster
        for address in link.addresses
        if address.scope == "global" and address.ip.version == ip_version
        if not (address.short_lived or address.duplicate)
    ]
    return [node for _order, node in sorted(found, key=lambda item: item[0])]


def _rank(address: Address) -> tuple[bool, bool, int]:
    """The kernel lists addresses of IPv6 newest first, and so perhaps in another order after the next boot."""
    number = int(address.ip) if address.ip.version == 6 else 0
    return address.prefix_length == address.ip.max_prefixlen, address.advertised, number


def _listing(nodes: Sequence[NodeAddress]) -> str:
    return ", ".join(f"{node.address} ({node.interface})" for node in nodes) or "no usable address"
