# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines: what is being done, how much of how much, for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str], None]


def to_terminal() -> Report:
    """Return a report that prints its messages behind the seconds since now."""
    started = time.monotonic()

    def report(message: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {message}", flush=True)

    return report


def duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s"


@contextmanager
def step(report: Report, what: str) -> Iterator[None]:
    """Say what begins, and how long it took when it has succeeded."""
    report(what)
    started = time.monotonic()
    yield
    report(f"{what}: done in {duration(time.monotonic() - started)}")


class Counter:
    """Progress of a task of many small parts, told at most once per interval."""

    def __init__(self, report: Report, task: str, total: int, interval: float = 10.0) -> None:
        """Start counting now."""
        self._report = report
        self._task = task
        self._total = total
        self._interval = interval
        self._done = 0
        self._started = self._told = time.monotonic()

    def count(self) -> None:
        """Count one part as done, and say so when it is time to."""
        self._done += 1
        now = time.monotonic()
        if now - self._told >= self._interval:
            self._told = now
            self._report(f"{self._task}: {self._done} of {self._total}, {duration(now - self._started)}")
