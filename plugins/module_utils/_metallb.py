# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools and announcements of MetalLB: whether they can be used, and the objects that they are in the cluster."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPVS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import (
    IPAddress,
    IPNetwork,
    parts_of,
)

NAMESPACE = "metallb-system"
#: What tells our objects from those of others.
OWN_LABEL = {"app.kubernetes.io/managed-by": "groundplane.kubeadm"}
API_VERSIONS = {
    "IPAddressPool": "metallb.io/v1beta1",
    "L2Advertisement": "metallb.io/v1beta1",
    "BGPPeer": "metallb.io/v1beta2",
    "BGPAdvertisement": "metallb.io/v1beta1",
}

POOLS = "metallb_address_pools"
PEERS = "metallb_bgp_peers"
L2_ADVERTISEMENTS = "metallb_l2_advertisements"
BGP_ADVERTISEMENTS = "metallb_bgp_advertisements"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_RANGE_FORMS = "a range such as 192.0.2.200-192.0.2.220 or a network such as 192.0.2.240/28"


@dataclass(frozen=True)
class Span:
    """Addresses from the first to the last."""

    first: IPAddress
    last: IPAddress

    @property
    def version(self) -> int:
        """Family of the addresses: 4 or 6."""
        return self.first.version

    def overlaps(self, other: Span) -> bool:
        """Whether the two have an address in common."""
        return self.version == other.version and self._reaches(other) and other._reaches(self)

    def networks(self) -> Iterator[IPNetwork]:
        """Networks that have these addresses and no other."""
        # Two calls, because only the types of one family go together.
        if isinstance(self.first, ipaddress.IPv4Address) and isinstance(self.last, ipaddress.IPv4Address):
            yield from ipaddress.summarize_address_range(self.first, self.last)
            return
        if isinstance(self.first, ipaddress.IPv6Address) and isinstance(self.last, ipaddress.IPv6Address):
            yield from ipaddress.summarize_address_range(self.first, self.last)

    def _reaches(self, other: Span) -> bool:
        return int(self.first) <= int(other.last)


def parse_span(text: str) -> Span:
    """Addresses that an entry of a pool stands for; ValueError when MetalLB would not take it."""
    start, dash, end = (part.strip() for part in text.partition("-"))
    if not dash:
        if "/" not in text:
            raise ValueError(f"{text!r} has no prefix length")
        network = ipaddress.ip_network(start, strict=True)
        return Span(network[0], network[-1])
    span = Span(ipaddress.ip_address(start), ipaddress.ip_address(end))
    if span.last.version != span.version:
        raise ValueError(f"{text!r} begins in one family and ends in the other")
    if int(span.last) < int(span.first):
        raise ValueError(f"{text!r} ends before it begins")
    return span


def networks_of(texts: Iterable[str]) -> list[str]:
    """Networks that entries of pools stand for; those that are none are left out."""
    return [str(network) for _text, span in readable_spans(texts) for network in span.networks()]


def readable_spans(texts: Iterable[str]) -> Iterator[tuple[str, Span]]:
    """Entries of pools with their addresses; others have reported those that are none."""
    for text in texts:
        try:
            yield str(text), parse_span(str(text))
        except ValueError:
            continue


class Problem(NamedTuple):
    """A value that cannot be used.

    :ivar subject: the variable.
    """

    subject: str
    found: str
    expected: str


class Taken(NamedTuple):
    """Addresses that somebody else has, with the variable that says so."""

    variable: str
    text: str
    span: Span


