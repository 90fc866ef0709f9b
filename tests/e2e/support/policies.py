# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies for the pods of a deployment, and clients that see whether these count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.support.cluster import KUBECTL, Cluster, is_running
from tests.e2e.support.lab import LabSet
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import IMAGE, PORT, Web, address_of, in_url

#: Calico writes this annotation to each pod that it polices.
POLICED = "cni.projectcalico.org/podIP"

#: What a policy takes to be heard of, and a request to be given up.
POLICY_SECONDS = 30
REQUEST_SECONDS = 3

#: Clients by name: namespace and label. The web deployment is in namespace default.
CLIENTS = {"friend": ("default", "friend"), "stranger": ("default", "stranger"), "neighbour": ("trusted", "stranger")}


def policy(name: str, *, ingress: Sequence[Any] = (), egress: Sequence[Any] | None = None, app: str = "web") -> Any:
    """A policy for the pods of one app: incoming connections, or with `egress` those that they make."""
    direction = {"policyTypes": ["Ingress"], "ingress": list(ingress)}
    if egress is not None:
        direction = {"policyTypes": ["Egress"], "egress": list(egress)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, **direction},
    }


DENY = policy("web")
BY_LABEL = policy("web", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}])
BY_NAMESPACE = policy(
    "web",
    ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "trusted"}}}]}],
)
BY_PORT = policy("web", ingress=[{"ports": [{"protocol": "TCP", "port": PORT}]}])
BY_OTHER_PORT = policy("web", ingress=[{"ports": [{"protocol": "TCP", "port": PORT + 1}]}])
NO_EGRESS = policy("friend", egress=[], app="friend")
DNS_EGRESS = policy(
    "friend", egress=[{"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}], app="friend"
)


@dataclass(frozen=True)
class Policies:
    """The web deployment, clients around it that ask it in one family, and policies that come and go."""

    cluster: Cluster
    web: Web
    family: int = 4

    @property
    def nodes(self) -> LabSet:
        """Nodes of the cluster."""
        return self.cluster.nodes

    def make_clients(self) -> None:
        """Have every client, running."""
        self.cluster.apply(*clients())

        def problem() -> str:
            pods = self.cluster.items("pods --all-namespaces")
            running = {pod["metadata"]["name"] for pod in pods if is_running(pod)}
            return ", ".join(sorted(set(CLIENTS) - running))

        wait_for("The clients", problem, seconds=POLICY_SECONDS * 2)

    def clear(self) -> None:
        """Remove every policy."""
        self.cluster.kubectl("delete networkpolicies --all --namespace=default")

    def reaches(self, client: str) -> bool:
        """Whether a client gets an answer from the address of a replica, past every Service."""
        address = address_of(self.web.pods()[0], self.family)
        url = f"http://{in_url(address)}:{PORT}/"
        return self._succeeds(client, f"wget -q -T {REQUEST_SECONDS} -O /dev/null {url}")

    def resolves(self, client: str) -> bool:
        """Whether a client gets the address of a Service from DNS."""
        return self._succeeds(client, "nslookup web.default.svc.cluster.local")

    def wait_reached_by(self, *clients: str) -> None:
        """Wait until exactly these clients reach the deployment."""

        def problem() -> str:
            reached = {client for client in CLIENTS if self.reaches(client)}
            return "" if reached == set(clients) else f"{sorted(clients)} to reach it, {sorted(reached)} do"

        wait_for("The policy", problem, seconds=POLICY_SECONDS)

    def _succeeds(self, client: str, command: str) -> bool:
        namespace = CLIENTS[client][0]
        script = f"{KUBECTL} exec --namespace={namespace} {client} -- busybox {command}"
        return self.cluster.nodes.attempt(self.cluster.master, script).returncode == 0


def deploy(cluster: Cluster) -> Policies:
    """The deployment and its clients in a cluster, running."""
    found = Policies(cluster, Web(cluster))
    found.web.apply()
    found.make_clients()
    return found


def clients() -> list[Any]:
    """Pods that do nothing until they are told to."""
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": name, "image": IMAGE, "command": ["sleep", "86400"]}],
            },
        }
        for name, (namespace, app) in CLIENTS.items()
    ]
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "trusted"}}, *pods]
