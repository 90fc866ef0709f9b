# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts that were read, and those that were not, mean for the control plane."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Callable, Collection, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import block_value
from ansible_collections.groundplane.kubeadm.plugins.module_utils._configuration_drift import DOCUMENTS, drift
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._flannel import backend_from, option_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import parts_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Comparison,
    Description,
    HostFacts,
    Observation,
)

_LOOK_AT_PODS = "look at journalctl -u kubelet, at crictl ps -a, and at crictl logs of etcd and kube-apiserver"
_LEAVE_CLUSTER = "take it out of that cluster with playbooks/reset.yml --limit HOST"
_EVERY_NODE = (
    "Run without --limit when all machines are up, and take nodes that are gone out with playbooks/remove_node.yml."
)
_RESTORE = (
    "When too many are lost for good, restore etcd from a snapshot on one control plane node and join the others anew. "
    "Never remove members by hand while there is no quorum. Nothing was changed."
)
# What kubeadm calls the ranges in the configuration that the cluster keeps.
_RANGES = {"cluster_pod_cidr": "podSubnet", "cluster_service_cidr": "serviceSubnet"}
_LISTED_DIFFERENCES = 5


class Unreachable(NamedTuple):
    """Hosts that could not be read.

    :arg failed: those that answered, and on which the check itself failed; they may be in the other lists as well.
    """

    control_plane: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*self.control_plane, *self.workers, *self.failed)))

    @property
    def silent_control_plane(self) -> tuple[str, ...]:
        """Control plane hosts that do not answer at all."""
        return tuple(host for host in self.control_plane if host not in self.failed)

    @property
    def silent_workers(self) -> tuple[str, ...]:
        """Workers that do not answer at all."""
        return tuple(host for host in self.workers if host not in self.failed)


@dataclass(frozen=True)
class Situation:
    """Everything that is known about the control plane.

    :arg facts: facts of preflight_info by host, of any hosts.
    :arg control_planes: results of control_plane_info by host, of the control plane hosts that were read.
    :arg etcd_hosts: hosts that shall run a member of etcd each; none where that is not to be judged.
    :arg network: the pod network that is wanted; nothing where that is not to be judged.
    :arg proxy_mode: the mode of kube-proxy that is wanted; nothing where that is not to be judged.
    :arg ranges: ranges that are wanted, by their variables; none where they are not to be judged.
    :arg flannel_backend: the field Backend of flannel's configuration that is wanted; empty where that is not to be
        judged.
    :arg configurations: what the operator has written for kubeadm, by variable; none where it is not to be judged.
    :arg kept_configurations: what clusters keep in their place, by host and variable.
    """

    facts: HostFacts = field(default_factory=dict)
    control_planes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unreachable: Unreachable = Unreachable()
    etcd_hosts: tuple[str, ...] = ()
    network: str = ""
    proxy_mode: str = ""
    ranges: Mapping[str, str] = field(default_factory=dict)
    flannel_backend: Mapping[str, Any] = field(default_factory=dict)
    configurations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kept_configurations: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def installed(self) -> tuple[str, ...]:
        """Hosts with a control plane that is no initialisation to be completed."""
        return tuple(
            host for host, read in self.control_planes.items() if read["installed"] and not read["init_unfinished"]
        )

    @property
    def ready(self) -> tuple[str, ...]:
        """Those of them whose API server is ready."""
        return tuple(host for host in self.installed if self.control_planes[host]["ready"])

    @property
    def absent_nodes(self) -> list[str]:
        """Nodes of the cluster that are no hosts of this run."""
        addresses = {facts["node"]["address"] for facts in self.facts.values() if facts["node"]}
        nodes = self.control_planes[self.ready[0]]["nodes"] if self.ready else []
        return [node["name"] for node in nodes if not addresses & set(node["addresses"])]

    @property
    def authorities(self) -> dict[str, frozenset[str]]:
        """Hashes of the CA of each host with a control plane, also of one that is just being made."""
        return {
            host: frozenset(read["ca_cert_hashes"])
            for host, read in self.control_planes.items()
            if read["ca_cert_hashes"] and (read["installed"] or read["init_unfinished"])
        }

    @property
    def complete(self) -> bool:
        """Whether no control plane host has been left out, so that what none of them has is nowhere."""
        return bool(self.control_planes) and not (self.unreachable.control_plane or self.unreachable.failed)

    def nodes_apart_from(self, authorities: Collection[str]) -> dict[str, str]:
        """Hosts that are nodes of a cluster with none of these CAs, each with its cluster's API."""
        clusters = {host: facts["cluster"] for host, facts in self.facts.items()}
        return {
            host: cluster["server"]
            for host, cluster in clusters.items()
            if cluster["ca_hash"] and cluster["ca_hash"] not in authorities
        }


