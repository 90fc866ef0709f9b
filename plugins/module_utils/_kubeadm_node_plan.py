# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to bring a host to the wanted state: pure decisions about what was read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import Node
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import STATIC_PODS, configured_value
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_cluster import (
    KUBEADM_CONFIG,
    NODE,
    ClusterState,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import HostState

_RESET_FIRST = (
    "reset this host first (playbooks/reset.yml --limit HOST; state reset of this module), if nothing on it is needed "
    "any more"
)
_NOTHING = "nothing of kubeadm is on this host"
_POD_NETWORK = "remains of a pod network"
_UNKNOWN = "an unknown address"
_CONTROL_PLANE = "an initialised control plane"
_MEMBER = "a node of the cluster"
# What a cluster keeps for life, with the variables that set it.
_FOR_LIFE = {
    "controlPlaneEndpoint": "cluster_endpoint and cluster_endpoint_port",
    "podSubnet": "cluster_pod_cidr",
    "serviceSubnet": "cluster_service_cidr",
    "dnsDomain": "cluster_dns_domain",
}
_OWN_CERTIFICATES = ("apiserver", "front-proxy-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client")
_OUTCOMES = {
    "init": _CONTROL_PLANE,
    "resume-init": _CONTROL_PLANE,
    "reinit": _CONTROL_PLANE,
    "join": _MEMBER,
    "rejoin": _MEMBER,
    "resume-join": _MEMBER,
    "reset": _NOTHING,
}


class Step(Enum):
    """One thing to do; the value tells an operator what it is."""

    WAIT = "wait for what is at work on this host, then decide"
    RESET = "reset this host with kubeadm reset"
    CLEAN_UP = "remove what kubeadm reset leaves behind"
    RECORD = "record that this kubeadm init is ours"
    INIT = "initialise the control plane with kubeadm init"
    RESUME = "complete the interrupted kubeadm init"
    FORGET = "remove the record of the kubeadm init, which has ended"
    DROP_CERTIFICATES = "remove certificates that an interrupted join has left"
    JOIN = "join the cluster with kubeadm join"
    MARK = "mark the node as one of the control plane"
    VERIFY_MEMBER = "see that etcd here is a voting member"
    DROP_BOOTSTRAP = "remove the bootstrap token that the join has left on this host"
    START_KUBELET = "enable and start the kubelet"


@dataclass(frozen=True)
class Plan:
    """A decision.

    :arg action: its name in the module's result.
    :arg found: the state of the host before it.
    :arg stale: the cluster still has a Node object of this name, or an etcd member of this address, that has to be
        removed before the join.
    """

    action: str
    found: str
    steps: tuple[Step, ...] = ()
    stale: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the plan changes the host."""
        return bool(set(self.steps) - {Step.WAIT})

    def outcome(self) -> str:
        """The state of the host after it."""
        return _OUTCOMES.get(self.action, self.found)


@dataclass(frozen=True)
class JoinTarget:
    """The cluster that a host shall belong to, and as what.

    :arg etcd_members: members of etcd on the control plane nodes; none when the cluster uses an etcd elsewhere.
    """

    node_address: str
    control_plane: bool
    ca_cert_hashes: tuple[str, ...]
    etcd_members: tuple[Member, ...] = ()

    @property
    def member(self) -> Member | None:
        """This host's member of etcd."""
        return next((member for member in self.etcd_members if member.address == self.node_address), None)

    @property
    def votes(self) -> bool:
        """Whether etcd knows this host as a voting member, as far as it runs on control plane nodes at all."""
        return not self.etcd_members or (self.member is not None and not self.member.learner)


def decide_reset(host: HostState) -> Plan:
    """Plan for the state reset."""
    if host.kubeadm_remains:
        return Plan("reset", "kubeadm has been at work on this host", (Step.RESET, Step.CLEAN_UP))
    if host.network:
        return Plan("reset", _POD_NETWORK, (Step.CLEAN_UP,))
    return Plan("none", _NOTHING)


def decide_init(host: HostState, cluster: ClusterState, configuration_sha256: str, etcd_members: int | None) -> Plan:
    """Plan for the state initialised.

    :arg cluster: what the API answers; not ready when there is no control plane yet.
    :arg configuration_sha256: hash of the wanted configuration.
    :arg etcd_members: members of the local etcd's cluster, None when it cannot be asked.
    """
    if host.record is None:
        return _decide_first_init(host, cluster)
    if cluster.ready and not cluster.missing:
        return Plan("repair", _CONTROL_PLANE, (Step.FORGET, *_kubelet_steps(host)))
    found = "an interrupted kubeadm init"
    if cluster.other_nodes or (etcd_members or 0) > 1:
        others = ", ".join(cluster.other_nodes) or f"{etcd_members} members of etcd"
        missing = ", ".join(cluster.missing) or "an answer of the API"
        raise GroundplaneError(
            f"the kubeadm init of this host was never completed, yet its cluster has other members: {others}",
            expected="a cluster of this host alone while it is being initialised",
            remedy=f"missing is {missing}; make it with `kubeadm init phase`, or reset every host",
        )
    new_pki = set(host.pki) - set(host.record.pki_before)
    if not (new_pki or host.admin_conf or host.control_plane or host.kubelet_remains):
        return Plan("init", "nothing but the record of a kubeadm init", (Step.RECORD, Step.INIT, Step.FORGET))
    if host.damaged and not host.kubelet_rotates:
        found = "an interrupted kubeadm init that has left files without content: " + ", ".join(host.damaged)
        return Plan("reinit", found, (Step.RESET, Step.CLEAN_UP, Step.RECORD, Step.INIT, Step.FORGET))
    # Static pods are written after all certificates and kubeconfigs: with them, those are whole, without them there
    # is nothing worth keeping.
    if host.manifests and host.record.configuration_sha256 == configuration_sha256:
        return Plan("resume-init", found, (Step.RESUME, Step.FORGET))
    if host.kubelet_rotates:
        raise GroundplaneError(
            "this host's kubeadm init was begun with another configuration and had come as far as a working cluster",
            expected="the configuration with which it was begun, since beginning anew would delete that cluster's data",
            remedy="take back the change of variables and run again, or: " + _RESET_FIRST,
        )
    return Plan("reinit", found, (Step.RESET, Step.CLEAN_UP, Step.RECORD, Step.INIT, Step.FORGET))


def refuse_other_cluster_configuration(kept: str, wanted: str) -> None:
    """Stop before another cluster is taken for the wanted one, or a change is wanted that no cluster can make.

    :arg kept: the ClusterConfiguration that the cluster keeps.
    :arg wanted: the configuration with which it would have been initialised.
    """
    for key, variable in _FOR_LIFE.items():
        found, expected = (configured_value(text, key, "") for text in (kept, wanted))
        if found and expected and found != expected:
            raise GroundplaneError(
                f"the cluster of this host has the {key} {found}",
                expected=f"{expected}, as the variables say (usually {variable})",
                remedy="it cannot be changed in a cluster: correct the variable, or take a host of another cluster out "
                "of the inventory",
            )


def _decide_first_init(host: HostState, cluster: ClusterState) -> Plan:
    """Plan for a host without an unfinished init of ours."""
    if cluster.ready:
        return _decide_initialised(host, cluster)
    if host.manifests:
        kubelet = "" if host.kubelet_running else "start the kubelet with `systemctl enable --now kubelet`; "
        raise GroundplaneError(
            "a control plane is installed here but does not answer: "
            + (cluster.message or "/etc/kubernetes/admin.conf is missing"),
            expected="an API server that is ready",
            remedy=f"{kubelet}look at `journalctl -u kubelet` and `crictl ps -a`; {_RESET_FIRST}",
        )
    if host.etcd_data:
        raise GroundplaneError(
            "etcd's folder holds data, though no control plane is installed here",
            expected="an empty folder, since the data may be the only copy of a cluster",
            remedy="restore the cluster from it or move it away; " + _RESET_FIRST,
        )
    if host.kubelet_remains:
        raise GroundplaneError(
            f"this host is, or was about to become, a node of the cluster at {host.server or _UNKNOWN}",
            expected="a host that no cluster has taken yet",
            remedy=_RESET_FIRST,
        )
    if host.network:
        return Plan("reinit", _POD_NETWORK, (Step.CLEAN_UP, Step.RECORD, Step.INIT, Step.FORGET))
    return Plan("init", _NOTHING, (Step.RECORD, Step.INIT, Step.FORGET))


def _decide_initialised(host: HostState, cluster: ClusterState) -> Plan:
    """Plan for a control plane that answers and that no init of ours has left half-finished."""
    if KUBEADM_CONFIG in cluster.missing or NODE in cluster.missing:
        missing = ", ".join(cluster.missing)
        raise GroundplaneError(
            f"an API server answers here, but its cluster lacks {missing}",
            expected="a cluster that kubeadm has made, with this host as one of its nodes",
            remedy="check the node name; a cluster that was begun by hand must be completed by hand with "
            "`kubeadm init phase`, or: " + _RESET_FIRST,
        )
    # An operator may have taken an addon or a label away on purpose; kubeadm upgrade accepts that as well.
    warnings = tuple(f"the cluster lacks {name}, which kubeadm init makes" for name in cluster.missing)
    steps = _kubelet_steps(host)
    return Plan("repair" if steps else "none", _CONTROL_PLANE, steps, warnings=warnings)


def decide_join(host: HostState, target: JoinTarget, node: Node | None) -> Plan:
    """Plan for the state joined.

    :arg node: the Node object of the wanted name, None when the cluster has none.
    """
    if not target.ca_cert_hashes:
        return _predict_join(host, target)
    own_node = node is not None and target.node_address in node.addresses
    if node is not None and node.ready and not own_node:
        addresses = ", ".join(node.addresses)
        raise GroundplaneError(
            f"the cluster has a ready node {node.name} with the addresses {addresses}",
            expected=f"the address {target.node_address}, or no node of this name",
            remedy="give one of the two machines another host name, or correct the node address of this host",
        )
    _refuse_other_cluster(host, target)
    if node is not None and not own_node and host.kubelet_conf and host.kubelet_credentials:
        raise GroundplaneError(
            f"this host has the identity of a node, and the cluster knows {node.name} at {', '.join(node.addresses)}",
            expected=f"the address {target.node_address}, or a host that is no copy of another",
            remedy="correct the node address of this host; if the machine is a copy of another: " + _RESET_FIRST,
        )
    if not target.control_plane and any(name.endswith(".key") for name in host.pki):
        raise GroundplaneError(
            "this host holds keys of a control plane in /etc/kubernetes/pki",
            expected="a host without them, since a worker never has any and they may be the only copy",
            remedy="save the keys or move them away; if nobody needs them: " + _RESET_FIRST,
        )
    if own_node and host.kubelet_conf and host.kubelet_credentials and host.kubelet_configuration:
        if not target.control_plane:
            return _joined(host)
        if not host.control_plane:
            raise GroundplaneError(
                "this host is a worker of the cluster",
                expected="a host that no cluster has taken yet, since kubeadm cannot promote a worker",
                remedy="drain it and delete its Node object; " + _RESET_FIRST,
            )
        marked = node is not None and node.control_plane
        missing = _missing_manifests(host, target)
        if target.votes and marked and missing:
            raise GroundplaneError(
                f"this host is a control plane node, yet /etc/kubernetes/manifests lacks {', '.join(missing)}",
                expected="every static pod of the control plane; a join never ends without",
                remedy="put the files back if they were moved away, or take the node out with "
                "playbooks/remove_node.yml and run again",
            )
        if target.votes and not missing:
            return _joined(host) if marked else _unmarked(host)
    if target.control_plane:
        _refuse_unsettled_members(target)
    return _join(host, target, stale=node is not None or target.member is not None)


def _join(host: HostState, target: JoinTarget, *, stale: bool) -> Plan:
    """Plan for a host that is no node yet, or no longer.

    Remains of a join would stop kubeadm, those of a pod network would give pods addresses of a former node.
    Certificates are no remains where an operator may have copied them for a further control plane node.
    """
    left_ca = "ca.crt" in host.pki and not target.control_plane
    # kubeadm takes over certificates and kubeconfigs that are whole; a power cut can leave files without content.
    left_files = target.control_plane and (host.admin_conf or bool(host.damaged))
    left = host.kubelet_remains or host.control_plane or left_ca or left_files
    if host.network and not left:
        # They may be those of another distribution of Kubernetes, of which a reset would take more than its network.
        return Plan("rejoin", _POD_NETWORK, (Step.CLEAN_UP, *_join_steps(target)), stale)
    if left:
        found = "remains of an interrupted join, or of a node that the cluster has lost"
        return Plan("rejoin", found, (Step.RESET, Step.CLEAN_UP, *_join_steps(target)), stale)
    if target.control_plane and "ca.key" in host.pki and own_certificates(host.pki):
        return Plan(
            "join", "certificates of an interrupted join", (Step.DROP_CERTIFICATES, *_join_steps(target)), stale
        )
    return Plan("join", _NOTHING, _join_steps(target), stale)


def own_certificates(pki: Sequence[str]) -> list[str]:
    """Files in kubeadm's folder that belong to one control plane node, unlike those that all of them share.

    kubeadm makes them anew where it has the keys of the CAs, and refuses those of which only one half was written or
    whose names have changed since.
    """
    return [file for file in pki if file.startswith(_OWN_CERTIFICATES)]


def _join_steps(target: JoinTarget) -> tuple[Step, ...]:
    """kubeadm join, and for a member of etcd the proof that it has become one."""
    return (Step.JOIN, Step.VERIFY_MEMBER) if target.control_plane and target.etcd_members else (Step.JOIN,)


def _missing_manifests(host: HostState, target: JoinTarget) -> list[str]:
    """Static pods of a control plane node that are not there."""
    wanted = [pod for pod in STATIC_PODS if pod != "etcd" or target.etcd_members]
    return [f"{pod}.yaml" for pod in wanted if pod not in host.manifests]


def _unmarked(host: HostState) -> Plan:
    """Plan for a control plane node whose join was cut short after etcd and kubelet had joined."""
    return Plan("resume-join", "a control plane node without its label", (*_joined(host).steps, Step.MARK))


def _refuse_unsettled_members(target: JoinTarget) -> None:
    """Stop while etcd would take no new member: it has room for one learner, and wants every voter connected."""
    for member in target.etcd_members:
        if member is target.member:
            continue
        if member.learner:
            raise GroundplaneError(
                f"etcd has a new member at {member.address} that has no vote yet, left by the join of another host",
                expected="no half-finished join of a control plane node besides this one",
                remedy="run again with that host in the inventory, or take it out with playbooks/remove_node.yml",
            )
        if not member.healthy:
            raise GroundplaneError(
                f"the etcd member {member.name} at {member.address} does not answer",
                expected="all members, since etcd takes no new one while it misses a voter",
                remedy="start that machine; if it is lost, take it out with playbooks/remove_node.yml, then run again",
            )


def _predict_join(host: HostState, target: JoinTarget) -> Plan:
    """Plan for check mode while there is no cluster yet, or none that answers."""
    if not (host.kubelet_conf or host.control_plane):
        return _join(host, target, stale=False)
    warning = "nothing can be predicted for this host, which has been joined before, while no cluster answers"
    return Plan("none", "a node of a cluster", warnings=(warning,))


def _refuse_other_cluster(host: HostState, target: JoinTarget) -> None:
    """Stop before anything that another cluster, or another role in this one, may still need."""
    if (host.kubelet_conf or host.control_plane) and not set(host.ca_hashes) & set(target.ca_cert_hashes):
        hashes = ", ".join(target.ca_cert_hashes)
        raise GroundplaneError(
            f"this host belongs to another cluster, at {host.server or _UNKNOWN}",
            expected=f"a host of the cluster with the CA {hashes}, or of none",
            remedy=_RESET_FIRST,
        )
    if host.control_plane and not target.control_plane:
        raise GroundplaneError(
            "this host runs parts of a control plane of the cluster",
            expected="a worker",
            remedy="move it to the group of control plane hosts; or, to make a worker of it, " + _RESET_FIRST,
        )


def _joined(host: HostState) -> Plan:
    """Plan for a host whose kubelet has an identity in the cluster and whose Node object is its own."""
    steps = ((Step.DROP_BOOTSTRAP,) if host.bootstrap_kubelet_conf else ()) + _kubelet_steps(host)
    return Plan("repair" if steps else "none", _MEMBER, steps)


def _kubelet_steps(host: HostState) -> tuple[Step, ...]:
    """What makes the kubelet run, now and after a reboot."""
    return () if host.kubelet_running and host.kubelet_enabled else (Step.START_KUBELET,)
