# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared certificates that joining control plane nodes fetch: their upload by kubeadm and their removal."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.groundplane.kubeadm.plugins.module_utils._bootstrap_token import read_tokens
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    block_value,
    cluster_configuration,
    kubectl,
    read_objects,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    CONFIGURATION_FROM_STDIN,
    Token,
    error_lines,
    limited,
)

API_SERVER_MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"

_NAMESPACE = "kube-system"
_CERTIFICATES = "kubeadm-certs"
_CONFIG = "kubeadm-config"
# The Secret of a bootstrap token is named after the token's public part.
_TOKEN_SECRET = "bootstrap-token-"
# kubeadm makes a token that nobody can use: it owns the certificates, and takes them along when it ends.
_OWNER_DESCRIPTION = "Proxy for managing TTL for the kubeadm-certs secret"

_ENDPOINT = re.compile(
    r"^\s*kubeadm\.kubernetes\.io/kube-apiserver\.advertise-address\.endpoint:\s*[\"']?(?P<endpoint>[^\s\"']+)",
    re.MULTILINE,
)

_KEY_BYTES = 32
# kubeadm itself gives up after a minute for each of its few calls of the API.
_UPLOAD_SECONDS = 300


class UploadSource(NamedTuple):
    """What an upload is made of.

    :arg cluster_configuration: the ClusterConfiguration as the cluster knows it, in YAML.
    :arg address: where the API server of this host answers.
    :arg uploaded: whether certificates of an earlier upload are there.
    """

    cluster_configuration: str
    address: str
    port: int
    uploaded: bool


class Uploaded(NamedTuple):
    """What uploads have left in the cluster.

    :arg owners: names of the Secrets that own the certificates.
    """

    certificates: bool
    owners: tuple[str, ...]
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class UploadPlan:
    """What has to be done, by names only.

    :arg before: what is there of the objects that the plan is about.
    :arg deleted: names of Secrets that have to go.
    """

    upload: bool = False
    before: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return self.upload or bool(self.deleted)

    def diff(self) -> dict[str, str]:
        """The Secrets before and after."""
        after = [name for name in self.before if name not in self.deleted]
        if self.upload:
            after = [f"{_CERTIFICATES} (encrypted with a new key)"]
        header = f"Secrets in {_NAMESPACE}"
        return {
            "before_header": header,
            "after_header": header,
            "before": _lines(self.before),
            "after": _lines(after),
        }


def upload_argv(kubeconfig: str) -> list[str]:
    """Uploads the certificates, encrypted with the key in the configuration on standard input."""
    return [
        *("kubeadm", "init", "phase", "upload-certs", "--upload-certs", *CONFIGURATION_FROM_STDIN),
        *("--kubeconfig", kubeconfig, "--skip-certificate-key-print"),
    ]


def delete_argv(kubeconfig: str, names: Iterable[str]) -> list[str]:
    """Deletes Secrets by name; some may have ended by themselves in the meantime."""
    return kubectl(kubeconfig, "delete", "secret", "--namespace", _NAMESPACE, "--ignore-not-found", *names)


def read_source(runner: Runner, kubeconfig: str, manifest: Path) -> UploadSource:
    """The cluster's configuration, and where the API server of this host answers.

    :arg manifest: the API server's manifest, in which kubeadm notes the address.
    """
    noted = _ENDPOINT.search(read_text(manifest) or "")
    if noted is None:
        raise GroundplaneError(
            f"{manifest} does not exist or does not tell where the API server answers",
            expected="a control plane node that kubeadm has made",
            remedy="run this on such a node",
        )
    names = [f"configmap/{_CONFIG}", f"secret/{_CERTIFICATES}"]
    found = read_objects(runner, kubeconfig, _NAMESPACE, names)
    if names[0] not in found:
        raise GroundplaneError(
            f"the cluster has no ConfigMap {_CONFIG} in {_NAMESPACE}",
            expected="a cluster that kubeadm has made",
            remedy="upload the configuration with `kubeadm init phase upload-config kubeadm`",
        )
    endpoint = urlsplit("//" + noted.group("endpoint"))
    return UploadSource(
        cluster_configuration=cluster_configuration(found[names[0]]),
        address=endpoint.hostname or "",
        port=endpoint.port or 6443,
        uploaded=names[1] in found,
    )