class ControlPlaneCheck(NamedTuple):
    """One entry of the registry of checks that judge the control plane as a whole."""

    description: Description
    judge: Callable[[Situation], Iterator[Comparison]]


def judge_unreachable(situation: Situation) -> Iterator[Comparison]:
    """The cluster lives without a worker, and without a control plane node as long as another is ready."""
    unreachable = situation.unreachable
    found: list[tuple[tuple[str, ...], Observation]] = [
        (
            unreachable.failed,
            Observation(
                "the checks could not be run on the host",
                "checks that run",
                remedy="See the message above; the privileges and the Python of the host are the usual reasons.",
            ),
        ),
        (
            unreachable.silent_control_plane,
            Observation(
                "the control plane host does not answer and is left out", "a host that answers", severity=WARNING
            )
            if situation.ready
            else Observation("the control plane host does not answer", "an answer, because no other one is ready"),
        ),
        (
            unreachable.silent_workers,
            Observation("the worker does not answer and is left out", "a host that answers", severity=WARNING),
        ),
    ]
    yield from (Comparison(hosts, observation) for hosts, observation in found if hosts)


def judge_quorum(situation: Situation) -> Iterator[Comparison]:
    """Without a quorum nothing can be written to the cluster, and nothing in it can be repaired."""
    loss = _quorum_loss(situation)
    if loss:
        yield Comparison(situation.installed, loss)


def judge_silence(situation: Situation) -> Iterator[Comparison]:
    """A control plane that is there and does not answer is neither one to join nor a reason to make a new one."""
    if not situation.ready and not _quorum_loss(situation):
        yield from _not_ready(situation)


def judge_degradation(situation: Situation) -> Iterator[Comparison]:
    """The cluster lives, with less to spare than it looks like."""
    if situation.ready:
        yield from _not_ready(situation)


def judge_number(situation: Situation) -> Iterator[Comparison]:
    """A majority of an even number leaves no more to spare than one of a member less."""
    number = len(situation.etcd_hosts)
    if number and not number % 2:
        needed = number // 2 + 1
        yield Comparison(
            situation.etcd_hosts,
            Observation(
                f"{number} control plane hosts, each with a member of etcd: {needed} of them have to run, so "
                f"{number - needed or 'none'} may fail, which is no more than with {number - 1}",
                f"an odd number of them, such as {number - 1} or {number + 1}",
            ),
        )


def judge_absence(situation: Situation) -> Iterator[Comparison]:
    """A new control plane made now would leave nodes behind that belong to another one."""
    if not situation.complete or situation.ready:
        return
    known = frozenset().union(*situation.authorities.values())
    yield from _by_cluster(
        situation.nodes_apart_from(known),
        "a node of the cluster at {}, whose control plane is none of these hosts",
        "a fresh host, or the control plane of its cluster in the inventory",
    )


