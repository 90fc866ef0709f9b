# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs make targets one after the other, stops at the first that fails and says what took how long."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from types import FrameType


def clock(seconds: float) -> str:
    """Elapsed time as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def make(target: str) -> int:
    """Run one target without a terminal to ask questions on; report all its faults, not only the first."""
    command = ["make", "--no-print-directory", "--keep-going", target]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            return process.wait()
        except BaseException:
            # Make hands the signal on to what it runs, and what it runs clears up.
            process.terminate()
            process.wait()
            raise


def run(stages: list[str]) -> tuple[list[tuple[str, str, float]], int]:
    """Run the stages in order; return a row for each and the exit code of the last one that ran."""
    rows: list[tuple[str, str, float]] = []
    code = 0
    for number, stage in enumerate(stages, start=1):
        if code:
            rows.append((stage, "not run", 0.0))
            continue
        print(f"\n>>> {stage} ({number} of {len(stages)}), {time.strftime('%H:%M:%S')}", flush=True)
        begun = time.monotonic()
        code = make(stage)
        rows.append((stage, "failed" if code else "passed", time.monotonic() - begun))
        print(f"<<< {stage} {rows[-1][1]} after {clock(rows[-1][2])}", flush=True)
    return rows, code


def stop(number: int, _frame: FrameType | None) -> None:
    """Leave through the ordinary way out, so that what was started is taken down."""
    sys.exit(128 + number)


def main() -> int:
    """Run the stages named on the command line between two runs of the clean-up target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cleanup", metavar="TARGET", help="target to run before the first stage and after the last")
    parser.add_argument("stages", nargs="+", metavar="TARGET")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)

    begun = time.monotonic()
    if options.cleanup and make(options.cleanup):
        print(f"`make {options.cleanup}` failed: what an earlier run left is still there, see above.", file=sys.stderr)
        return 1
    try:
        rows, code = run(options.stages)
    finally:
        left = make(options.cleanup) if options.cleanup else 0

    print()
    for stage, result, seconds in [*rows, ("total", "failed" if code else "passed", time.monotonic() - begun)]:
        print(f"{stage:<12} {result:<8} {clock(seconds):>7}")
    return code or left


if __name__ == "__main__":
    sys.exit(main())
