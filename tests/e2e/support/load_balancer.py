# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of type LoadBalancer: their addresses, who announces them, and what answers there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import IMAGE, NAME, Web
from tests.e2e.support.workload import PORT as TARGET_PORT

ADDRESS_SECONDS = 60
READY_SECONDS = 60
PORT = 80


@contextmanager
def answering_pod(cluster: Cluster, name: str, node: str) -> Iterator[None]:
    """A pod on a node of one's choice that answers with its own name and logs who has asked."""
    script = f"hostname > /tmp/index.html; exec busybox httpd -f -v -p {TARGET_PORT} -h /tmp"
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": name, "image": IMAGE, "command": ["sh", "-c", script]}],
            },
        }
    )
    try:
        cluster.kubectl(f"wait pod/{name} --for=condition=Ready --timeout={READY_SECONDS}s")
        yield
    finally:
        cluster.kubectl(f"delete pod {name}")


@dataclass(frozen=True)
class LoadBalancer:
    """A Service of type LoadBalancer in front of the web deployment, or of the pods with another label."""

    cluster: Cluster
    name: str
    app: str = NAME

    def apply(self, *, port: int = PORT, annotations: Mapping[str, str] | None = None, local: bool = False) -> None:
        """Create or change it."""
        service: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "annotations": dict(annotations or {})},
            "spec": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local" if local else "Cluster",
                "selector": {"app": self.app},
                "ports": [{"port": port, "targetPort": TARGET_PORT}],
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
        """Nodes that say they announce it, by the labels of what they say: its status is written a moment later."""
        selector = f"metallb.io/service-name={self.name}"
        statuses = self.cluster.items(f"servicel2statuses.metallb.io --namespace=metallb-system --selector={selector}")
        return [status["metadata"]["labels"]["metallb.io/node"] for status in statuses]

    def wait_announcer(self) -> str:
        """Node that announces it, as soon as one says so."""
        problem = f"a node that announces {self.name}"
        wait_for(problem, lambda: "" if self.announcers else problem, seconds=ADDRESS_SECONDS)
        return self.announcers[0]

    def ask(self, port: int = PORT) -> str:
        """Answer to a request from outside of the cluster."""
        return Web(self.cluster).ask_at(self.wait_address(), port)