def judge_clusters(situation: Situation) -> Iterator[Comparison]:
    """Hosts of two clusters in one inventory; which of them is meant is not ours to guess."""
    authorities = situation.authorities
    ready = [host for host in situation.ready if host in authorities]
    first = next(iter([*ready, *authorities]), "")
    others = [host for host, hashes in authorities.items() if not hashes & authorities[first]]
    for host in others:
        yield Comparison(
            (first, host),
            Observation(f"the control plane of {host} is of another cluster than that of {first}", "one cluster"),
        )
    if ready:
        strangers = situation.nodes_apart_from(authorities[first])
        yield from _by_cluster(
            {host: server for host, server in strangers.items() if host not in others},
            f"a node of another cluster than {first}, at {{}}",
            "a fresh host, or a node of this cluster",
        )
    elif not situation.complete and not others:
        nodes = situation.nodes_apart_from(())
        if len({situation.facts[host]["cluster"]["ca_hash"] for host in nodes}) > 1:
            listed = ", ".join(f"{host} {server}" for host, server in nodes.items())
            yield Comparison(
                tuple(nodes),
                Observation(f"nodes of clusters with different CAs: {listed}", "nodes of one cluster", WARNING),
            )


def _not_ready(situation: Situation) -> Iterator[Comparison]:
    """Each control plane that is installed and not ready, with its own reason."""
    for host in situation.installed:
        read = situation.control_planes[host]
        if not read["ready"]:
            yield Comparison(
                (host,), Observation(f"the API server is not ready: {read['message']}", "an API server that is ready")
            )


def _by_cluster(servers: Mapping[str, str], found: str, expected: str) -> Iterator[Comparison]:
    """One comparison for the nodes of each foreign cluster."""
    for server in dict.fromkeys(servers.values()):
        hosts = tuple(host for host, its_server in servers.items() if its_server == server)
        yield Comparison(hosts, Observation(found.format(server or "an unknown address"), expected))


def _quorum_loss(situation: Situation) -> Observation | None:
    """What etcd lacks, None when a control plane is ready or nothing speaks for a lost quorum."""
    if situation.ready:
        return None
    etcds = [situation.control_planes[host]["etcd"] for host in situation.installed]
    etcds = [etcd for etcd in etcds if not etcd["external"]]
    if not etcds or any(etcd["leader"] for etcd in etcds):
        return None
    views = [[Member.from_dict(values) for values in etcd["members"]] for etcd in etcds if etcd["members"]]
    return _loss_of_members(views) if views else _loss_of_hosts(situation)


def _loss_of_members(views: Sequence[Sequence[Member]]) -> Observation | None:
    """What is known where members of etcd answer that know no leader.

    :arg views: the members as each of those that were asked sees them.
    """
    running_ids = {member.id for view in views for member in view if member.healthy}
    voters = [member for member in views[0] if not member.learner]
    running = [member.title for member in voters if member.id in running_ids]
    silent = [member.title for member in voters if member.id not in running_ids]
    if len(voters) == 1:
        # It has answered, and there is nobody else whom it could miss.
        return None
    needed = len(voters) // 2 + 1
    expected = f"a leader, which takes {needed} of {len(voters)} voting members"
    if len(running) >= needed:
        return Observation(
            f"etcd has no leader, though {_names(running)} {_verb(running, 'run')}",
            expected,
            remedy="Let the control plane hosts reach each other at TCP port 2380, and read crictl logs of etcd there. "
            "Nothing was changed.",
        )
    missing = needed - len(running)
    enough = f" (any {missing} of them will do)" if missing < len(silent) else ""
    return Observation(
        f"etcd has lost its quorum: {len(running)} of {len(voters)} voting members {_verb(running, 'run')}"
        f"{', ' if running else ''}{_names(running)}, and {needed} are needed; "
        f"{_names(silent)} {_verb(silent, 'do')} not answer",
        expected,
        remedy=f"Start {_machines(silent)}{enough}, and run again. {_RESTORE}",
    )


def _loss_of_hosts(situation: Situation) -> Observation | None:
    """What can be said where no member of etcd answers: whether enough hosts do to hold a quorum."""
    answering, silent = situation.installed, situation.unreachable.silent_control_plane
    total = len(answering) + len(silent)
    needed = total // 2 + 1
    if len(answering) >= needed:
        return None
    return Observation(
        f"etcd cannot be asked for its members, and of {total} control plane hosts only {_names(answering)} "
        f"{_verb(answering, 'answer')}; {_names(silent)} {_verb(silent, 'do')} not",
        f"{needed} control plane hosts that answer, which is the quorum if each of them has a member",
        remedy=f"Start {_machines(silent)}, and run again. If that has never been a part of the control plane, "
        f"{_LOOK_AT_PODS} on {_names(answering)} instead. {_RESTORE}",
    )


