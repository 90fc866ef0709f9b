# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""With two of three control plane nodes down nothing is written: every playbook stops and says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.support import fingerprint
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.fingerprint import Fingerprint
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import REMOVE_NODE, RESET

# Each of three playbooks is patient with an API server that may be starting: 90 s.
pytestmark = pytest.mark.long

FINDING = "quorum-lost"


@dataclass(frozen=True)
class Loss:
    """A control plane of which one node is left."""

    control_plane: ControlPlane
    dead: list[str]
    alive: str
    before: Fingerprint

    def changes(self) -> str:
        """What differs on the living nodes since the loss."""
        after = fingerprint.take_running(self.control_plane.nodes, self.before)
        return fingerprint.differences(self.before, after)


@pytest.fixture(scope="module")
def loss(ha_control_plane: ControlPlane) -> Iterator[Loss]:
    """The first and the third control plane node are down, so that the inventory's first is of no help."""
    nodes = ha_control_plane.nodes
    first, second, third = nodes.masters
    ha_control_plane.wait_whole()
    nodes.kill([first, third])
    yield Loss(ha_control_plane, [first, third], second, fingerprint.take_running(nodes, [second, *nodes.workers]))
    nodes.start([first, third])
    ha_control_plane.wait_whole()


def test_site_stops_and_says_what_to_do(loss: Loss, phases: Phases) -> None:
    with phases.phase("site.yml without quorum"):
        run = loss.control_plane.cluster.site.run()

    run.require_refusal(FINDING, *loss.dead, "To do:")
    assert not loss.changes()


def test_remove_node_stops_and_says_what_to_do(loss: Loss, phases: Phases) -> None:
    with phases.phase("remove_node.yml without quorum"):
        run = loss.control_plane.cluster.site.run("-e", f"node={loss.dead[0]}", playbook=REMOVE_NODE)

    run.require_refusal(FINDING, *loss.dead, "To do:")
    assert not loss.changes()


def test_reset_of_a_worker_stops_and_says_what_to_do(loss: Loss, phases: Phases) -> None:
    worker = loss.control_plane.nodes.workers[0]
    with phases.phase("reset.yml of a worker without quorum"):
        run = loss.control_plane.cluster.site.run(f"--limit={worker}", "-e", "reset_confirmed=true", playbook=RESET)

    run.require_refusal(FINDING, *loss.dead, "To do:")
    assert not loss.changes()


def test_site_works_again_as_soon_as_two_control_plane_nodes_are_up(loss: Loss, phases: Phases) -> None:
    nodes = loss.control_plane.nodes
    back, still_down = loss.dead
    nodes.start([back])
    with phases.phase("site.yml when the quorum is back and one control plane node is still down"):
        run = loss.control_plane.cluster.site.run()

    run.require_success_without_silent_hosts()
    assert not run.changes()
    ready = loss.control_plane.through(loss.alive).cluster.ready_nodes()
    # What the cluster believes of the node that is still down was written before nobody could write any more.
    assert set(nodes.names) - {still_down} <= set(ready)
