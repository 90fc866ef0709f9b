# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out attempts to lock everybody out, on several nodes at once, and tells how each has ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.support import packet_filter
from tests.e2e.support.door import Door
from tests.e2e.support.filtered import FilteredNodes, Inside, inside
from tests.e2e.support.lock_outs import Attempt
from tests.e2e.support.waiting import NotInTimeError, wait_for

#: Bound for the time from the start of ansible-playbook until SSH answers again.
LIMIT_SECONDS = 90.0
READY_SECONDS = 120
#: Without an answer for so long, a door is shut; rules are in force for longer.
SHUT_SECONDS = 6.0

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Look:
    """One node at one moment: rules of both families, and what lies on the disk."""

    rules: str
    kept: str


@dataclass(frozen=True)
class Ended:
    """What an attempt has come to.

    :arg result: what the module returned; nothing from a controller that was killed.
    :arg shut: whether SSH was shut meanwhile.
    :arg open: whether it answers again.
    :arg regained: seconds from the beginning to the end of the longest time without an answer.
    :arg without: this longest time.
    :arg in_force: rules of ours that were loaded, where the attempt was taken back by the node's timer.
    :arg states: what has become of changes that were begun; nothing where none was, or since the node was switched on.
    """

    attempt: Attempt
    node: str
    result: Result
    before: Look
    after: Look
    shut: bool
    open: bool
    regained: float
    without: float
    in_force: str
    states: set[str]

    @property
    def has_old_rules(self) -> bool:
        """Whether the rules are those from before, down to the last line."""
        before, after = {self.node: self.before.rules}, {self.node: self.after.rules}
        if self.attempt.forgets:
            return packet_filter.of_ours(after) == packet_filter.of_ours(before)
        return after == before

    def figure(self) -> str:
        """One line for a table."""
        return f"{self.attempt.mistake:62} {self.without:6.1f} s without SSH, back after {self.regained:6.1f} s"

    def describe(self) -> str:
        """Name for messages."""
        return f"{self.attempt.mistake} ({self.node})"


@dataclass
class Round:
    """Attempts that go on."""

    begun: float
    attempts: Mapping[str, Attempt]
    doors: Mapping[str, Door]
    insides: Mapping[str, Inside]
    states: Mapping[str, set[str]]
    results: dict[str, Result] = field(default_factory=dict)

    def node(self, attempt: Attempt) -> str:
        """Where an attempt is made."""
        return next(name for name, made in self.attempts.items() if made is attempt)

    def new_states(self, name: str) -> set[str]:
        """States of changes that were not there at the beginning."""
        return self.insides[name].states() - self.states[name]

    def wait_applied(self, name: str) -> None:
        """Wait until rules are in force and nobody has confirmed them."""
        what = f"a change is in force on {name}"
        wait_for(what, lambda: "" if self.insides[name].applied() else "it", seconds=60, interval=0.01)

    def wait_state(self, name: str, state: str) -> None:
        """Wait until the change of a node has come to a state."""
        wait_for(
            f"{state} on {name}",
            lambda: "" if any(found.endswith(f" {state}") for found in self.new_states(name)) else "it",
            seconds=LIMIT_SECONDS,
            interval=0.05,
        )


class Trials:
    """Nodes on which attempts are made, and how they looked at first."""

    def __init__(self, filtered: FilteredNodes) -> None:
        """Look at the nodes, whose rules are those to come back."""
        self.filtered = filtered
        self._looks = self._look()

    def carry_out(self, attempts: Mapping[str, Attempt], act: Callable[[Round], None]) -> list[Ended]:
        """Make attempts, by node, while all of their nodes are asked all the time."""
        before = self._looks
        doors = {name: Door(self.filtered.nodes, name) for name in attempts}
        insides = {name: inside(name) for name in attempts}
        with self._rules_of_others(attempts), contextlib.ExitStack() as stack:
            for door in doors.values():
                stack.enter_context(door)
            for door in doors.values():
                door.wait_open(seconds=READY_SECONDS)
            states = {name: found.states() for name, found in insides.items()}
            trial = Round(time.monotonic(), attempts, doors, insides, states)
            act(trial)
            is_open = {name: _opens(door, trial.begun) for name, door in doors.items()}
        self._looks = self._look()
        return [
            Ended(
                attempt=attempt,
                node=name,
                result=trial.results.get(name, {}),
                before=before[name],
                after=self._looks[name],
                shut=doors[name].longest_gap(trial.begun) >= SHUT_SECONDS,
                open=is_open[name],
                regained=doors[name].regained(trial.begun),
                without=doors[name].longest_gap(trial.begun),
                in_force="".join(insides[name].counted(state.split()[0]) for state in sorted(trial.new_states(name))),
                states={state.split()[1] for state in trial.new_states(name)},
            )
            for name, attempt in attempts.items()
        ]

    def _look(self) -> dict[str, Look]:
        rules = packet_filter.everything(self.filtered.nodes, self.filtered.names)
        kept = self.filtered.kept()
        return {name: Look(rules[name], kept[name]) for name in self.filtered.names}

    @contextlib.contextmanager
    def _rules_of_others(self, attempts: Mapping[str, Attempt]) -> Iterator[None]:
        foreign = {name: attempt.foreign for name, attempt in attempts.items() if attempt.foreign}
        for name, rule in foreign.items():
            self.filtered.nodes.run(name, f"iptables --wait -A INPUT {rule}")
        yield
        for name, rule in foreign.items():
            self.filtered.nodes.run(name, f"iptables --wait -D INPUT {rule}")


def _opens(door: Door, begun: float) -> bool:
    """Whether a node answers within the bound, or soon, so that a slow run is no lock-out."""
    try:
        door.wait_open(seconds=max(begun + LIMIT_SECONDS - time.monotonic(), 10.0))
    except NotInTimeError:
        return False
    return True
