# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host needs to know about a cluster in order to join it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    block_value,
    cluster_configuration,
    read_nodes,
    read_objects,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import EtcdView, Member, read_etcd
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig import parse_kubeconfig
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hashes
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import wait_until

_CONFIG = "configmap/kubeadm-config"
# Certificates of the control plane, encrypted with the certificate key; kubeadm deletes them after two hours.
_CERTIFICATES = "secret/kubeadm-certs"
_DEFAULT_PORT = "6443"
# Seconds for which a voter of etcd that does not answer is asked again.
_PATIENCE = 10
# In YAML that kubeadm itself wrote; the other possibility is "local".
_EXTERNAL_ETCD = re.compile(r"^etcd:\n  external:", re.MULTILINE)

#: The CA for a kubeconfig that carries none.
CA_FILE = "/etc/kubernetes/pki/ca.crt"

#: What a prediction knows of a cluster that has yet to be made.
NO_CLUSTER: dict[str, Any] = {
    "endpoint": "",
    "ca_cert_hashes": [],
    "certificates_uploaded": False,
    "nodes": [],
    "etcd_members": [],
}


def read_join_info(runner: Runner, kubeconfig: str, etcd_socket: str = "") -> dict[str, Any]:
    """Endpoint, hashes of the CA and nodes of the cluster that a kubeconfig points to.

    :arg etcd_socket: the container runtime in which this host's etcd is asked for its members; nothing asks for none.
    """
    text = read_text(kubeconfig)
    if text is None:
        raise GroundplaneError(
            f"{kubeconfig} does not exist",
            expected="the kubeconfig of the cluster's administrator",
            remedy="run this on a control plane node, after `kubeadm init`",
        )
    access = parse_kubeconfig(text, kubeconfig)
    found = read_objects(runner, kubeconfig, "kube-system", [_CONFIG, _CERTIFICATES])
    if _CONFIG not in found:
        raise GroundplaneError(
            "the cluster has no ConfigMap kubeadm-config in kube-system",
            expected="a cluster that kubeadm has made",
            remedy="complete the initialisation, or upload it with `kubeadm init phase upload-config kubeadm`",
        )
    configuration = cluster_configuration(found[_CONFIG])
    configured = block_value(configuration, "controlPlaneEndpoint")
    members = _read_members(runner, configuration, etcd_socket) if etcd_socket else ()
    return {
        "endpoint": _with_port(configured) if configured else urlsplit(access.server).netloc,
        "ca_cert_hashes": list(ca_cert_hashes(access.ca_pem or read_text(CA_FILE) or "")),
        "certificates_uploaded": _CERTIFICATES in found,
        "nodes": [{**node._asdict(), "addresses": list(node.addresses)} for node in read_nodes(runner, kubeconfig)],
        "etcd_members": [member.as_dict() for member in members],
    }


def _read_members(runner: Runner, configuration: str, cri_socket: str) -> tuple[Member, ...]:
    """Members of the etcd that kubeadm runs; none when it runs none."""
    if _EXTERNAL_ETCD.search(configuration):
        return ()
    views: list[EtcdView | None] = []

    def settled() -> bool:
        views.append(read_etcd(runner, cri_socket))
        view = views[-1]
        return view is not None and all(member.healthy for member in view.members if not member.learner)

    # A member may be busy for a moment, and a join is not to be refused for that.
    wait_until(settled, _PATIENCE)
    view = views[-1]
    if view is None:
        raise GroundplaneError(
            "the etcd of this host cannot be asked for its members",
            expected="a running container of etcd, because the cluster keeps its data on its control plane nodes",
            remedy=f"run this on a control plane node; look there at `crictl --runtime-endpoint {cri_socket} ps -a`",
        )
    return view.members


def _with_port(endpoint: str) -> str:
    """A host and port, with the port of the API where kubeadm's configuration leaves it out."""
    has_port = urlsplit("//" + endpoint).port is not None
    return endpoint if has_port else f"{endpoint}:{_DEFAULT_PORT}"
