# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the preflight of many hosts beside Ansible's own facts of them: `python -m tests.bench.fleet`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.bench import Case, machine
from tests.e2e.support.site import PREFLIGHT, Site

FACTS = str(Path(__file__).resolve().parent / "playbooks/facts.yml")
ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=10, help="how many, three of them of the control plane")
    hosts = parser.parse_args(arguments).hosts
    print(f"making {hosts} nodes", flush=True)
    with Case(f"{hosts} hosts", 3, hosts - 3).fresh_nodes() as nodes:
        print(machine(), flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            preflight, facts = measure(Site(nodes.inventory, Path(folder)))
    print(
        f"{hosts} hosts, median of {ROUNDS} runs each: preflight {preflight:.1f} s, all facts {facts:.1f} s, "
        f"ratio {preflight / facts:.2f}"
    )
    return 0


def measure(site: Site) -> tuple[float, float]:
    """Seconds of the preflight and of gathering facts, in turn, so that both meet the same machine."""
    times: dict[str, list[float]] = {PREFLIGHT: [], FACTS: []}
    for number in range(1, ROUNDS + 1):
        for playbook, seconds in times.items():
            run = site.run(playbook=playbook).require_success()
            seconds.append(run.seconds)
            print(f"  {run.seconds:5.1f} s  {Path(playbook).stem}, run {number}", flush=True)
    return statistics.median(times[PREFLIGHT]), statistics.median(times[FACTS])


if __name__ == "__main__":
    sys.exit(main())
