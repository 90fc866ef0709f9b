# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach which port of a node, as data, and the packet filter's chains that follow from a cluster's choices.

Everything here is pure: it turns what the roles know into the C(chains) of the module iptables_persistence.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Sequence, Union
from urllib.parse import urlsplit

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._metallb import networks_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._socket_address import unmapped
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ssh_session import Session, parse_session

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Rule = Mapping[str, Any]

INPUT_CHAIN = "GROUNDPLANE-INPUT"
NODES_CHAIN = "GROUNDPLANE-NODES"

#: Who a port is open to.
CONTROL_PLANE = "control plane nodes"
NODES = "nodes"
PODS = "pods"
API_CLIENTS = "firewall_api_sources"
LOAD_BALANCERS = "firewall_load_balancer_sources"
NODE_PORT_CLIENTS = "firewall_node_port_sources"

EVERY_HOST = "every node"


class Service(NamedTuple):
    """Something that listens on a node.

    :ivar protocol: tcp, udp, or the number of an IP protocol that has no ports.
    :ivar ports: destination ports; a name in braces is a field of Ports.
    :ivar host: the nodes on which it listens, CONTROL_PLANE or EVERY_HOST.
    :ivar sources: who has to reach it.
    :ivar features: choices of which one has to be made; without any it is always there.
    """

    name: str
    protocol: str
    ports: tuple[str, ...]
    host: str
    sources: tuple[str, ...]
    features: tuple[str, ...] = ()


class Ports(NamedTuple):
    """Ports that can be chosen; the defaults are those of the programs themselves."""

    api: str = "6443"
    endpoint: str = "6443"
    node_ports: str = "30000:32767"
    vxlan: str = "8472"
    wireguard: str = "51820"
    wireguard_ipv6: str = "51821"


#: What listens on nodes for others. What binds to 127.0.0.1 is not in it: kubelet's health 10248, kube-proxy's metrics
#: 10249, the controller manager 10257, the scheduler 10259, etcd's metrics 2381, haproxy's health.
SERVICES = (
    Service("API server", "tcp", ("{api}",), CONTROL_PLANE, (NODES, PODS, API_CLIENTS)),
    Service("endpoint of the API", "tcp", ("{endpoint}",), CONTROL_PLANE, (NODES, PODS, API_CLIENTS), ("keepalived",)),
    Service("keepalived (VRRP)", "112", (), CONTROL_PLANE, (CONTROL_PLANE,), ("keepalived",)),
    Service("etcd", "tcp", ("2379", "2380"), CONTROL_PLANE, (CONTROL_PLANE,), ("stacked-etcd",)),
    Service("kubelet", "tcp", ("10250",), EVERY_HOST, (NODES, PODS)),
    Service("VXLAN of flannel", "udp", ("{vxlan}",), EVERY_HOST, (NODES,), ("flannel-vxlan", "canal")),
    Service(
        "WireGuard of flannel",
        "udp",
        ("{wireguard}", "{wireguard_ipv6}"),
        EVERY_HOST,
        (NODES,),
        ("flannel-wireguard",),
    ),
    Service("VXLAN of Calico", "udp", ("4789",), EVERY_HOST, (NODES,), ("calico-vxlan",)),
    Service("IP in IP of Calico", "4", (), EVERY_HOST, (NODES,), ("calico-ipip",)),
    Service("BGP of Calico", "tcp", ("179",), EVERY_HOST, (NODES,), ("calico-bgp",)),
    Service("WireGuard of Calico", "udp", ("51820", "51821"), EVERY_HOST, (NODES,), ("calico-wireguard",)),
    Service("Typha of Calico", "tcp", ("5473",), EVERY_HOST, (NODES,), ("calico-typha",)),
    Service("MetalLB's speakers", "tcp", ("7946",), EVERY_HOST, (NODES,), ("metallb",)),
    Service("MetalLB's speakers", "udp", ("7946",), EVERY_HOST, (NODES,), ("metallb",)),
    Service("metrics of MetalLB", "tcp", ("7472", "7473", "9120"), EVERY_HOST, (NODES, PODS), ("metallb-metrics",)),
    Service("DNS on the node", "udp", ("53",), EVERY_HOST, (PODS,), ("node-local-dns",)),
    Service("DNS on the node", "tcp", ("53",), EVERY_HOST, (PODS,), ("node-local-dns",)),
    # Only IPVS hands NodePorts to the host's own input; the other modes redirect them before.
    Service("NodePorts in IPVS", "tcp", ("{node_ports}",), EVERY_HOST, (NODES, PODS), ("ipvs",)),
    Service("NodePorts in IPVS", "udp", ("{node_ports}",), EVERY_HOST, (NODES, PODS), ("ipvs",)),
    Service("health of kube-proxy", "tcp", ("10256",), EVERY_HOST, (LOAD_BALANCERS,)),
    Service("health of Services", "tcp", ("{node_ports}",), EVERY_HOST, (LOAD_BALANCERS,)),
    Service("NodePorts", "tcp", ("{node_ports}",), EVERY_HOST, (NODE_PORT_CLIENTS,)),
    Service("NodePorts", "udp", ("{node_ports}",), EVERY_HOST, (NODE_PORT_CLIENTS,)),
)

