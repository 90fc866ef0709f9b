# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster is healthy, judged from the objects of its API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Collection, Iterator, Mapping, Sequence

if TYPE_CHECKING:
    from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner

KINDS = "nodes,pods,deployments.apps,daemonsets.apps"

_CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"


@dataclass(frozen=True)
class Health:
    """State of a cluster at one moment.

    :ivar pending: one sentence per condition that is not met yet; empty when the cluster is healthy.
    :ivar summary: lines for people.
    """

    pending: tuple[str, ...]
    summary: tuple[str, ...]


def read_objects(runner: Runner, kubeconfig: str) -> list[dict[str, Any]]:
    """All nodes, pods, Deployments and DaemonSets of the cluster in one request.

    :raises CommandError: when the API does not answer.
    """
    argv = [
        "kubectl",
        "--kubeconfig",
        kubeconfig,
        "--request-timeout=20s",
        "get",
        KINDS,
        "--all-namespaces",
        "-o",
        "json",
    ]
    items: list[dict[str, Any]] = json.loads(runner.run(argv).stdout)["items"]
    return items


def has_condition(item: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition of an object is True."""
    conditions = item.get("status", {}).get("conditions") or []
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def _name(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


def _pending_nodes(nodes: Sequence[Mapping[str, Any]], wanted: Collection[str]) -> Iterator[str]:
    ready = {node["metadata"]["name"]: has_condition(node, "Ready") for node in nodes}
    for name in sorted(wanted):
        if name not in ready:
            yield f"Node {name} does not exist"
        elif not ready[name]:
            yield f"Node {name} is not Ready"


def _pending_workloads(workloads: Sequence[Mapping[str, Any]], absent: int) -> Iterator[str]:
    """Workloads whose controller has not yet made the pods of the newest specification.

    :arg absent: nodes on which a DaemonSet cannot make any, because they are down.
    """
    for item in workloads:
        status = item.get("status", {})
        label = "{} {}".format(item["kind"], _name(item))
        if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
            yield f"{label} has not been looked at by its controller"
        elif item["kind"] == "Deployment":
            wanted, made = item["spec"].get("replicas", 1), status.get("updatedReplicas", 0)
            if made < wanted:
                yield f"{label} has made {made} of {wanted} pods"
        else:
            wanted, made = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
            if made < wanted - absent or not wanted:
                yield f"{label} has made {made} of {wanted} pods"


def _pending_pods(pods: Sequence[Mapping[str, Any]], wanted: Collection[str]) -> Iterator[str]:
    """Pods that are not ready; those on nodes outside of wanted cannot be helped."""
    for pod in pods:
        node = pod["spec"].get("nodeName")
        leaving = "deletionTimestamp" in pod["metadata"]
        if leaving or (node and node not in wanted) or pod.get("status", {}).get("phase") == "Succeeded":
            continue
        if not has_condition(pod, "Ready"):
            yield "Pod {} on {} is not ready".format(_name(pod), node or "no node")


def judge(objects: Sequence[Mapping[str, Any]], *, nodes: Collection[str], namespaces: Collection[str]) -> Health:
    """Judge the objects of a cluster.

    :arg objects: nodes, pods, Deployments and DaemonSets as the API returned them.
    :arg nodes: names of the nodes that must be Ready.
    :arg namespaces: namespaces whose workloads must be rolled out on these nodes.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = {"Node": [], "Pod": [], "Deployment": [], "DaemonSet": []}
    for item in objects:
        if item["kind"] == "Node" or item["metadata"].get("namespace") in namespaces:
            by_kind[item["kind"]].append(item)
    workloads = by_kind["Deployment"] + by_kind["DaemonSet"]
    absent = sum(node["metadata"]["name"] not in nodes and not has_condition(node, "Ready") for node in by_kind["Node"])
    empty = sorted(set(namespaces) - {item["metadata"]["namespace"] for item in workloads})
    pending = (
        *_pending_nodes(by_kind["Node"], nodes),
        *(f"Namespace {namespace} has no workload" for namespace in empty),
        *_pending_workloads(workloads, absent),
        *_pending_pods(by_kind["Pod"], nodes),
    )
    return Health(pending, tuple(_summarise(by_kind["Node"], workloads, by_kind["Pod"], nodes)))


def _summarise(
    nodes: Sequence[Mapping[str, Any]],
    workloads: Sequence[Mapping[str, Any]],
    pods: Sequence[Mapping[str, Any]],
    wanted: Collection[str],
) -> Iterator[str]:
    for node in sorted(nodes, key=lambda item: str(item["metadata"]["name"])):
        name, status = node["metadata"]["name"], node["status"]
        role = "control plane" if _CONTROL_PLANE_LABEL in node["metadata"].get("labels", {}) else "worker"
        state = "Ready" if has_condition(node, "Ready") else "not Ready"
        addresses = [entry["address"] for entry in status.get("addresses", []) if entry["type"] == "InternalIP"]
        remark = "" if name in wanted else " (not reached by this run)"
        yield f"{name}: {role}, {state}, {status['nodeInfo']['kubeletVersion']}, {' '.join(addresses)}{remark}"
    ready = sum(has_condition(pod, "Ready") for pod in pods)
    yield f"system workloads: {len(workloads)}, pods ready: {ready} of {len(pods)}"
