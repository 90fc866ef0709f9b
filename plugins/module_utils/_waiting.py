# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for conditions, and for the turn of this process."""

from __future__ import annotations

import contextlib
import fcntl
import time
from pathlib import Path
from typing import IO, Callable, Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 1.0) -> bool:
    """Ask for a condition until it holds; False when it still does not after timeout seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


@contextlib.contextmanager
def exclusive(path: Path, timeout: float, interval: float = 1.0) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it when its holder dies, however it dies."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        if not wait_until(lambda: _locked(stream), timeout, interval):
            raise GroundplaneError(
                f"another run of this module has been at work on this host for {timeout:.0f} seconds",
                expected="one run at a time",
                remedy=f"wait for it, or look with `fuser -v {path}` for what it does",
            )
        yield


def _locked(stream: IO[str]) -> bool:
    """Whether the lock could be had without waiting."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
