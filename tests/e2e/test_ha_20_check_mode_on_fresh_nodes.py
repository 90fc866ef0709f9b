# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on fresh nodes predicts the way to a cluster of several control plane nodes and changes nothing."""

from __future__ import annotations

import pytest

from tests.e2e.support import fingerprint
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import KUBEADM_NODE, Run, Site


@pytest.fixture(scope="module")
def looks(fresh_ha_nodes: LabSet, ha_site: Site, phases: Phases) -> tuple[Run, str]:
    """The run in check mode, and what differs on the hosts after it."""
    before = fingerprint.take(fresh_ha_nodes)
    with phases.phase("check mode on fresh nodes, three control plane nodes and two workers"):
        run = ha_site.run("--check", "--diff")
    return run, fingerprint.differences(before, fingerprint.take(fresh_ha_nodes))


def test_check_mode_runs_through_on_fresh_nodes(looks: tuple[Run, str]) -> None:
    run, _differences = looks
    run.require_success()


def test_check_mode_predicts_one_init_and_four_joins(looks: tuple[Run, str], fresh_ha_nodes: LabSet) -> None:
    run, _differences = looks
    assert run.changed_by(KUBEADM_NODE) == sorted(fresh_ha_nodes.names), run.tail()
    assert run.message.count("+an initialised control plane") == 1, run.tail()
    assert run.message.count("+a node of the cluster") == 4, run.tail()


def test_check_mode_changes_nothing_on_fresh_nodes(looks: tuple[Run, str]) -> None:
    _run, differences = looks
    assert not differences