def configuration_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with MetalLB's variables.

    :arg values: values by variable; those that are not known are left out.
    """
    pools = _entries(values, POOLS)
    for variable in (POOLS, L2_ADVERTISEMENTS, PEERS, BGP_ADVERTISEMENTS):
        yield from _name_problems(variable, _entries(values, variable))
    yield from _address_problems(pools, values)
    yield from _reference_problems(
        L2_ADVERTISEMENTS, _entries(values, L2_ADVERTISEMENTS), "ipAddressPools", POOLS, pools
    )
    announcements = _entries(values, BGP_ADVERTISEMENTS)
    yield from _reference_problems(BGP_ADVERTISEMENTS, announcements, "ipAddressPools", POOLS, pools)
    yield from _reference_problems(BGP_ADVERTISEMENTS, announcements, "peers", PEERS, _entries(values, PEERS))
    for peer in _entries(values, PEERS):
        if peer.get("password"):
            expected = "passwordSecret, the name of a Secret of type kubernetes.io/basic-auth in " + NAMESPACE
            yield Problem(PEERS, f"the password of {peer.get('name')} itself, which everybody would read", expected)
    if values.get("cluster_proxy_mode") == IPVS:
        yield from _strict_arp_problems(values.get("control_plane_kube_proxy_configuration") or {})


def _entries(values: Mapping[str, Any], variable: str) -> Sequence[Mapping[str, Any]]:
    return values.get(variable) or ()


def _name_problems(variable: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    names = [str(entry.get("name") or "") for entry in entries]
    for name in names:
        if not _NAME.fullmatch(name):
            yield Problem(variable, f"the name {name!r}", "letters a-z, digits, '-' and '.', as in RFC 1123")
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Problem(variable, f"{names.count(name)} entries with the name {name!r}", "a name of its own for each")


def _address_problems(pools: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> Iterator[Problem]:
    """Entries that can be read, that the cluster can use, and that are nobody else's."""
    families = {taken.span.version for taken in _ranges(values, "cluster_service_cidr")}
    taken = list(_taken(values))
    given: list[tuple[str, Span]] = []
    for pool in pools:
        name = pool.get("name")
        if not pool.get("addresses"):
            yield Problem(POOLS, f"no addresses in pool {name}", _RANGE_FORMS)
        for text in pool.get("addresses") or ():
            try:
                span = parse_span(str(text))
            except ValueError as error:
                yield Problem(POOLS, f"{error} (pool {name})", _RANGE_FORMS)
                continue
            label = f"{text} of pool {name}"
            given.append((label, span))
            if families and span.version not in families:
                yield Problem(POOLS, f"{label}, which is IPv{span.version}", "the families of cluster_service_cidr")
            if not _is_unicast(span):
                yield Problem(POOLS, label, "addresses that a machine of the network could have")
            for other in taken:
                if span.overlaps(other.span):
                    yield Problem(
                        POOLS, f"{label}, which overlaps {other.variable} {other.text}", "addresses of nobody"
                    )
    for (label, span), (other_label, other_span) in combinations(given, 2):
        if span.overlaps(other_span):
            yield Problem(POOLS, f"{label}, which overlaps {other_label}", "every address once")


def _is_unicast(span: Span) -> bool:
    """Whether routers would pass on packets to the addresses; those of documentation and of private networks count."""
    return not any(
        address.is_multicast or address.is_loopback or address.is_link_local or address.is_unspecified
        for address in (span.first, span.last)
    )


def _taken(values: Mapping[str, Any]) -> Iterator[Taken]:
    """Addresses of pods, Services and the API, as far as they can be read; others report those that cannot."""
    for variable in ("cluster_pod_cidr", "cluster_service_cidr"):
        yield from _ranges(values, variable)
    for variable in ("cluster_vip", "cluster_endpoint_address", "cluster_node_ip"):
        for text in parts_of(str(values.get(variable) or "")):
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                continue
            yield Taken(variable, text, Span(address, address))


def _ranges(values: Mapping[str, Any], variable: str) -> Iterator[Taken]:
    for text, span in readable_spans(parts_of(str(values.get(variable) or ""))):
        yield Taken(variable, text, span)


def _reference_problems(
    variable: str,
    entries: Sequence[Mapping[str, Any]],
    field: str,
    target: str,
    targets: Sequence[Mapping[str, Any]],
) -> Iterator[Problem]:
    """Names that lead nowhere, which MetalLB passes over in silence."""
    names = {entry.get("name") for entry in targets}
    for entry in entries:
        for name in entry.get(field) or ():
            if name not in names:
                yield Problem(variable, f"{name!r} in {field} of {entry.get('name')}", f"a name of {target}")


def _strict_arp_problems(configuration: Mapping[str, Any]) -> Iterator[Problem]:
    """In mode ipvs every node has every address of a Service, and answers for it unless it is told not to."""
    if not (configuration.get("ipvs") or {}).get("strictARP", True):
        yield Problem("control_plane_kube_proxy_configuration", "ipvs.strictARP false", "true, or nothing here")


def objects_of(configuration: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Objects in the cluster, with the label that makes them ours.

    :arg configuration: entries of the variables by kind: name, labels, and fields of spec. What is null is not said.
    """
    return [_object(kind, entry) for kind, entries in configuration.items() for entry in entries]


def _object(kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSIONS[kind],
        "kind": kind,
        "metadata": {
            "name": entry["name"],
            "namespace": NAMESPACE,
            "labels": {**(entry.get("labels") or {}), **OWN_LABEL},
        },
        "spec": {
            field: value for field, value in entry.items() if field not in ("name", "labels") and value is not None
        },
    }
