# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a power cut of all five nodes at once the highly available cluster is healthy again by itself."""

from __future__ import annotations

import pytest

from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.phases import Phases
from tests.e2e.support.workload import Web

# Five machines start at once on the two processors of one.
pytestmark = pytest.mark.long

RECOVERY_SECONDS = 300


def test_the_cluster_is_whole_again_by_itself_after_a_power_cut_of_all_nodes(
    ha_control_plane: ControlPlane, phases: Phases
) -> None:
    web = Web(ha_control_plane.cluster)
    web.apply()
    nodes = ha_control_plane.nodes
    with phases.phase("power cut of five nodes at once, until they answer again"):
        nodes.kill(nodes.names)
        nodes.start(nodes.names)

    with phases.phase("the highly available cluster recovers from the power cut"):
        ha_control_plane.wait_whole(seconds=RECOVERY_SECONDS)
        web.wait_ready()

    for node in nodes.names:
        assert web.ask_from_outside(node) in web.names
