# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The etcd member that runs as a static pod on this host, and what it knows of its cluster."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Mapping, NamedTuple, Sequence
from urllib.parse import urlsplit

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_CERTIFICATES = "/etc/kubernetes/pki/etcd"
_LOCAL = "https://127.0.0.1:2379"
# etcdctl waits for each silent member in turn, and no longer than this.
_STATUS_TIMEOUT = "1500ms"


class Member(NamedTuple):
    """A member of etcd's cluster.

    :ivar id: hexadecimal, as etcdctl wants it.
    :ivar name: empty while the member has never been started.
    :ivar learner: it follows without a vote, as every member does until it has caught up.
    :ivar healthy: it answers now, and sees the same leader as the local member.
    """

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool
    healthy: bool

    @property
    def address(self) -> str:
        """Host part of the first peer URL."""
        return canonical_address(urlsplit(self.peer_urls[0]).hostname or "") if self.peer_urls else ""

    @property
    def title(self) -> str:
        """What an operator knows it by."""
        return f"{self.name or 'a member without a name'} ({self.address})"

    def as_dict(self) -> dict[str, Any]:
        """The form in which modules return it."""
        return {**self._asdict(), "peer_urls": list(self.peer_urls), "client_urls": list(self.client_urls)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Member:
        """A member out of what a module has returned."""
        urls = {key: tuple(values[key]) for key in ("peer_urls", "client_urls")}
        return cls(**{**values, **urls})


class EtcdView(NamedTuple):
    """The cluster as the local member sees it.

    :ivar leader: the local member knows a leader, which there is only with a quorum.
    """

    members: tuple[Member, ...]
    leader: bool


def canonical_address(host: str) -> str:
    """A host's address in the one form that can be compared; a name stays as it is."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def container_argv(cri_socket: str) -> list[str]:
    """Finds the running container of etcd."""
    return ["crictl", "--runtime-endpoint", cri_socket, "ps", "--name", "^etcd$", "--quiet"]


def member_list_argv(cri_socket: str, container: str) -> list[str]:
    """Asks etcd, inside its container, for its members.

    The local member answers by itself: a list that the quorum has to confirm cannot be had without one.
    """
    return _etcdctl(cri_socket, container, [_LOCAL], "member", "list", "--consistency=s", "--write-out=json")


def endpoint_status_argv(cri_socket: str, container: str, endpoints: Sequence[str]) -> list[str]:
    """Asks members for their state; unlike a health check this needs no quorum, and learners answer it as well."""
    limit = f"--command-timeout={_STATUS_TIMEOUT}"
    return _etcdctl(cri_socket, container, endpoints, limit, "endpoint", "status", "--write-out=json")


def member_remove_argv(cri_socket: str, container: str, member: Member) -> list[str]:
    """Takes a member out of etcd's cluster."""
    return _etcdctl(cri_socket, container, [_LOCAL], "member", "remove", member.id, "--write-out=json")


def _etcdctl(cri_socket: str, container: str, endpoints: Sequence[str], *arguments: str) -> list[str]:
    return [
        *("crictl", "--runtime-endpoint", cri_socket, "exec", container),
        *("etcdctl", f"--endpoints={','.join(endpoints)}", f"--cacert={_CERTIFICATES}/ca.crt"),
        *(f"--cert={_CERTIFICATES}/healthcheck-client.crt", f"--key={_CERTIFICATES}/healthcheck-client.key"),
        *arguments,
    ]


def find_container(runner: Runner, cri_socket: str) -> str | None:
    """Id of the running container of etcd, None when there is none."""
    if runner.find("crictl") is None:
        return None
    containers = runner.run(container_argv(cri_socket), check=False)
    found = containers.stdout.split() if containers.rc == 0 else []
    return found[0] if found else None


def count_members(runner: Runner, cri_socket: str) -> int | None:
    """Number of members of the local etcd's cluster, None when no etcd here can answer."""
    container = find_container(runner, cri_socket)
    listed = _list_members(runner, cri_socket, container) if container else None
    return len(listed["members"]) if listed else None


def read_etcd(runner: Runner, cri_socket: str) -> EtcdView | None:
    """Members of the local etcd's cluster and whether they answer, None when no etcd here can answer."""
    container = find_container(runner, cri_socket)
    listed = _list_members(runner, cri_socket, container) if container else None
    if not (container and listed):
        return None
    own_id = listed["header"]["member_id"]
    others = [item["clientURLs"][0] for item in listed["members"] if item["ID"] != own_id and item.get("clientURLs")]
    # It fails when one of them is silent, and has printed what the others said all the same.
    states = runner.run(endpoint_status_argv(cri_socket, container, [_LOCAL, *others]), check=False)
    leaders = _leaders(states)
    leader = leaders.get(own_id, 0)
    members = (_member(item, leaders, leader) for item in listed["members"])
    return EtcdView(tuple(sorted(members, key=lambda member: (member.name, member.id))), leader != 0)


def _list_members(runner: Runner, cri_socket: str, container: str) -> dict[str, Any] | None:
    """Answer of the local member, None when it has none."""
    listed = runner.run(member_list_argv(cri_socket, container), check=False)
    answer: dict[str, Any] | None = json.loads(listed.stdout) if listed.rc == 0 else None
    return answer


def _leaders(states: Result) -> dict[int, int]:
    """The leader that each answering member sees, 0 for none; both are the numbers of etcd's JSON."""
    answers = json.loads(states.stdout) if states.stdout.strip() else None
    return {item["Status"]["header"]["member_id"]: item["Status"].get("leader", 0) for item in answers or []}


def _member(item: Mapping[str, Any], leaders: Mapping[int, int], leader: int) -> Member:
    return Member(
        id=format(item["ID"], "x"),
        name=item.get("name", ""),
        peer_urls=tuple(item.get("peerURLs", ())),
        client_urls=tuple(item.get("clientURLs", ())),
        learner=item.get("isLearner", False),
        healthy=leaders.get(item["ID"]) == leader,
    )


def removal_refusal(members: Sequence[Member], member: Member) -> GroundplaneError | None:
    """Why a member must not be removed now, None when it may.

    A change of members needs a quorum of those that vote before it, and the cluster one of those that vote after it.
    """
    voters = [candidate for candidate in members if not candidate.learner]
    healthy = [voter for voter in voters if voter.healthy]
    if len(healthy) < _quorum(voters):
        return _no_quorum(voters, healthy)
    if member.learner:
        return None
    if voters == [member]:
        return GroundplaneError(
            f"{member.title} is the last voting member of etcd, and holds the only copy of the cluster's data",
            expected="another voting member that keeps the data",
            remedy="join another control plane node first; to give up the cluster, reset its hosts",
        )
    remaining = [voter for voter in voters if voter != member]
    silent = [voter for voter in remaining if not voter.healthy]
    if len(remaining) - len(silent) < _quorum(remaining):
        return GroundplaneError(
            f"without {member.title} etcd would have {len(remaining)} voting members, of which "
            f"{_listing(silent)} {'does' if len(silent) == 1 else 'do'} not answer, and no quorum",
            expected=f"{_quorum(remaining)} healthy voting members that remain",
            remedy="bring the silent members back, or remove those first that are lost for good",
        )
    return None


def _no_quorum(voters: Sequence[Member], healthy: Sequence[Member]) -> GroundplaneError:
    """Refusal where nothing can be changed at all, the removal of a dead member included."""
    silent = [voter for voter in voters if not voter.healthy]
    trap = " (one of two is no majority, so a dead one cannot be removed either)" if len(voters) == 2 else ""
    return GroundplaneError(
        f"etcd has no quorum: {len(healthy)} of its {len(voters)} voting members are healthy{trap}",
        expected=f"{_quorum(voters)} of them, without which no member can be removed",
        remedy=f"bring back {_listing(silent)}; if that is impossible, restore a snapshot of etcd on one control plane "
        "node as a new cluster and join the others anew",
    )


def _quorum(voters: Sequence[Member]) -> int:
    return len(voters) // 2 + 1


def _listing(members: Sequence[Member]) -> str:
    return ", ".join(member.title for member in members)
