# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of what Kubernetes has left behind and of what it will be installed from."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import (
    CONTAINERD_SOCKETS,
    Snapshot,
    socket_path,
)

_POD_NETWORK_DEVICES = ("cni0", "flannel.1", "flannel-v6.1", "vxlan.calico", "kube-ipvs0")
# Kubernetes since 1.26 speaks only version 1 of the CRI.
_CONTAINERD_FLOOR = (1, 6)
_CONTAINERD_MAINTAINED = (1, 7)


def check_leftovers(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Tell the remains of a foreign cluster from our own.

    A node of a running cluster and an interrupted run of ours are no left-overs: kubeadm_node goes on from them, so
    nothing here may stop it. Only etcd's data without any file that says whose they are is an error, because
    `kubeadm init` refuses to start on them and they may be somebody's only copy.
    """
    cluster = snapshot.cluster
    if cluster.known or cluster.half_joined:
        return
    # Where etcd is none of Kubernetes', these are data of the one that the cluster will use.
    etcd_data = cluster.etcd_data and wanted.local_etcd
    if etcd_data and wanted.role == CONTROL_PLANE:
        yield Observation(
            f"data of an etcd member in {wanted.etcd_folder}, and no kubeconfig beside it",
            f"an empty {wanted.etcd_folder}",
            severity=ERROR,
            remedy=f"If nobody needs these data: kubeadm reset, then remove {wanted.etcd_folder}/member. "
            "Otherwise save them first.",
        )
    remains = [f"/etc/kubernetes/{name}" for name in cluster.credentials]
    remains += [f"/etc/kubernetes/manifests/{name}" for name in cluster.manifests]
    remains += [f"{wanted.etcd_folder}/member"] if etcd_data and wanted.role != CONTROL_PLANE else []
    remains += ["/var/lib/kubelet/pki"] if cluster.kubelet_certificates else []
    remains += [f"/etc/cni/net.d/{name}" for name in cluster.cni_configurations]
    remains += [f"link {link.name}" for link in snapshot.network.links if link.name in _POD_NETWORK_DEVICES]
    if remains:
        yield Observation(", ".join(remains), "nothing of an earlier cluster")


def check_package_version(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The repository answers and has the wanted version."""
    repository = snapshot.repository
    if repository.error:
        # The role keeps an installed kubelet of this version, whatever the repository has today.
        yield Observation(
            repository.error.found,
            repository.error.expected or f"Kubernetes {wanted.kubernetes_version} in the repository",
            severity=WARNING if snapshot.has_version(wanted.kubernetes_version) else ERROR,
            remedy=_sentence(repository.error.remedy),
        )
    elif repository.unverifiable:
        yield Observation(
            f"{repository.url} was not asked: the host has no certificate authorities",
            f"Kubernetes {wanted.kubernetes_version} in the repository",
            severity=WARNING,
            remedy="Nothing, when role prereqs runs: it installs ca-certificates, and the version is looked up again "
            "before any package is installed.",
        )


def check_node_version(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A node of a cluster keeps its version; only an upgrade, one node after the other, changes it."""
    is_node = "kubelet.conf" in snapshot.cluster.credentials
    installed, version = snapshot.kubelet_version, wanted.kubernetes_version
    if is_node and installed and not snapshot.has_version(version):
        yield Observation(
            f"a node with kubelet {installed}", f"kubelet {version}, which cluster_kubernetes_version asks for"
        )


def _sentence(clause: str) -> str:
    """What an error says in the middle of its message, as a sentence of its own."""
    return clause[:1].upper() + clause[1:].rstrip(".") + "."


def check_container_runtime(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """An installed containerd is new enough; another runtime has been set up by the operator."""
    if socket_path(wanted.cri_socket) not in CONTAINERD_SOCKETS:
        if not snapshot.cri_socket_exists:
            yield Observation(
                f"no socket {socket_path(wanted.cri_socket)}",
                "a container runtime of the operator's that listens there",
                severity=WARNING,
                remedy="Install and start the runtime before the cluster, or leave cluster_cri_socket at its default.",
            )
        return
    if not snapshot.runtime_version:
        return
    installed = tuple(int(number) for number in snapshot.runtime_version.split(".")[:2])
    found = f"containerd {snapshot.runtime_version}"
    if installed < _CONTAINERD_FLOOR:
        yield Observation(found, f"1.6 or newer for Kubernetes {wanted.kubernetes_version}")
    elif installed < _CONTAINERD_MAINTAINED:
        yield Observation(found, "a release that is still maintained (1.7 or 2.x)", severity=WARNING)


KUBERNETES_CHECKS = (
    Check(
        Description(
            id="leftovers",
            severity=WARNING,
            purpose="The host holds nothing of another cluster. A node of a running cluster and an interrupted run "
            "are recognised and go on. Data of an etcd member without a kubeconfig are an error on a control plane "
            "node. With an external etcd its data are not looked at.",
            remedy="Run kubeadm reset on this host, then remove the named files and links, if no cluster needs them.",
        ),
        check_leftovers,
    ),
    Check(
        Description(
            id="package-version",
            severity=ERROR,
            purpose="The package repository can be reached from the host and has the wanted version of kubeadm, "
            "kubelet and kubectl for its architecture. Not asked on a node that has this version; a warning on a host "
            "where a kubelet of this version is installed, and on one that has no certificate authorities yet.",
            remedy="Correct cluster_kubernetes_version or kube_packages_repository_url.",
            variables=("cluster_kubernetes_version", "kube_packages_repository_url"),
        ),
        check_package_version,
    ),
    Check(
        Description(
            id="node-version",
            severity=ERROR,
            purpose="A machine that is a node already has the version that cluster_kubernetes_version asks for, "
            "because packages of a node in use are never exchanged in passing.",
            remedy="Set cluster_kubernetes_version to the version of the cluster, or upgrade the cluster first.",
            variables=("cluster_kubernetes_version",),
        ),
        check_node_version,
    ),
    Check(
        Description(
            id="container-runtime",
            severity=ERROR,
            purpose="A containerd that is already installed is new enough for this Kubernetes; one that is no longer "
            "maintained is a warning. Another runtime, chosen by cluster_cri_socket, listens on its socket.",
            remedy="Upgrade containerd, or take it from Docker's repository (containerd_source: docker).",
            variables=("containerd_source", "cluster_cri_socket"),
        ),
        check_container_runtime,
    ),
)
