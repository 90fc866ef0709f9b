# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that ask again and again while something happens, and know how long they were left without an answer."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from tests.e2e.support.waiting import wait_for


class SteadyClient(ABC):
    """Asks in a thread of its own, from the beginning of a context to its end."""

    def __init__(self, interval: float) -> None:
        """Ask once in so many seconds, whether there is an answer or not."""
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._surprise: BaseException | None = None
        self.answered: list[float] = []
        self.failures: list[tuple[float, str]] = []

    @abstractmethod
    def ask(self) -> None:
        """Ask once and return when the answer is there; OSError and HTTPException mean that there is none."""

    def longest_gap(self, since: float) -> float:
        """Longest time without an answer that ended after a moment, or has not ended yet, of time.monotonic()."""
        moments = [*self.answered, time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments) if later >= since)

    def failures_since(self, moment: float) -> list[str]:
        """What went wrong since a moment."""
        return [text for when, text in self.failures if when >= moment]

    def wait_steady(self, steady_seconds: float, *, seconds: float = 120) -> None:
        """Wait until every question has been answered for so many seconds, counted from now at the earliest."""
        begun = time.monotonic()

        def problem() -> str:
            self._raise_surprise()
            quiet_since = max([begun, *(when for when, _text in self.failures[-1:])])
            last_answer = max([quiet_since, *self.answered[-1:]])
            if last_answer - quiet_since >= steady_seconds:
                return ""
            return f"answers without a failure in between; the last one was {self.failures[-1:] or 'none'}"

        wait_for(f"Answers to everything for {steady_seconds:g} s", problem, seconds=seconds, interval=0.1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._raise_surprise()

    def _run(self) -> None:
        while not self._ended.is_set():
            begun = time.monotonic()
            try:
                self.ask()
                self.answered.append(time.monotonic())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((time.monotonic(), f"{type(error).__name__}: {error}"))
            except BaseException as error:
                self._surprise = error
                return
            self._ended.wait(max(0.0, self._interval - (time.monotonic() - begun)))

    def _raise_surprise(self) -> None:
        if self._surprise is not None:
            raise self._surprise
