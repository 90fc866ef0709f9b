# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a running cluster through kubectl."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner

CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
ADMIN_KUBECONFIG = "/etc/kubernetes/admin.conf"
# Good before kubeadm init has given the administrator any rights; on the first control plane node only.
SUPER_ADMIN_KUBECONFIG = "/etc/kubernetes/super-admin.conf"

# Without a limit kubectl waits for a silent API server as long as TCP does.
_REQUEST_TIMEOUT = "--request-timeout=20s"


class Node(NamedTuple):
    """A Node object, reduced to what tells machines apart."""

    name: str
    uid: str
    ready: bool
    addresses: tuple[str, ...]
    control_plane: bool
    kubelet_version: str


def kubectl(kubeconfig: str, *arguments: str) -> list[str]:
    """Argument list of a kubectl call that ends even when the API server is silent."""
    return ["kubectl", "--kubeconfig", kubeconfig, _REQUEST_TIMEOUT, *arguments]


def readyz_argv(kubeconfig: str) -> list[str]:
    """Asks whether the API server is ready to serve."""
    return kubectl(kubeconfig, "get", "--raw", "/readyz")


def objects_argv(kubeconfig: str, namespace: str, names: Sequence[str]) -> list[str]:
    """Reads those of the named objects that exist, in one call."""
    return kubectl(kubeconfig, "get", "--namespace", namespace, "--ignore-not-found", "--output=json", *names)


def nodes_argv(kubeconfig: str) -> list[str]:
    """Reads all Node objects."""
    return kubectl(kubeconfig, "get", "nodes", "--output=json")


def parse_objects(output: str) -> list[dict[str, Any]]:
    """Objects in the JSON of kubectl get, which prints a list, a single object, or nothing."""
    if not output.strip():
        return []
    document = json.loads(output)
    items: list[dict[str, Any]] = document["items"] if document["kind"] == "List" else [document]
    return items


def read_objects(runner: Runner, kubeconfig: str, namespace: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of the named objects that exist, by kind and name in lower case (configmap/kubeadm-config)."""
    output = runner.run(objects_argv(kubeconfig, namespace, names)).stdout
    return {f"{item['kind'].lower()}/{item['metadata']['name']}": item for item in parse_objects(output)}


def read_nodes(runner: Runner, kubeconfig: str) -> tuple[Node, ...]:
    """All nodes of the cluster, by name."""
    return tuple(sorted(node_of(item) for item in parse_objects(runner.run(nodes_argv(kubeconfig)).stdout)))


def node_of(item: dict[str, Any]) -> Node:
    """The Node in an object of the API."""
    status = item["status"]
    return Node(
        name=item["metadata"]["name"],
        uid=item["metadata"]["uid"],
        ready=any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", [])
        ),
        addresses=tuple(address["address"] for address in status.get("addresses", [])),
        control_plane=CONTROL_PLANE_LABEL in item["metadata"].get("labels", {}),
        kubelet_version=status["nodeInfo"]["kubeletVersion"],
    )


def cluster_configuration(kubeadm_config: dict[str, Any]) -> str:
    """The ClusterConfiguration, as YAML, in the ConfigMap kubeadm-config."""
    text: str = kubeadm_config["data"]["ClusterConfiguration"]
    return text


def block_value(text: str, *path: str) -> str:
    """Scalar at a path of keys in YAML that kubeadm itself wrote (block style, two spaces); empty when absent."""
    for depth, key in enumerate(path):
        indent = "  " * depth
        match = re.search(
            rf"^{indent}{re.escape(key)}:(?: (?P<scalar>.+)| *\n(?P<block>(?:{indent}[ -].*\n?)*))", text, re.MULTILINE
        )
        if match is None:
            return ""
        text = match.group("block") or ""
        scalar = match.group("scalar") or ""
    return scalar.strip().strip("\"'")
