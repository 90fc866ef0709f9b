# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input stops the run with a message that names it, and no host is touched."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.support import fingerprint
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Site
from tests.e2e.support.wrong_inputs import WRONG_INPUTS, WrongInput


class Watch:
    """Tells what a run has changed on the hosts, and makes them anew when it has changed anything."""

    def __init__(self, nodes: LabSet) -> None:
        """Look at the hosts before any run."""
        self._nodes = nodes
        self._before = fingerprint.take(nodes)

    def changes(self) -> str:
        """Differences since the last look; nothing when the hosts are as they were."""
        changes = fingerprint.differences(self._before, fingerprint.take(self._nodes))
        if changes:
            self._nodes.remove(self._nodes.names)
            self._nodes.up(masters=1, workers=2)
            self._before = fingerprint.take(self._nodes)
        return changes


@pytest.fixture(scope="module")
def watch(fresh_nodes: LabSet, phases: Phases) -> Iterator[Watch]:
    """Watch over the fresh nodes."""
    with phases.phase(f"{len(WRONG_INPUTS) + 1} wrong inputs"):
        yield Watch(fresh_nodes)


@pytest.mark.parametrize("case", WRONG_INPUTS, ids=lambda case: case.mistake)
def test_wrong_input_names_its_place_and_changes_no_host(
    case: WrongInput, site: Site, watch: Watch, tmp_path: Path
) -> None:
    inventory = _changed_inventory(case, site.inventory, tmp_path) if case.change else site.inventory

    run = site.run(variables=case.variables, inventory=inventory)

    changes = watch.changes()
    assert run.returncode != 0, f"The run took {case.mistake} for granted:\n{run.tail()}"
    missing = [word for word in case.words if word not in run.message]
    assert not missing, f"The message about {case.mistake} does not say {missing}:\n{run.tail()}"
    assert not run.changes()
    assert not changes


def test_two_hosts_of_one_name_are_named_and_no_host_is_changed(site: Site, fresh_nodes: LabSet, watch: Watch) -> None:
    first, second = fresh_nodes.workers[:2]
    fresh_nodes.run(second, f"hostname {first}")
    try:
        run = site.run()
    finally:
        fresh_nodes.run(second, f"hostname {second}")

    assert run.returncode != 0, run.tail()
    assert first in run.message and second in run.message and "hostname" in run.message.lower(), run.tail()
    assert not watch.changes()


def _changed_inventory(case: WrongInput, original: Path, folder: Path) -> Path:
    """Inventory of the same nodes with the operator's mistake in it."""
    hosts = copy.deepcopy(yaml.safe_load((original / "hosts.yml").read_text()))
    assert case.change
    case.change(hosts)
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "group_vars").symlink_to(original / "group_vars")
    return folder
