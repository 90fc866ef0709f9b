# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy of a cluster: its mode, the rules that it has made on each node, and whether Services answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.waiting import wait_for
from tests.e2e.support.workload import ANSWER_SECONDS, NAME, Web

IPTABLES = "iptables"
NFTABLES = "nftables"
IPVS = "ipvs"

MARK = "groundplane.kubeadm/proxy-change"
SYNC_SECONDS = 60

#: What kubelet makes in every mode.
_OF_KUBELET = {"KUBE-FIREWALL", "KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"}
_TABLES = {NFTABLES: {"ip kube-proxy", "ip6 kube-proxy"}, IPTABLES: set()}
_CHAIN = re.compile(r"^:(KUBE-\S+)", re.MULTILINE)
_TABLE = re.compile(r"^table (ip6? kube-proxy)$", re.MULTILINE)
_SAVE = "iptables-save; ip6tables-save"
_NAMESPACE = "--namespace=kube-system"


def _page(url: str) -> str:
    """Shell command that prints what a node gets from an address; a fresh node has no other program for it."""
    program = f"import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode().strip())"
    return f'python3 -c "{program}"'


@dataclass(frozen=True)
class Proxy:
    """kube-proxy of a cluster with a web deployment."""

    cluster: Cluster
    web: Web

    @property
    def nodes(self) -> LabSet:
        """Nodes of the cluster."""
        return self.cluster.nodes

    @property
    def config_map(self) -> dict[str, Any]:
        """Its ConfigMap."""
        found: dict[str, Any] = json.loads(self.cluster.kubectl(f"get configmap kube-proxy {_NAMESPACE} --output=json"))
        return found

    @property
    def configuration(self) -> list[str]:
        """The lines of its configuration."""
        return str(self.config_map["data"]["config.conf"]).splitlines()

    @property
    def under_way(self) -> bool:
        """Whether the cluster knows of a change that nobody has ended."""
        return MARK in self.config_map["metadata"].get("annotations", {})

    def pods(self) -> dict[str, str]:
        """Name of its pod by node."""
        pods = self.cluster.items(f"pods {_NAMESPACE} --selector=k8s-app=kube-proxy")
        return {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in pods}

    def chains(self) -> dict[str, set[str]]:
        """Chains of Kubernetes' by node, without those of kubelet."""
        saved = self.nodes.run_on(self.nodes.names, _SAVE)
        return {name: set(_CHAIN.findall(text)) - _OF_KUBELET for name, text in saved.items()}

    def tables(self) -> dict[str, set[str]]:
        """Its tables of nftables by node, seen from its own pod: nodes may have no program for them."""
        command = f"{_NAMESPACE} -- nft list tables"
        listed = {node: self.cluster.kubectl(f"exec {pod} {command}") for node, pod in self.pods().items()}
        return {node: set(_TABLE.findall(text)) for node, text in listed.items()}

    def modes(self) -> set[str]:
        """What it says of itself on all nodes."""
        said = self.nodes.run_on(self.nodes.names, _page("http://127.0.0.1:10249/proxyMode"))
        return {text.strip() for text in said.values()}

    def require(self, mode: str) -> None:
        """Fail unless it runs in a mode on every node, with the rules of this mode and of no other."""
        assert self.modes() == {mode}
        for node, tables in self.tables().items():
            assert tables == _TABLES[mode], f"{node}: tables {tables} in mode {mode}"
        if mode == IPTABLES:
            wait_for("kube-proxy's chains", self._missing_chains, seconds=SYNC_SECONDS)
        else:
            assert not any(self.chains().values()), self.chains()

    def require_services(self) -> None:
        """Fail unless the deployment answers at its ClusterIP from every node, by DNS from a pod, and at NodePorts."""
        address = self.cluster.kubectl(f"get service {NAME} --output=jsonpath={{.spec.clusterIP}}").strip()
        for node in self.nodes.names:
            self._require_answer(f"{address} from {node}", partial(self.nodes.run, node, _page(f"http://{address}/")))
            self._require_answer(f"a NodePort of {node}", partial(self.web.ask_from_outside, node))
        for pod in sorted(self.web.names):
            name = f"{NAME}.default.svc.cluster.local"
            self._require_answer(f"{name} to {pod}", partial(self.web.ask_from, pod, f"http://{name}/"))

    def _require_answer(self, where: str, ask: Callable[[], str]) -> None:
        """Replicas that have just been replaced may answer until kube-proxy has heard of the new ones."""

        def problem() -> str:
            try:
                answer = ask().strip()
            except AssertionError as error:
                return str(error)
            return "" if answer in self.web.names else f"one of the present replicas, it was {answer}"

        wait_for(f"An answer from {where}", problem, seconds=ANSWER_SECONDS)

    def _missing_chains(self) -> str:
        lacking = [
            node
            for node, chains in self.chains().items()
            if not {"KUBE-SERVICES", "KUBE-NODEPORTS"} <= chains or not any("KUBE-SEP-" in chain for chain in chains)
        ]
        return ", ".join(lacking)
