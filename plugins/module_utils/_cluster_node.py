# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a node out of its cluster, from another control plane node: its pods, its etcd member, its Node object."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, NamedTuple, Sequence
from urllib.parse import urlsplit

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    ADMIN_KUBECONFIG,
    Node,
    kubectl,
    node_of,
    parse_objects,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import (
    EtcdView,
    Member,
    canonical_address,
    find_container,
    member_remove_argv,
    read_etcd,
    removal_refusal,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig import parse_kubeconfig
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import parse_links
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import wait_until

# Seconds until etcd agrees to a change of members and has a leader again, and until the API server has deleted a Node.
# etcd refuses changes for five seconds after a connection between its members was interrupted.
_SETTLE_TIMEOUT = 60
# Seconds for which pods are waited for before the node is looked at again: one that has just died is called Ready for
# about fifty seconds more, and its pods never end.
_DRAIN_STEP = 15

_ETCD_MANIFEST = "etc/kubernetes/manifests/etcd.yaml"
# The one kubeconfig of a control plane node that leads to its own API server and not to the endpoint, which may stand
# for the very node that is to go.
_LOCAL_KUBECONFIG = "etc/kubernetes/controller-manager.conf"

_WITHOUT_DRAIN = (
    "remove the node without draining it (playbooks/remove_node.yml -e remove_node_drain=false, playbooks/reset.yml "
    "-e reset_drain=false; drain false of this module)"
)

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_HELD_BACK = re.compile(r'^error when evicting pods/"([^"]+)" -n "([^"]+)" .*disruption budget', re.MULTILINE)
# The first of pods that could not be evicted in time, the second of pods that were and have not ended.
_TIMED_OUT = re.compile(r"global timeout reached|to terminate: context deadline exceeded")
_STILL_THERE = re.compile(r'pods/"([^"]+)" -n "([^"]+)": global timeout reached')
_DRAIN_ERROR = re.compile(r"^error: unable to drain node \S+ due to error: (.*), continuing command", re.MULTILINE)


@dataclass(frozen=True)
class RemovalRequest:
    """The options of the module cluster_node."""

    name: str
    address: str = ""
    drain: bool = True
    drain_timeout: int = 300
    kubeconfig: str = ADMIN_KUBECONFIG
    cri_socket: str = "unix:///run/containerd/containerd.sock"


class ClusterView(NamedTuple):
    """What was read of the cluster and of the host that speaks for it.

    :ivar own: host name and addresses of this host.
    :ivar stacked: this host's control plane comes with an etcd of its own.
    :ivar etcd: None where that etcd does not answer, or where there is none.
    """

    nodes: tuple[Node, ...]
    own: frozenset[str]
    stacked: bool
    etcd: EtcdView | None


@dataclass(frozen=True)
class Removal:
    """A decision.

    :arg node: the Node object to delete, None when there is none.
    :arg members: members to remove from etcd, in this order.
    :arg drain: the node's pods are moved away before.
    """

    name: str
    node: Node | None = None
    members: tuple[Member, ...] = ()
    drain: bool = False

    @property
    def changed(self) -> bool:
        """Whether the cluster knows the node in any way."""
        return bool(self.node or self.members)

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done, in words."""
        return (
            *([f"cordon and drain the node {self.name}"] if self.drain else []),
            *(f"remove the etcd member {member.title}" for member in self.members),
            *([f"delete the Node object {self.name}"] if self.node else []),
        )

    def diff(self) -> dict[str, str]:
        """What the cluster knows of the node, before and after."""
        known = []
        if self.node:
            role = "control plane" if self.node.control_plane else "worker"
            state = "Ready" if self.node.ready else "not Ready"
            known.append(f"Node {self.name}: {role}, {state}, {' '.join(self.node.addresses)}\n")
        for member in self.members:
            state = "healthy" if member.healthy else "silent"
            known.append(f"etcd member {member.title}: {'learner' if member.learner else 'voter'}, {state}\n")
        unknown = f"the cluster does not know {self.name}\n"
        return {"before": "".join(known) or unknown, "after": unknown}


class _Api:
    """kubectl for the cluster, at the API server of this host where it has one."""

    def __init__(self, runner: Runner, kubeconfig: str, root: Path) -> None:
        self._runner = runner
        self._kubeconfig = kubeconfig
        path = root / _LOCAL_KUBECONFIG
        text = read_text(path)
        server = parse_kubeconfig(text, str(path)).server if text else ""
        self._server = [f"--server={server}"] if server else []
        # A proxy has no business between a host and itself.
        self._environment = {"NO_PROXY": urlsplit(server).hostname or ""} if server else {}

    def run(self, *arguments: str) -> Result:
        """Run something that has to succeed."""
        return self._call(arguments, check=True)

    def ask(self, *arguments: str) -> Result:
        """Run something whose exit code is an answer."""
        return self._call(arguments, check=False)

    def _call(self, arguments: Sequence[str], *, check: bool) -> Result:
        argv = kubectl(self._kubeconfig, *self._server, *arguments)
        return self._runner.run(argv, check=check, environment=self._environment)


def remove_from_cluster(
    runner: Runner, request: RemovalRequest, *, check_mode: bool, root: Path = Path("/")
) -> Removal:
    """Take a node out of the cluster, or only find out in check mode what that would be.

    While there is no kubeconfig, no cluster has been made yet, and a prediction finds nothing in it to remove.

    :arg root: folder that stands for the root of this host's files; only tests set another.
    """
    _validate(request)
    if check_mode and not Path(request.kubeconfig).exists():
        return Removal(request.name)
    api = _Api(runner, request.kubeconfig, root)
    removal = decide_removal(_read(runner, api, request, root), request)
    if removal.drain:
        _refuse_drain(api, request)
    if not check_mode:
        _apply(runner, api, removal, request)
    return removal


def own_addresses_argv() -> list[str]:
    """Asks for the addresses of this host."""
    return ["ip", "-json", "address", "show"]


def _validate(request: RemovalRequest) -> None:
    """Stop at values that kubectl would take for something else."""
    if not _OBJECT_NAME.fullmatch(request.name):
        raise GroundplaneError(
            f"the option name is {request.name!r}",
            expected="the name of a Node object: lower case letters, digits, '-' and '.'",
            remedy="see `kubectl get nodes` for the names of the cluster's nodes",
        )
    if request.drain_timeout < 1:
        raise GroundplaneError(
            f"the option drain_timeout is {request.drain_timeout}", expected="a number of seconds, at least 1"
        )


def _read(runner: Runner, api: _Api, request: RemovalRequest, root: Path) -> ClusterView:
    """Read the cluster and this host."""
    nodes = parse_objects(api.run("get", "nodes", "--output=json").stdout)
    links = parse_links(runner.run(own_addresses_argv()).stdout)
    addresses = (canonical_address(address.address) for link in links for address in link.addresses)
    stacked = (root / _ETCD_MANIFEST).exists()
    return ClusterView(
        nodes=tuple(sorted(node_of(item) for item in nodes)),
        own=frozenset([socket.gethostname().lower(), *addresses]),
        stacked=stacked,
        etcd=read_etcd(runner, request.cri_socket) if stacked else None,
    )


def decide_removal(view: ClusterView, request: RemovalRequest) -> Removal:
    """What has to be removed, or the refusal of what would harm the cluster."""
    node = next((candidate for candidate in view.nodes if candidate.name == request.name), None)
    address = canonical_address(request.address)
    known = {*_addresses(node), address} - {""}
    etcd = view.etcd or EtcdView((), leader=False)
    members = [member for member in etcd.members if member.name == request.name or member.address in known]
    _refuse_this_host(view, request, known, members)
    for member in members:
        _refuse_shared_member(member, [other for other in view.nodes if other != node])
    if node and address and address not in _addresses(node):
        _refuse_namesake(node, address, members, view.nodes)
    if node and node.control_plane and not any(other.control_plane for other in view.nodes if other != node):
        raise GroundplaneError(
            f"{node.name} is the last control plane node of the cluster",
            expected="another control plane node that keeps the cluster",
            remedy="join another one first; to give up the cluster, reset its hosts",
        )
    if view.stacked and view.etcd is None:
        raise GroundplaneError(
            "the etcd of this host does not answer, so nobody knows whether the node has a member in it",
            expected="a running container of etcd, and crictl to reach it",
            remedy="look at `crictl ps -a` and the logs of etcd, or run this on another control plane node",
        )
    return Removal(request.name, node, _in_order(etcd, members), drain=bool(node and node.ready and request.drain))


def _refuse_this_host(
    view: ClusterView, request: RemovalRequest, known: Iterable[str], members: Sequence[Member]
) -> None:
    """A host cannot take itself out: its own API server and etcd do the work."""
    identity = {request.name, *known}
    for member in members:
        identity.update((member.name, member.address))
    shared = sorted(identity & view.own)
    if shared:
        raise GroundplaneError(
            f"the node {request.name} is the host that this runs on: both are {', '.join(shared)}",
            expected="another control plane node to do the work",
            remedy="run this on another control plane node; the last one goes with a reset of its host",
        )


def _refuse_namesake(node: Node, address: str, members: Sequence[Member], nodes: Sequence[Node]) -> None:
    """A node at another address may be another machine; only one without any sign of life is a former node."""
    owners = [f"the node {other.name} has {address}" for other in nodes if address in _addresses(other)]
    alive = [member.title for member in members if member.healthy and member.address != address]
    signs = [
        *(["it is Ready"] if node.ready else []),
        *(f"its etcd member {title} answers" for title in alive),
        *owners,
    ]
    if signs:
        raise GroundplaneError(
            f"the node {node.name} has the addresses {', '.join(node.addresses)}, and {' and '.join(signs)}",
            expected=f"the address {address}, or a node that gives no sign of life",
            remedy="correct the name or the address; a machine that shares its host name with another needs a new one",
        )


def _addresses(node: Node | None) -> frozenset[str]:
    """Addresses of a node in the form that can be compared."""
    return frozenset(canonical_address(address) for address in node.addresses) if node else frozenset()


def _refuse_shared_member(member: Member, others: Iterable[Node]) -> None:
    """A member that goes by the name of one node and the address of another must not be removed with either."""
    for other in others:
        if member.name == other.name or member.address in _addresses(other):
            raise GroundplaneError(
                f"the etcd member {member.title} also matches the node {other.name} "
                f"with the addresses {', '.join(other.addresses)}",
                expected="a member whose name and address belong to no other node",
                remedy=f"if {other.name} is what the machine was called before, remove that node first; otherwise find "
                "out with `etcdctl member list` whose member it is, and delete the Node object by hand",
            )


def _in_order(etcd: EtcdView, members: Sequence[Member]) -> tuple[Member, ...]:
    """Members in an order in which each may be removed: first those that weaken the quorum by being dead."""
    if members and not etcd.leader:
        # Where the quorum itself is lost, the rules for a removal say more than that.
        raise removal_refusal(etcd.members, members[0]) or GroundplaneError(
            "etcd is without a leader at the moment",
            expected="an etcd that can change its members",
            remedy="run again in a few seconds; if it stays so, look at the logs of etcd on the control plane nodes",
        )
    remaining = list(etcd.members)
    ordered = sorted(members, key=lambda member: (member.healthy, member.id))
    for member in ordered:
        refusal = removal_refusal(remaining, member)
        if refusal:
            raise refusal
        remaining.remove(member)
    return tuple(ordered)


def drain_arguments(name: str, timeout: int) -> list[str]:
    """Moves the pods of a node away. Those of a DaemonSet would come back at once, and emptyDir ends with the node."""
    return ["drain", name, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={timeout}s"]


def _refuse_drain(api: _Api, request: RemovalRequest) -> None:
    """Find out before the node is cordoned whether it has pods that a drain refuses to touch."""
    result = api.ask(*drain_arguments(request.name, request.drain_timeout), "--dry-run=client")
    if result.rc != 0:
        raise GroundplaneError(
            f"the node {request.name} cannot be drained: {_drain_error(result)}",
            expected="pods that a controller starts again elsewhere",
            remedy=f"delete the pods named, or {_WITHOUT_DRAIN}; nothing was changed",
        )


def _drain_error(result: Result) -> str:
    """The one line of kubectl's long output that says why."""
    match = _DRAIN_ERROR.search(result.stderr)
    return match.group(1) if match else (result.stderr or result.stdout).strip()


def _apply(runner: Runner, api: _Api, removal: Removal, request: RemovalRequest) -> None:
    """Do what was decided; each step is seen to have worked before the next begins."""
    if removal.drain:
        _drain(api, request)
    for member in removal.members:
        _remove_member(runner, request.cri_socket, member)
    if removal.node:
        _delete_node(api, removal.name)


def _drain(api: _Api, request: RemovalRequest) -> None:
    """Move the pods of a node away, as long as the node lives: nobody ends those of one that dies meanwhile."""
    left = request.drain_timeout
    while True:
        step = min(left, _DRAIN_STEP)
        left -= step
        result = api.ask(*drain_arguments(request.name, step))
        if result.rc == 0:
            return
        if not _TIMED_OUT.search(result.stderr) or not left:
            raise _drain_failure(request, result)
        if not _is_ready(api, request.name):
            return


def _is_ready(api: _Api, name: str) -> bool:
    """Whether the cluster still takes a node for a living one."""
    found = parse_objects(api.run("get", "node", name, "--ignore-not-found", "--output=json").stdout)
    return any(node_of(item).ready for item in found)


def _drain_failure(request: RemovalRequest, result: Result) -> GroundplaneError:
    """What is said when the pods of a living node are still there at the end."""
    cordoned = f"nothing was removed, and the node stays cordoned (undo that with `kubectl uncordon {request.name}`)"
    pending = set(_STILL_THERE.findall(_drain_error(result)))
    held_back = sorted(f"{namespace}/{pod}" for pod, namespace in pending & set(_HELD_BACK.findall(result.stderr)))
    if held_back:
        return GroundplaneError(
            f"disruption budgets have not let the node {request.name} be drained within {request.drain_timeout} "
            f"seconds; they hold back {', '.join(held_back)}",
            expected="enough replicas on other nodes",
            remedy="see `kubectl get poddisruptionbudgets --all-namespaces`, scale the workloads up or relax their "
            f"budgets, and run again; {cordoned}",
        )
    return GroundplaneError(
        f"the node {request.name} could not be drained: {_drain_error(result)}",
        expected=f"a node without pods after {request.drain_timeout} seconds",
        remedy=f"see what keeps the pods, or {_WITHOUT_DRAIN}; {cordoned}",
    )


def _remove_member(runner: Runner, cri_socket: str, member: Member) -> None:
    """Remove a member, and believe only the list of members that it is gone."""
    answers: list[Result] = []

    def gone() -> bool:
        container = find_container(runner, cri_socket)
        if container is None:
            return False
        answers.append(runner.run(member_remove_argv(cri_socket, container, member), check=False))
        etcd = read_etcd(runner, cri_socket)
        return etcd is not None and etcd.leader and member.id not in [left.id for left in etcd.members]

    if not wait_until(gone, _SETTLE_TIMEOUT):
        lines = answers[-1].stderr.splitlines() if answers else ["there is no running container of etcd"]
        said = [line for line in lines if not line.startswith(("{", "time="))] or [
            "the list still has it, or nobody leads"
        ]
        raise GroundplaneError(
            f"the etcd member {member.title} could not be removed within {_SETTLE_TIMEOUT} seconds: {said[0]}",
            expected="a list of members without it, and a leader",
            remedy="look at the logs of etcd on the control plane nodes, and run again",
        )


def _delete_node(api: _Api, name: str) -> None:
    """Delete a Node object and see it gone; an API server whose etcd has just changed may fail the first time."""
    answers: list[Result] = []

    def gone() -> bool:
        answers.append(api.ask("delete", "node", name, "--ignore-not-found", "--wait=false"))
        left = api.ask("get", "node", name, "--ignore-not-found", "--output=name")
        return left.rc == 0 and not left.stdout.strip()

    if not wait_until(gone, _SETTLE_TIMEOUT):
        said = (answers[-1].stderr or answers[-1].stdout).strip()
        raise GroundplaneError(
            f"the Node object {name} is still there after {_SETTLE_TIMEOUT} seconds; kubectl delete said: {said}",
            expected="no Node object of this name",
            remedy=f"see its finalizers and events (`kubectl describe node {name}`), and run again",
        )
