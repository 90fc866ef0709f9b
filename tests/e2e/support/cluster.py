# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster on a set of nodes, looked at through kubectl on a control plane node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.e2e.support.lab import LabSet
from tests.e2e.support.site import Site
from tests.e2e.support.waiting import wait_for

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
HEALTH_SECONDS = 240


@dataclass(frozen=True)
class Cluster:
    """The nodes, the way to run site.yml on them, and kubectl.

    :arg asked: control plane node on which kubectl runs; empty for the first one.
    """

    nodes: LabSet
    site: Site
    asked: str = ""

    @property
    def master(self) -> str:
        """Name of the control plane node that is asked."""
        return self.asked or self.nodes.masters[0]

    def through(self, master: str) -> Cluster:
        """The same cluster, looked at through another control plane node."""
        return replace(self, asked=master)

    def kubectl(self, arguments: str) -> str:
        """Output of kubectl on the control plane node."""
        return self.nodes.run(self.master, f"{KUBECTL} {arguments}")

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Have objects as they are given."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl(f"apply --filename=- <<'END'\n{manifest}\nEND")

    @property
    def endpoint(self) -> str:
        """Name of the API in the kubeconfigs of the nodes."""
        server = self.kubectl("config view --output=jsonpath={.clusters[0].cluster.server}")
        return server.removeprefix("https://").rsplit(":", 1)[0]

    def items(self, arguments: str) -> list[dict[str, Any]]:
        """Objects that `kubectl get` lists."""
        return list(json.loads(self.kubectl(f"get {arguments} --output=json"))["items"])

    def ready_nodes(self) -> dict[str, str]:
        """Version of kubelet by the name of each Ready node."""
        return {
            node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"]
            for node in self.items("nodes")
            if _condition(node, "Ready") == "True"
        }

    def health_problem(self, names: Iterable[str]) -> str:
        """What the named nodes or the system pods still lack; nothing when the cluster is healthy."""
        answer = self.nodes.attempt(self.master, f"{KUBECTL} get --raw=/readyz")
        if answer.returncode != 0:
            return f"an API that is ready ({answer.stderr.strip() or answer.stdout.strip()})"
        missing = sorted(set(names) - set(self.ready_nodes()))
        if missing:
            return f"Ready nodes {', '.join(missing)}"
        waiting = [
            f"{pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no node')} ({pod['status']['phase']})"
            for namespace in ("kube-system", "kube-flannel")
            for pod in self.items(f"pods --namespace={namespace}")
            if pod["spec"].get("nodeName") in (None, *names) and not is_running(pod)
        ]
        if waiting:
            return f"running pods {', '.join(waiting)}"
        dns = json.loads(self.kubectl("get deployment coredns --namespace=kube-system --output=json"))["status"]
        available = dns.get("availableReplicas", 0)
        return "" if available == dns["replicas"] == 2 else f"CoreDNS 2/2 ({available}/{dns['replicas']})"

    def wait_healthy(self, names: Iterable[str] | None = None, *, seconds: float = HEALTH_SECONDS) -> None:
        """Wait until the named nodes, or all, are Ready and the system pods on them run."""
        chosen = self.nodes.names if names is None else list(names)
        wait_for("A healthy cluster", lambda: self.health_problem(chosen), seconds=seconds, interval=2)

    def require_healthy(self, names: Iterable[str] | None = None) -> None:
        """Fail unless the cluster is healthy right now."""
        problem = self.health_problem(self.nodes.names if names is None else list(names))
        assert not problem, f"The cluster lacks {problem}"

    def join_secrets(self) -> list[str]:
        """Bootstrap tokens and uploaded certificates that the cluster still holds."""
        return [
            secret["metadata"]["name"]
            for secret in self.items("secrets --namespace=kube-system")
            if secret["type"] == "bootstrap.kubernetes.io/token" or secret["metadata"]["name"] == "kubeadm-certs"
        ]


def is_running(pod: dict[str, Any]) -> bool:
    """Whether every container of a pod is ready, or the pod is done."""
    return pod["status"]["phase"] == "Succeeded" or _condition(pod, "Ready") == "True"


def _condition(item: dict[str, Any], kind: str) -> str:
    conditions = {condition["type"]: condition["status"] for condition in item["status"].get("conditions", [])}
    return str(conditions.get(kind, "Unknown"))
