# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods on every node that answer and ask each other, in a namespace that is deleted again.

They run on clusters of others, too. So they need one image and no other place, ask for no rights, and touch nothing but
their namespace, which is known by its label.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

NAMESPACE = "groundplane-acceptance"
OWNER = ("app.kubernetes.io/managed-by", "groundplane-acceptance")

NAME = "web"
PORT = 8080

#: More than fits into one packet of any network: a wrong MTU lets small answers through and swallows this one.
LARGE_BYTES = 100 * 1024

ROLLOUT_SECONDS = 180
REMOVAL_SECONDS = 120
REQUEST_SECONDS = 3

NOBODY = 65534

SERVE = (
    f"echo $NODE > /pages/node; dd if=/dev/zero of=/pages/large bs={LARGE_BYTES} count=1;"
    f" exec httpd -f -p {PORT} -h /pages"
)

#: Runs kubectl with these arguments and this input, and raises AssertionError where it fails.
Kubectl = Callable[[Sequence[str], str], str]


class ForeignNamespaceError(AssertionError):
    """A namespace of this name that somebody else has made."""


@dataclass(frozen=True)
class Pod:
    """One of the pods."""

    name: str
    node: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """The pods, their Service and policies in a cluster."""

    kubectl: Kubectl
    image: str

    def create(self) -> None:
        """Make the namespace and wait until a pod answers on every node."""
        self.remove()
        # Not applied: a namespace that has come up in the meantime is not ours.
        self.kubectl(["create", "--filename=-"], json.dumps(namespace()))
        self.apply(daemon_set(self.image), service())
        wait = f"--timeout={ROLLOUT_SECONDS}s"
        self.kubectl(["rollout", "status", f"daemonset/{NAME}", f"--namespace={NAMESPACE}", wait], "")

    def remove(self) -> None:
        """Delete the namespace with everything in it, also one that a killed run has left."""
        found = self.kubectl(["get", "namespace", NAMESPACE, "--ignore-not-found", "--output=json"], "")
        if not found.strip():
            return
        label, value = OWNER
        if json.loads(found)["metadata"].get("labels", {}).get(label) != value:
            raise ForeignNamespaceError(
                f"Found a namespace {NAMESPACE} without the label {label}={value}. Expected none, or one that these "
                "tests have made. To do: delete or rename it; nothing was changed."
            )
        self.kubectl(["delete", "namespace", NAMESPACE, "--wait", f"--timeout={REMOVAL_SECONDS}s"], "")

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects in the namespace."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl(["apply", f"--namespace={NAMESPACE}", "--filename=-"], manifest)

    def remove_policies(self) -> None:
        """Let everybody speak to everybody again."""
        self.kubectl(["delete", "networkpolicies", "--all", f"--namespace={NAMESPACE}"], "")

    def pods(self) -> list[Pod]:
        """The pods in the order of their nodes."""
        listing = self.kubectl(["get", "pods", f"--namespace={NAMESPACE}", "--output=json"], "")
        pods = [
            Pod(
                item["metadata"]["name"],
                item["spec"]["nodeName"],
                tuple(entry["ip"] for entry in item["status"]["podIPs"]),
            )
            for item in json.loads(listing)["items"]
        ]
        return sorted(pods, key=lambda pod: pod.node)

    def ways(self) -> list[tuple[Pod, Pod]]:
        """Each pod and the one on the next node, so that every node sends and is sent to; none for a single node."""
        pods = self.pods()
        return list(zip(pods, [*pods[1:], pods[0]], strict=True)) if len(pods) > 1 else []

    def ask(self, pod: Pod, host: str, page: str = "node") -> str:
        """What a pod is answered by a host, which is an address or a name."""
        return self.run_in(pod, f"wget -q -T {REQUEST_SECONDS} -O - {url(host, page)}").strip()

    def count(self, pod: Pod, host: str) -> int:
        """How many bytes of the large page a pod gets from a host."""
        return int(self.run_in(pod, f"wget -q -T {REQUEST_SECONDS} -O - {url(host, 'large')} | wc -c"))

    def resolve(self, pod: Pod, name: str) -> str:
        """What DNS answers a pod that asks for a name."""
        return self.run_in(pod, f"nslookup {shlex.quote(name)}")

    def unanswered(self) -> list[str]:
        """Ways between nodes on which no answer comes."""
        silent = []
        for pod, peer in self.ways():
            try:
                self.ask(pod, peer.addresses[0])
            except AssertionError:
                silent.append(f"{pod.node} to {peer.node}")
        return silent

    def run_in(self, pod: Pod, script: str) -> str:
        """Output of a script of the shell in a pod."""
        return self.kubectl(["exec", f"--namespace={NAMESPACE}", pod.name, "--", "sh", "-c", script], "")


def url(host: str, page: str) -> str:
    """Address of a page, in quotes for the shell."""
    return shlex.quote(f"http://{f'[{host}]' if ':' in host else host}:{PORT}/{page}")


def namespace() -> dict[str, Any]:
    """The namespace with the label by which it is known to be ours."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": dict([OWNER])}}


def daemon_set(image: str) -> dict[str, Any]:
    """A pod for every node, whatever its taints are, with no more rights than the strictest namespaces allow."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": NOBODY,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": NAME,
        "image": image,
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
        "securityContext": security,
        "volumeMounts": [{"name": "pages", "mountPath": "/pages"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                    "volumes": [{"name": "pages", "emptyDir": {}}],
                },
            },
        },
    }


def service() -> dict[str, Any]:
    """A Service before all pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
    }


def deny_all() -> dict[str, Any]:
    """A policy that lets nobody in."""
    return _policy("deny-all", [])


def allow_ourselves() -> dict[str, Any]:
    """A policy that lets the pods in to each other, by their label."""
    return _policy("allow-ourselves", [{"from": [{"podSelector": {"matchLabels": {"app": NAME}}}]}])


def _policy(name: str, ingress: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress},
    }
