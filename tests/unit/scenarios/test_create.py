# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that is there once the nodes of a scenario are made, by Ansible itself with programs that make none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.conftest import FIXTURES, ROOT
from tests.unit.scenarios.test_scenarios import effective

OWN = "---\ncluster_name: shop\ncluster_extra_sans: ['{{ cluster_name }}.example.org']\n"

FAKE_VAGRANT = """\
#!/bin/sh
echo "$* in $PWD, remembered in $VAGRANT_DOTFILE_PATH" >> "$CALLS"
[ "$1" = ssh-config ] && cat "$SSH_CONFIG"
exit 0
"""

FAKE_LAB = """\
import os, pathlib, sys
pathlib.Path(os.environ["CALLS"]).write_text(" ".join(sys.argv[1:]))
print("Ready: nodes")
print("Inventory:", os.environ["LAB_INVENTORY"])
"""


def create(scenario: str, folder: Path, **environment: str) -> Path:
    """Run the playbook that makes the nodes of a scenario, and return the inventory."""
    configuration = effective(scenario)
    playbook = ROOT / "molecule" / scenario / configuration["ansible"]["playbooks"]["create"]
    state = folder / "state"
    state.mkdir()
    variables = {"molecule_yml": {**configuration, "scenario": {"name": scenario}}}
    (folder / "molecule.json").write_text(json.dumps(variables))
    run = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", f"--extra-vars=@{folder / 'molecule.json'}", playbook],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "LC_ALL": "C.UTF-8",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(state),
            "MOLECULE_SCENARIO_DIRECTORY": str(ROOT / "molecule" / scenario),
            "CALLS": str(folder / "calls"),
            **environment,
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return state / "nodes"


def fake_lab(folder: Path) -> dict[str, str]:
    """Write what stands for the lab, and return the environment in which it is called."""
    lab = folder / "project/tests/lab/__main__.py"
    lab.parent.mkdir(parents=True)
    lab.write_text(FAKE_LAB)
    written = folder / "inventory"
    (written / "group_vars/k8s_cluster").mkdir(parents=True)
    for name in ("hosts.yml", "group_vars/k8s_cluster/lab.yml", "group_vars/k8s_cluster/source.yml"):
        (written / name).write_text(f"name: {name}\n")
    return {
        "MOLECULE_PROJECT_DIRECTORY": str(folder / "project"),
        "LAB_INVENTORY": str(written),
        "GROUNDPLANE_VARIABLES": "",
    }


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("provider", "reached"),
    [
        ("libvirt", [("192.168.121.45", 22), ("192.168.121.203", 22)]),
        ("virtualbox", [("127.0.0.1", 2222), ("127.0.0.1", 2200)]),
    ],
)
def test_machines_of_vagrant_are_reached_as_vagrant_reaches_them(
    tmp_path: Path, provider: str, reached: list[tuple[str, int]]
) -> None:
    program = tmp_path / "bin/vagrant"
    program.parent.mkdir()
    program.write_text(FAKE_VAGRANT)
    program.chmod(0o755)
    own = tmp_path / "own.yml"
    own.write_text(OWN)
    nodes = create(
        "vagrant",
        tmp_path,
        PATH=f"{program.parent}:{os.environ['PATH']}",
        SSH_CONFIG=str(FIXTURES / f"vagrant/ssh_config_{provider}.txt"),
        GROUNDPLANE_VARIABLES=str(own),
    )

    groups = load(nodes / "hosts.yml")["k8s_cluster"]["children"]
    master = groups["control_plane"]["hosts"]["molecule-vagrant-master-1"]
    worker = groups["workers"]["hosts"]["molecule-vagrant-worker-1"]
    assert [(host["ansible_host"], host["ansible_port"]) for host in (master, worker)] == reached
    assert {host["ansible_user"] for host in (master, worker)} == {"vagrant"}
    assert worker["ansible_ssh_private_key_file"].endswith(f"/molecule-vagrant-worker-1/{provider}/private_key")
    assert load(nodes / "group_vars/k8s_cluster/scenario.yml") == {"cluster_node_cidr": "192.168.56.0/24"}
    assert (nodes / "group_vars/k8s_cluster/yours.yml").read_text().strip() == OWN.strip()
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{call} in {ROOT / 'molecule/vagrant'}, remembered in {nodes.parent / '.vagrant'}"
        for call in ("up", "ssh-config")
    ]


def test_nodes_of_the_lab_have_its_inventory_and_what_the_scenario_sets(tmp_path: Path) -> None:
    nodes = create("canal", tmp_path, **fake_lab(tmp_path))

    assert (tmp_path / "calls").read_text() == "up --name=molecule-canal --masters=1 --workers=1 --with=canal"
    assert load(nodes / "hosts.yml") == {"name": "hosts.yml"}
    variables = sorted((nodes / "group_vars/k8s_cluster").iterdir())
    assert [load(path) for path in variables] == [
        {"name": "group_vars/k8s_cluster/lab.yml"},
        {"cluster_cni": "canal"},
        {"name": "group_vars/k8s_cluster/source.yml"},
        {},
    ]


@pytest.mark.parametrize(
    ("scenario", "own", "options"),
    [
        pytest.param("cluster", "cluster_cni: canal\nmetallb_enabled: true\n", ["canal", "metallb"], id="both"),
        pytest.param("canal", f"{OWN}cluster_cni: flannel\nmetallb_enabled: false\n", [], id="neither"),
    ],
)
def test_the_lab_is_asked_for_the_add_ons_that_are_set(
    tmp_path: Path, scenario: str, own: str, options: list[str]
) -> None:
    variables = tmp_path / "own.yml"
    variables.write_text(own)
    create(scenario, tmp_path, **{**fake_lab(tmp_path), "GROUNDPLANE_VARIABLES": str(variables)})
    _up, *asked = (tmp_path / "calls").read_text().split(" --with=")
    assert asked == options


def test_vagrant_is_asked_for_the_platforms_of_the_scenario() -> None:
    ruby = shutil.which("ruby")
    if not ruby:
        pytest.skip("Vagrantfiles are Ruby, which is not installed")
    command = [ruby, str(FIXTURES / "vagrant/record.rb"), str(ROOT / "molecule/vagrant/Vagrantfile")]
    environment = {key: value for key, value in os.environ.items() if key != "MOLECULE_FILE"}
    asked = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    assert asked["synced_folder"] == [".", "/vagrant", {"disabled": True}]
    assert asked["machines"] == {
        platform["name"]: {
            "hostname": platform["name"],
            "box": platform["box"],
            "networks": [["private_network", {"ip": platform["interfaces"][0]["ip"]}]],
            "providers": dict.fromkeys(
                ("libvirt", "virtualbox"), {"cpus": platform["cpus"], "memory": platform["memory"]}
            ),
        }
        for platform in effective("vagrant")["platforms"]
    }
