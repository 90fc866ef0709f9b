# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a host to a state in a cluster: read, decide, apply, one run at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    ADMIN_KUBECONFIG,
    SUPER_ADMIN_KUBECONFIG,
    Node,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import Member, count_members
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_apply import (
    Work,
    apply_plan,
    etcd_data_of,
    sha256_of,
    validate,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_cluster import (
    ClusterState,
    read_cluster,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_plan import (
    JoinTarget,
    Plan,
    Step,
    decide_init,
    decide_join,
    decide_reset,
    refuse_other_cluster_configuration,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import (
    HostState,
    read_host,
    running_kubeadm,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import exclusive, wait_until


@dataclass(frozen=True)
class NodeRequest:
    """The options of the module kubeadm_node."""

    state: str
    configuration: str | None = field(default=None, repr=False)
    node_name: str | None = None
    node_address: str | None = None
    control_plane: bool = False
    cluster_nodes: Sequence[Mapping[str, Any]] = ()
    etcd_members: Sequence[Mapping[str, Any]] = ()
    ca_cert_hashes: Sequence[str] = ()
    cri_socket: str = "unix:///run/containerd/containerd.sock"
    timeout: int = 600
    offline: bool = False


def bring_to_state(runner: Runner, paths: HostPaths, request: NodeRequest, *, check_mode: bool) -> Plan:
    """Do what the request asks for, or only find out what that would be in check mode."""
    if check_mode:
        return _predict(runner, paths, request)
    with exclusive(paths.lock, request.timeout):
        waited = _wait_for_other_kubeadm(paths, request.timeout)
        configuration = request.configuration or ""
        host = read_host(runner, paths, etcd_data_of(configuration))
        plan = _decide(runner, host, request, check_mode=False)
        if waited and Step.JOIN in plan.steps:
            raise GroundplaneError(
                "another kubeadm has just ended on this host, and what the cluster was asked for is older than that",
                expected="a decision about the host as it is now",
                remedy="run again",
            )
        validate(runner, plan, configuration)
        apply_plan(plan, Work(runner, paths, host, configuration, request.cri_socket, request.timeout, request.offline))
    return plan


def _predict(runner: Runner, paths: HostPaths, request: NodeRequest) -> Plan:
    """Plan for check mode, which neither waits nor writes."""
    running = running_kubeadm(paths)
    if running:
        return Plan("wait", f"a host on which {', '.join(running.values())} is running", (Step.WAIT,))
    configuration = request.configuration or ""
    plan = _decide(runner, read_host(runner, paths, etcd_data_of(configuration)), request, check_mode=True)
    # The token and the CA in the configuration of a join come to be only when they are needed.
    if Step.JOIN not in plan.steps:
        validate(runner, plan, configuration)
    return plan


def _wait_for_other_kubeadm(paths: HostPaths, timeout: int) -> bool:
    """Let a kubeadm finish that was started by hand or has outlived the run that started it; True if there was one."""
    if not running_kubeadm(paths):
        return False
    if not wait_until(lambda: not running_kubeadm(paths), timeout):
        running = ", ".join(f"{command} (process {pid})" for pid, command in running_kubeadm(paths).items())
        raise GroundplaneError(
            f"{running} has been running on this host for more than {timeout} seconds",
            expected="no other kubeadm at work",
            remedy="wait for its end or end it, and run again",
        )
    return True


def _decide(runner: Runner, host: HostState, request: NodeRequest, check_mode: bool) -> Plan:
    """Plan for the wanted state, with whatever else has to be read for it."""
    if request.state == "reset":
        return decide_reset(host)
    if request.state == "joined":
        return _decide_joined(host, request, check_mode)
    cluster = _ask_cluster(runner, host, request, check_mode)
    if check_mode and host.record is None and host.manifests and not cluster.ready:
        silent = f"a control plane that does not answer: {cluster.message}"
        return Plan("wait", silent, (Step.WAIT,), warnings=(f"nothing can be predicted for {silent}",))
    if host.record is None and cluster.ready:
        refuse_other_cluster_configuration(cluster.configuration, request.configuration or "")
    members = count_members(runner, request.cri_socket) if host.record and host.etcd_data else None
    return decide_init(host, cluster, sha256_of(request.configuration or ""), members)


def _decide_joined(host: HostState, request: NodeRequest, check_mode: bool) -> Plan:
    """Plan for the state joined."""
    if not request.ca_cert_hashes and not check_mode:
        raise GroundplaneError(
            "the option ca_cert_hashes is empty",
            expected="the hashes of the CA of the cluster to join, without which it cannot be verified",
            remedy="read them with groundplane.kubeadm.join_info on a control plane node",
        )
    nodes = [_node_of(values) for values in request.cluster_nodes]
    node = next((candidate for candidate in nodes if candidate.name == request.node_name), None)
    target = JoinTarget(
        request.node_address or "",
        request.control_plane,
        tuple(request.ca_cert_hashes),
        tuple(_member_of(values) for values in request.etcd_members),
    )
    plan = decide_join(host, target, node)
    if plan.changed and Step.JOIN in plan.steps and target.member is not None and not check_mode:
        raise GroundplaneError(
            f"etcd has the member {target.member.id} at this host's address, though the host has to join anew",
            expected="a member list without it, since a member that loses its data behind etcd's back can cost quorum",
            remedy="remove it with groundplane.kubeadm.cluster_node on another control plane node, then join",
        )
    return plan


def _node_of(values: Mapping[str, Any]) -> Node:
    """A Node out of the option cluster_nodes."""
    return Node(**{**values, "addresses": tuple(values["addresses"])})


def _member_of(values: Mapping[str, Any]) -> Member:
    """A Member out of the option etcd_members."""
    urls = {name: tuple(values[name]) for name in ("peer_urls", "client_urls")}
    return Member(**{**values, **urls})


def _ask_cluster(runner: Runner, host: HostState, request: NodeRequest, check_mode: bool) -> ClusterState:
    """What the API says; an installed control plane may need a while, after a reboot for instance."""
    if not (host.admin_conf and host.manifests):
        return ClusterState(ready=False)
    interrupted = host.record is not None
    kubeconfig = SUPER_ADMIN_KUBECONFIG if interrupted and host.super_admin_conf else ADMIN_KUBECONFIG
    answers: list[ClusterState] = []

    def answered() -> bool:
        answers.append(read_cluster(runner, kubeconfig, request.node_name or "", with_nodes=interrupted))
        return answers[-1].ready

    # An interrupted init waits for its control plane itself once it is resumed, and one without kubelet never comes up.
    patient = not check_mode and not interrupted and host.kubelet_running and host.kubelet_conf
    wait_until(answered, request.timeout if patient else 0, interval=2.0)
    return answers[-1]
