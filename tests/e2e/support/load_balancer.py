# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of type LoadBalancer: their addresses, who announces them, and what answers there."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.waiting import wait_for

ADDRESS_SECONDS = 60
REQUEST_SECONDS = 2
PORT = 80


@dataclass(frozen=True)
class LoadBalancer:
    """A Service of type LoadBalancer in front of the web deployment."""

    cluster: Cluster
    name: str

    def apply(
        self, *, port: int = PORT, annotations: Mapping[str, str] | None = None, local: bool = False, target: int = 8080
    ) -> None:
        """Create or change it."""
        service: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "annotations": dict(annotations or {})},
            "spec": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local" if local else "Cluster",
                "selector": {"app": "web"},
                "ports": [{"port": port, "targetPort": target}],
            },
        }
        self.cluster.apply(service)

    def delete(self) -> None:
        """Remove it."""
        self.cluster.kubectl(f"delete service {self.name} --ignore-not-found")

    @property
    def addresses(self) -> list[str]:
        """Addresses that it has been given."""
        service = json.loads(self.cluster.kubectl(f"get service {self.name} --output=json"))
        return [entry["ip"] for entry in service["status"]["loadBalancer"].get("ingress", [])]

    def wait_address(self) -> str:
        """Address, as soon as there is one."""
        problem = f"an address for {self.name}"
        wait_for(problem, lambda: "" if self.addresses else problem, seconds=ADDRESS_SECONDS)
        return self.addresses[0]

    @property
    def announcers(self) -> list[str]:
        """Nodes that say they announce it."""
        return [
            status["status"]["node"]
            for status in self.cluster.items("servicel2statuses.metallb.io --namespace=metallb-system")
            if status["status"].get("serviceName") == self.name
        ]

    def wait_announcer(self) -> str:
        """Node that announces it, as soon as one says so."""
        problem = f"a node that announces {self.name}"
        wait_for(problem, lambda: "" if self.announcers else problem, seconds=ADDRESS_SECONDS)
        return self.announcers[0]

    def ask(self, port: int = PORT) -> str:
        """Answer to a request from outside of the cluster."""
        url = f"http://{self.wait_address()}:{port}/"
        answers: list[str] = []

        def problem() -> str:
            try:
                with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as answer:
                    answers.append(answer.read().decode().strip())
            except OSError as error:
                return str(error)
            return ""

        wait_for(f"An answer from {url}", problem, seconds=ADDRESS_SECONDS)
        return answers[0]
