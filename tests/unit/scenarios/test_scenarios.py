# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenarios of Molecule differ in their nodes and in what is set for them, and in nothing that they do."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from molecule.util import merge_dicts

from tests.lab.nodes import check_set_name
from tests.unit.conftest import ROOT

FOLDER = ROOT / "molecule"
SCENARIOS = sorted(path.parent.name for path in FOLDER.glob("*/molecule.yml"))
WITH_A_CLUSTER = sorted(set(SCENARIOS) - {"default"})
BY_LAB = sorted(set(SCENARIOS) - {"vagrant"})

#: Who makes the nodes and removes them; everything else is what happens on them.
MAKERS = {"create", "destroy"}


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def effective(scenario: str) -> dict[str, Any]:
    """Configuration as Molecule merges it, before it puts in variables of the environment."""
    return merge_dicts(load(ROOT / ".config/molecule/config.yml"), load(FOLDER / scenario / "molecule.yml"))


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in {*one, *other} if one.get(key) != other.get(key)}


def test_the_scenarios_are_there() -> None:
    assert SCENARIOS == ["canal", "cluster", "default", "ha", "vagrant"]


def test_vagrant_does_what_cluster_does_once_the_machines_are_there() -> None:
    cluster, vagrant = effective("cluster"), effective("vagrant")
    assert differing(cluster, vagrant) == {"ansible", "platforms", "provisioner"}
    assert differing(cluster["ansible"], vagrant["ansible"]) == {"playbooks"}
    assert differing(cluster["ansible"]["playbooks"], vagrant["ansible"]["playbooks"]) == MAKERS
    assert cluster["scenario"]["test_sequence"].index("create") < cluster["scenario"]["test_sequence"].index("converge")


def test_canal_differs_in_the_network_alone() -> None:
    assert differing(effective("cluster"), effective("canal")) == {"provisioner"}
    group_variables = effective("canal")["provisioner"]["inventory"]["group_vars"]
    assert group_variables == {"k8s_cluster": {"cluster_cni": "canal"}}


def test_ha_differs_in_its_nodes_and_leaves_out_steps_alone() -> None:
    cluster, several = effective("cluster"), effective("ha")
    assert differing(cluster, several) == {"platforms", "scenario"}
    left = iter(cluster["scenario"]["test_sequence"])
    assert all(step in left for step in several["scenario"]["test_sequence"])


def test_default_differs_in_the_roles_and_looks_at_the_nodes_alone() -> None:
    cluster, alone = effective("cluster"), effective("default")
    assert differing(cluster, alone) == {"ansible", "verifier"}
    assert differing(cluster["ansible"]["playbooks"], alone["ansible"]["playbooks"]) == {"converge"}
    assert differing(cluster["verifier"], alone["verifier"]) == {"directory"}
    shared = (FOLDER / "cluster" / cluster["verifier"]["directory"]).resolve()
    assert (FOLDER / "default" / alone["verifier"]["directory"]).resolve().parent == shared


@pytest.mark.parametrize("scenario", WITH_A_CLUSTER)
def test_every_cluster_is_built_by_the_one_playbook_of_users(scenario: str) -> None:
    playbook = (FOLDER / scenario / effective(scenario)["ansible"]["playbooks"]["converge"]).resolve()
    (play,) = yaml.safe_load(playbook.read_text(encoding="utf-8"))
    imported = playbook.parent / play["ansible.builtin.import_playbook"]
    assert imported.resolve() == ROOT / "playbooks/site.yml"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_reports_whether_a_second_run_changes_anything(scenario: str) -> None:
    steps = effective(scenario)["scenario"]["test_sequence"]
    assert steps.index("converge") + 1 == steps.index("idempotence") < steps.index("verify") < len(steps) - 1
    assert (steps[0], steps[-1]) == ("destroy", "destroy")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_playbook_is_there(scenario: str) -> None:
    playbooks = effective(scenario)["ansible"]["playbooks"]
    assert set(playbooks) == {*MAKERS, "converge"}
    assert [path for path in playbooks.values() if not (FOLDER / scenario / path).is_file()] == []


@pytest.mark.parametrize("scenario", BY_LAB)
def test_the_lab_takes_the_names_of_the_scenario(scenario: str) -> None:
    set_name = check_set_name(f"molecule-{scenario}")
    for platform in effective(scenario)["platforms"]:
        name = platform["name"].replace("${MOLECULE_SCENARIO_NAME}", scenario)
        assert name.startswith(f"{set_name}-")


def test_machines_of_vagrant_are_of_both_families_with_an_address_in_the_network_of_the_nodes() -> None:
    configuration = effective("vagrant")
    platforms = configuration["platforms"]
    network = configuration["provisioner"]["inventory"]["group_vars"]["k8s_cluster"]["cluster_node_cidr"]
    addresses = [interface["ip"] for platform in platforms for interface in platform["interfaces"]]
    assert {group for platform in platforms for group in platform["groups"]} == {"control_plane", "workers"}
    assert {platform["box"].partition("/")[2].split("-")[0] for platform in platforms} == {"debian", "ubuntu"}
    assert len(set(addresses)) == len(platforms)
    assert [address for address in addresses if ip_address(address) not in ip_network(network)] == []