#: Choices that change more than a list of ports, or nothing at all.
_OTHER_FEATURES = ("flannel-host-gw", "multicast-vrrp")
FEATURES = frozenset(feature for service in SERVICES for feature in service.features) | frozenset(_OTHER_FEATURES)

#: Destination unreachable (with it the discovery of path MTUs), echo request, time exceeded, parameter problem.
ICMP_TYPES = ("3", "8", "11", "12")
#: The same of IPv6 (RFC 4890), then multicast listeners and neighbours, without which no IPv6 works at all.
ICMPV6_TYPES = ("1", "2", "3", "4", "128", "130", "131", "132", "133", "134", "135", "136", "137", "143")

_EVERYTHING = ("0.0.0.0/0", "::/0")
_LINK_LOCAL = "fe80::/10"
_MULTICAST = "224.0.0.0/4"
_IGMP = "2"
_MAXIMUM_COMMENT = 200

#: What a rule of the operator's may say, as the module's rules do.
RULE_OPTIONS = frozenset(
    (
        *("target", "protocol", "ports", "sources", "destinations", "interface"),
        *("states", "icmp_types", "family", "comment"),
    )
)
RULE_TARGETS = ("accept", "drop", "reject", "return")

_PORTS = re.compile(r"[0-9]{1,5}(:[0-9]{1,5})?")


class Choices(NamedTuple):
    """What a host and its cluster are, as far as the packet filter is concerned.

    :ivar control_plane: whether the host is a control plane node.
    :ivar features: choices among FEATURES.
    :ivar node_sources: addresses and networks of all nodes.
    :ivar control_plane_sources: addresses of the control plane nodes among them.
    :ivar pool_ranges: addresses that MetalLB gives away, as its pools write them.
    :ivar ssh_connection: SSH_CONNECTION of Ansible's session on the host; empty when that is none of SSH.
    :ivar own_addresses: addresses of the host itself.
    :ivar cluster_ports: further ports for nodes and pods, such as 9100/tcp.
    :ivar api_connections: connections to the API server of this host as ss lists them, whose peers have to remain.
    """

    control_plane: bool = False
    features: Sequence[str] = ()
    node_sources: Sequence[str] = ()
    control_plane_sources: Sequence[str] = ()
    pod_ranges: Sequence[str] = ()
    service_ranges: Sequence[str] = ()
    pool_ranges: Sequence[str] = ()
    api_sources: Sequence[str] = ()
    load_balancer_sources: Sequence[str] = ()
    node_port_sources: Sequence[str] = ()
    ssh_connection: str = ""
    own_addresses: Sequence[str] = ()
    ssh_ports: Sequence[int] = ()
    ssh_sources: Sequence[str] = _EVERYTHING
    cluster_ports: Sequence[str] = ()
    rules_before: Sequence[Rule] = ()
    rules_after: Sequence[Rule] = ()
    ports: Ports = Ports()
    api_connections: str = ""


