# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs, and the one exception that the lab shows to its user."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class LabError(Exception):
    """Something the user has to know: what was found, what was expected, what to do."""


def run(argv: Sequence[str], *, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return its standard output; raise LabError with its messages when it fails."""
    result = attempt(argv, stdin=stdin, environment=environment)
    if result.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` ended with {result.returncode}: {_last_lines(result)}")
    return result.stdout


def attempt(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program whose failure is an answer; running out of time counts as exit code 124."""
    try:
        return subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise LabError(f"The program {argv[0]} is not installed; `python -m tests.lab up` installs it.") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(argv), 124, "", f"no end within {timeout} s")


def wait_until(condition: Callable[[], bool], *, seconds: float, interval: float = 0.2) -> bool:
    """Ask for a condition until it holds or the time is over; tell whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


def marked_processes(variable: str) -> dict[int, str]:
    """Ids of the running processes that carry an environment variable, with its values."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        values = [entry.partition("=")[2] for entry in environment if entry.startswith(f"{variable}=")]
        if values:
            found[int(folder.name)] = values[0]
    return found


def has_ended(process_id: int) -> bool:
    """Tell whether a process has let go of everything; its environment is gone earlier, its last thread later."""
    folder = Path("/proc") / str(process_id)
    try:
        state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return state == "Z" and len(list((folder / "task").iterdir())) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def send_signal(process_id: int, number: signal.Signals) -> None:
    """Send a signal to a process, which may have ended by now."""
    try:
        os.kill(process_id, number)
    except ProcessLookupError:
        return


def _last_lines(result: subprocess.CompletedProcess[str], count: int = 15) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return "\n".join(lines[-count:])
