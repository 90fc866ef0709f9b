# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second run for several control plane nodes finds nothing to do."""

from __future__ import annotations

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.phases import Phases


def test_the_second_run_changes_nothing(ha_cluster: Cluster, phases: Phases) -> None:
    with phases.phase("second run of site.yml, three control plane nodes and two workers"):
        run = ha_cluster.site.run()

    run.require_unchanged()
    assert set(ha_cluster.nodes.names) <= set(run.recap)
    phases.figure(f"{run.count()} host-task evaluations of the second run")


def test_check_mode_on_the_running_cluster_predicts_no_change(ha_cluster: Cluster, phases: Phases) -> None:
    with phases.phase("check mode on the running cluster, three control plane nodes and two workers"):
        run = ha_cluster.site.run("--check", "--diff")

    run.require_unchanged()
