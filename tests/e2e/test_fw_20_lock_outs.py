# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever rules are loaded, and whatever happens meanwhile: SSH comes back by itself, with the rules from before."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.support.filtered import ROLLED_BACK, FilteredNodes, StartedCalls
from tests.e2e.support.lock_outs import ALSO_GOOD, GOOD, LOCK_OUTS, REFUSED, Attempt, hook, rule
from tests.e2e.support.phases import Phases
from tests.e2e.support.trials import LIMIT_SECONDS, Ended, Round, Trials

# Minutes.
pytestmark = pytest.mark.long

ROLLBACK_SECONDS = 10
#: Where the node has to be met before it helps itself.
LONGER_ROLLBACK_SECONDS = 30
FEWEST_ATTEMPTS = 20

SHUT = hook(rule("drop", "shut for everybody"))

KILLED_SHUT = Attempt("the controller is killed while it is shut out", SHUT, ())
KILLED_OPEN = Attempt("the controller is killed right after rules that let it in", ALSO_GOOD, ())
POWER_CUT = Attempt(
    "the power is cut before the confirmation", SHUT, ("The host was restarted meanwhile",), forgets=True
)
UNPLUGGED = Attempt("the network is cut before the confirmation", ALSO_GOOD, ("They were taken back",))
REMOVED = Attempt(
    "all rules are removed, and others drop after them",
    [],
    ("None of the rules has dropped or rejected a packet",),
    state="absent",
    foreign="-p tcp -m tcp --dport 22 -m comment --comment others -j DROP",
)
#: In the order of the nodes, of which every second one has no rules to come back.
MISHAPS = (KILLED_SHUT, KILLED_OPEN, POWER_CUT, UNPLUGGED, REMOVED)
KILLED = (KILLED_SHUT, KILLED_OPEN)


@pytest.fixture(scope="module")
def trials(filtered_nodes: FilteredNodes) -> Trials:
    """Three nodes with rules that are confirmed, of both backends, and two without any."""
    filtered_nodes.fresh()
    guarded = Attempt("none", GOOD, ()).call(60)
    filtered_nodes.call(dict.fromkeys(filtered_nodes.names[::2], guarded)).require(changed=True)
    return Trials(filtered_nodes)


@pytest.fixture(scope="module")
def refused(trials: Trials, phases: Phases) -> list[Ended]:
    """Attempts that are refused."""
    with phases.phase(f"{len(REFUSED)} attempts with rules that are refused"):
        return _to_the_end(trials, REFUSED)


@pytest.fixture(scope="module")
def shut(trials: Trials, phases: Phases) -> list[Ended]:
    """Attempts with rules that shut SSH, in rounds of as many as there are nodes."""
    ended: list[Ended] = []
    for first in range(0, len(LOCK_OUTS), len(trials.filtered.names)):
        attempts = LOCK_OUTS[first : first + len(trials.filtered.names)]
        with phases.phase(f"{len(attempts)} attempts with rules that shut SSH"):
            ended += _to_the_end(trials, attempts)
        for one in ended[-len(attempts) :]:
            phases.figure(one.figure())
    return ended


@pytest.fixture(scope="module")
def mishaps(trials: Trials, phases: Phases) -> list[Ended]:
    """Attempts during which something happens to the controller, the network or the node."""

    def act(trial: Round) -> None:
        def start(attempts: tuple[Attempt, ...], seconds: int = ROLLBACK_SECONDS) -> StartedCalls:
            return trials.filtered.start({trial.node(attempt): attempt.call(seconds) for attempt in attempts})

        def kill_when_shut() -> None:
            name = trial.node(KILLED_SHUT)
            trial.wait_applied(name)
            trial.doors[name].wait_shut(time.monotonic(), seconds=60)
            assert trial.insides[name].applied()
            killed_shut.run.kill()
            trial.wait_state(name, ROLLED_BACK)

        def kill_when_applied() -> None:
            name = trial.node(KILLED_OPEN)
            trial.wait_applied(name)
            killed_open.run.kill()
            trial.wait_state(name, ROLLED_BACK)

        def cut_power() -> None:
            name = trial.node(POWER_CUT)
            trial.wait_applied(name)
            trial.doors[name].wait_shut(time.monotonic(), seconds=60)
            assert trial.insides[name].applied()
            trials.filtered.nodes.kill([name])
            trials.filtered.nodes.start([name])

        def unplug() -> None:
            name = trial.node(UNPLUGGED)
            trial.wait_applied(name)
            trial.insides[name].unplug()
            try:
                trial.wait_state(name, ROLLED_BACK)
            finally:
                trial.insides[name].plug()

        killed_shut = start((KILLED_SHUT,), LONGER_ROLLBACK_SECONDS)
        killed_open = start((KILLED_OPEN,))
        cut = start((POWER_CUT,), LONGER_ROLLBACK_SECONDS)
        others = start((UNPLUGGED, REMOVED))
        with ThreadPoolExecutor() as pool:
            happening = [pool.submit(happen) for happen in (kill_when_applied, unplug, kill_when_shut, cut_power)]
            for one in happening:
                one.result()
        for run in (cut, others):
            trial.results.update(run.wait().results)

    with phases.phase(f"{len(MISHAPS)} attempts during which something else happens"):
        ended = trials.carry_out(dict(zip(trials.filtered.names, MISHAPS, strict=True)), act)
    for one in ended:
        phases.figure(one.figure())
    return ended


