# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run killed anywhere can be run again and converges to the same cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.interruption import INIT_MOMENTS, JOIN_MOMENTS, Moment, Victim, interrupt
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Site

#: Combinations that `make test` has time for; the others belong to `make test-long`.
QUICK_INIT = {
    ("etcd has its data folder", Victim.KUBEADM),
}
QUICK_JOIN = {
    ("kubelet has its certificate", Victim.NOTHING_ELSE),
}


def _series(moments: dict[str, Moment], quick: set[tuple[str, Victim]]) -> list[object]:
    return [
        pytest.param(
            moment,
            victim,
            id=f"when {moment.name}, {victim.value}",
            marks=() if (moment.name, victim) in quick else pytest.mark.long,
        )
        for moment in moments.values()
        for victim in Victim
    ]


@pytest.fixture(scope="module")
def cluster(open_set: OpenSet, work: Path) -> Iterator[Cluster]:
    """A set whose nodes each test makes as it needs them."""
    with open_set(LabSet("e2e-killed")) as nodes:
        yield Cluster(nodes, Site(nodes.inventory, work / "killed"))


@pytest.mark.parametrize(("moment", "victim"), _series(INIT_MOMENTS, QUICK_INIT))
def test_a_run_killed_during_init_converges_when_run_again(
    moment: Moment, victim: Victim, cluster: Cluster, phases: Phases
) -> None:
    with phases.phase(f"init: when {moment.name}, {victim.value}; two more runs"):
        cluster.nodes.remove(cluster.nodes.names)
        cluster.nodes.up(masters=1, workers=0)
        interrupt(cluster.site.start(), cluster.nodes, cluster.master, moment, victim)

        _run_again(cluster)


@pytest.mark.parametrize(("moment", "victim"), _series(JOIN_MOMENTS, QUICK_JOIN))
def test_a_run_killed_during_a_join_converges_when_run_again(
    moment: Moment, victim: Victim, cluster: Cluster, phases: Phases
) -> None:
    _have_a_control_plane(cluster)
    with phases.phase(f"join: when {moment.name}, {victim.value}; two more runs"):
        cluster.nodes.up(masters=1, workers=len(cluster.nodes.workers) + 1)
        joining = cluster.nodes.workers[-1]
        interrupt(cluster.site.start(), cluster.nodes, joining, moment, victim)

        _run_again(cluster)


def _have_a_control_plane(cluster: Cluster) -> None:
    """Build one unless the tests of init have left theirs; nodes that did not join in an earlier test go."""
    nodes = cluster.nodes
    if not nodes.masters or nodes.attempt(nodes.masters[0], "test -e /etc/kubernetes/admin.conf").returncode != 0:
        nodes.up(masters=1, workers=0)
        cluster.site.run().require_success()


def _run_again(cluster: Cluster) -> None:
    cluster.site.run().require_success()
    cluster.require_healthy()
    assert not cluster.join_secrets()
    assert cluster.kubectl("get nodes --output=name").split() == [
        f"node/{name}" for name in sorted(cluster.nodes.names)
    ]
    cluster.site.run().require_unchanged()
