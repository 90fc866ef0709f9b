# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several control plane nodes as one: the members of etcd, the API servers, and who holds the virtual address."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.support.cluster import HEALTH_SECONDS, KUBECTL, Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.waiting import wait_for

_CERTIFICATES = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    "crictl exec $(crictl ps --name '^etcd$' --quiet | head -n 1) etcdctl --endpoints=https://127.0.0.1:2379 "
    f"--cacert={_CERTIFICATES}/ca.crt --cert={_CERTIFICATES}/healthcheck-client.crt "
    f"--key={_CERTIFICATES}/healthcheck-client.key"
)
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Member:
    """A member of etcd."""

    name: str
    address: str
    learner: bool

    def __str__(self) -> str:
        return f"{self.name or 'nameless'} {'learns' if self.learner else 'votes'}"


@dataclass(frozen=True)
class ControlPlane:
    """The control plane nodes of a cluster."""

    cluster: Cluster

    @property
    def nodes(self) -> LabSet:
        """Nodes of the cluster."""
        return self.cluster.nodes

    def through(self, master: str) -> ControlPlane:
        """The same control plane, looked at through another of its nodes."""
        return ControlPlane(self.cluster.through(master))

    def members(self) -> list[Member]:
        """Members of etcd as the asked node knows them."""
        answer = json.loads(self.nodes.run(self.cluster.master, f"{ETCDCTL} member list --write-out=json"))
        return sorted((_member(item) for item in answer["members"]), key=lambda member: member.address)

    def leader(self) -> str:
        """Name of the node whose member of etcd leads."""
        status = f"{ETCDCTL} endpoint status --cluster --write-out=json"
        answers = json.loads(self.nodes.run(self.cluster.master, status))
        leads = {item["Status"]["header"]["member_id"]: item["Endpoint"] for item in answers}
        address = urlsplit(leads[answers[0]["Status"]["leader"]]).hostname
        return next(node.name for node in self.nodes.nodes if str(node.address) == address)

    def holders(self, names: Iterable[str] | None = None) -> list[str]:
        """Nodes, of the named ones or of all, that have the virtual address on an interface."""
        chosen = self.nodes.names if names is None else list(names)
        shown = self.nodes.run_on(chosen, "ip -4 -oneline address")
        return [name for name, text in shown.items() if f" {self.nodes.vip}/" in text]

    def problem(self, masters: Iterable[str] | None = None) -> str:
        """What etcd, the API servers or the virtual address of the named nodes lack; nothing when they are whole."""
        chosen = self.nodes.masters if masters is None else list(masters)
        with ThreadPoolExecutor() as pool:
            silent = {name: text for name, text in zip(chosen, pool.map(self._silence, chosen), strict=True) if text}
        if silent:
            return "; ".join(f"on {name} {text}" for name, text in silent.items())
        members = self.members()
        wanted = [(name, self.nodes.address(name), False) for name in chosen]
        found = [(member.name, member.address, member.learner) for member in members]
        if sorted(found) != sorted(wanted):
            return f"exactly the voting members {', '.join(chosen)} ({members})"
        holders = self.holders(chosen)
        return "" if len(holders) == 1 else f"one holder of the virtual address ({', '.join(holders) or 'none'})"

    def wait_whole(self, *, seconds: float = HEALTH_SECONDS) -> None:
        """Wait until every control plane node of the set has a healthy voter and a ready API, and all nodes are Ready.

        Nodes that are switched off do not belong to it any more only when they have been removed from the set.
        """

        def problem() -> str:
            return self.problem() or self.cluster.health_problem(self.nodes.names)

        wait_for("A whole control plane", problem, seconds=seconds, interval=1)

    def require_whole(self) -> None:
        """Fail unless the control plane is whole, and the cluster healthy, right now."""
        problem = self.problem()
        assert not problem, f"The control plane lacks {problem}"
        self.cluster.require_healthy()

    def _silence(self, name: str) -> str:
        """What does not answer on a node."""
        server = f"--server=https://{self.nodes.address(name)}:6443 --request-timeout=5s"
        for what, question in (
            ("a healthy member of etcd", f"{ETCDCTL} endpoint health"),
            ("a ready API", f"{KUBECTL} {server} get --raw=/readyz"),
        ):
            answer = self.nodes.attempt(name, question, seconds=ANSWER_SECONDS)
            if answer.returncode != 0:
                return f"{what} ({answer.stderr.strip() or answer.stdout.strip()})"
        return ""


def _member(item: dict[str, Any]) -> Member:
    return Member(item.get("name", ""), str(urlsplit(item["peerURLs"][0]).hostname), item.get("isLearner", False))
