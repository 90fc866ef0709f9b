# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node lets somebody in by SSH, asked all the time."""

from __future__ import annotations

import itertools
import subprocess
import time

from tests.e2e.support.lab import LabSet
from tests.e2e.support.steady import SteadyClient
from tests.e2e.support.waiting import wait_for

INTERVAL_SECONDS = 2.0
#: Enough for a busy sshd to say who it is; the kernel repeats a first packet that was dropped within a third of it.
CONNECT_SECONDS = 6
LOGIN_SECONDS = 10.0


class Door(SteadyClient):
    """Logs in again and again, each time over a connection of its own.

    Only whole log-ins: sshd of OpenSSH 9.8 and newer shuts out for a while who connects and leaves.
    """

    def __init__(self, nodes: LabSet, name: str) -> None:
        """Remember how to get in."""
        super().__init__(INTERVAL_SECONDS)
        self.name = name
        ssh, *rest = nodes.command(name, "true")
        self._command = [ssh, "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "ControlPath=none", *rest]

    def ask(self) -> None:
        """Log in once."""
        try:
            result = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=LOGIN_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError("no end of the log-in") from error
        if result.returncode != 0:
            raise ConnectionError(result.stderr.strip())

    def wait_shut(self, since: float, *, seconds: float) -> None:
        """Wait until somebody was not let in since a moment of time.monotonic()."""
        wait_for(
            f"{self.name} is shut",
            lambda: "" if self.failures_since(since) else "a failure",
            seconds=seconds,
            interval=0.1,
        )

    def wait_open(self, *, seconds: float) -> None:
        """Wait until somebody is let in who comes from now on."""
        begun = time.monotonic()

        def problem() -> str:
            # The first of them may have begun to log in before.
            return "" if sum(when > begun for when in self.answered) >= 2 else f"{self.failures[-1:]}"

        wait_for(f"{self.name} is open", problem, seconds=seconds, interval=0.1)

    def regained(self, since: float) -> float:
        """Seconds from a moment to the end of the longest time without an answer.

        A failure after that, on a busy machine, is no return of what shut the door.
        """
        gaps = [(later - earlier, later) for earlier, later in itertools.pairwise(self.answered) if later >= since]
        return max(gaps)[1] - since if gaps else float("inf")
