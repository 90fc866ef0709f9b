# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each phase of the tests took, told while they run and summed up at their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Phases:
    """Phases with their durations, in the order in which they ended."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Tell every message through the given function."""
        self._say = say
        self.durations: list[tuple[str, float]] = []
        self.figures: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens inside, also when it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - started
            self.durations.append((name, seconds))
            self._say(f"{seconds:7.1f} s  {name}")

    def figure(self, text: str) -> None:
        """Tell a measured figure, now and in the summary."""
        self.figures.append(text)
        self._say(text)
