# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The built and installed collection makes a cluster on Debian bookworm with containerd 2 in few tasks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import PROGRAMS, Controller, Run, Site
from tests.lab.settings import REPOSITORY_ROOT

EVALUATIONS_BUDGET = 120


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A folder of an operator who has nothing but the installed collection: no checkout, no ansible.cfg."""
    folder = tmp_path_factory.mktemp("installed")
    _galaxy("build", "--output-path", str(folder), str(REPOSITORY_ROOT))
    (archive,) = folder.glob("groundplane-kubeadm-*.tar.gz")
    collections = folder / "collections"
    _galaxy("install", "--force", "--offline", "--collections-path", str(collections), str(archive))
    return Controller(folder, "groundplane.kubeadm.site", {"ANSIBLE_COLLECTIONS_PATH": str(collections)})


@pytest.fixture(scope="module")
def nodes(open_set: OpenSet) -> Iterator[LabSet]:
    """One control plane node and one worker with Debian bookworm."""
    with open_set(LabSet("e2e-bookworm", "bookworm", "2.x")) as nodes:
        nodes.up(masters=1, workers=1)
        yield nodes


@pytest.fixture(scope="module")
def first_run_of_two(nodes: LabSet, installed: Controller, work: Path, phases: Phases) -> tuple[Cluster, Run]:
    """The run that builds the cluster of two nodes."""
    site = Site(nodes.inventory, work / "bookworm", installed)
    with phases.phase("first run of the installed collection, one control plane node and one worker"):
        run = site.run()
    return Cluster(nodes, site), run


def test_the_installed_collection_builds_a_healthy_cluster(first_run_of_two: tuple[Cluster, Run]) -> None:
    cluster, run = first_run_of_two
    run.require_success()
    cluster.require_healthy()


def test_the_nodes_run_bookworm_and_containerd_2(first_run_of_two: tuple[Cluster, Run]) -> None:
    cluster, _run = first_run_of_two
    for node in cluster.items("nodes"):
        about = node["status"]["nodeInfo"]
        assert "bookworm" in about["osImage"]
        assert about["containerRuntimeVersion"].startswith("containerd://2.")


def test_the_first_run_stays_within_the_budget_of_evaluations(
    first_run_of_two: tuple[Cluster, Run], phases: Phases
) -> None:
    _cluster, run = first_run_of_two
    run.require_success()
    phases.figure(
        f"{run.count()} of {EVALUATIONS_BUDGET} host-task evaluations for one control plane node and one worker"
    )
    for host, recap in run.recap.items():
        phases.figure(f"  {run.count([host]):4d}  {host} {recap}")

    assert run.count() <= EVALUATIONS_BUDGET


def test_its_second_run_changes_nothing(first_run_of_two: tuple[Cluster, Run]) -> None:
    cluster, _run = first_run_of_two
    cluster.site.run().require_unchanged()


def _galaxy(*arguments: str) -> None:
    result = subprocess.run(
        [str(PROGRAMS / "ansible-galaxy"), "collection", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
