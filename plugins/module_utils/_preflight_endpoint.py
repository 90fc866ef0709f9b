# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of the API's endpoint: the virtual address, or the operator's load balancer, and the name."""

from __future__ import annotations

import ipaddress
from typing import Iterator, Mapping

from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_network import node_address
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    FOREIGN,
    MUTE,
    REFUSED,
    SILENT,
    UNRESOLVABLE,
    UNROUTABLE,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot

# The spellings of true that the flags of Kubernetes' programs know.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


def check_vip_outside_network(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The neighbours of a control plane node look for the virtual address on their own network only."""
    node = node_address(snapshot, wanted)
    if node is None or not wanted.may_hold_vip:
        return
    networks = [
        address.network
        for link in snapshot.network.links
        for address in link.addresses
        if link.name == node.interface and address.ip == ipaddress.ip_address(node.address)
    ]
    for network in networks:
        if wanted.virtual_address not in network:
            yield Observation(
                f"cluster_vip {wanted.vip} lies outside of {network}, the network of {node.address} ({node.interface})",
                f"an address of {network}",
            )


def check_api_port_not_shared(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The kernel lets haproxy bind the virtual address beside the API server only when that has allowed it."""
    arguments = snapshot.cluster.api_server
    if arguments is None or not wanted.shares_api_port or _takes_one_address(arguments):
        return
    if arguments.get("permit-port-sharing") not in _TRUE:
        yield Observation(
            f"the API server keeps port {wanted.api_port} of all addresses to itself",
            "--permit-port-sharing=true among its arguments, so that haproxy can listen on that port at cluster_vip",
        )


def _takes_one_address(arguments: Mapping[str, str]) -> bool:
    """Whether the API server listens at one address instead of all, and so leaves the virtual one free."""
    return arguments.get("bind-address", "::") not in ("::", "0.0.0.0")


def check_endpoint_unreachable(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The load balancer lets the host through to the API.

    Without a backend most load balancers accept nothing, and before the first initialisation there is none. Only where
    an API server listens already it is certain that the load balancer, and not the cluster, is to blame.
    """
    answer = snapshot.endpoint
    if answer is None or (answer.outcome == UNRESOLVABLE and not snapshot.endpoint_resolvable):
        return
    observation = Observation(
        f"{wanted.endpoint_address or wanted.endpoint}, port {wanted.endpoint_port}: {answer.reason}",
        "a load balancer that passes connections on to the control plane nodes",
    )
    if answer.outcome in (UNRESOLVABLE, UNROUTABLE):
        yield observation
    elif answer.outcome in (REFUSED, SILENT, MUTE):
        yield observation._replace(severity="" if _api_server_listens(snapshot, wanted) else WARNING)


def _api_server_listens(snapshot: Snapshot, wanted: Wanted) -> bool:
    return any(
        listener.port == wanted.api_port and listener.program == "kube-apiserver" for listener in snapshot.listeners
    )


def check_endpoint_elsewhere(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The load balancer leads to this cluster; only a host that has the cluster's CA can tell."""
    answer = snapshot.endpoint
    if answer is not None and answer.outcome == FOREIGN:
        yield Observation(
            f"{wanted.endpoint_address or wanted.endpoint}, port {wanted.endpoint_port}: {answer.reason}",
            "an API server of the cluster to which this host belongs",
            # A worker may still have the CA of a former control plane, which the check other-cluster tells from this.
            severity="" if wanted.role == CONTROL_PLANE else WARNING,
        )


def check_endpoint_unresolvable(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A name that the roles do not write into /etc/hosts is known to DNS."""
    if not snapshot.endpoint_resolvable:
        yield Observation(f"the host knows no address of {wanted.endpoint}", "a name that every node can resolve")


_ENDPOINT_VARIABLES = ("cluster_load_balancer", "cluster_endpoint_address", "cluster_endpoint_port")

ENDPOINT_CHECKS = (
    Check(
        Description(
            id="vip-outside-network",
            severity=ERROR,
            purpose="The virtual address lies in the network of the node address on every control plane node, because "
            "the address is announced on that network and reaches no further.",
            remedy="Set cluster_vip to a free address of the network named, or cluster_node_cidr to the network of "
            "cluster_vip.",
            variables=("cluster_vip", "cluster_node_cidr", "cluster_node_ip"),
        ),
        check_vip_outside_network,
    ),
    Check(
        Description(
            id="api-port-not-shared",
            severity=ERROR,
            purpose="An API server that runs already shares its port, where haproxy is to listen on the same port at "
            "the virtual address (cluster_endpoint_port is cluster_api_port). All API servers that this collection "
            "starts do; one of another origin may not.",
            remedy='Add the line "- --permit-port-sharing=true" to the command in '
            "/etc/kubernetes/manifests/kube-apiserver.yaml on this host; kubelet starts the API server anew. Put it "
            "into apiServer.extraArgs of the ConfigMap kubeadm-config in kube-system too, so that an upgrade keeps it, "
            "and take a false out of control_plane_cluster_configuration. Then run again. Another "
            "cluster_endpoint_port would not be known to the kubeconfig files that exist.",
            variables=(
                "cluster_vip",
                "cluster_endpoint_port",
                "cluster_api_port",
                "control_plane_cluster_configuration",
            ),
        ),
        check_api_port_not_shared,
    ),
    Check(
        Description(
            id="endpoint-unreachable",
            severity=ERROR,
            purpose="The operator's load balancer accepts a connection within 3 seconds, and on nodes of a cluster it "
            "completes a TLS handshake. Where no API server runs on the host, a connection that is refused, broken off "
            "or not answered is a warning, because most load balancers accept nothing while they have no backend.",
            remedy="Let the load balancer pass TCP connections on to cluster_api_port of the control plane nodes, from "
            "all nodes, and correct cluster_endpoint_address or cluster_endpoint_port if they lead elsewhere.",
            variables=_ENDPOINT_VARIABLES,
        ),
        check_endpoint_unreachable,
    ),
    Check(
        Description(
            id="endpoint-elsewhere",
            severity=ERROR,
            purpose="On hosts that have the CA of a cluster, the server behind the load balancer has a certificate of "
            "the same CA. On a worker another CA is a warning, because it may be the worker that is of another "
            "cluster, as after a control plane was set up anew; where a control plane is ready, other-cluster stops "
            "such a worker.",
            remedy="Take the servers of other clusters out of the load balancer's backends, and let it pass TLS "
            "through instead of ending it. A host that is of another cluster itself joins this one after "
            "playbooks/reset.yml --limit HOST.",
            variables=_ENDPOINT_VARIABLES,
        ),
        check_endpoint_elsewhere,
    ),
    Check(
        Description(
            id="endpoint-unresolvable",
            severity=ERROR,
            purpose="The name of the endpoint can be resolved on every host where the roles do not write it into "
            "/etc/hosts: with prereqs_hosts_enabled false, or cluster_load_balancer external and no "
            "cluster_endpoint_address.",
            remedy="Add the name to DNS, or leave it to the roles by prereqs_hosts_enabled.",
            variables=("cluster_endpoint", "cluster_endpoint_address", "prereqs_hosts_enabled"),
        ),
        check_endpoint_unresolvable,
    ),
)