def _names(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _machines(names: Sequence[str]) -> str:
    """The machines to start."""
    return f"the machine{'s' if len(names) > 1 else ''} {_names(names)}"


def _verb(subjects: Sequence[str], verb: str) -> str:
    """A verb in the present tense, in the number of its subjects."""
    if len(subjects) != 1:
        return verb
    return verb + ("es" if verb.endswith("o") else "s")


def judge_versions(situation: Situation) -> Iterator[Comparison]:
    """No kubelet may be newer than the API servers; the others may be at another patch release."""
    versions = {
        node["kubelet_version"]
        for host in situation.ready
        for node in situation.control_planes[host].get("nodes", ())
        if node["control_plane"]
    }
    if not versions:
        return
    oldest = min(versions, key=_minor)
    newer: dict[str, list[str]] = {}
    for host, facts in situation.facts.items():
        version = "" if facts["cluster"]["known"] else facts.get("package_version", "")
        if version and _minor(version) > _minor(oldest):
            newer.setdefault(version, []).append(host)
    for version, hosts in newer.items():
        yield Comparison(
            tuple(hosts),
            Observation(
                f"kubelet {version} would join a control plane of {oldest.lstrip('v')}",
                "a kubelet that is no newer than the control plane",
            ),
        )


def _minor(version: str) -> tuple[int, ...]:
    """Major and minor number of a version."""
    return tuple(int(number) for number in version.lstrip("v").split(".")[:2])


def judge_network(situation: Situation) -> Iterator[Comparison]:
    """Pods that Calico has connected have no place in flannel's network, and policies would silently end."""
    ready = situation.ready
    if situation.network == "flannel":
        hosts = tuple(host for host in ready if "canal" in situation.control_planes[host].get("networks", ()))
        if hosts:
            yield Comparison(hosts, Observation("the cluster runs canal, and flannel is wanted", "cluster_cni: canal"))
    elif situation.network == "canal" and ready and "flannel" in situation.control_planes[ready[0]].get("networks", ()):
        absent = situation.absent_nodes
        if absent:
            yield Comparison(
                ready[:1],
                Observation(
                    f"canal is to take over from flannel, and the nodes {_names(absent)} are not in this run",
                    "every node of the cluster in the run",
                    remedy=_EVERY_NODE,
                ),
            )


def judge_backend(situation: Situation) -> Iterator[Comparison]:
    """flannel goes on with the backend that it has started with, and nodes of two backends do not reach each other."""
    ready = situation.ready
    kept = situation.control_planes[ready[0]].get("flannel_backend") if ready else None
    wanted = backend_from(situation.flannel_backend)
    if not kept or wanted is None:
        return
    kind, options = kept["type"], kept["options"]
    if kind != wanted.type:
        found = f"the cluster runs flannel's backend {kind}, and {wanted.type} is wanted"
        yield Comparison(ready[:1], Observation(found, f"cni_flannel_backend: {kind}"))
        return
    names = [name for name, value in wanted.options.items() if options[name] != value]
    if names:
        here = _names([option_text(name, options[name]) for name in names])
        there = _names([option_text(name, wanted.options[name]) for name in names])
        found = f"the cluster runs flannel's backend {kind} with {here}, and it is wanted with {there}"
        yield Comparison(ready[:1], Observation(found, f"cni_flannel_backend_options with {here}"))


def judge_proxy_mode(situation: Situation) -> Iterator[Comparison]:
    """A node that nobody looks at may have a kernel that cannot follow, and would keep the rules of the former mode."""
    ready = situation.ready
    proxy = situation.control_planes[ready[0]].get("kube_proxy") if ready else None
    if not proxy or not situation.proxy_mode:
        return
    former = {proxy["mode"], proxy["former_mode"]} - {"", situation.proxy_mode}
    absent = situation.absent_nodes
    if former and absent:
        yield Comparison(
            ready[:1],
            Observation(
                f"kube-proxy is to change from mode {' and '.join(sorted(former))} to {situation.proxy_mode}, and the "
                f"nodes {_names(absent)} are not in this run",
                "every node of the cluster in the run",
            ),
        )


def judge_ranges(situation: Situation) -> Iterator[Comparison]:
    """Ranges are given to a cluster once; every node, Service and certificate rests on them."""
    for host in situation.ready[:1]:
        configuration = situation.control_planes[host].get("cluster_configuration", "")
        for variable, wanted in situation.ranges.items():
            kept = block_value(configuration, "networking", _RANGES[variable])
            if kept and _networks(kept) != _networks(wanted):
                yield Comparison(
                    (host,),
                    Observation(f"the cluster has {kept}, and {variable} is {wanted}", f"{variable}: {kept}"),
                )


def _networks(text: str) -> list[str]:
    """Ranges in one spelling; a text that is none is left as it is."""
    found = []
    for part in parts_of(text):
        try:
            found.append(str(ipaddress.ip_network(part)))
        except ValueError:
            found.append(part)
    return found


def judge_configurations(situation: Situation) -> Iterator[Comparison]:
    """Whoever writes a field takes it to be in force; kubeadm reads it when it makes a cluster, and never again."""
    for host in situation.ready[:1]:
        for document in DOCUMENTS:
            kept = situation.kept_configurations.get(host, {}).get(document.variable, {})
            differences = drift(document, situation.configurations.get(document.variable, {}), kept)
            more = len(differences) - _LISTED_DIFFERENCES
            listed = [*differences[:_LISTED_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])]
            if differences:
                yield Comparison(
                    (host,),
                    Observation(
                        f"{document.variable} is not in force: {'; '.join(listed)}",
                        "the same in the cluster; the variable counts when that is made, and no run changes it later",
                        remedy=document.remedy,
                    ),
                )