def read_uploaded(runner: Runner, kubeconfig: str) -> Uploaded:
    """What uploads have left in the cluster."""
    name = f"secret/{_CERTIFICATES}"
    found = read_objects(runner, kubeconfig, _NAMESPACE, [name])
    references = found[name]["metadata"].get("ownerReferences", []) if found else []
    return Uploaded(
        certificates=bool(found),
        owners=tuple(reference["name"] for reference in references if reference["kind"] == "Secret"),
        tokens=tuple(read_tokens(runner, kubeconfig)),
    )


def decide_present(source: UploadSource | None) -> UploadPlan:
    """Upload in any case, because nobody knows the key of an earlier upload any more.

    :arg source: None in a prediction for a cluster that has yet to be made.
    """
    if source is not None and not block_value(source.cluster_configuration, "kubernetesVersion"):
        raise GroundplaneError(
            f"the ClusterConfiguration in the ConfigMap {_CONFIG} has no kubernetesVersion",
            expected="the version of the control plane; without it, kubeadm would ask the internet for one",
            remedy=f"add it with `kubectl --namespace {_NAMESPACE} edit configmap {_CONFIG}`",
        )
    return UploadPlan(upload=True, before=(_CERTIFICATES,) if source is not None and source.uploaded else ())


def decide_absent(uploaded: Uploaded) -> UploadPlan:
    """Delete the certificates and the tokens that owned them, also those that earlier uploads have orphaned."""
    tokens = sorted(
        _TOKEN_SECRET + token.token_id
        for token in uploaded.tokens
        if token.description == _OWNER_DESCRIPTION or _TOKEN_SECRET + token.token_id in uploaded.owners
    )
    names = (*((_CERTIFICATES,) if uploaded.certificates else ()), *tokens)
    return UploadPlan(before=names, deleted=names)


def new_key() -> str:
    """A certificate key as kubeadm makes it; it is secret."""
    return secrets.token_hex(_KEY_BYTES)


def upload(runner: Runner, kubeconfig: str, source: UploadSource, key: str) -> None:
    """Let kubeadm upload the certificates."""
    documents = json.dumps(_init_configuration(source, key)) + "\n---\n" + source.cluster_configuration
    result = runner.run(limited(upload_argv(kubeconfig), _UPLOAD_SECONDS), stdin=documents, check=False)
    if result.rc != 0:
        reasons = "; ".join(error_lines(result))
        raise GroundplaneError(
            f"kubeadm could not upload the certificates (exit code {result.rc}): {reasons}",
            expected="an API server that answers on this host, and the keys of the cluster's CAs beside their "
            "certificates",
            remedy="remove the cause and run again; where the CAs are external, copy the shared certificates and keys "
            "to the joining hosts yourself",
            facts={"rc": result.rc},
        )


def delete(runner: Runner, kubeconfig: str, plan: UploadPlan) -> None:
    """Delete what the plan names, the certificates first."""
    if plan.deleted:
        runner.run(delete_argv(kubeconfig, plan.deleted))


def _init_configuration(source: UploadSource, key: str) -> dict[str, Any]:
    """The document that tells kubeadm the key and where to upload."""
    return {
        "apiVersion": block_value(source.cluster_configuration, "apiVersion"),
        "kind": "InitConfiguration",
        # kubeadm turns admin.conf to this address; its own guess may be one that the API server's certificate lacks.
        "localAPIEndpoint": {"advertiseAddress": source.address, "bindPort": source.port},
        # The upload names no node, but kubeadm would refuse a host name that is not good for one.
        "nodeRegistration": {"name": "localhost"},
        "certificateKey": key,
    }


def _lines(names: Iterable[str]) -> str:
    """Names in a diff."""
    return "".join(f"{name}\n" for name in names)
