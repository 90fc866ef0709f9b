# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host needs to know about a cluster in order to join it."""

from __future__ import annotations

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
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig import parse_kubeconfig
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hashes

_CONFIG = "configmap/kubeadm-config"
# Certificates of the control plane, encrypted with the certificate key; kubeadm deletes them after two hours.
_CERTIFICATES = "secret/kubeadm-certs"
_DEFAULT_PORT = "6443"

#: The CA for a kubeconfig that carries none.
CA_FILE = "/etc/kubernetes/pki/ca.crt"

#: What a prediction knows of a cluster that has yet to be made.
NO_CLUSTER: dict[str, Any] = {"endpoint": "", "ca_cert_hashes": [], "certificates_uploaded": False, "nodes": []}


def read_join_info(runner: Runner, kubeconfig: str) -> dict[str, Any]:
    """Endpoint, hashes of the CA and nodes of the cluster that a kubeconfig points to."""
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
    configured = block_value(cluster_configuration(found[_CONFIG]), "controlPlaneEndpoint")
    return {
        "endpoint": _with_port(configured) if configured else urlsplit(access.server).netloc,
        "ca_cert_hashes": list(ca_cert_hashes(access.ca_pem or read_text(CA_FILE) or "")),
        "certificates_uploaded": _CERTIFICATES in found,
        "nodes": [{**node._asdict(), "addresses": list(node.addresses)} for node in read_nodes(runner, kubeconfig)],
    }


def _with_port(endpoint: str) -> str:
    """A host and port, with the port of the API where kubeadm's configuration leaves it out."""
    has_port = urlsplit("//" + endpoint).port is not None
    return endpoint if has_port else f"{endpoint}:{_DEFAULT_PORT}"
