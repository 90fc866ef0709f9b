# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The local member of etcd and its cluster, from outputs of etcdctl 3.6 recorded on clusters of three members."""

from __future__ import annotations

import json
import re
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import (
    EtcdView,
    Member,
    canonical_address,
    container_argv,
    count_members,
    endpoint_status_argv,
    member_list_argv,
    member_remove_argv,
    read_etcd,
    removal_refusal,
)

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

SOCKET = "unix:///run/containerd/containerd.sock"
CRICTL = {"crictl": "/usr/bin/crictl"}
CONTAINER = (container_argv(SOCKET), Result(0, "c1\nc2\n", ""))
LOCAL, OTHERS = "https://127.0.0.1:2379", ["http://192.0.2.12:2379", "http://192.0.2.13:2379"]


def member(name: str, *, healthy: bool = True, learner: bool = False) -> Member:
    """A member master-N with the address 192.0.2.1N."""
    host = f"https://192.0.2.1{name[-1]}"
    return Member(name[-1], name, (host + ":2380",), (host + ":2379",), learner, healthy)


def read(fixture_text: FixtureText, members: str, states: Result, endpoints: list[str]) -> EtcdView:
    """View of a recorded cluster."""
    listed = Result(0, fixture_text(f"etcdctl/{members}_member_list.json"), "")
    commands = [
        CONTAINER,
        (member_list_argv(SOCKET, "c1"), listed),
        (endpoint_status_argv(SOCKET, "c1", [LOCAL, *endpoints]), states),
    ]
    runner = FakeRunner(commands, CRICTL)
    view = read_etcd(runner, SOCKET)
    runner.assert_finished()
    assert view is not None
    return view


def test_argument_lists() -> None:
    exec_etcdctl = ["crictl", "--runtime-endpoint", SOCKET, "exec", "c1", "etcdctl"]
    secure = [
        "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
        "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt",
        "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key",
    ]
    local = [*exec_etcdctl, f"--endpoints={LOCAL}", *secure]
    assert container_argv(SOCKET) == [*exec_etcdctl[:3], "ps", "--name", "^etcd$", "--quiet"]
    assert member_list_argv(SOCKET, "c1") == [*local, "member", "list", "--consistency=s", "--write-out=json"]
    assert endpoint_status_argv(SOCKET, "c1", ["a", "b"]) == [
        *(*exec_etcdctl, "--endpoints=a,b", *secure),
        *("--command-timeout=1500ms", "endpoint", "status", "--write-out=json"),
    ]
    assert member_remove_argv(SOCKET, "c1", member("master-3"))[-4:] == ["member", "remove", "3", "--write-out=json"]


def test_number_of_members(fixture_text: FixtureText) -> None:
    listed = Result(0, fixture_text("etcdctl/member_list.json"), "")
    runner = FakeRunner([CONTAINER, (member_list_argv(SOCKET, "c1"), listed)], CRICTL)
    assert count_members(runner, SOCKET) == 1


@pytest.mark.parametrize("question", [count_members, read_etcd])
@pytest.mark.parametrize(
    "expected",
    [
        [(container_argv(SOCKET), Result(1, "", "no such socket"))],
        [(container_argv(SOCKET), Result(0, "", ""))],
        [CONTAINER, (member_list_argv(SOCKET, "c1"), Result(1, "", "context deadline exceeded"))],
    ],
    ids=["no runtime", "no container", "no answer"],
)
def test_nobody_can_answer(question: Callable[..., Any], expected: list[tuple[list[str], Result]]) -> None:
    runner = FakeRunner(expected, CRICTL)
    assert question(runner, SOCKET) is None
    runner.assert_finished()


@pytest.mark.parametrize("question", [count_members, read_etcd])
def test_no_crictl(question: Callable[..., Any]) -> None:
    assert question(FakeRunner(), SOCKET) is None