CONTROL_PLANE_CHECKS = (
    ControlPlaneCheck(
        Description(
            id="host-unreachable",
            severity=ERROR,
            purpose="Every host answers and can be checked. A worker that does not answer is left out with a warning, "
            "as is a control plane host while another one is ready.",
            remedy="Check power, network and SSH of the host, and run again when it is back.",
        ),
        judge_unreachable,
    ),
    ControlPlaneCheck(
        Description(
            id="quorum-lost",
            severity=ERROR,
            purpose="A control plane that is installed has a leader of etcd, which takes more than half of its voting "
            "members; a cluster without one can be read at best.",
            remedy=f"Start the machines of the members that are missing. {_RESTORE}",
        ),
        judge_quorum,
    ),
    ControlPlaneCheck(
        Description(
            id="control-plane-silent",
            severity=ERROR,
            purpose="Where a control plane is installed, the API server of one of its hosts is ready. Nothing is "
            "joined to one that is silent, and no new one is made in its place.",
            remedy=f"On the host {_LOOK_AT_PODS}.",
        ),
        judge_silence,
    ),
    ControlPlaneCheck(
        Description(
            id="control-plane-degraded",
            severity=WARNING,
            purpose="The API server of every control plane host on which one is installed is ready.",
            remedy=f"The others do its work for now. On the host {_LOOK_AT_PODS}.",
        ),
        judge_degradation,
    ),
    ControlPlaneCheck(
        Description(
            id="even-control-plane",
            severity=WARNING,
            purpose="The number of control plane hosts is odd, where each of them has a member of etcd: more than half "
            "of the members have to run, so two hosts stand no loss at all, and four no more than three do.",
            remedy="Add a host to the control plane, or take one out with playbooks/remove_node.yml. While a control "
            "plane grows or shrinks, an even number is nothing to worry about.",
            variables=("control_plane_external_etcd",),
        ),
        judge_number,
    ),
    ControlPlaneCheck(
        Description(
            id="control-plane-missing",
            severity=ERROR,
            purpose="Hosts that are nodes already have their control plane in the inventory. Nothing is said while a "
            "control plane host does not answer.",
            remedy=f"Put the control plane of its cluster into the inventory, or {_LEAVE_CLUSTER}.",
        ),
        judge_absence,
    ),
    ControlPlaneCheck(
        Description(
            id="other-cluster",
            severity=ERROR,
            purpose="All control planes, and all hosts that are nodes already, trust the same CA. Where no control "
            "plane can tell which CA is the right one, nodes that differ are a warning.",
            remedy=f"Take the host of the other cluster out of the inventory, or {_LEAVE_CLUSTER}. Former workers of a "
            "control plane that was set up anew join only after that.",
        ),
        judge_clusters,
    ),
    ControlPlaneCheck(
        Description(
            id="version-skew",
            severity=ERROR,
            purpose="No host joins with a minor version of kubelet that is newer than the control plane's; kubelet may "
            "be older than the API server, never newer.",
            remedy="Set cluster_kubernetes_version to the version of the control plane, or upgrade the control plane "
            "first.",
            variables=("cluster_kubernetes_version",),
        ),
        judge_versions,
    ),
    ControlPlaneCheck(
        Description(
            id="network-change",
            severity=ERROR,
            purpose="The pod network of a running cluster is changed from flannel to canal and never back, and only in "
            "a run with all of its nodes.",
            remedy="Set cluster_cni to canal. Back to flannel means new nodes, or a cluster that is built anew: pods "
            "that Calico has connected would lose the network, and NetworkPolicy would end without a word.",
            variables=("cluster_cni",),
        ),
        judge_network,
    ),
    ControlPlaneCheck(
        Description(
            id="flannel-backend-change",
            severity=ERROR,
            purpose="A running cluster keeps the backend of its flannel, also when canal takes over; with vxlan its "
            "VNI, Port and GBP as well, and with wireguard its ListenPort, ListenPortV6, Mode and PSK. flannel reads "
            "them when it starts: nodes that run would keep what they have, new ones and the rules of the firewall "
            "would have what is wanted, and pods would not reach each other. Other options, such as MTU and "
            "DirectRouting, may be changed.",
            remedy="Set the variable to what the cluster has. For another backend build a new cluster, or reset all "
            "nodes and join them anew.",
            variables=("cni_flannel_backend", "cni_flannel_backend_options"),
        ),
        judge_backend,
    ),
    ControlPlaneCheck(
        Description(
            id="proxy-mode-change",
            severity=ERROR,
            purpose="kube-proxy of a running cluster changes its mode only in a run with all of its nodes: each has to "
            "have the kernel for it, and loses the rules of the former mode.",
            remedy=_EVERY_NODE,
            variables=("cluster_proxy_mode",),
        ),
        judge_proxy_mode,
    ),
    ControlPlaneCheck(
        Description(
            id="range-change",
            severity=ERROR,
            purpose="The ranges of a running cluster stay as they are, and with them its families: one of IPv4 does "
            "not become dual-stack. kubeadm changes neither.",
            remedy="Set the variable to what the cluster has. For other ranges, or a second family, build a new "
            "cluster.",
            variables=("cluster_pod_cidr", "cluster_service_cidr"),
        ),
        judge_ranges,
    ),
    ControlPlaneCheck(
        Description(
            id="configuration-drift",
            severity=WARNING,
            purpose="A running cluster has what is written in the variables of kubeadm's configuration. They count "
            "when the cluster is made; of what is changed in them later a run only says that it is not in force. A "
            "field that is taken out of them is not missed.",
            remedy="Write it into the ConfigMap of namespace kube-system that is named (kubeadm-config, kubelet-config "
            "or kube-proxy) and bring it to the nodes one after the other, as docs/troubleshooting.md has it; or set "
            "the variable back.",
            variables=tuple(document.variable for document in DOCUMENTS),
        ),
        judge_configurations,
    ),
)
