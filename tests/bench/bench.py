# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures site.yml beside the same cluster made by hand: `python -m tests.bench.bench`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.by_hand import ByHand
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run, Site

INSTALLED = "dpkg-query --show --showformat '${Package}\\n'"


def main() -> int:
    """Measure and print."""
    say = _say_at_once
    say(machine())
    phases = Phases(say)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        times, packages = measure_collection(phases, Path(folder))
    measure_by_hand(phases, packages)
    print("\n".join(comparison(times, dict(_summed(phases)))))
    return 0


def machine() -> str:
    """What the figures were measured on."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    gibibytes = int(memory.split()[1]) / 1024**2
    return f"{os.cpu_count()} cores, {gibibytes:.0f} GiB of memory, Linux {os.uname().release}"


def measure_collection(phases: Phases, work: Path) -> tuple[dict[str, float], list[str]]:
    """Times of the runs of site.yml, and the packages that the first one installed."""
    with fresh_set("bench") as nodes:
        before = set(nodes.run(nodes.masters[0], INSTALLED).split())
        cluster = Cluster(nodes, Site(nodes.inventory, work))
        first = _run(cluster, phases, "first run, one control plane node and two workers")
        for name, seconds in first.play_seconds():
            phases.figure(f"           {seconds:6.1f} s  {name}")
        packages = sorted(set(nodes.run(nodes.masters[0], INSTALLED).split()) - before)
        second = _run(cluster, phases, "second run")
        nodes.up(masters=1, workers=3)
        third = _run(cluster, phases, "adding one worker")
    times = {"first run": first.seconds, "second run": second.seconds, "adding one worker": third.seconds}
    return times, packages


def measure_by_hand(phases: Phases, packages: list[str]) -> None:
    """Times of the same by hand."""
    with fresh_set("bench") as nodes:
        by_hand = ByHand(nodes, packages, phases)
        with phases.phase("all by hand: first run"):
            by_hand.build()
        nodes.up(masters=1, workers=3)
        with phases.phase("all by hand: adding one worker"):
            by_hand.add(nodes.workers[2])


def comparison(collection: dict[str, float], by_hand: dict[str, float]) -> list[str]:
    """Table of both with the ratio."""
    rows = [("", "site.yml", "by hand", "ratio")]
    for name, seconds in collection.items():
        bare = by_hand.get(f"all by hand: {name}")
        rows.append(
            (name, f"{seconds:.1f} s", f"{bare:.1f} s" if bare else "-", f"{seconds / bare:.2f}" if bare else "-")
        )
    return [f"{row[0]:<20}{row[1]:>12}{row[2]:>12}{row[3]:>8}" for row in rows]


@contextmanager
def fresh_set(name: str) -> Iterator[LabSet]:
    """One control plane node and two workers that nothing has touched yet."""
    nodes = LabSet(name)
    nodes.down()
    try:
        nodes.up(masters=1, workers=2)
        yield nodes
    finally:
        nodes.down()


def _run(cluster: Cluster, phases: Phases, name: str) -> Run:
    with phases.phase(f"site.yml: {name}"):
        run = cluster.site.run().require_success()
    phases.figure(f"           {run.count():4d} host-task evaluations")
    return run


def _summed(phases: Phases) -> Iterator[tuple[str, float]]:
    return ((name, seconds) for name, seconds in phases.durations if name.startswith("all by hand: "))


def _say_at_once(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
