# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A join of a further control plane node, killed in any of its phases, converges when site.yml is run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.interruption import CONTROL_PLANE_JOIN_MOMENTS, Moment, Victim, interrupt
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import KUBEADM_NODE, REMOVE_NODE, Site

# Minutes for each moment.
pytestmark = pytest.mark.long

#: kubeadm that goes on alone would join after all; one moment of each half of its phases is enough for that.
GOING_ON = {"shared keys are downloaded", "etcd's new member is announced"}
POWER = {"kubelet's configuration exists", "etcd runs as a learner", "etcd's new member votes"}


def _series() -> list[object]:
    return [
        pytest.param(moment, victim, id=f"when {moment.name}, {victim.value}")
        for moment in CONTROL_PLANE_JOIN_MOMENTS.values()
        for victim in Victim
        if moment.name in {Victim.NOTHING_ELSE: GOING_ON, Victim.POWER: POWER}.get(victim, {moment.name})
    ]


@pytest.fixture(scope="module")
def converged(phases: Phases) -> Iterator[dict[str, bool]]:
    """Whether each killed join converged, by its name."""
    outcomes: dict[str, bool] = {}
    yield outcomes
    phases.figure(f"{sum(outcomes.values())} of {len(outcomes)} killed joins of a control plane node converged")


@pytest.fixture(scope="module")
def three(open_set: OpenSet, work: Path, phases: Phases) -> Iterator[ControlPlane]:
    """Three control plane nodes alone: workers would only make each of many runs longer."""
    with open_set(LabSet("e2e-ha-join")) as nodes:
        nodes.up(masters=3, workers=0)
        site = Site(nodes.inventory, work / "ha-join")
        with phases.phase("first run of site.yml, three control plane nodes"):
            site.run().require_success()
        yield ControlPlane(Cluster(nodes, site))


@pytest.fixture
def two_of_three(three: ControlPlane, phases: Phases) -> tuple[ControlPlane, str]:
    """A control plane of two nodes, and a machine that shall become the third: it has been it before."""
    nodes = three.nodes
    third = nodes.masters[2]
    with phases.phase(f"remove_node.yml takes {third} out of the cluster and resets its machine"):
        run = three.cluster.site.run("-e", f"node={third}", playbook=REMOVE_NODE)
    run.require_success()
    assert [member.name for member in three.members()] == nodes.masters[:2]
    return three, third


@pytest.mark.parametrize(("moment", "victim"), _series())
def test_a_killed_join_of_a_control_plane_node_converges_when_run_again(
    moment: Moment,
    victim: Victim,
    two_of_three: tuple[ControlPlane, str],
    converged: dict[str, bool],
    phases: Phases,
) -> None:
    control_plane, joining = two_of_three
    site = control_plane.cluster.site
    name = f"when {moment.name}, {victim.value}"
    converged[name] = False
    with phases.phase(f"control plane join: {name}"):
        interrupt(site.start(), control_plane.nodes, joining, moment, victim)
    phases.figure(f"  members of etcd after the kill: {', '.join(map(str, control_plane.members()))}")

    with phases.phase("site.yml after the kill"):
        run = site.run().require_success()

    assert set(run.changed_by(KUBEADM_NODE)) <= {joining}
    control_plane.require_whole()
    assert [member.name for member in control_plane.members()] == control_plane.nodes.masters
    assert not control_plane.cluster.join_secrets()
    names = [node["metadata"]["name"] for node in control_plane.cluster.items("nodes")]
    assert sorted(names) == sorted(control_plane.nodes.names)
    converged[name] = True


def test_a_run_after_all_of_them_changes_nothing(three: ControlPlane, phases: Phases) -> None:
    with phases.phase("one more run"):
        three.cluster.site.run().require_unchanged()
