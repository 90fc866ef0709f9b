# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the values an operator gives, as pure functions that return every violation at once."""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Mapping, Union

from ansible_collections.groundplane.kubeadm.plugins.module_utils._duration import parse_duration
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_report import KNOWN_IDS

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

#: Minor releases that this collection is tested with or kept right for, oldest first.
SUPPORTED_MINORS = ("1.34", "1.35", "1.36")

#: kubeadm refuses service ranges with more than 20 host bits
#: (kubernetes: cmd/kubeadm/app/constants, MaximumBitsForServiceSubnet).
MAXIMUM_SERVICE_HOST_BITS = 20

#: The controller manager hands every node a range of this size unless told otherwise.
NODE_PREFIX_LENGTH = {4: 24, 6: 64}

#: Options and capabilities of one registry mirror, as in containerd's hosts.toml (containerd: docs/hosts.md).
MIRROR_OPTIONS = ("url", "capabilities", "skip_verify", "override_path", "ca", "client_certificate", "client_key")
MIRROR_CAPABILITIES = ("pull", "resolve", "push")

_URL = re.compile(r"https?://[^/\s]+")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"(?P<minor>[0-9]+\.[0-9]+)(\.[0-9]+)?")


@dataclass(frozen=True)
class Violation:
    """One value that cannot be used.

    :ivar subject: the variable, group or host it is about.
    :ivar found: what is there.
    :ivar expected: what should be there instead.
    """

    subject: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.subject}: found {self.found}, expected {self.expected}"


def is_dns_name(text: str) -> bool:
    """Whether text is a lower-case RFC 1123 subdomain."""
    return len(text) <= 253 and all(_DNS_LABEL.fullmatch(label) for label in text.split("."))


def is_address(text: str) -> bool:
    """Whether text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_networks(text: str) -> tuple[Network, ...]:
    """Networks of a comma-separated list; ValueError when one of them is none."""
    return tuple(ipaddress.ip_network(part.strip(), strict=True) for part in text.split(","))


def check_kubernetes_version(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A supported minor or an exact release of one."""
    name = "cluster_kubernetes_version"
    version = str(values[name])
    match = _VERSION.fullmatch(version)
    if match is None:
        yield Violation(name, repr(version), "a minor such as '1.36' or a release such as '1.36.3', as a string")
    elif match.group("minor") not in SUPPORTED_MINORS:
        yield Violation(name, repr(version), "a release of " + ", ".join(SUPPORTED_MINORS))


