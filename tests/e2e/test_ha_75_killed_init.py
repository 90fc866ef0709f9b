# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An init killed behind a virtual address converges, with the joins that are still to come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.interruption import INIT_MOMENTS, Moment, Victim, interrupt
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Site

MOMENTS = ("the API server's manifest exists", "kubelet uses a certificate of its own")


@pytest.fixture(scope="module")
def control_plane(open_set: OpenSet, work: Path) -> Iterator[ControlPlane]:
    """A set whose nodes each test makes as it needs them."""
    with open_set(LabSet("e2e-ha-init")) as nodes:
        yield ControlPlane(Cluster(nodes, Site(nodes.inventory, work / "ha-init")))


@pytest.mark.long
@pytest.mark.parametrize("victim", [Victim.KUBEADM, Victim.POWER], ids=lambda victim: victim.value)
@pytest.mark.parametrize("moment", [INIT_MOMENTS[name] for name in MOMENTS], ids=lambda moment: moment.name)
def test_a_run_killed_during_init_converges_to_two_control_plane_nodes(
    moment: Moment, victim: Victim, control_plane: ControlPlane, phases: Phases
) -> None:
    cluster = control_plane.cluster
    with phases.phase(f"init behind a virtual address: when {moment.name}, {victim.value}; two more runs"):
        cluster.nodes.remove(cluster.nodes.names)
        cluster.nodes.up(masters=2, workers=0)
        interrupt(cluster.site.start(), cluster.nodes, cluster.master, moment, victim)

        cluster.site.run().require_success()
        control_plane.require_whole()
        assert not cluster.join_secrets()
        cluster.site.run().require_unchanged()
