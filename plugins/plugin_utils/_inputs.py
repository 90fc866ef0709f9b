# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the values an operator gives, as pure functions that return every violation at once."""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Iterable, Iterator, Mapping, Union

from ansible_collections.groundplane.kubeadm.plugins.module_utils._duration import parse_duration
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_policy import (
    parse_cluster_port,
    rule_problem,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPTABLES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._metallb import configuration_problems
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import parts_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_report import KNOWN_IDS

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

#: Minor releases that this collection is tested with or kept right for, oldest first.
SUPPORTED_MINORS = ("1.34", "1.35", "1.36")

#: kubeadm refuses service ranges with more than 20 host bits
#: (kubernetes: cmd/kubeadm/app/constants, MaximumBitsForServiceSubnet).
MAXIMUM_SERVICE_HOST_BITS = 20

#: The controller manager hands every node a range of this size unless told otherwise.
NODE_PREFIX_LENGTH = {4: 24, 6: 64}

#: kubeadm and the controller manager keep one bit for each range of a node, 65536 at most
#: (kubernetes: cmd/kubeadm/app/constants, PodSubnetNodeMaskMaxDiff).
MAXIMUM_BITS_FOR_NODES = 16

#: Options and capabilities of one registry mirror, as in containerd's hosts.toml (containerd: docs/hosts.md).
MIRROR_OPTIONS = ("url", "capabilities", "skip_verify", "override_path", "ca", "client_certificate", "client_key")
MIRROR_CAPABILITIES = ("pull", "resolve", "push")

#: What control_plane_external_etcd consists of.
EXTERNAL_ETCD_OPTIONS = ("endpoints", "ca", "certificate", "key")

_URL = re.compile(r"https?://[^/\s]+")
_SERVER_URL = re.compile(r"https://(\[[0-9a-fA-F:.]+\]|[^/:\s\[\]]+)(:[0-9]{1,5})?")
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
    if _families(pods) != _families(services):
        yield Violation(
            "cluster_service_cidr",
            repr(values["cluster_service_cidr"]),
            "the families of cluster_pod_cidr, in the same order",
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


def _families(networks: Iterable[Network]) -> list[int]:
    """Each family once; the first one is that of the nodes' addresses, and the API server wants Services of it."""
    return list(dict.fromkeys(network.version for network in networks))


def check_node_addresses(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Well-formed addresses of the node and of the networks they are chosen from, of each family one at most."""
    name, addresses = "cluster_node_ip", parts_of(str(values["cluster_node_ip"]))
    if all(map(is_address, addresses)):
        yield from _check_families(name, [ipaddress.ip_address(part).version for part in addresses], values)
    else:
        yield Violation(name, repr(values[name]), "an IPv4 or IPv6 address of this host, or both (IPv4,IPv6)")
    name = "cluster_node_cidr"
    try:
        networks = split_networks(str(values[name])) if values[name] else ()
    except ValueError as error:
        yield Violation(name, str(error), "a network such as 192.168.56.0/24, or two (IPv4,IPv6) for dual stack")
        return
    yield from _check_families(name, [network.version for network in networks], values)


def _check_families(name: str, versions: list[int], values: Mapping[str, Any]) -> Iterator[Violation]:
    """One of each family at most, and of those alone that the cluster has: an API server refuses to mix them."""
    families = [6 if ":" in part else 4 for part in parts_of(str(values["cluster_pod_cidr"]))]
    if len(set(versions)) < len(versions):
        yield Violation(name, repr(values[name]), "at most one of IPv4 and one of IPv6")
    elif len(versions) > 1 and len(families) < 2:
        yield Violation(name, repr(values[name]), "one, because cluster_pod_cidr has ranges of one family")
    elif families and set(versions) - set(families):
        yield Violation(name, repr(values[name]), f"IPv{families[0]}, the family of cluster_pod_cidr")


def check_endpoint(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A name or address that every node can use for the API."""
    endpoint = str(values["cluster_endpoint"])
    if not (is_address(endpoint) or is_dns_name(endpoint)):
        yield Violation("cluster_endpoint", repr(endpoint), "a DNS name in lower case or an address, without a port")
    address = str(values["cluster_endpoint_address"])
    if address and not is_address(address):
        yield Violation("cluster_endpoint_address", repr(address), "an IPv4 or IPv6 address, or nothing")
    yield from _check_port("cluster_api_port", values)
    for name in values["cluster_extra_sans"]:
        wildcard_free = str(name)[2:] if str(name).startswith("*.") else str(name)
        if not (is_address(wildcard_free) or is_dns_name(wildcard_free)):
            yield Violation("cluster_extra_sans", repr(name), "DNS names and addresses")


def _check_port(name: str, values: Mapping[str, Any]) -> Iterator[Violation]:
    if not 1 <= int(values[name]) <= 65535:
        yield Violation(name, str(values[name]), "a port from 1 to 65535")


def check_endpoint_port(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A port on which somebody listens: without a load balancer that is the API server."""
    name = "cluster_endpoint_port"
    yield from _check_port(name, values)
    if values["cluster_load_balancer"] == "none" and int(values[name]) != int(values["cluster_api_port"]):
        yield Violation(
            name,
            f"{values[name]} with cluster_load_balancer none",
            f"cluster_api_port ({values['cluster_api_port']}), because the API server itself is the endpoint",
        )


def check_vip(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A virtual address that is no pod's and no Service's."""
    name = "cluster_vip"
    vip = str(values[name])
    if not vip:
        return
    if not is_address(vip):
        yield Violation(name, repr(vip), "an IPv4 or IPv6 address, or nothing")
        return
    for ranges in ("cluster_pod_cidr", "cluster_service_cidr"):
        try:
            networks = split_networks(str(values[ranges]))
        except ValueError:
            # check_ranges says so.
            continue
        for network in networks:
            if ipaddress.ip_address(vip) in network:
                yield Violation(name, f"{vip}, which lies in {ranges} {network}", "an address of the nodes' network")


def check_load_balancer(values: Mapping[str, Any]) -> Iterator[Violation]:
    """An endpoint that leads to what the load balancer is."""
    chosen, vip = str(values["cluster_load_balancer"]), str(values["cluster_vip"])
    if chosen == "keepalived" and not vip:
        yield Violation(
            "cluster_load_balancer", "keepalived without cluster_vip", "cluster_vip, which keepalived holds"
        )
    if chosen != "keepalived" and vip:
        yield Violation(
            "cluster_vip",
            f"{vip} with cluster_load_balancer {chosen}, where nobody holds it",
            "keepalived, or nothing here"
            + (" and the address of your load balancer in cluster_endpoint_address" if chosen == "external" else ""),
        )
    # A name that the roles do not write into /etc/hosts leads where DNS says, and an address leads to itself.
    known_elsewhere = not values.get("prereqs_hosts_enabled", True) or is_address(str(values["cluster_endpoint"]))
    if chosen == "external" and not values["cluster_endpoint_address"] and not known_elsewhere:
        yield Violation(
            "cluster_load_balancer",
            "external without cluster_endpoint_address",
            "the address of your load balancer there, or prereqs_hosts_enabled false and a name in cluster_endpoint "
            "that DNS knows",
        )


def check_external_etcd(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Nothing, or everything that the API servers need of an etcd of the operator's own."""
    name = "control_plane_external_etcd"
    etcd = values[name]
    if not etcd:
        return
    unknown = sorted(set(etcd) - set(EXTERNAL_ETCD_OPTIONS))
    if unknown:
        yield Violation(name, "the option " + ", ".join(unknown), "options of " + ", ".join(EXTERNAL_ETCD_OPTIONS))
    endpoints = etcd.get("endpoints")
    if not isinstance(endpoints, list) or not endpoints:
        yield Violation(name, f"the endpoints {endpoints!r}", "a list of URLs such as https://192.0.2.31:2379")
    else:
        for endpoint in endpoints:
            if not _SERVER_URL.fullmatch(str(endpoint)):
                yield Violation(name, f"the endpoint {endpoint!r}", "a URL such as https://192.0.2.31:2379")
    for option in ("ca", "certificate", "key"):
        if not (etcd.get(option) and isinstance(etcd[option], str)):
            yield Violation(name, f"{option} {etcd.get(option)!r}", "the path of a file on the controller")


def check_kubeconfig_server(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A URL that kubectl takes; something in front of the API may have it below a path."""
    name = "control_plane_kubeconfig_server"
    server = str(values[name])
    address = re.match(_SERVER_URL, server)
    if server and not (address and re.fullmatch(r"(/\S*)?", server[address.end() :])):
        yield Violation(name, repr(server), "a URL such as https://192.0.2.11:6443, or nothing")


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


def check_token_ttl(name: str, values: Mapping[str, Any]) -> Iterator[Violation]:
    """A life of a join token that is a duration.

    :arg name: the variable; workers and control plane nodes have one each.
    """
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


def check_sources(name: str, values: Mapping[str, Any]) -> Iterator[Violation]:
    """Addresses and networks that a rule of the packet filter can name.

    :arg name: the variable; each kind of clients has one.
    """
    for source in values[name]:
        try:
            ipaddress.ip_network(str(source), strict=True)
        except ValueError as error:
            yield Violation(name, str(error), "addresses and networks such as 192.0.2.5 and 192.0.2.0/24")


def check_firewall_ssh_sources(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Somewhere to log in from."""
    name = "firewall_ssh_sources"
    if not values[name]:
        yield Violation(name, "nothing", "the networks from which the hosts are administered")
    yield from check_sources(name, values)


def check_firewall_ssh_ports(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Ports on which sshd can listen."""
    name = "firewall_ssh_ports"
    for port in values[name]:
        if not 1 <= int(port) <= 65535:
            yield Violation(name, str(port), "ports from 1 to 65535")


def check_firewall_cluster_ports(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Ports with their protocol."""
    name = "firewall_cluster_ports"
    for text in values[name]:
        try:
            parse_cluster_port(str(text))
        except GroundplaneError as error:
            yield Violation(name, repr(text), error.expected)


def check_firewall_node_port_range(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Two ports in their order."""
    name = "firewall_node_port_range"
    try:
        parse_cluster_port(f"{values[name]}/tcp")
    except GroundplaneError:
        yield Violation(name, repr(values[name]), "the first and the last port, such as '30000:32767'")


def check_firewall_rules(name: str, values: Mapping[str, Any]) -> Iterator[Violation]:
    """Rules that the packet filter can hold.

    :arg name: the variable; rules stand before and after those of the role.
    """
    for number, rule in enumerate(values[name], 1):
        problem = rule_problem({option: value for option, value in rule.items() if value is not None})
        if problem:
            yield Violation(name, f"rule {number}, which {problem}", "a rule as the role documents it")


def check_firewall_rollback(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Enough time to log in anew, and not so much that a lock-out is taken for the end."""
    name = "firewall_rollback_seconds"
    if not 10 <= int(values[name]) <= 600:
        yield Violation(name, str(values[name]), "10 to 600 seconds")


def check_firewall_load_balancer(values: Mapping[str, Any]) -> Iterator[Violation]:
    """A load balancer of the operator's that the control plane nodes will hear."""
    if not values["firewall_enabled"] or values["cluster_load_balancer"] != "external":
        return
    if not values["cluster_endpoint_address"] and not values.get("firewall_api_sources"):
        yield Violation(
            "firewall_api_sources",
            "nothing, with a load balancer of which only DNS knows the address",
            "the addresses from which it connects to the API servers",
        )


def check_proxy_mode(values: Mapping[str, Any]) -> Iterator[Violation]:
    """One mode of kube-proxy: what else has to know it does not look into kubeadm's configuration."""
    name = "control_plane_kube_proxy_configuration"
    configuration, mode = values[name], values["cluster_proxy_mode"]
    if "mode" in configuration and (configuration["mode"] or IPTABLES) != mode:
        found = f"mode {configuration['mode']!r} with cluster_proxy_mode {mode}"
        yield Violation(name, found, "the mode in cluster_proxy_mode alone")


def check_metallb(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Pools and announcements that MetalLB takes and that harm nobody, where it is wanted."""
    if values["metallb_enabled"] and values.get("metallb_state", "present") == "present":
        yield from (Violation(*problem) for problem in configuration_problems(values))


#: Variables of role firewall that list addresses and networks.
FIREWALL_SOURCES = (
    "firewall_api_sources",
    "firewall_load_balancer_sources",
    "firewall_node_port_sources",
    "firewall_node_sources",
)

#: Each rule with the variables that it judges.
VALUE_RULES: tuple[tuple[Callable[[Mapping[str, Any]], Iterable[Violation]], tuple[str, ...]], ...] = (
    (check_kubernetes_version, ("cluster_kubernetes_version",)),
    (check_ranges, ("cluster_pod_cidr", "cluster_service_cidr")),
    (check_node_addresses, ("cluster_node_ip", "cluster_node_cidr", "cluster_pod_cidr")),
    (check_vip, ("cluster_vip", "cluster_pod_cidr", "cluster_service_cidr")),
    (
        check_load_balancer,
        ("cluster_load_balancer", "cluster_vip", "cluster_endpoint", "cluster_endpoint_address"),
    ),
    (check_endpoint_port, ("cluster_endpoint_port", "cluster_load_balancer", "cluster_api_port")),
    (check_external_etcd, ("control_plane_external_etcd",)),
    (check_kubeconfig_server, ("control_plane_kubeconfig_server",)),
    (check_endpoint, ("cluster_endpoint", "cluster_endpoint_address", "cluster_api_port", "cluster_extra_sans")),
    (check_registry_mirrors, ("containerd_registry_mirrors",)),
    (check_waivers, ("prereqs_preflight_ignore",)),
    *((partial(check_token_ttl, name), (name,)) for name in ("control_plane_token_ttl", "workers_token_ttl")),
    (check_names, ("cluster_name", "cluster_dns_domain", "cluster_image_repository")),
    *((partial(check_sources, name), (name,)) for name in FIREWALL_SOURCES),
    (check_firewall_ssh_sources, ("firewall_ssh_sources",)),
    (check_firewall_ssh_ports, ("firewall_ssh_ports",)),
    (check_firewall_cluster_ports, ("firewall_cluster_ports",)),
    (check_firewall_node_port_range, ("firewall_node_port_range",)),
    *((partial(check_firewall_rules, name), (name,)) for name in ("firewall_rules_before", "firewall_rules_after")),
    (check_firewall_rollback, ("firewall_rollback_seconds",)),
    (check_proxy_mode, ("cluster_proxy_mode", "control_plane_kube_proxy_configuration")),
    (check_metallb, ("metallb_enabled",)),
    (check_firewall_load_balancer, ("firewall_enabled", "cluster_load_balancer", "cluster_endpoint_address")),
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


#: Argument of the controller manager for the size of a node's range; each family has one of its own as well.
NODE_SIZE_ARGUMENT = "node-cidr-mask-size"

#: Variables that must be the same on all hosts of a cluster.
COMMON_VARIABLES = (
    "cluster_api_port",
    "cluster_cni",
    "cluster_dns_domain",
    "cluster_endpoint",
    "cluster_endpoint_address",
    "cluster_endpoint_port",
    "cluster_kubernetes_version",
    "cluster_load_balancer",
    "cluster_name",
    "cluster_pod_cidr",
    "cluster_proxy_mode",
    "cluster_service_cidr",
    "cluster_vip",
    "metallb_enabled",
)

#: Variables that must be the same on all control plane hosts; workers never look at them.
CONTROL_PLANE_VARIABLES = ("cni_flannel_backend", "cni_flannel_backend_options", "control_plane_external_etcd")


def check_common_values(
    given: Mapping[str, Mapping[str, Any]], names: Iterable[str], scope: str = "hosts, in group_vars of k8s_cluster"
) -> list[Violation]:
    """Violations where hosts of one cluster are given different values for what they share.

    :arg given: by host, what the inventory says; a variable that it does not set has the role's default.
    :arg names: variables that have to be the same.
    :arg scope: on which hosts, and where to set them.
    """
    violations = []
    for name in names:
        values = {host: str(variables.get(name, "(default)")) for host, variables in given.items()}
        if len(set(values.values())) > 1:
            listing = ", ".join(f"{value} on {host}" for host, value in sorted(values.items()))
            violations.append(Violation(name, listing, f"one value for all {scope}"))
    return violations


def check_groups(
    control_plane: list[str],
    workers: list[str],
    names: Mapping[str, str],
    *,
    members: Iterable[str] = (),
    one_address: bool = False,
) -> list[Violation]:
    """Violations in the shape of the inventory.

    :arg control_plane: hosts of the control plane group, in inventory order.
    :arg workers: hosts of the workers group.
    :arg names: what the operator calls the two groups, by the keys control_plane and workers.
    :arg members: hosts of the group on which the playbooks run.
    :arg one_address: the endpoint leads to the address of a single control plane host.
    """
    group = "group " + names["control_plane"]
    violations = []
    if not control_plane:
        violations.append(Violation(group, "no host", "one host that shall run the control plane, or three"))
    if len(control_plane) > 1 and one_address:
        violations.append(
            Violation(
                group,
                f"{len(control_plane)} hosts with cluster_load_balancer none",
                "a cluster_vip, which they will share, or a load balancer of your own at cluster_endpoint_address; or "
                "prereqs_hosts_enabled false, where DNS knows cluster_endpoint by the addresses of all of them",
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
    for host in sorted(set(members) - set(control_plane) - set(workers)):
        violations.append(
            Violation(
                "host " + host,
                "membership in k8s_cluster alone",
                "membership in {control_plane} or {workers}, which tells what it becomes".format(**names),
            )
        )
    return violations


def node_prefix_length(cluster_configuration: Mapping[str, Any], version: int) -> int:
    """Length of the prefix that the controller manager hands to every node.

    :arg cluster_configuration: what the operator adds to kubeadm's ClusterConfiguration.
    :arg version: 4 or 6.
    """
    given = _controller_manager_arguments(cluster_configuration)
    size = given.get(f"{NODE_SIZE_ARGUMENT}-ipv{version}", given.get(NODE_SIZE_ARGUMENT))
    return int(size) if size is not None else NODE_PREFIX_LENGTH[version]


def _controller_manager_arguments(cluster_configuration: Mapping[str, Any]) -> dict[str, Any]:
    controller_manager = cluster_configuration.get("controllerManager") or {}
    return {item["name"]: item["value"] for item in controller_manager.get("extraArgs") or []}


def check_room_for_nodes(
    pod_cidr: str, cluster_configuration: Mapping[str, Any], number_of_hosts: int
) -> list[Violation]:
    """Violations where the pod range cannot be divided among all nodes, or has more parts than can be kept.

    Nothing is divided where the controller manager is told to leave that to somebody else.

    :arg pod_cidr: a well-formed range, or two separated by a comma.
    """
    violations = []
    networks = split_networks(pod_cidr)
    arguments = _controller_manager_arguments(cluster_configuration)
    if str(arguments.get("allocate-node-cidrs", "true")).lower() == "false":
        return []
    if len(networks) > 1 and NODE_SIZE_ARGUMENT in arguments:
        violations.append(
            Violation(
                "control_plane_cluster_configuration",
                f"{NODE_SIZE_ARGUMENT} of the controller manager in a dual-stack cluster",
                f"{NODE_SIZE_ARGUMENT}-ipv4 and {NODE_SIZE_ARGUMENT}-ipv6",
            )
        )
    for network in networks:
        length = node_prefix_length(cluster_configuration, network.version)
        room = 2 ** max(length - network.prefixlen, 0)
        if length - network.prefixlen > MAXIMUM_BITS_FOR_NODES:
            violations.append(
                Violation(
                    "cluster_pod_cidr",
                    f"{network}, which has more than 65536 ranges for nodes, of a /{length} each",
                    f"a /{length - MAXIMUM_BITS_FOR_NODES} or smaller, kubeadm's limit",
                )
            )
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
    for host, text in addresses.items():
        for address in parts_of(text):
            hosts_of.setdefault(address, []).append(host)
    return [
        Violation("cluster_node_ip", "{} on {}".format(address, " and ".join(sorted(hosts))), "one address per host")
        for address, hosts in sorted(hosts_of.items())
        if len(hosts) > 1
    ]


def check_free_vip(vip: str, addresses: Mapping[str, str]) -> list[Violation]:
    """Violations where the virtual address is a host's own, which keepalived would take away from it.

    :arg addresses: cluster_node_ip by host; hosts without one are left out.
    """
    if not is_address(vip):
        return []
    return [
        Violation("cluster_vip", f"{vip}, which is cluster_node_ip of {host}", "an address that no machine has")
        for host, text in sorted(addresses.items())
        for address in parts_of(text)
        if is_address(address) and ipaddress.ip_address(address) == ipaddress.ip_address(vip)
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
