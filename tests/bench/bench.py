# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures site.yml beside the same cluster made by hand: `python -m tests.bench.bench`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.by_hand import ByHand
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run, Site

SET_NAME = "bench"
INSTALLED = "dpkg-query --show --showformat '${Package}\\n'"


@dataclass(frozen=True)
class Case:
    """A cluster that is measured."""

    title: str
    masters: int
    workers: int

    @contextmanager
    def fresh_nodes(self) -> Iterator[LabSet]:
        """Nodes that nothing has touched yet."""
        nodes = LabSet(SET_NAME)
        nodes.down()
        try:
            nodes.up(masters=self.masters, workers=self.workers)
            yield nodes
        finally:
            nodes.down()

    def add_worker(self, nodes: LabSet) -> str:
        """Make one more node and return its name."""
        nodes.up(masters=self.masters, workers=self.workers + 1)
        return nodes.workers[-1]


CASES = {
    "single": Case("one control plane node, two workers", 1, 2),
    "ha": Case("three control plane nodes, two workers (by hand without a load balancer)", 3, 2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench", description=__doc__)
    parser.add_argument("--case", choices=CASES, help="measure this cluster alone (default: every one)")
    chosen = parser.parse_args(arguments).case
    say = _say_at_once
    say(machine())
    tables = []
    for case in [CASES[chosen]] if chosen else CASES.values():
        say(f"\n{case.title}")
        phases = Phases(say)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            times, packages = measure_collection(case, phases, Path(folder))
        measure_by_hand(case, phases, packages)
        tables.append(comparison(case, times, dict(_summed(phases))))
    for table in tables:
        say("")
        say("\n".join(table))
    return 0


def machine() -> str:
    """What the figures are measured on, and what else it is doing."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    gibibytes = int(memory.split()[1]) / 1024**2
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {gibibytes:.0f} GiB of memory, Linux {os.uname().release}, load before {load:.1f}"


def measure_collection(case: Case, phases: Phases, work: Path) -> tuple[dict[str, float], list[str]]:
    """Times of the runs of site.yml, and the packages that the first one installed on a worker."""
    with case.fresh_nodes() as nodes:
        worker = nodes.workers[0]
        before = set(nodes.run(worker, INSTALLED).split())
        cluster = Cluster(nodes, Site(nodes.inventory, work))
        first = _run(cluster, phases, "first run")
        for name, seconds in first.play_seconds():
            phases.figure(f"           {seconds:6.1f} s  {name}")
        for kind, names in (("worker", nodes.workers), ("control plane node", nodes.masters)):
            if len(names) > 1:
                phases.figure(f"           {first.count([names[-1]]):4d} of them on each further {kind}")
        packages = sorted(set(nodes.run(worker, INSTALLED).split()) - before)
        second = _run(cluster, phases, "second run")
        case.add_worker(nodes)
        third = _run(cluster, phases, "adding one worker")
    times = {"first run": first.seconds, "second run": second.seconds, "adding one worker": third.seconds}
    return times, packages


def measure_by_hand(case: Case, phases: Phases, packages: list[str]) -> None:
    """Times of the same by hand."""
    with case.fresh_nodes() as nodes:
        by_hand = ByHand(nodes, packages, phases)
        with phases.phase("all by hand: first run"):
            by_hand.build()
        worker = case.add_worker(nodes)
        with phases.phase("all by hand: adding one worker"):
            by_hand.add(worker)


def comparison(case: Case, collection: dict[str, float], by_hand: dict[str, float]) -> list[str]:
    """Table of both with the ratio."""
    rows = [("", "site.yml", "by hand", "ratio")]
    for name, seconds in collection.items():
        bare = by_hand.get(f"all by hand: {name}")
        rows.append(
            (name, f"{seconds:.1f} s", f"{bare:.1f} s" if bare else "-", f"{seconds / bare:.2f}" if bare else "-")
        )
    return [case.title, *(f"{row[0]:<20}{row[1]:>12}{row[2]:>12}{row[3]:>8}" for row in rows)]


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