class TestReadEtcd:
    def test_everybody_is_healthy(self, fixture_text: FixtureText) -> None:
        states = Result(0, fixture_text("etcdctl/three_endpoint_status.json"), "")
        view = read(fixture_text, "three", states, OTHERS)
        assert view.leader
        assert [(found.name, found.address, found.healthy) for found in view.members] == [
            ("master-1", "192.0.2.11", True),
            ("master-2", "192.0.2.12", True),
            ("master-3", "192.0.2.13", True),
        ]
        assert view.members[0] == Member(
            *("a5fe4b7000d91599", "master-1", ("http://192.0.2.11:2380",), ("http://192.0.2.11:2379",)),
            learner=False,
            healthy=True,
        )

    def test_silent_member(self, fixture_text: FixtureText) -> None:
        states = Result(1, fixture_text("etcdctl/one_dead_endpoint_status.json"), "context deadline exceeded")
        view = read(fixture_text, "three", states, OTHERS)
        assert view.leader
        assert [found.name for found in view.members if not found.healthy] == ["master-3"]

    def test_quorum_is_lost(self, fixture_text: FixtureText) -> None:
        states = Result(1, fixture_text("etcdctl/no_quorum_endpoint_status.json"), "context deadline exceeded")
        view = read(fixture_text, "three", states, OTHERS)
        assert not view.leader
        assert [found.name for found in view.members if found.healthy] == ["master-1"]

    def test_member_that_was_never_started(self, fixture_text: FixtureText) -> None:
        states = Result(0, fixture_text("etcdctl/unstarted_endpoint_status.json"), "")
        view = read(fixture_text, "unstarted", states, OTHERS)
        assert view.members[0] == Member(
            "1b02d81b94542d2d", "", ("http://192.0.2.14:2380",), (), learner=True, healthy=False
        )
        assert all(voter.healthy for voter in view.members[1:])

    def test_learner(self, fixture_text: FixtureText) -> None:
        states = Result(0, fixture_text("etcdctl/learner_endpoint_status.json"), "")
        view = read(fixture_text, "learner", states, ["http://192.0.2.14:2379", *OTHERS])
        assert [found.name for found in view.members if found.learner and found.healthy] == ["master-4"]

    def test_member_that_is_cut_off_from_the_others(self, fixture_text: FixtureText) -> None:
        states = json.loads(fixture_text("etcdctl/three_endpoint_status.json"))
        del states[2]["Status"]["leader"]
        view = read(fixture_text, "three", Result(0, json.dumps(states), ""), OTHERS)
        assert [found.name for found in view.members if not found.healthy] == ["master-3"]

    @pytest.mark.parametrize("printed", ["null\n", ""], ids=["etcdctl without an answer", "crictl has failed"])
    def test_etcd_that_stops_meanwhile(self, fixture_text: FixtureText, printed: str) -> None:
        view = read(fixture_text, "three", Result(1, printed, "error"), OTHERS)
        assert not view.leader
        assert not any(found.healthy for found in view.members)


class TestMember:
    def test_survives_the_way_through_a_module(self) -> None:
        original = member("master-1")
        transported = json.loads(json.dumps(original.as_dict()))
        assert transported["peer_urls"] == ["https://192.0.2.11:2380"]
        assert Member.from_dict(transported) == original

    @pytest.mark.parametrize(
        ("peer_urls", "address"),
        [
            (("https://[2001:DB8:0::11]:2380",), "2001:db8::11"),
            (("https://Master-1.example.com:2380",), "master-1.example.com"),
            ((), ""),
        ],
    )
    def test_address(self, peer_urls: tuple[str, ...], address: str) -> None:
        assert member("master-1")._replace(peer_urls=peer_urls).address == address

    def test_one_form_of_an_address(self) -> None:
        assert canonical_address("2001:DB8:0:0::1") == canonical_address("2001:db8::1")


def cluster(*states: str) -> list[Member]:
    """Members master-1 and so on: voters that answer ("up") or not ("down"), and learners."""
    return [
        member(f"master-{number}", healthy=state != "down", learner=state == "learner")
        for number, state in enumerate(states, 1)
    ]


class TestRemovalRefusal:
    @pytest.mark.parametrize(
        ("states", "removed"),
        [
            (("up", "up", "down"), 3),
            (("up", "up", "up"), 3),
            (("up", "up"), 2),
            (("up", "up", "up", "down"), 1),
            (("up", "up", "up", "down", "down"), 5),
            (("up", "learner"), 2),
            (("up", "up", "down", "learner"), 4),
        ],
    )
    def test_allowed(self, states: tuple[str, ...], removed: int) -> None:
        members = cluster(*states)
        assert removal_refusal(members, members[removed - 1]) is None

    @pytest.mark.parametrize(
        ("states", "removed", "message"),
        [
            (("up",), 1, r"master-1 \(192.0.2.11\) is the last voting member of etcd"),
            (("up", "learner"), 1, "is the last voting member of etcd"),
            (
                ("up", "up", "down"),
                2,
                r"2 voting members, of which master-3 \(192.0.2.13\) does not answer, and no quorum\. Expected: 2 ",
            ),
            (("up", "up", "up", "down", "down"), 1, "master-4 .*, master-5 .* do not answer, and no quorum"),
            (("up", "down", "down"), 3, "no quorum: 1 of its 3 voting members are healthy.* bring back master-2"),
            (("up", "down", "down", "learner"), 4, "no quorum: 1 of its 3 voting members are healthy"),
            (("up", "down"), 2, r"one of two is no majority, so a dead one cannot be removed .* restore a snapshot"),
            (("up", "down"), 1, "no quorum: 1 of its 2 voting members"),
        ],
    )
    def test_refused(self, states: tuple[str, ...], removed: int, message: str) -> None:
        members = cluster(*states)
        refusal = removal_refusal(members, members[removed - 1])
        assert refusal is not None
        assert re.search(message, str(refusal))

    def test_one_after_the_other(self) -> None:
        members = cluster("up", "up", "down")
        assert removal_refusal(members, members[1]) is not None
        assert removal_refusal(members[:2], members[1]) is None
