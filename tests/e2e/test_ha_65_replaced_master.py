# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first control plane node dies for good, is taken out of the cluster and replaced by a machine of its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import KUBEADM_NODE, REMOVE_NODE, Run


@dataclass(frozen=True)
class Death:
    """A cluster whose first control plane node is gone with its disk.

    :arg living: the control plane, looked at through a node that is left.
    """

    living: ControlPlane
    dead: str
    others: list[str]


@pytest.fixture(scope="module")
def death(ha_control_plane: ControlPlane) -> Iterator[Death]:
    """The first control plane node is gone; the inventory does not know that yet."""
    nodes = ha_control_plane.nodes
    first, second, third = nodes.masters
    ha_control_plane.wait_whole()
    nodes.remove([first])
    yield Death(ha_control_plane.through(second), first, [second, third])
    nodes.up(masters=3, workers=2)


@pytest.fixture(scope="module")
def replacement(death: Death, phases: Phases) -> Run:
    """The run that makes a control plane node of a new machine of the old name."""
    death.living.nodes.up(masters=3, workers=2)
    with phases.phase("site.yml makes a control plane node of the new machine"):
        return death.living.cluster.site.run("-vvv")


def test_a_removal_that_would_cost_the_quorum_is_refused(death: Death, phases: Phases) -> None:
    with phases.phase("remove_node.yml for a living control plane node while another is dead"):
        run = death.living.cluster.site.run("-e", f"node={death.others[0]}", playbook=REMOVE_NODE)

    run.require_refusal("quorum", death.others[0], "To do:")
    assert len(death.living.members()) == 3


def test_the_dead_node_is_removed_from_the_cluster(death: Death, phases: Phases) -> None:
    with phases.phase("remove_node.yml for a control plane node that is gone"):
        run = death.living.cluster.site.run("-e", f"node={death.dead}", playbook=REMOVE_NODE)

    run.require_success_without_silent_hosts()
    assert [member.name for member in death.living.members()] == death.others
    assert death.dead not in death.living.cluster.kubectl("get nodes --output=name")


def test_a_second_removal_finds_nothing_to_do(death: Death) -> None:
    run = death.living.cluster.site.run("-e", f"node={death.dead}", playbook=REMOVE_NODE)

    run.require_success_without_silent_hosts()
    assert not run.changes()


def test_the_new_machine_joins_as_a_control_plane_node(death: Death, replacement: Run) -> None:
    replacement.require_success()
    assert replacement.changed_by(KUBEADM_NODE) == [death.dead]
    death.living.require_whole()


def test_nothing_is_left_of_the_dead_node_or_of_the_join(death: Death, replacement: Run) -> None:
    replacement.require_success()
    cluster = death.living.cluster
    names = [node["metadata"]["name"] for node in cluster.items("nodes")]

    assert sorted(names) == sorted(cluster.nodes.names)
    assert [member.name for member in death.living.members()] == cluster.nodes.masters
    assert not cluster.join_secrets()


def test_the_new_machine_alone_can_speak_for_the_cluster(death: Death, replacement: Run, phases: Phases) -> None:
    replacement.require_success()
    with phases.phase("run after the replacement"):
        run = death.living.cluster.site.run()

    run.require_unchanged()
