# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a condition, with a bound and a message."""

from __future__ import annotations

import time
from collections.abc import Callable


class NotInTimeError(AssertionError):
    """A condition that did not come true within its bound."""


def wait_for(what: str, problem: Callable[[], str], *, seconds: float, interval: float = 1.0) -> None:
    """Ask until there is no problem left; when the time is over, fail with the last one.

    :arg what: what is waited for, as the message shall say it.
    :arg problem: returns what is still missing, and nothing when the condition holds.
    """
    deadline = time.monotonic() + seconds
    while left := problem():
        if time.monotonic() >= deadline:
            raise NotInTimeError(f"{what}: not within {seconds:g} s. Still missing: {left}")
        time.sleep(interval)
