# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web deployment whose replicas answer with their own names, and the ways to reach it."""

from __future__ import annotations

import ipaddress
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.e2e.support.cluster import Cluster, is_running
from tests.e2e.support.waiting import wait_for

IMAGE = "docker.io/library/busybox:1.37"
NAME = "web"
PORT = 8080
REPLICAS = 3
ROLLOUT_SECONDS = 120
ANSWER_SECONDS = 30

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": NAME},
    "spec": {
        "replicas": REPLICAS,
        "selector": {"matchLabels": {"app": NAME}},
        "template": {
            "metadata": {"labels": {"app": NAME}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "DoNotSchedule",
                        "nodeTaintsPolicy": "Honor",
                        "labelSelector": {"matchLabels": {"app": NAME}},
                    }
                ],
                "containers": [
                    {
                        "name": NAME,
                        "image": IMAGE,
                        "command": ["sh", "-c", f"hostname > /tmp/index.html; exec busybox httpd -f -p {PORT} -h /tmp"],
                        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    }
                ],
            },
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": NAME},
    "spec": {"type": "NodePort", "selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": PORT}]},
}


@dataclass(frozen=True)
class Web:
    """The deployment in a cluster."""

    cluster: Cluster

    def apply(self) -> None:
        """Create it and wait until every replica is ready."""
        self.cluster.apply(DEPLOYMENT, SERVICE)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every replica is ready."""
        wait_for("The web deployment", self._rollout_problem, seconds=ROLLOUT_SECONDS)

    def pods(self) -> list[dict[str, Any]]:
        """The replicas that are not on their way out."""
        pods = self.cluster.items(f"pods --selector=app={NAME}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def pods_of_two_nodes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Two replicas that have to cross the network to reach each other."""
        one, *others = self.pods()
        return one, next(pod for pod in others if pod["spec"]["nodeName"] != one["spec"]["nodeName"])

    @property
    def names(self) -> set[str]:
        """Names of the replicas, which are what they answer with."""
        return {pod["metadata"]["name"] for pod in self.pods()}

    @property
    def node_port(self) -> int:
        """Port of the Service on every node."""
        service = json.loads(self.cluster.kubectl(f"get service {NAME} --output=json"))
        return int(service["spec"]["ports"][0]["nodePort"])

    def ask_from(self, pod: str, url: str) -> str:
        """Answer to a request that one of the replicas makes."""
        command = f"exec {pod} -- busybox wget -q -T 5 -O - {url}"
        return self._patiently(f"An answer from {url} to {pod}", lambda: self.cluster.kubectl(command).strip())

    def ask_from_outside(self, node: str) -> str:
        """Answer to a request that this machine makes to the NodePort of a node."""
        return self.ask_at(self.cluster.nodes.address(node), self.node_port)

    def ask_at(self, address: str, port: int) -> str:
        """Answer to a request that this machine makes to a port at an address."""
        url = f"http://{in_url(address)}:{port}/"
        return self._patiently(f"An answer from {url}", lambda: _get(url))

    def _patiently(self, what: str, ask: Any) -> str:
        """A Service answers only a moment after its pods are ready: kube-proxy has to hear of them."""
        answers: list[str] = []

        def problem() -> str:
            try:
                answers.append(ask())
            except (AssertionError, OSError) as error:
                return str(error)
            return ""

        wait_for(what, problem, seconds=ANSWER_SECONDS)
        return answers[0]

    def _rollout_problem(self) -> str:
        pods = self.pods()
        waiting = [pod["metadata"]["name"] for pod in pods if not is_running(pod)]
        if waiting:
            return f"ready pods {', '.join(waiting)}"
        return "" if len(pods) == REPLICAS else f"{REPLICAS} pods, there are {len(pods)}"


def address_of(pod: dict[str, Any], family: int) -> str:
    """The address of a family that a pod has."""
    addresses = [str(entry["ip"]) for entry in pod["status"]["podIPs"]]
    return next(address for address in addresses if ipaddress.ip_address(address).version == family)


def in_url(address: str) -> str:
    """An address as a URL has it, where the colons of IPv6 need brackets."""
    return f"[{address}]" if ":" in address else address


def _get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return str(answer.read().decode()).strip()
