# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster of this control plane says about an initialisation: which of its results exist."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    block_value,
    cluster_configuration,
    node_of,
    read_nodes,
    read_objects,
    readyz_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner

KUBEADM_CONFIG = "configmap/kubeadm-config"
NODE = "the Node object of this host"
CONTROL_PLANE_LABEL = "the label node-role.kubernetes.io/control-plane"
_CLUSTER_INFO = "configmap/cluster-info"

# kubeadm init ends with the addons, and each of them with the second object named here.
_ALWAYS = (KUBEADM_CONFIG, "configmap/kubelet-config")
_COREDNS = ("deployment/coredns", "service/kube-dns")
_KUBE_PROXY = ("daemonset/kube-proxy", "rolebinding/kube-proxy")

# /readyz lists every check that has passed before those that have not.
_PASSED_CHECK = re.compile(r"\[\+\]\S+ ok\\n")


@dataclass(frozen=True)
class ClusterState:
    """An answer of the cluster, or the reason why there is none.

    :arg missing: results of kubeadm init that do not exist.
    :arg other_nodes: nodes besides this host; read only where a decision depends on it.
    :arg configuration: the ClusterConfiguration that the cluster keeps.
    """

    ready: bool
    message: str = ""
    missing: tuple[str, ...] = ()
    other_nodes: tuple[str, ...] = ()
    configuration: str = ""


def read_cluster(runner: Runner, kubeconfig: str, node_name: str, with_nodes: bool) -> ClusterState:
    """Ask the cluster; an API server that fails in the middle counts as one that is not ready yet.

    :arg with_nodes: read the names of all nodes too.
    """
    try:
        runner.run(readyz_argv(kubeconfig))
        return _read_ready_cluster(runner, kubeconfig, node_name, with_nodes)
    except CommandError as error:
        said = (error.result.stderr or error.result.stdout).strip()
        return ClusterState(ready=False, message=_PASSED_CHECK.sub("", said))


def _read_ready_cluster(runner: Runner, kubeconfig: str, node_name: str, with_nodes: bool) -> ClusterState:
    """Read what kubeadm init leaves in a cluster, and the Node object of this host."""
    node_object = f"node/{node_name}"
    found = read_objects(runner, kubeconfig, "kube-system", [*_ALWAYS, *_COREDNS, *_KUBE_PROXY, node_object])
    found.update(read_objects(runner, kubeconfig, "kube-public", [_CLUSTER_INFO]))
    node = node_of(found[node_object]) if node_object in found else None
    missing = [name for name in _expected(found) if name not in found]
    if node is None:
        missing.append(NODE)
    elif not node.control_plane:
        missing.append(CONTROL_PLANE_LABEL)
    others = read_nodes(runner, kubeconfig) if with_nodes else ()
    return ClusterState(
        ready=True,
        missing=tuple(missing),
        other_nodes=tuple(other.name for other in others if other.name != node_name),
        configuration=cluster_configuration(found[KUBEADM_CONFIG]) if KUBEADM_CONFIG in found else "",
    )


def _expected(found: dict[str, dict[str, object]]) -> list[str]:
    """What kubeadm init leaves in the cluster, without addons that its configuration disables."""
    configuration = cluster_configuration(found[KUBEADM_CONFIG]) if KUBEADM_CONFIG in found else ""
    expected = [*_ALWAYS, _CLUSTER_INFO]
    if block_value(configuration, "dns", "disabled") != "true":
        expected += _COREDNS
    if block_value(configuration, "proxy", "disabled") != "true":
        expected += _KUBE_PROXY
    return expected