def check_ranges(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Pod and service ranges that kubeadm accepts and that do not touch each other."""
    networks: dict[str, tuple[Network, ...]] = {}
    for name in ("cluster_pod_cidr", "cluster_service_cidr"):
        try:
            networks[name] = split_networks(str(values[name]))
        except ValueError as error:
            yield Violation(name, str(error), "a network such as 10.244.0.0/16, or two (IPv4,IPv6) for dual stack")
    if len(networks) < 2:
        return
    pods, services = networks["cluster_pod_cidr"], networks["cluster_service_cidr"]
    for name, parts in networks.items():
        if len(parts) > 2 or len({part.version for part in parts}) != len(parts):
            yield Violation(name, repr(values[name]), "at most one IPv4 and one IPv6 network")
    if {part.version for part in pods} != {part.version for part in services}:
        yield Violation(
            "cluster_service_cidr", repr(values["cluster_service_cidr"]), "the families of cluster_pod_cidr"
        )
    for service in services:
        if service.max_prefixlen - service.prefixlen > MAXIMUM_SERVICE_HOST_BITS:
            longest = service.max_prefixlen - MAXIMUM_SERVICE_HOST_BITS
            yield Violation("cluster_service_cidr", str(service), f"a /{longest} or smaller, kubeadm's limit")
    for pod in pods:
        for service in services:
            if pod.version == service.version and pod.overlaps(service):
                yield Violation(
                    "cluster_pod_cidr",
                    f"{pod}, which overlaps cluster_service_cidr {service}",
                    "ranges that do not overlap",
                )


def check_node_addresses(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Well-formed addresses of the node and of the network it is chosen from."""
    if values["cluster_node_ip"] and not is_address(str(values["cluster_node_ip"])):
        yield Violation("cluster_node_ip", repr(values["cluster_node_ip"]), "an IPv4 or IPv6 address of this host")
    if values["cluster_node_cidr"]:
        try:
            split_networks(str(values["cluster_node_cidr"]))
        except ValueError as error:
            yield Violation("cluster_node_cidr", str(error), "a network such as 192.168.56.0/24")


def check_endpoint(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A name or address that every node can use for the API."""
    endpoint = str(values["cluster_endpoint"])
    if not (is_address(endpoint) or is_dns_name(endpoint)):
        yield Violation("cluster_endpoint", repr(endpoint), "a DNS name in lower case or an address, without a port")
    address = str(values["cluster_endpoint_address"])
    if address and not is_address(address):
        yield Violation("cluster_endpoint_address", repr(address), "an IPv4 or IPv6 address, or nothing")
    if not 1 <= int(values["cluster_api_port"]) <= 65535:
        yield Violation("cluster_api_port", str(values["cluster_api_port"]), "a port from 1 to 65535")
    for name in values["cluster_extra_sans"]:
        wildcard_free = str(name)[2:] if str(name).startswith("*.") else str(name)
        if not (is_address(wildcard_free) or is_dns_name(wildcard_free)):
            yield Violation("cluster_extra_sans", repr(name), "DNS names and addresses")


def check_names(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Names that end up in certificates, contexts and image references."""
    for name in ("cluster_name", "cluster_dns_domain"):
        if not is_dns_name(str(values[name])):
            yield Violation(name, repr(values[name]), "letters a-z, digits, '-' and '.', as in RFC 1123")
    repository = str(values["cluster_image_repository"])
    if "://" in repository or not repository or repository.endswith("/"):
        yield Violation("cluster_image_repository", repr(repository), "registry and path without scheme or final slash")


def check_registry_mirrors(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Mirrors that containerd can be told of."""
    name = "containerd_registry_mirrors"
    for registry, mirrors in values[name].items():
        if not isinstance(mirrors, list):
            yield Violation(f"{name}, {registry}", f"a {type(mirrors).__name__}", "a list of mirrors")
            continue
        for mirror in mirrors:
            yield from _check_mirror(f"{name}, {registry}", mirror)


def _check_mirror(subject: str, mirror: Any) -> Iterator[Violation]:
    if not isinstance(mirror, Mapping):
        yield Violation(subject, f"a {type(mirror).__name__}", "a dictionary with a url")
        return
    unknown = sorted(set(mirror) - set(MIRROR_OPTIONS))
    if unknown:
        yield Violation(subject, "the option " + ", ".join(unknown), "options of " + ", ".join(MIRROR_OPTIONS))
    if not _URL.match(str(mirror.get("url", ""))):
        yield Violation(subject, "no such url", "a url that begins with http:// or https://")
    capabilities = mirror.get("capabilities", [])
    if not isinstance(capabilities, list) or set(capabilities) - set(MIRROR_CAPABILITIES):
        expected = "a list of " + ", ".join(MIRROR_CAPABILITIES)
        yield Violation(subject, f"the capabilities {capabilities!r}", expected)


def check_token_ttl(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A life of the join token that is a duration."""
    name = "workers_token_ttl"
    try:
        parse_duration(str(values[name]), name)
    except GroundplaneError as error:
        yield Violation(name, repr(values[name]), f"{error.expected}, such as 30m")


def check_waivers(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Waivers of preflight checks that exist."""
    name = "prereqs_preflight_ignore"
    for waiver in values[name]:
        if waiver not in KNOWN_IDS:
            nearest = difflib.get_close_matches(str(waiver), sorted(KNOWN_IDS), n=1, cutoff=0.5)
            hint = f"{nearest[0]}, or another" if nearest else "an"
            yield Violation(name, repr(waiver), f"{hint} id of docs/preflight_checks.md")


#: Each rule with the variables that it judges.
VALUE_RULES: tuple[tuple[Callable[[Mapping[str, Any]], Iterable[Violation]], tuple[str, ...]], ...] = (
    (check_kubernetes_version, ("cluster_kubernetes_version",)),
    (check_ranges, ("cluster_pod_cidr", "cluster_service_cidr")),
    (check_node_addresses, ("cluster_node_ip", "cluster_node_cidr")),
    (check_endpoint, ("cluster_endpoint", "cluster_endpoint_address", "cluster_api_port", "cluster_extra_sans")),
    (check_registry_mirrors, ("containerd_registry_mirrors",)),
    (check_waivers, ("prereqs_preflight_ignore",)),
    (check_token_ttl, ("workers_token_ttl",)),
    (check_names, ("cluster_name", "cluster_dns_domain", "cluster_image_repository")),
)


def check_values(values: Mapping[str, Any]) -> list[Violation]:
    """Violations of every rule about the values of role cluster that are known already.

    :arg values: values by variable; one that cannot be evaluated yet is left out, and so is its rule.
    """
    return [
        violation for rule, names in VALUE_RULES if all(name in values for name in names) for violation in rule(values)
    ]


def check_version_is_text(given: Mapping[str, Any]) -> list[Violation]:
    """Violations where YAML has read the version as a number, for which 1.40 is 1.4."""
    name = "cluster_kubernetes_version"
    if isinstance(given.get(name, ""), str):
        return []
    return [Violation(name, f"the number {given[name]}", "quotes around it, as in '1.36'")]


#: Variables that must be the same on all hosts of a cluster.
COMMON_VARIABLES = (
    "cluster_api_port",
    "cluster_cni",
    "cluster_dns_domain",
    "cluster_endpoint",
    "cluster_endpoint_address",
    "cluster_kubernetes_version",
    "cluster_name",
    "cluster_pod_cidr",
    "cluster_service_cidr",
)


def check_common_values(given: Mapping[str, Mapping[str, Any]]) -> list[Violation]:
    """Violations where hosts of one cluster are given different values for what they share.

    :arg given: by host, what the inventory says; a variable that it does not set has the role's default.
    """
    violations = []
    for name in COMMON_VARIABLES:
        values = {host: str(variables.get(name, "(default)")) for host, variables in given.items()}
        if len(set(values.values())) > 1:
            listing = ", ".join(f"{value} on {host}" for host, value in sorted(values.items()))
            violations.append(Violation(name, listing, "one value for all hosts, in group_vars of k8s_cluster"))
    return violations


def check_groups(control_plane: list[str], workers: list[str], names: Mapping[str, str]) -> list[Violation]:
    """Violations in the shape of the inventory.

    :arg control_plane: hosts of the control plane group, in inventory order.
    :arg workers: hosts of the workers group.
    :arg names: what the operator calls the two groups, by the keys control_plane and workers.
    """
    violations = []
    if not control_plane:
        violations.append(
            Violation("group " + names["control_plane"], "no host", "one host that shall run the control plane")
        )
    if len(control_plane) > 1:
        violations.append(
            Violation(
                "group " + names["control_plane"],
                f"{len(control_plane)} hosts",
                "one host: this release builds clusters with a single control plane node",
            )
        )
    for host in sorted(set(control_plane) & set(workers)):
        violations.append(
            Violation(
                "host " + host,
                "membership in both {control_plane} and {workers}".format(**names),
                "membership in one of them",
            )
        )
    return violations


def node_prefix_length(cluster_configuration: Mapping[str, Any], version: int) -> int:
    """Length of the prefix that the controller manager hands to every node.

    :arg cluster_configuration: what the operator adds to kubeadm's ClusterConfiguration.
    :arg version: 4 or 6.
    """
    controller_manager = cluster_configuration.get("controllerManager") or {}
    given = {item["name"]: item["value"] for item in controller_manager.get("extraArgs") or []}
    size = given.get(f"node-cidr-mask-size-ipv{version}", given.get("node-cidr-mask-size"))
    return int(size) if size is not None else NODE_PREFIX_LENGTH[version]


def check_room_for_nodes(
    pod_cidr: str, cluster_configuration: Mapping[str, Any], number_of_hosts: int
) -> list[Violation]:
    """Violations where the pod range cannot be divided among all nodes.

    :arg pod_cidr: a well-formed range, or two separated by a comma.
    """
    violations = []
    for network in split_networks(pod_cidr):
        length = node_prefix_length(cluster_configuration, network.version)
        room = 2 ** max(length - network.prefixlen, 0)
        if length < network.prefixlen or room < number_of_hosts:
            violations.append(
                Violation(
                    "cluster_pod_cidr",
                    f"{network}, room for {room} nodes with a /{length} each",
                    f"room for {number_of_hosts} nodes",
                )
            )
    return violations


def check_distinct_node_addresses(addresses: Mapping[str, str]) -> list[Violation]:
    """Violations where two hosts are given the same cluster_node_ip.

    :arg addresses: cluster_node_ip by host; hosts without one are left out.
    """
    hosts_of: dict[str, list[str]] = {}
    for host, address in addresses.items():
        hosts_of.setdefault(address, []).append(host)
    return [
        Violation("cluster_node_ip", "{} on {}".format(address, " and ".join(sorted(hosts))), "one address per host")
        for address, hosts in sorted(hosts_of.items())
        if len(hosts) > 1
    ]


def check_spelling(given: Iterable[str], known: Iterable[str], prefixes: Iterable[str]) -> list[Violation]:
    """Violations where a variable is nearly, but not quite, one of ours.

    A variable that merely shares a prefix may belong to somebody else's repository, so only near misses count.
    """
    known_names = sorted(known)
    starts = tuple(prefix + "_" for prefix in prefixes)
    violations = []
    for name in sorted(set(given) - set(known_names)):
        if not name.startswith(starts):
            continue
        nearest = difflib.get_close_matches(name, known_names, n=1, cutoff=0.85)
        if nearest:
            violations.append(Violation(name, "a variable that no role knows", f"{nearest[0]} (is it misspelt?)"))
    return violations
