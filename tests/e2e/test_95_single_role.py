# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A single role works in a repository that knows nothing of our groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.conftest import OpenSet
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Site, checkout

PLAYBOOK = [
    {
        "name": "Container runtime of the build machines",
        "hosts": "builders",
        "become": True,
        "roles": [{"role": "groundplane.kubeadm.containerd"}],
    }
]


@pytest.fixture(scope="module")
def builder(open_set: OpenSet) -> Iterator[LabSet]:
    """One fresh machine."""
    with open_set(LabSet("e2e-foreign")) as nodes:
        nodes.up(masters=1, workers=0)
        yield nodes


@pytest.fixture(scope="module")
def foreign(builder: LabSet, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Somebody else's playbook and inventory."""
    folder = tmp_path_factory.mktemp("foreign")
    playbook = folder / "builders.yml"
    playbook.write_text(yaml.safe_dump(PLAYBOOK))
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"builders": _hosts(builder)}))
    return Site(inventory, folder / "runs", checkout(str(playbook)))


def test_the_role_containerd_works_alone(foreign: Site, builder: LabSet, phases: Phases) -> None:
    with phases.phase("role containerd in a foreign playbook"):
        foreign.run().require_success()

    (machine,) = builder.names
    assert builder.run(machine, "systemctl is-active containerd; systemctl is-enabled containerd").split() == [
        "active",
        "enabled",
    ]
    assert "SystemdCgroup = true" in builder.run(machine, "containerd config dump")


def test_the_role_alone_changes_nothing_the_second_time(foreign: Site) -> None:
    foreign.run().require_unchanged()


def _hosts(builder: LabSet) -> dict[str, object]:
    """The machine under a name of the foreign repository, with what it takes to reach it and nothing of ours."""
    lab = yaml.safe_load((builder.inventory / "hosts.yml").read_text())["k8s_cluster"]
    (connection,) = lab["children"]["control_plane"]["hosts"].values()
    return {"hosts": {"builder": connection}, "vars": {**lab["vars"], "containerd_restrict_oom_score_adj": True}}
