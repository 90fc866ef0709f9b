# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements of all hosts together say about the ways between them."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Comparison,
    CrossCheck,
    Description,
    HostFacts,
    Observation,
    shorten_hosts,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import TCP, UDP, label, probe_sizes
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_probe import (
    FOREIGN,
    REFUSED,
    SILENT,
    UNROUTABLE,
)

_WHAT_HAPPENED = {
    REFUSED: "is refused ({})",
    SILENT: "is not answered, as where a firewall drops packets",
    FOREIGN: "is answered by something else ({})",
    UNROUTABLE: "has no route ({})",
}


class Way(NamedTuple):
    """One measurement: from a host to a port of another."""

    source: str
    target: str
    probe: Mapping[str, Any]


class Group(NamedTuple):
    """Ways that failed alike, as one defect."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    probes: tuple[Mapping[str, Any], ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where to look first: one host whom many cannot reach, or one that cannot reach many."""
        return self.targets if len(self.targets) <= len(self.sources) else self.sources

    @property
    def direction(self) -> str:
        """From whom to whom."""
        return f"from {shorten_hosts(self.sources)} to {shorten_hosts(self.targets)}"


def compare_listeners(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Hosts to which no way could be measured."""
    problems: dict[str, list[str]] = {}
    for host, values in facts.items():
        listener = values.get("listener")
        if listener and listener["problem"]:
            problems.setdefault(listener["problem"], []).append(host)
        elif listener and not all(_heard(host, source, facts) for source in _callers(host, facts)):
            problems.setdefault("the listener ended before the measurement did", []).append(host)
    for problem, hosts in problems.items():
        yield Comparison(tuple(hosts), Observation(problem, "a listener that the other hosts could try to reach"))


def compare_routes(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """A host has no route to a node address."""
    for group in _groups(facts, lambda way: way.probe["result"] == UNROUTABLE):
        addresses = dict.fromkeys(probe["address"] for probe in group.probes)
        yield Comparison(
            group.sources,
            Observation(
                f"no route {group.direction} ({', '.join(addresses)}): {group.probes[0]['reason']}",
                "a route to the address of every node",
            ),
        )


def compare_ports(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Services of one node are reached by those that need them."""
    return _unreached(facts, TCP, "these ports open in this direction")


def compare_overlay(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Packets of the pod network pass."""
    return _unreached(facts, UDP, "this port open between all nodes")


def _unreached(facts: HostFacts, protocol: str, expected: str) -> Iterator[Comparison]:
    for result in (REFUSED, SILENT, FOREIGN):
        for group in _groups(facts, partial(_ended, protocol=protocol, result=result)):
            happened = _WHAT_HAPPENED[result].format(group.probes[0]["reason"])
            found = f"{label(group.probes)} {group.direction} {happened}"
            yield Comparison(group.hosts, Observation(found, expected, remedy=_remedy(group, facts)))


def _remedy(group: Group, facts: HostFacts) -> str:
    """What to do about rules of role firewall that nobody renews in this run, empty where there are none."""
    forgotten = [host for host in group.targets if _has_rules(host, facts) and not facts[host].get("guarded")]
    if not forgotten:
        return ""
    return (
        f"The rules of role firewall are in force on {shorten_hosts(forgotten)}, where firewall_enabled is not set. "
        "Run playbooks/firewall.yml, which lets in every host of the inventory, or set firewall_enabled."
    )


def compare_path_mtus(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """The largest packet that a node sends arrives at the others."""
    sizes = {
        (values["reachability"]["mtu"], values["reachability"]["needed_mtu"], probe["path_mtu"])
        for values in facts.values()
        for probe in values.get("reachability", {}).get("probes", [])
        if probe["path_mtu"] is not None
    }
    for mtu, needed, path in sorted(size for size in sizes if size[2] < probe_sizes(size[0])[0]):
        for group in _groups(facts, partial(_carried, facts=facts, sizes=(mtu, needed, path))):
            lost = path < needed
            yield Comparison(
                group.hosts,
                Observation(
                    f"packets of {mtu} bytes, the MTU of the interface, do not arrive {group.direction}; {path} do",
                    f"a way that carries {needed if lost else mtu} bytes",
                    severity=ERROR if lost else WARNING,
                ),
            )


def _ended(way: Way, *, protocol: str, result: str) -> bool:
    return bool(way.probe["protocol"] == protocol and way.probe["result"] == result)


def _carried(way: Way, *, facts: HostFacts, sizes: tuple[int, int, int]) -> bool:
    own = facts[way.source]["reachability"]
    return (own["mtu"], own["needed_mtu"], way.probe["path_mtu"]) == sizes


def _callers(host: str, facts: HostFacts) -> Iterator[str]:
    """Hosts that have asked a host's listener."""
    for source, values in facts.items():
        if any(probe["host"] == host and probe["echo"] for probe in values.get("reachability", {}).get("probes", [])):
            yield source


def _heard(host: str, source: str, facts: HostFacts) -> bool:
    """Whether a host's listener was there while another host measured.

    It was when the host itself found it there, and the other did not come too late, as on machines under heavy load.
    """
    listener = facts.get(host, {}).get("listener")
    if not listener or not facts[host].get("reachability", {}).get("listening"):
        return False
    asked = facts[source]["reachability"]["epoch"] - _clock_offset(facts[source])
    return bool(asked < listener["until"] - _clock_offset(facts[host]))


def _clock_offset(values: Mapping[str, Any]) -> float:
    """How far a host's clock is ahead of the controller's, as well as that is known."""
    return float((values.get("clock_offset") or {}).get("seconds", 0.0))


def _ways(facts: HostFacts) -> Iterator[Way]:
    """All measurements that mean something."""
    for source, values in facts.items():
        for probe in values.get("reachability", {}).get("probes", []):
            way = Way(source, probe["host"], probe)
            if (not probe["echo"] or _heard(way.target, source, facts)) and not _excused(way, facts):
                yield way


def _excused(way: Way, facts: HostFacts) -> bool:
    """Whether a host keeps another one out by rules that this run renews after the preflight.

    They know the hosts of the run that made them, which need not have come as far as a cluster. Between two nodes
    nothing is excused: their cluster is broken now.
    """
    kept_out = way.probe["result"] in (REFUSED, SILENT)
    renewed = _has_rules(way.target, facts) and bool(facts[way.target].get("guarded"))
    return kept_out and renewed and not all(facts[host]["cluster"]["known"] for host in (way.source, way.target))


def _has_rules(host: str, facts: HostFacts) -> bool:
    return bool(facts.get(host, {}).get("firewall"))


def _groups(facts: HostFacts, failed: Callable[[Way], bool]) -> list[Group]:
    """Failed ways as few groups.

    First the sources of one port of one target belong together. "Everybody who needs it" counts as the same sources
    for every target, so that a port closed everywhere is one defect. Then targets with the same sources, and last
    ports with the same sources and targets, are merged.
    """
    tried: dict[tuple[str, str], set[str]] = {}
    sources: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for way in _ways(facts):
        key = (way.target, label([way.probe]))
        tried.setdefault(key, set()).add(way.source)
        if failed(way):
            sources.setdefault(key, {})[way.source] = way.probe
    targets: dict[tuple[str, frozenset[str]], list[tuple[str, str]]] = {}
    for key, failures in sources.items():
        whose = frozenset() if len(failures) > 1 and set(failures) == tried[key] else frozenset(failures)
        targets.setdefault((key[1], whose), []).append(key)
    merged: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for keys in targets.values():
        whence = _ordered(facts, (source for key in keys for source in sources[key]))
        whither = _ordered(facts, (key[0] for key in keys))
        probes = [probe for key in keys for probe in sources[key].values()]
        merged.setdefault((whence, whither), []).extend(probes)
    return [Group(whence, whither, tuple(probes)) for (whence, whither), probes in merged.items()]


def _ordered(facts: HostFacts, names: Iterable[str]) -> tuple[str, ...]:
    """Hosts in the order of the inventory."""
    chosen = set(names)
    return tuple(host for host in facts if host in chosen)


_SWITCH = ("prereqs_preflight_reachability",)

REACHABILITY_CHECKS = (
    CrossCheck(
        Description(
            id="node-unroutable",
            severity=ERROR,
            purpose="Every host has a route to the node addresses of the others. A control plane host tries all hosts, "
            "a worker the control plane hosts and its two neighbours in alphabetical order, so that the number of "
            "measurements grows with the number of hosts and not with its square: with M control plane hosts and W "
            "workers they are M (M - 1 + W) + W (M + 2) pairs of hosts, 62 for 3 and 7. Hosts outside of the run are "
            "not measured.",
            remedy="Set cluster_node_cidr to the network that the nodes share, or add the route.",
            variables=("cluster_node_cidr", "cluster_node_ip", *_SWITCH),
        ),
        compare_routes,
    ),
    CrossCheck(
        Description(
            id="port-unreachable",
            severity=ERROR,
            purpose="The TCP ports that nodes need of each other can be reached: cluster_api_port of the control plane "
            "from every node, 2379 and 2380 among the control plane nodes unless etcd is external, 10250 of every node "
            "from the control plane. The preflight listens on those that are free, at the node address and for the "
            "time of the measurement only, and answers only who knows a secret of the run; to those that are in use by "
            "the cluster a connection is made. On a node, and after an interrupted run, it listens on none; "
            "a port whose program is not there is not measured then. Each direction is measured by itself.",
            remedy="Open the ports named between the nodes, in the host's firewall (ufw, firewalld, iptables, "
            "nftables) and in that of the network (security groups). A refusal comes from a rule that rejects, silence "
            "from one that drops.",
            variables=("cluster_api_port", *_SWITCH),
        ),
        compare_ports,
    ),
    CrossCheck(
        Description(
            id="overlay-path",
            severity=ERROR,
            purpose="The UDP port of the pod network passes between the nodes: flannel's 8472 for vxlan, 51820 for "
            "wireguard, or the port in cni_flannel_backend_options. Without it pods of different nodes do not "
            "reach each other. Not measured where the pod network holds the port already, and not for host-gw, which "
            "has none.",
            remedy="Open the port between the nodes, in the host's firewall and in that of the network (security "
            "groups). Some networks drop VXLAN on purpose; there cni_flannel_backend is another one.",
            variables=("cni_flannel_backend", "cni_flannel_backend_options", *_SWITCH),
        ),
        compare_overlay,
    ),
    CrossCheck(
        Description(
            id="path-mtu",
            severity=ERROR,
            purpose="A packet as large as the MTU of the node's interface reaches the other nodes unfragmented, "
            "because the pod network fills it. Measured on the UDP port of the pod network. A warning where "
            "cni_flannel_backend_options gives the pod network an MTU that fits.",
            remedy="Set the MTU of the interface to what arrives, on every node, or let the network carry more. Or set "
            "MTU in cni_flannel_backend_options to what arrives, less 20 bytes where the cluster has IPv6 ranges.",
            variables=("cni_flannel_backend_options", *_SWITCH),
        ),
        compare_path_mtus,
    ),
    CrossCheck(
        Description(
            id="reachability-unmeasured",
            severity=WARNING,
            purpose="The ways to every host could be measured: the preflight could listen at its node address to the "
            "end.",
            remedy="Run the preflight again. Another run at the same time takes the listeners away, and machines under "
            "heavy load may come too late.",
            variables=_SWITCH,
        ),
        compare_listeners,
    ),
)
