# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The confirmation goes over a connection of its own, and what is told when none comes about."""

from __future__ import annotations

import contextlib
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.groundplane.kubeadm.plugins.action import iptables_persistence
from ansible_collections.groundplane.kubeadm.plugins.action.iptables_persistence import ActionModule, bounded

CHAINS = [{"name": "GROUNDPLANE-INPUT", "hook": True, "text": ["-j DROP"]}]
COUNTERS = {"ipv4": ['[7:420] -A GROUNDPLANE-INPUT -m comment --comment "no ssh" -j DROP'], "ipv6": []}


class Connection:
    """A connection with some options, which notes how it was used."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.closed = 0
        self._shell = SimpleNamespace(tmpdir=None)

    def get_option(self, name: str) -> Any:
        """Value of an option; as in Ansible, another one is an error."""
        return self.options[name]

    def set_option(self, name: str, value: Any) -> None:
        """Change an option."""
        self.options[name] = value

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """What time it is."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass; never nothing, so that a loop ends."""
        self.now += max(seconds, 0.05)


@pytest.fixture
def play(monkeypatch, make_action):
    """Run the action against a host that gives these answers, the last one for ever."""

    def run(*answers, check_mode=False, connection=None, **arguments):
        monkeypatch.setattr(iptables_persistence, "time", Clock())
        action = make_action(ActionModule, {"chains": CHAINS, **arguments}, check_mode=check_mode)
        action._connection = run.connection = connection or Connection(
            {"ssh_args": "-o ControlMaster=auto -o ControlPersist=60s", "reconnection_retries": 3, "port": None}
        )
        run.calls = []
        left = list(answers)

        def execute(module_name, module_args, task_vars):
            assert module_name == "groundplane.kubeadm.iptables_persistence_host"
            run.calls.append((module_args, dict(run.connection.options)))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        monkeypatch.setattr(action, "_execute_module", execute)
        return action.run(task_vars={})

    return run


def operations(play) -> list[str]:
    return [arguments["operation"] for arguments, _options in play.calls]


LOADED = {"changed": True, "pending": 60, "loaded": True, "chains": ["GROUNDPLANE-INPUT"]}


def test_a_change_is_confirmed_over_another_connection(play):
    result = play(LOADED, {"outcome": "confirmed"})
    assert result["changed"]
    assert result["rolled_back"] is False
    assert not {"pending", "loaded", "outcome"}.intersection(result)
    assert operations(play) == ["apply", "confirm"]
    (applied, before), (confirmed, during) = play.calls
    assert applied["change"] == confirmed["change"]
    assert applied["rollback_seconds"] == 60
    assert before["ssh_args"] == "-o ControlMaster=auto -o ControlPersist=60s"
    # ssh takes the first value of an option.
    assert during["ssh_args"].startswith("-o ControlPath=none -o ControlMaster=no ")
    assert during["reconnection_retries"] == 0
    assert play.connection.options == before


def test_every_run_has_a_name_of_its_own(play):
    names = set()
    for _run in range(2):
        play(LOADED, {"outcome": "confirmed"})
        names.add(play.calls[0][0]["change"])
    assert len(names) == 2


@pytest.mark.parametrize("options", [{}, {"ssh_args": None}])
def test_without_ssh_the_connection_is_closed(options, play):
    """The plugin for paramiko has the option too, and no other that matters here."""
    connection = Connection(dict(options))
    assert play(LOADED, {"outcome": "confirmed"}, connection=connection)["rolled_back"] is False
    assert connection.closed == 1
    assert connection.options == options


@pytest.mark.parametrize(
    ("options", "rollback_seconds", "expected"),
    [
        ({}, 60, 4),
        ({"timeout": None}, 60, 4),
        ({"timeout": 2}, 60, 4),
        ({"timeout": 25}, 60, 25),
        # The first attempt has half of the time, but 10 seconds at least.
        ({"timeout": 120}, 60, 30),
        ({"timeout": 120}, 10, 10),
        ({"timeout": 120}, 1, 1),
    ],
)
def test_a_long_way_to_the_host_gets_the_time_that_ansible_gives_it(options, rollback_seconds, expected, play):
    connection = Connection({"ssh_args": "-o ConnectTimeout=99", **options})
    play({**LOADED, "pending": rollback_seconds}, {"outcome": "confirmed"}, connection=connection)
    (_applied, _before), (_confirmed, during) = play.calls
    assert f" -o ConnectTimeout={expected} -o ConnectTimeout=99" in during["ssh_args"]


def test_without_ssh_the_port_is_not_known(play):
    counted = {"ipv4": ["[1:60] -A GROUNDPLANE-A -p tcp -m tcp --dport 5986 -j DROP"]}
    result = play(LOADED, {"outcome": "rolled-back", "counters": counted}, connection=Connection({}))
    assert result["suspects"][0]["fits"]


@pytest.mark.parametrize("answer", [{"changed": False, "pending": 0}, {"failed": True, "msg": "no"}])
def test_nothing_to_confirm(answer, play):
    result = play(answer)
    assert operations(play) == ["apply"]
    assert result.get("failed", False) is answer.get("failed", False)


