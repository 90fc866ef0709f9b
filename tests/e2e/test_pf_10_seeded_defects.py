# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every defect that is put on a host is found and named, a run stops before any change, and clean hosts are clean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support import fingerprint
from tests.e2e.support.defects import BATCHES, TOGETHER, Defect, Finding, SeededHosts, read_report
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import PREFLIGHT, Run, Site

# The machine under the lab keeps no time, and its nodes cannot help it: a defect that nobody had to seed.
OF_THE_MACHINE = {"clock-unsynchronised"}
FEWEST_CHECKS = 35


@dataclass(frozen=True)
class Inspection:
    """What runs on hosts with defects came to.

    :arg batches: the defects that were there together, what preflight found of them, and how it ended.
    :arg site: the run of site.yml on the first batch.
    :arg changes: what that run changed on the hosts.
    """

    names: dict[str, str]
    batches: list[tuple[tuple[Defect, ...], list[Finding], Run]]
    site: Run
    changes: str


@pytest.fixture(scope="module")
def pf_nodes(open_set: OpenSet, phases: Phases) -> Iterator[LabSet]:
    """A control plane node and two workers, trixie."""
    with open_set(LabSet("e2e-preflight", "trixie", "1.7")) as nodes:
        with phases.phase("making one control plane node and two workers for defects"):
            nodes.up(masters=1, workers=2)
        yield nodes


@pytest.fixture(scope="module")
def pf_old_nodes(open_set: OpenSet) -> Iterator[LabSet]:
    """A control plane node, bookworm."""
    with open_set(LabSet("e2e-preflight-old", "bookworm", "1.7")) as nodes:
        nodes.up(masters=1)
        yield nodes


@pytest.fixture(scope="module")
def inspection(pf_nodes: LabSet, work: Path, phases: Phases) -> Inspection:
    """Seed each batch, look, and take it away."""
    hosts = SeededHosts(pf_nodes)
    site = Site(pf_nodes.inventory, work / "preflight")
    batches = []
    for number, defects in enumerate(BATCHES):
        try:
            hosts.seed(defects)
            with phases.phase(f"preflight of {len(pf_nodes.names)} hosts with {len(defects)} defects"):
                run, findings = _look(site, work / f"seeded-{number}.json")
            batches.append((defects, findings, run))
            if defects is TOGETHER:
                before = fingerprint.take(pf_nodes)
                with phases.phase("site.yml on hosts with defects"):
                    stopped = site.run()
                changes = fingerprint.differences(before, fingerprint.take(pf_nodes))
        finally:
            hosts.undo(defects)
    return Inspection(hosts.names, batches, stopped, changes)


def _look(site: Site, report: Path) -> tuple[Run, list[Finding]]:
    """Preflight alone, and what it found."""
    run = site.run(playbook=PREFLIGHT, variables={"cluster_preflight_report_path": str(report)})
    assert report.exists(), run.tail()
    return run, read_report(report)


def test_every_seeded_defect_is_found_with_a_remedy(inspection: Inspection, phases: Phases) -> None:
    missed = []
    phases.figure(f"{'check':24} {'severity':9} {'seeded on':14} found")
    for defects, findings, run in inspection.batches:
        assert run.returncode != 0, run.tail()
        for defect in {(defect.id, defect.where): defect for defect in defects}.values():
            host = inspection.names[defect.where]
            found = [finding for finding in findings if (finding.id, finding.host) == (defect.id, host)]
            good = any(finding.severity == defect.severity and finding.remedy for finding in found)
            phases.figure(f"{defect.id:24} {defect.severity:9} {defect.where:14} {'yes' if good else 'NO'}")
            if not good:
                missed.append((defect.id, host, found))
    seeded = {defect.id for defects, _findings, _run in inspection.batches for defect in defects}
    phases.figure(f"{len(seeded)} kinds of defects seeded, {len(missed)} missed")
    assert not missed
    assert len(seeded) >= FEWEST_CHECKS


def test_site_stops_before_any_change(inspection: Inspection) -> None:
    run = inspection.site
    assert run.returncode != 0, run.tail()
    assert "Nothing was changed." in run.message, run.tail()
    assert not run.changes()
    assert not inspection.changes


def test_hosts_are_clean_after_the_defects_are_gone(
    inspection: Inspection, pf_nodes: LabSet, work: Path, phases: Phases
) -> None:
    _require_clean(Site(pf_nodes.inventory, work / "preflight-clean"), work / "clean.json", phases)


def test_fresh_hosts_of_the_older_release_are_clean(pf_old_nodes: LabSet, work: Path, phases: Phases) -> None:
    _require_clean(Site(pf_old_nodes.inventory, work / "preflight-old"), work / "clean-old.json", phases)


def _require_clean(site: Site, report: Path, phases: Phases) -> None:
    """No error and no warning that is not the machine's own."""
    with phases.phase(f"preflight of clean hosts, {site.inventory.name}"):
        run, findings = _look(site, report)
    run.require_success()
    assert [finding for finding in findings if finding.id not in OF_THE_MACHINE] == []
