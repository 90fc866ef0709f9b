# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The local member of etcd."""

from __future__ import annotations

from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import (
    container_argv,
    count_members,
    member_list_argv,
)

from tests.unit.fake_runner import FakeRunner

SOCKET = "unix:///run/containerd/containerd.sock"
CRICTL = {"crictl": "/usr/bin/crictl"}
CONTAINER = (container_argv(SOCKET), Result(0, "c1\nc2\n", ""))


def test_argument_lists() -> None:
    crictl = ["crictl", "--runtime-endpoint", SOCKET]
    assert container_argv(SOCKET) == [*crictl, "ps", "--name", "^etcd$", "--quiet"]
    assert member_list_argv(SOCKET, "c1") == [
        *crictl,
        *("exec", "c1", "etcdctl", "--endpoints=https://127.0.0.1:2379"),
        "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
        "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt",
        "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key",
        *("member", "list", "--write-out=json"),
    ]


def test_members(fixture_text: Callable[[str], str]) -> None:
    listed = Result(0, fixture_text("etcdctl/member_list.json"), "")
    runner = FakeRunner([CONTAINER, (member_list_argv(SOCKET, "c1"), listed)], CRICTL)
    assert count_members(runner, SOCKET) == 1


@pytest.mark.parametrize(
    "expected",
    [
        [(container_argv(SOCKET), Result(1, "", "no such socket"))],
        [(container_argv(SOCKET), Result(0, "", ""))],
        [CONTAINER, (member_list_argv(SOCKET, "c1"), Result(1, "", "context deadline exceeded"))],
    ],
    ids=["no runtime", "no container", "no answer"],
)
def test_nobody_can_answer(expected: list[tuple[list[str], Result]]) -> None:
    runner = FakeRunner(expected, CRICTL)
    assert count_members(runner, SOCKET) is None
    runner.assert_finished()


def test_no_crictl() -> None:
    assert count_members(FakeRunner(), SOCKET) is None