def choices_of(values: Mapping[str, Any]) -> Choices:
    """Choices from a dictionary whose keys are the fields; those of its entry ports are the fields of Ports."""
    ports = values.get("ports") or {}
    for given, known in ((values, Choices._fields), (ports, Ports._fields)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise GroundplaneError("Found the choice " + ", ".join(unknown), expected=", ".join(known))
    chosen = {name: str(value) for name, value in ports.items()}
    return Choices(**{**values, "ports": Ports(**chosen)})


def chains_for(choices: Choices) -> list[dict[str, Any]]:
    """The chains of a host, the one that INPUT jumps to first.

    Rules are matched from first to last, so the order is the policy: SSH and replies cannot be lost to any rule that
    comes later, and nothing is reached behind the last one. Packets that connection tracking calls invalid are not
    dropped by a rule of their own: what comes after an address has moved to this host may look so, and a reset is the
    quickest way for its client to begin anew.

    What accepts a packet ends the whole table: a ban of fail2ban or a rule of ufw behind it never sees the packet. SSH,
    ICMP and DHCP therefore return, replies within a session of SSH too, and the host's own rules decide as if these
    chains were not there. The cluster's ports are accepted, since opening exactly these is what the chains are for.
    """
    unknown = sorted(set(choices.features) - FEATURES)
    if unknown:
        raise GroundplaneError(
            "Found the feature " + ", ".join(unknown), expected="features of " + ", ".join(sorted(FEATURES))
        )
    rules = [
        *_ssh_rules(choices),
        _rule("accept", "replies to what was allowed or asked for", states=["ESTABLISHED", "RELATED"]),
        _rule("accept", "the host itself", interface="lo"),
        _rule("return", "errors, path MTU, ping", family="ipv4", protocol="icmp", icmp_types=list(ICMP_TYPES)),
        _rule(
            "return",
            "errors, path MTU, ping, neighbours, routers, multicast listeners",
            family="ipv6",
            protocol="icmpv6",
            icmp_types=list(ICMPV6_TYPES),
        ),
        *_own_rules("firewall_rules_before", choices.rules_before),
        *_from([*choices.node_sources, *choices.control_plane_sources], _rule(NODES_CHAIN, "nodes of the cluster")),
        *_pod_rules(choices),
        *_rules_from(choices, API_CLIENTS, choices.api_sources),
        *_rules_from(choices, LOAD_BALANCERS, choices.load_balancer_sources),
        *_rules_from(choices, NODE_PORT_CLIENTS, choices.node_port_sources),
        *_pool_rules(choices),
        *_network_rules(choices),
        *_own_rules("firewall_rules_after", choices.rules_after),
        _rule("drop", "everything else"),
    ]
    chains = [
        {"name": INPUT_CHAIN, "hook": True, "rules": rules},
        {"name": NODES_CHAIN, "hook": False, "rules": list(_node_rules(choices))},
    ]
    _require_clients_that_remain(chains, choices)
    return chains


def peers_of(connections: str) -> list[str]:
    """Addresses at the other end of connections, each once, from lines of C(ss -Htn), whose last column they are."""
    found = set()
    for line in connections.splitlines():
        text = (line.split() or [""])[-1].rpartition(":")[0].strip("[]").partition("%")[0]
        if _is_address(text):
            found.add(unmapped(text))
    return sorted(found)


def _require_clients_that_remain(chains: Sequence[Mapping[str, Any]], choices: Choices) -> None:
    """A load balancer asks whether the API is well from addresses of its own, and without an answer takes it out."""
    rules = {chain["name"]: chain["rules"] for chain in chains}
    port = int(choices.ports.api)
    lost = [
        peer
        for peer in peers_of(choices.api_connections)
        if not _is_own(peer, choices) and _verdict(rules, INPUT_CHAIN, peer, port) in ("drop", "reject")
    ]
    if lost:
        raise GroundplaneError(
            f"Found connections to the API server from {', '.join(lost)}, which these rules would shut out",
            expected="that who uses the API is a node, a pod, or among firewall_api_sources, above all the addresses "
            "from which the load balancer checks and connects",
            remedy="add those who shall remain to firewall_api_sources; end the connections of the others "
            f"(ss -K dst ADDRESS sport = :{port}) and run again a minute later. The rules were not changed",
        )


def _verdict(chains: Mapping[str, Sequence[Rule]], name: str, source: str, port: int) -> str:
    """What becomes of the first packet of a TCP connection from outside; empty where it returns.

    Where a rule asks for an interface or a destination, which are not known here, it is taken for one that lets pass.
    """
    for rule in chains[name]:
        unsure = bool({"interface", "destinations"} & set(rule))
        if not _matches(rule, source, port) or (unsure and rule["target"] in ("drop", "reject")):
            continue
        if rule["target"] == "return":
            return ""
        verdict = _verdict(chains, rule["target"], source, port) if rule["target"] in chains else rule["target"]
        if verdict:
            return verdict
    return ""


def _matches(rule: Rule, source: str, port: int) -> bool:
    """Whether a rule holds for the first packet of a TCP connection that has not come by lo."""
    family = f"ipv{ipaddress.ip_address(source).version}"
    return (
        rule.get("protocol", "tcp") in ("tcp", "6")
        and rule.get("family", "") in ("", family)
        and rule.get("interface") != "lo"
        and "NEW" in rule.get("states", ("NEW",))
        and ("ports" not in rule or any(_has_port(text, port) for text in rule["ports"]))
        and ("sources" not in rule or _contains(rule["sources"], source))
    )


def _has_port(text: str, port: int) -> bool:
    first, _colon, last = text.partition(":")
    return int(first) <= port <= int(last or first)


def _rule(target: str, comment: str, **matches: Any) -> dict[str, Any]:
    return {"target": target, "comment": comment[:_MAXIMUM_COMMENT], **matches}


def _ssh_rules(choices: Choices) -> Iterator[dict[str, Any]]:
    """SSH at the port that Ansible itself uses on the node, and at those that were given: left to the host's rules."""
    session = parse_session(choices.ssh_connection)
    if not choices.ssh_sources:
        raise GroundplaneError(
            "Found that firewall_ssh_sources is empty, which nobody could log in through",
            expected="the networks from which the hosts are administered",
            remedy="give them, or leave the variable out. The rules were not changed",
        )
    _require_a_proof(choices, session)
    if session and not _contains(choices.ssh_sources, session.client):
        raise GroundplaneError(
            f"Found that this session comes from {session.client}, which is outside of firewall_ssh_sources "
            f"({', '.join(choices.ssh_sources)})",
            expected="that the controller, or the bastion before the host, is among them",
            remedy=f"add {session.client} or its network. The rules were not changed",
        )
    used = [session.port] if session else []
    ports = [str(port) for port in sorted({*used, *(int(port) for port in choices.ssh_ports)})]
    yield from _from(choices.ssh_sources, _rule("return", "SSH", protocol="tcp", ports=ports))


def _require_a_proof(choices: Choices, session: Session | None) -> None:
    """Raise where the new login that confirms the rules would succeed although everybody outside is shut out."""
    if session is None and not choices.ssh_ports:
        raise GroundplaneError(
            "Found no session of SSH on the host (SSH_CONNECTION), so that the port of sshd is not known",
            expected="a port at which the host can be administered when these rules are in force",
            remedy="give it in firewall_ssh_ports, or connect by SSH. The rules were not changed",
        )
    if len(_anywhere(distinct(choices.ssh_sources))) == len(_EVERYTHING):
        return
    if session is None or _is_own(session.client, choices):
        found = f"comes from {session.client}, the host itself" if session else "is none of SSH"
        raise GroundplaneError(
            f"Found firewall_ssh_sources ({', '.join(choices.ssh_sources)}) and that this session {found}, which a new "
            "login from outside cannot be compared with",
            expected="a session from one of these sources, which proves that the host can still be administered",
            remedy="run from another machine over SSH, or leave firewall_ssh_sources out on this host. The rules were "
            "not changed",
        )


def _is_own(address: str, choices: Choices) -> bool:
    """Whether an address is one of the host itself, from which packets come in by lo."""
    return ipaddress.ip_address(address).is_loopback or _contains(choices.own_addresses, address)


def _own_rules(variable: str, rules: Sequence[Rule]) -> Iterator[dict[str, Any]]:
    """Rules of the operator's; what is null is not said, an empty list of sources matches nothing."""
    for number, given in enumerate(rules, 1):
        rule = {name: value for name, value in given.items() if value is not None}
        problem = rule_problem(rule)
        if problem:
            raise GroundplaneError(
                f"Found that rule {number} of {variable} {problem}",
                expected="options of " + ", ".join(sorted(RULE_OPTIONS)),
                remedy="correct it. The rules were not changed",
            )
        # Numbers are what YAML makes of ports and protocols.
        for name in ("ports", "icmp_types"):
            if name in rule:
                rule[name] = [str(value) for value in rule[name]]
        if "protocol" in rule:
            rule["protocol"] = str(rule["protocol"])
        rule["comment"] = str(rule.get("comment") or f"{variable}, rule {number}")
        if "sources" in rule:
            yield from _from(rule.pop("sources"), rule)
        else:
            yield rule


def rule_problem(rule: Rule) -> str:
    """What is wrong with a rule of the operator's, in words that follow its name; empty when nothing is."""
    unknown = sorted(set(rule) - RULE_OPTIONS)
    if unknown:
        return "has the option " + ", ".join(unknown)
    if rule.get("target") not in RULE_TARGETS:
        return "has the target {!r} instead of {}".format(rule.get("target"), ", ".join(RULE_TARGETS))
    if rule.get("ports") and str(rule.get("protocol", "")) not in ("tcp", "udp", "sctp"):
        return "has ports without the protocol tcp, udp or sctp"
    for port in rule.get("ports") or ():
        if not is_port(str(port)):
            return f"has {port!r} among its ports"
    if len(str(rule.get("comment") or "")) > _MAXIMUM_COMMENT:
        return f"has a comment of more than {_MAXIMUM_COMMENT} characters"
    for name in ("sources", "destinations"):
        for text in rule.get(name) or ():
            try:
                ipaddress.ip_network(str(text), strict=True)
            except ValueError as error:
                return f"has unusable {name}: {error}"
    return ""


def _node_rules(choices: Choices) -> Iterator[dict[str, Any]]:
    """What a node may reach; what none of these accepts returns to the rules for everybody."""
    for service in _services(choices):
        if CONTROL_PLANE in service.sources:
            yield from _from(choices.control_plane_sources, _accept(service, choices))
        elif NODES in service.sources:
            yield _accept(service, choices)
    yield from _cluster_port_rules(choices)
    if "ipvs" in choices.features:
        yield from _to_ipvs(choices.service_ranges, "Services in IPVS")


def _pod_rules(choices: Choices) -> Iterator[dict[str, Any]]:
    """What pods of this host may reach on it; those of other hosts come under the address of theirs."""
    yield from _rules_from(choices, PODS, choices.pod_ranges)
    for rule in _cluster_port_rules(choices):
        yield from _from(choices.pod_ranges, rule)
    if "ipvs" in choices.features:
        for rule in _to_ipvs(choices.service_ranges, "Services in IPVS"):
            yield from _from(choices.pod_ranges, rule)


def _cluster_port_rules(choices: Choices) -> Iterator[dict[str, Any]]:
    for text in choices.cluster_ports:
        ports, protocol = parse_cluster_port(text)
        yield _rule("accept", "firewall_cluster_ports", protocol=protocol, ports=[ports])


def parse_cluster_port(text: str) -> tuple[str, str]:
    """Port or range, and protocol, of a text such as 9100/tcp."""
    ports, _slash, protocol = str(text).partition("/")
    if not is_port(ports) or protocol not in ("tcp", "udp"):
        raise GroundplaneError(
            f"Found {text!r} in firewall_cluster_ports", expected="a port such as 9100/tcp or 9000:9010/udp"
        )
    return ports, protocol


def is_port(text: str) -> bool:
    """Whether text is a port or a range of them."""
    numbers = [int(number) for number in text.split(":")] if _PORTS.fullmatch(text) else [0]
    return numbers == sorted(numbers) and all(1 <= number <= 65535 for number in numbers)


def _to_ipvs(networks: Sequence[str], comment: str) -> Iterator[dict[str, Any]]:
    """IPVS gives the host the addresses of Services, so that packets for them pass its input."""
    for family, version in (("ipv4", 4), ("ipv6", 6)):
        ranges = [text for text in networks if ipaddress.ip_network(text).version == version]
        if ranges:
            yield _rule("accept", comment, family=family, destinations=ranges)


def _pool_rules(choices: Choices) -> Iterator[dict[str, Any]]:
    """Addresses of LoadBalancers are for everybody, and IPVS gives the host these, too; elsewhere INPUT sees none."""
    if "ipvs" in choices.features:
        yield from _to_ipvs(networks_of(choices.pool_ranges), "LoadBalancers in IPVS")


def _network_rules(choices: Choices) -> Iterator[dict[str, Any]]:
    """What the host needs to have an address and to hear a group it has joined."""
    yield _rule("return", "answers to the DHCP client", family="ipv4", protocol="udp", ports=["68"])
    yield from _from([_LINK_LOCAL], _rule("return", "answers to the DHCPv6 client", protocol="udp", ports=["546"]))
    if choices.control_plane and {"keepalived", "multicast-vrrp"} <= set(choices.features):
        # Switches stop passing the group on to a host that does not answer their question.
        yield _rule("accept", "who listens to VRRP?", family="ipv4", protocol=_IGMP, destinations=[_MULTICAST])
        # To the group, VRRP of IPv6 is sent from the link-local address.
        yield from _from([_LINK_LOCAL], _rule("accept", "keepalived (VRRP)", protocol="112"))


def _rules_from(choices: Choices, kind: str, sources: Sequence[str]) -> Iterator[dict[str, Any]]:
    for service in _services(choices):
        if kind in service.sources:
            yield from _from(sources, _accept(service, choices))


def _services(choices: Choices) -> Iterator[Service]:
    """Services of this host."""
    for service in SERVICES:
        wanted = not service.features or bool(set(service.features) & set(choices.features))
        # One port of one meaning, which has its rule already.
        repeated = service.ports == ("{endpoint}",) and choices.ports.endpoint == choices.ports.api
        if wanted and not repeated and (choices.control_plane or service.host == EVERY_HOST):
            yield service


def _accept(service: Service, choices: Choices) -> dict[str, Any]:
    ports = [port.format(**choices.ports._asdict()) for port in service.ports]
    return _rule("accept", service.name, protocol=service.protocol, **({"ports": ports} if ports else {}))


def _from(sources: Iterable[str], rule: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rule for packets of the sources: none of no sources, and no match where a family's whole range is meant."""
    networks = distinct(sources)
    anywhere = _anywhere(networks)
    listed = [_text(network) for network in networks if network.version not in anywhere]
    families = {4: "ipv4", 6: "ipv6"}
    if len(anywhere) == 2:
        yield dict(rule)
    for version in anywhere if len(anywhere) == 1 else ():
        if rule.get("family") in (None, "", families[version]):
            yield {**rule, "family": families[version]}
    if listed:
        yield {**rule, "sources": listed}


def _anywhere(networks: Iterable[Network]) -> list[int]:
    """Versions of the families whose whole range is meant."""
    return [network.version for network in networks if network.prefixlen == 0]


def distinct(sources: Iterable[str]) -> list[Network]:
    """Networks without those inside of another, in an order that does not depend on who was asked first."""
    found = {_network(source) for source in sources}
    wide = [network for network in found if network.prefixlen < network.max_prefixlen]
    kept = [network for network in found if not any(_is_part(network, other) for other in wide)]
    return sorted(kept, key=lambda network: (network.version, int(network.network_address)))


def _is_part(network: Network, other: Network) -> bool:
    return network.prefixlen > other.prefixlen and network.network_address in other


def _network(text: str) -> Network:
    return ipaddress.ip_network(str(text), strict=False)


def _text(network: Network) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


def _contains(sources: Iterable[str], address: str) -> bool:
    return any(ipaddress.ip_address(address) in _network(text) for text in sources)


class Host(NamedTuple):
    """A host of the inventory that was read in this run.

    :ivar address: the decision about its node address.
    :ivar addresses: all of its global addresses.
    :ivar secondary: the decision about its address of the other family, empty where the cluster has one alone.
    """

    name: str
    node_name: str
    address: str
    addresses: Sequence[str] = ()
    secondary: str = ""


class ClusterNode(NamedTuple):
    """A Node object; its addresses are names, too."""

    name: str
    addresses: Sequence[str]
    control_plane: bool


class View(NamedTuple):
    """What a run knows of the machines that have to reach each other.

    :ivar hosts: hosts that were read.
    :ivar inventory: names of all hosts.
    :ivar control_plane: names of the control plane hosts among them.
    :ivar nodes: Node objects, as the API told; None where a cluster may exist and no API told anything,
        which is not the same as none.
    :ivar members: URLs by which members of etcd reach each other.
    :ivar dual_stack: whether nodes talk by both families.
    :ivar further_sources: what the operator adds, firewall_node_sources.
    :ivar limited: whether hosts were left out on purpose (--limit).
    """

    hosts: Sequence[Host]
    inventory: Sequence[str]
    control_plane: Sequence[str]
    nodes: Sequence[ClusterNode] | None = ()
    members: Sequence[str] = ()
    dual_stack: bool = False
    further_sources: Sequence[str] = ()
    limited: bool = False


class Sources(NamedTuple):
    """Whom the nodes take for nodes."""

    nodes: tuple[str, ...]
    control_plane: tuple[str, ...]


def sources_of(view: View) -> Sources:
    """Addresses of all nodes, of the hosts of this run and of those that only the cluster knows.

    Raises where a node could be shut out because this run does not know its address, or where nodes that are left out
    of this run would not accept a new one.
    """
    unread = [name for name in view.inventory if name not in {host.name for host in view.hosts}]
    if view.nodes is None and unread:
        raise GroundplaneError(
            f"Found that {', '.join(unread)} could not be read in this run, and no control plane tells the addresses "
            "of its nodes",
            expected="the address of every node, since one that is not known would be shut out",
            remedy="start these hosts or the control plane, or run without --limit. The rules were not changed",
        )
    if view.nodes is None:
        raise GroundplaneError(
            "Found a cluster none of whose API servers answers, so that nodes outside of the inventory are not known",
            expected="the address of every node, since one that is not known would be shut out",
            remedy="start a control plane node. To repair the cluster by this collection, run with "
            "-e firewall_enabled=false, which leaves the rules as they are. Where the rules themselves keep it from "
            "starting, take them back with playbooks/firewall.yml -e firewall_state=absent. The rules were not changed",
        )
    nodes = view.nodes or ()
    _require_both_families(view, nodes)
    _require_nodes_that_know_the_new_one(view, nodes, unread)
    masters = [
        *(address for host in view.hosts if host.name in view.control_plane for address in _own(host, view)),
        *(address for node in nodes if node.control_plane for address in _addresses(node.addresses)),
        *_addresses(urlsplit(url).hostname or "" for url in view.members),
    ]
    others = [
        *(address for host in view.hosts for address in _own(host, view)),
        *(address for node in nodes for address in _addresses(node.addresses)),
        *view.further_sources,
    ]
    return Sources(nodes=_texts([*masters, *others]), control_plane=_texts(masters))


def _texts(sources: Iterable[str]) -> tuple[str, ...]:
    return tuple(_text(network) for network in distinct(sources))


def _addresses(texts: Iterable[str]) -> list[str]:
    """Single addresses among what machines say of themselves.

    A kubelet writes the addresses of its own Node, so 0.0.0.0/0 there would open every node to everybody.
    """
    return [text for text in texts if _is_address(text)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    # The interface of a link-local address means nothing to other machines.
    return "%" not in text


def _own(host: Host, view: View) -> list[str]:
    """Addresses by which a host speaks to others: the node's and, with two families, those of the other one.

    Which of several of that family the kernel speaks from is decided anew for each destination.
    """
    version = ipaddress.ip_address(host.address).version
    others = [text for text in (host.secondary, *host.addresses) if text]
    others = [text for text in others if ipaddress.ip_address(text).version != version]
    return [host.address, *(others if view.dual_stack else [])]


def _is_node(host: Host, node: ClusterNode) -> bool:
    return host.node_name == node.name or host.address in node.addresses


def _require_both_families(view: View, nodes: Sequence[ClusterNode]) -> None:
    """A Node has both addresses where its kubelet was told both; else only those that were read have the other one."""
    if not view.dual_stack:
        return
    covered = {_network(text).version for text in view.further_sources}
    missing = [
        node.name
        for node in nodes
        if not any(_is_node(host, node) for host in view.hosts)
        and {4, 6} - covered - {_network(text).version for text in _addresses(node.addresses)}
    ]
    if missing:
        raise GroundplaneError(
            f"Found only one of the two addresses of {', '.join(missing)}, which {_were(missing)} not read in this run",
            expected="an IPv4 and an IPv6 address of every node of a dual-stack cluster",
            remedy="start these hosts and run without --limit, or name their addresses or network in "
            "firewall_node_sources. The rules were not changed",
        )


def _were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _require_nodes_that_know_the_new_one(view: View, nodes: Sequence[ClusterNode], unread: Sequence[str]) -> None:
    """Nodes that this run leaves out keep rules that do not know its new hosts."""
    if not (view.limited and nodes and unread):
        return
    new = [
        host.name
        for host in view.hosts
        if not any(_is_node(host, node) for node in nodes)
        # etcd is open to control plane nodes alone, whatever was added to the nodes.
        and (host.name in view.control_plane or not _contains(view.further_sources, host.address))
    ]
    if new:
        raise GroundplaneError(
            f"Found that {', '.join(new)} {'is' if len(new) == 1 else 'are'} new, in a run without {', '.join(unread)}",
            expected="all hosts, since every node has to accept a new one before it joins",
            remedy="run without --limit; for workers, their network in firewall_node_sources does as well. The rules "
            "were not changed",
        )


def view_of(hosts: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> View:
    """View from the variables of the hosts that were read and a dictionary whose keys are the other fields."""
    nodes = values.get("nodes")
    return View(
        **{
            **values,
            "hosts": [
                Host(
                    name=host["inventory_hostname"],
                    node_name=host["__cluster_preflight"]["facts"]["hostname"].lower(),
                    address=host["__cluster_node"]["address"],
                    addresses=host["__cluster_preflight"]["facts"]["addresses"],
                    secondary=host["__cluster_node"].get("secondary", ""),
                )
                for host in hosts
            ],
            "nodes": None
            if nodes is None
            else [ClusterNode(node["name"], node["addresses"], node["control_plane"]) for node in nodes],
        }
    )
