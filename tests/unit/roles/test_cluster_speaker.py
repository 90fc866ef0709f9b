# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host speaks for the cluster, and where the endpoint leads, as Ansible evaluates role cluster's variables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.playing import link_collection, play_in

ROOT = Path(__file__).resolve().parents[3]
RENDERED = (
    "__cluster_speaker",
    "__cluster_endpoint_address",
    "__cluster_api_server",
    "__cluster_control_plane_addresses",
    "__cluster_active_nodes",
)


def host(
    number: int, *, ready: bool = False, joined: bool = True, installed: bool = False, unfinished: bool = False
) -> dict[str, Any]:
    """Variables of a host whose control plane has been read."""
    node = {"name": f"m{number}", "addresses": [f"192.0.2.{number}", f"m{number}"], "control_plane": True}
    return {
        "__cluster_node": {"address": f"192.0.2.{number}"},
        "__cluster_preflight": {"facts": {"hostname": f"M{number}"}},
        "node_name": f"m{number}",
        "__cluster_control_plane": {
            "installed": installed or ready,
            "ready": ready,
            "joined": ready and joined,
            "init_unfinished": unfinished,
            "nodes": [node] if ready else [],
        },
    }


DOWN: dict[str, Any] = {"node_name": "", "__cluster_control_plane": {"unreachable": True}}

#: Hosts of the control plane in the order of the inventory, and the number of the host that speaks.
CASES: dict[str, tuple[list[dict[str, Any]], int]] = {
    "fresh": ([host(1), host(2), host(3)], 1),
    "running": ([host(1, ready=True), host(2, ready=True)], 1),
    "first_replaced": ([host(1), host(2, ready=True), host(3, ready=True)], 2),
    "first_down": ([DOWN, host(2, ready=True), host(3, ready=True)], 2),
    "first_silent": ([host(1, installed=True), host(2, ready=True)], 2),
    "first_half_joined": ([host(1, ready=True, joined=False), host(2, ready=True)], 2),
    "half_joined_alone": ([host(1, ready=True, joined=False)], 1),
    "unfinished_second": ([host(1), host(2, installed=True, unfinished=True)], 2),
    "ready_before_unfinished": ([host(1, ready=True, unfinished=True), host(2, ready=True)], 2),
    "nobody_ready": ([host(1), host(2, installed=True)], 2),
    "departing": ([host(1, ready=True), host(2, ready=True)], 2),
    "virtual": ([host(1, ready=True)], 1),
    "external": ([host(1)], 1),
    "external_by_dns": ([host(1)], 1),
    # What a persistent cache of facts says of the host is out of date.
    "renamed": ([{**host(1), "node_name": "former"}], 1),
}
VARIABLES: dict[str, dict[str, Any]] = {
    "departing": {"__cluster_departing_host": "departing-1"},
    "virtual": {"cluster_vip": "192.0.2.100"},
    "external": {"cluster_endpoint_address": "2001:db8::5", "cluster_endpoint_port": 443},
    "external_by_dns": {"cluster_load_balancer": "external", "cluster_endpoint": "api.example.org"},
}


def inventory() -> dict[str, Any]:
    defaults = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))
    groups = {
        name: {
            "hosts": {f"{name}-{number}": variables for number, variables in enumerate(hosts, 1)},
            "vars": {"cluster_control_plane_group": name, **VARIABLES.get(name, {})},
        }
        for name, (hosts, _speaker) in CASES.items()
    }
    python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {"all": {"children": groups, "vars": {**defaults, **python}}}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Values as the first host of each case sees them."""
    folder = tmp_path_factory.mktemp("speaker")
    link_collection(folder)
    values = ", ".join(f"'{name}': {name}" for name in RENDERED)
    seen = "groups['all'] | map('extract', hostvars, 'seen')"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/cluster/vars/main.yml")],
        "tasks": [
            {"name": "Gather", "ansible.builtin.set_fact": {"nodename": "{{ node_name }}", "cacheable": True}},
            {"name": "Evaluate", "ansible.builtin.set_fact": {"seen": "{{ {" + values + "} }}"}},
            {
                "name": "Hand over",
                "run_once": True,
                "ansible.builtin.copy": {
                    "content": "{{ dict(groups['all'] | zip(" + seen + ")) }}",
                    "dest": str(folder / "rendered.json"),
                    "mode": "0600",
                },
            },
        ],
    }
    run = play_in(folder, inventory(), [play])
    assert run.returncode == 0, run.stdout + run.stderr
    hosts = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return {name: hosts[f"{name}-1"] for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_speaker(rendered: dict[str, dict[str, Any]], case: str) -> None:
    assert rendered[case]["__cluster_speaker"] == f"{case}-{CASES[case][1]}"


def test_the_endpoint_of_a_single_control_plane_node_is_the_node(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["fresh"]["__cluster_endpoint_address"] == "192.0.2.1"
    assert rendered["fresh"]["__cluster_api_server"] == "https://192.0.2.1:6443"


def test_the_endpoint_leads_to_the_virtual_address(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["virtual"]["__cluster_endpoint_address"] == "192.0.2.100"
    assert rendered["virtual"]["__cluster_api_server"] == "https://192.0.2.100:6443"


def test_the_endpoint_leads_to_an_external_load_balancer(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["external"]["__cluster_endpoint_address"] == "2001:db8::5"
    assert rendered["external"]["__cluster_api_server"] == "https://[2001:db8::5]:443"


def test_dns_decides_where_an_external_endpoint_leads(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["external_by_dns"]["__cluster_endpoint_address"] == ""
    assert rendered["external_by_dns"]["__cluster_api_server"] == "https://api.example.org:6443"


def test_addresses_of_the_control_plane(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["fresh"]["__cluster_control_plane_addresses"] == {
        "m1": "192.0.2.1",
        "m2": "192.0.2.2",
        "m3": "192.0.2.3",
    }
    assert rendered["departing"]["__cluster_control_plane_addresses"] == {"m2": "192.0.2.2"}


def test_names_of_nodes_are_those_that_the_hosts_have_now(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["renamed"]["__cluster_active_nodes"] == ["m1"]
    assert rendered["renamed"]["__cluster_control_plane_addresses"] == {"m1": "192.0.2.1"}
