# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters of IPv4 and IPv6: their ranges, and Services that have an address of each family."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.support.cluster import KUBECTL, Cluster
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import PORT
from tests.lab import network
from tests.lab.settings import CLUSTER_RANGES, CLUSTER_RANGES_6

ADDRESS_SECONDS = 60

#: Ranges of pods and of Services, each as IPv4 and IPv6; the lab keeps packets to them on this machine.
PODS, SERVICES = zip(CLUSTER_RANGES, CLUSTER_RANGES_6, strict=True)

#: Variables that make a cluster dual-stack.
RANGES = {
    "cluster_pod_cidr": ",".join(map(str, PODS)),
    "cluster_service_cidr": ",".join(map(str, SERVICES)),
}


def skip_without_ipv6() -> None:
    """Skip where nodes cannot have IPv6: containers share the kernel of this machine."""
    if not network.has_ipv6():
        pytest.skip("the kernel of this machine has no IPv6, and nodes share it")


def are_inside(addresses: Iterable[str], ranges: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether there is one address in each of the ranges, in their order."""
    pairs = list(zip(map(ipaddress.ip_address, addresses), ranges, strict=True))
    return all(address in inside for address, inside in pairs)


@dataclass(frozen=True)
class DualStackService:
    """A Service of both families in front of the web deployment."""

    cluster: Cluster
    name: str
    kind: str = "NodePort"

    def apply(self) -> None:
        """Create it; without both families the API refuses."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name},
            "spec": {
                "type": self.kind,
                "ipFamilyPolicy": "RequireDualStack",
                "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": PORT}],
            },
        }
        command = f"{KUBECTL} apply --filename=- <<'END'\n{json.dumps(service)}\nEND"
        self.cluster.nodes.run(self.cluster.master, command)

    def delete(self) -> None:
        """Remove it."""
        self.cluster.kubectl(f"delete service {self.name} --ignore-not-found")

    @property
    def cluster_addresses(self) -> list[str]:
        """Its addresses inside of the cluster."""
        return list(self._read()["spec"]["clusterIPs"])

    @property
    def node_port(self) -> int:
        """Its port on every node."""
        return int(self._read()["spec"]["ports"][0]["nodePort"])

    def wait_load_balancer_addresses(self) -> list[str]:
        """Its addresses outside of the cluster, as soon as there are two."""
        wait_for(f"Two addresses for {self.name}", self._missing_addresses, seconds=ADDRESS_SECONDS)
        return self._load_balancer_addresses()

    def _missing_addresses(self) -> str:
        found = self._load_balancer_addresses()
        return "" if len(found) == 2 else f"two addresses, there are {found}"

    def _load_balancer_addresses(self) -> list[str]:
        return [entry["ip"] for entry in self._read()["status"]["loadBalancer"].get("ingress", [])]

    def _read(self) -> dict[str, Any]:
        service: dict[str, Any] = json.loads(self.cluster.kubectl(f"get service {self.name} --output=json"))
        return service