def test_check_mode_only_predicts(play):
    assert play({"changed": True, "pending": 0}, check_mode=True)["changed"]
    assert operations(play) == ["apply"]


def test_a_hiccup_is_no_lock_out(play):
    result = play(LOADED, AnsibleConnectionFailure("timed out"), {"outcome": "pending"}, {"outcome": "confirmed"})
    assert "failed" not in result
    assert operations(play) == ["apply", "confirm", "confirm", "confirm"]


def test_locked_out_and_taken_back(play):
    shut = [AnsibleConnectionFailure("timed out")] * 70
    result = play(LOADED, *shut, {"outcome": "rolled-back", "counters": COUNTERS, "log": ""})
    assert result["failed"]
    assert not result["changed"]
    assert result["rolled_back"]
    assert "within 60 seconds (timed out)" in result["msg"]
    assert 'rule 1 of GROUNDPLANE-INPUT (ipv4) "no ssh", which met 7 packets' in result["msg"]
    assert result["suspects"][0]["comment"] == "no ssh"
    made = operations(play)
    assert made.count("confirm") in (60, 61)
    assert made[-1] == "outcome"


def test_the_timer_wins_the_race(play):
    result = play(LOADED, {"outcome": "rolling-back"}, {"outcome": "rolled-back", "counters": {"ipv4": []}})
    assert result["rolled_back"]
    assert "None of the rules has dropped or rejected a packet" in result["msg"]
    assert operations(play) == ["apply", "confirm", "outcome"]


def test_an_attempt_that_came_late_has_confirmed_all_the_same(play):
    result = play(LOADED, *[AnsibleConnectionFailure("timed out")] * 62, {"outcome": "confirmed"})
    assert "failed" not in result


def test_files_alone_are_saved_over_another_connection_too(play):
    result = play({**LOADED, "loaded": False}, {"outcome": "confirmed"})
    assert "failed" not in result
    assert result["changed"]
    assert operations(play) == ["apply", "confirm"]


def test_files_alone_are_not_saved_when_nobody_comes_in(play):
    shut = [AnsibleConnectionFailure("timed out")] * 70
    result = play({**LOADED, "loaded": False}, *shut, {"outcome": "rolled-back", "counters": {}, "log": ""})
    assert result["failed"]
    assert not result["changed"]
    assert result["rolled_back"] is False
    assert "in force already within 60 seconds (timed out). Nothing was saved" in result["msg"]


def test_taking_back_has_failed(play):
    result = play(LOADED, {"outcome": "rollback-failed", "log": "iptables: no such file"})
    assert "Taking them back has failed: iptables: no such file" in result["msg"]
    assert result["changed"]


def test_restarted_meanwhile(play):
    result = play(LOADED, {"outcome": "unknown"})
    assert "restarted meanwhile" in result["msg"]


def test_not_saved(play):
    result = play(LOADED, {"failed": True, "outcome": "unsaved", "msg": "disk full"})
    assert result["failed"]
    assert result["msg"] == "disk full"


def test_never_seen_again(play):
    result = play(LOADED, AnsibleConnectionFailure("no route to host"))
    assert "does not answer even after its timer" in result["msg"]
    assert "look at the host's console" in result["msg"]


def test_a_slow_host_gets_more_time_to_say_how_it_has_ended(play, monkeypatch):
    allowed = []

    @contextlib.contextmanager
    def noted(seconds):
        allowed.append(seconds)
        yield

    monkeypatch.setattr(iptables_persistence, "bounded", noted)
    slow = AnsibleConnectionFailure("no answer within 20 seconds")
    result = play({**LOADED, "pending": 0.01}, *[slow] * 5, {"outcome": "rolled-back", "counters": COUNTERS})
    assert result["rolled_back"]
    assert allowed[1:] == [20, 40, 60, 60, 60]


def test_the_rules_cut_the_connection_that_brought_them(play):
    broken = AnsibleConnectionFailure("reset by peer")
    result = play(broken, broken, {"outcome": "pending"}, {"outcome": "rolled-back", "counters": COUNTERS})
    assert result["rolled_back"]
    assert "the connection broke" in result["msg"]
    assert operations(play) == ["apply", "outcome", "outcome", "outcome"]


@pytest.mark.parametrize("answers", [[{"outcome": "unknown"}], []])
def test_a_host_that_was_never_reached_is_unreachable(answers, play):
    with pytest.raises(AnsibleConnectionFailure, match="no route"):
        play(AnsibleConnectionFailure("no route"), *answers)


def test_check_mode_waits_for_no_timer(play):
    with pytest.raises(AnsibleConnectionFailure):
        play(AnsibleConnectionFailure("no route"), check_mode=True)
    assert operations(play) == ["apply"]


def test_an_attempt_ends_in_time():
    with pytest.raises(AnsibleConnectionFailure, match="no answer within 0 seconds"), bounded(0.2):
        time.sleep(5)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_the_alarm_of_somebody_else_keeps_its_time():
    def others(_signal, _frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, others)
    try:
        signal.setitimer(signal.ITIMER_REAL, 50)
        with bounded(5):
            pass
        assert 49 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50
        assert signal.getsignal(signal.SIGALRM) is others
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