@pytest.fixture(scope="module")
def ended(refused: list[Ended], shut: list[Ended], mishaps: list[Ended]) -> list[Ended]:
    """All attempts."""
    return [*refused, *shut, *mishaps]


def _to_the_end(trials: Trials, attempts: tuple[Attempt, ...]) -> list[Ended]:
    """Attempts in one run that nothing happens to."""

    def act(trial: Round) -> None:
        calls = {name: attempt.call(ROLLBACK_SECONDS) for name, attempt in trial.attempts.items()}
        trial.results.update(trials.filtered.call(calls).results)

    return trials.carry_out(dict(zip(trials.filtered.names, attempts, strict=False)), act)


def test_ssh_answers_again_in_time_and_the_old_rules_are_back(ended: list[Ended], phases: Phases) -> None:
    locked_out = [one.describe() for one in ended if not one.open or one.regained > LIMIT_SECONDS]
    other_rules = [one.describe() for one in ended if not one.has_old_rules]
    worst = max(ended, key=lambda one: one.regained)
    phases.figure(
        f"{len(ended) - len(other_rules)} of {len(ended)} attempts ended with the old rules; {len(locked_out)} "
        f"lock-outs; worst time to regained SSH {worst.regained:.1f} s (limit {LIMIT_SECONDS:.0f} s): "
        f"{worst.attempt.mistake}"
    )
    longest = max((one for one in ended if one.attempt is not POWER_CUT), key=lambda one: one.without)
    phases.figure(f"longest time without SSH but for the power cut {longest.without:.1f} s: {longest.attempt.mistake}")
    assert not locked_out
    assert not other_rules
    assert sum(one.shut for one in ended) >= FEWEST_ATTEMPTS


def test_the_rules_were_in_force(shut: list[Ended], mishaps: list[Ended]) -> None:
    of_mishaps = {one.attempt: one for one in mishaps}
    expected = [*shut, *(of_mishaps[attempt] for attempt in MISHAPS if attempt is not KILLED_OPEN)]
    assert [one.describe() for one in expected if not one.shut] == []
    rolled_back = [*shut, *(one for one in mishaps if one.attempt is not POWER_CUT)]
    assert [one.describe() for one in rolled_back if one.states != {ROLLED_BACK}] == []
    for attempt in (KILLED_OPEN, UNPLUGGED):
        assert of_mishaps[attempt].in_force.count("another web") == 2, attempt.mistake


def test_nothing_is_saved(ended: list[Ended]) -> None:
    assert [one.describe() for one in ended if one.after.kept != one.before.kept] == []


def test_every_failure_says_which_rule_it_was_or_what_else(ended: list[Ended]) -> None:
    for one in ended:
        if one.attempt in KILLED:
            assert not one.result
            continue
        assert one.result.get("failed") is True, f"{one.describe()}: {one.result}"
        missing = [word for word in one.attempt.words if word not in one.result["msg"]]
        assert one.attempt.words and not missing, f"{one.describe()} does not say {missing}: {one.result['msg']}"


def test_what_was_loaded_is_told_as_taken_back(shut: list[Ended], mishaps: list[Ended]) -> None:
    for one in [*shut, *mishaps]:
        if one.attempt not in KILLED:
            assert one.result["rolled_back"] is (one.attempt is not POWER_CUT), f"{one.describe()}: {one.result}"
            assert one.result["changed"] is False, f"{one.describe()}: {one.result}"


def test_what_is_refused_is_never_loaded(refused: list[Ended]) -> None:
    assert [one.describe() for one in refused if one.states] == []
