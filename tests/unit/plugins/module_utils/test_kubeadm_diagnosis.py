# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said when kubeadm fails."""

from __future__ import annotations

from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_diagnosis import failure

from tests.unit.fake_runner import FakeRunner

SOCKET = "unix:///run/containerd/containerd.sock"
JOURNAL = ["journalctl", "--unit", "kubelet", "--lines", "20", "--no-pager", "--output", "cat"]
CRICTL = ["crictl", "--runtime-endpoint", SOCKET]
EXITED = [*CRICTL, "ps", "--all", "--state", "exited", "--output", "json"]
PROGRAMS = {"crictl": "/usr/bin/crictl"}
WAITED = Result(
    1,
    "[wait-control-plane] Waiting for the kubelet to boot up the control plane\n",
    "error: error execution phase wait-control-plane: failed while waiting for the control plane to start\n",
)


def test_preflight_needs_no_logs(fixture_text: Callable[[str], str]) -> None:
    runner = FakeRunner(programs=PROGRAMS)
    error = failure(runner, "kubeadm join", Result(1, "", fixture_text("kubeadm/join_preflight.stderr")), SOCKET, 600)
    assert str(error).startswith("kubeadm join failed with exit code 1: [ERROR FileAvailable--etc-kubernetes-kubelet")
    assert error.facts == {"rc": 1, "logs": {}}


def test_waiting_needs_the_logs(fixture_text: Callable[[str], str]) -> None:
    container = "992d8ebf172032dce24c393194ebdccb5c8b19244e5cef98d691529dedadbd4e"
    runner = FakeRunner(
        [
            (JOURNAL, Result(0, "first\nuses abcdef.0123456789abcdef\n", "")),
            (EXITED, Result(0, fixture_text("crictl/ps_exited.json"), "")),
            ([*CRICTL, "logs", "--tail", "20", container], Result(0, "", "fatal: no quorum\n")),
        ],
        PROGRAMS,
    )
    error = failure(runner, "kubeadm init", WAITED, SOCKET, 600)
    runner.assert_finished()
    assert error.facts["logs"] == {
        "kubelet": ["first", "uses <token removed>"],
        "kube-scheduler (exited)": ["fatal: no quorum"],
    }
    assert "logs of this result" in error.remedy


@pytest.mark.parametrize(
    ("programs", "expected"),
    [({}, []), (PROGRAMS, [(EXITED, Result(1, "", "no such socket"))])],
    ids=["no crictl", "no runtime"],
)
def test_logs_of_kubelet_alone(programs: dict[str, str], expected: list[tuple[list[str], Result]]) -> None:
    runner = FakeRunner([(JOURNAL, Result(1, "", "no journal")), *expected], programs)
    assert failure(runner, "kubeadm init", WAITED, SOCKET, 600).facts["logs"] == {}
    runner.assert_finished()


def test_timeout_is_named() -> None:
    runner = FakeRunner([(JOURNAL, Result(0, "", ""))])
    error = failure(runner, "kubeadm init", Result(124, "[preflight] Pulling images\n", ""), SOCKET, 7)
    assert "[preflight] Pulling images; it was ended because it had not finished within 7 seconds" in str(error)


def test_signal_is_named() -> None:
    error = failure(FakeRunner(), "kubeadm init", Result(-9, "[certs] ...\n", ""), SOCKET, 600)
    assert error.found == "kubeadm init failed with exit code -9: it was ended by signal 9"
