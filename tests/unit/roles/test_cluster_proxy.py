# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When site.yml changes kube-proxy of a running cluster, and that nobody pays for it when it does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.playing import link_collection, play_in

ROOT = Path(__file__).resolve().parents[3]
CHANGE = "cluster_proxy_change"
LEAVING = "cluster_leaves_ipvs"
HOST = "{{ inventory_hostname }}"
MODES = "{{ __cluster_proxy_modes | join('+') }}"


def proxy(mode: str, former: str = "", *, strict: bool = False) -> dict[str, Any]:
    """What the check phase has read of kube-proxy."""
    return {"mode": mode, "strict_arp": strict, "former_mode": former}


METALLB = {"metallb_enabled": True}

#: What was found, variables, the groups that the speaker gets, and the modes that a firewall has to think of.
CASES: dict[str, tuple[dict[str, Any] | None, dict[str, Any], list[str], list[str]]] = {
    "as_before": (proxy("iptables"), {}, [], ["iptables"]),
    "no_cluster": (None, {}, [], ["iptables"]),
    "other_mode": (proxy("iptables"), {"cluster_proxy_mode": "nftables"}, [CHANGE], ["nftables", "iptables"]),
    "interrupted": (
        proxy("nftables", "iptables"),
        {"cluster_proxy_mode": "nftables"},
        [CHANGE],
        ["nftables", "iptables"],
    ),
    "restart_missing": (proxy("ipvs", "ipvs"), {"cluster_proxy_mode": "ipvs"}, [CHANGE], ["ipvs"]),
    "from_ipvs": (proxy("ipvs"), {"cluster_proxy_mode": "nftables"}, [CHANGE, LEAVING], ["nftables", "ipvs"]),
    "on_the_way_from_ipvs": (proxy("iptables", "ipvs"), {}, [CHANGE, LEAVING], ["iptables", "ipvs"]),
    "to_ipvs": (proxy("iptables"), {"cluster_proxy_mode": "ipvs"}, [CHANGE], ["ipvs", "iptables"]),
    "ipvs_with_metallb": (proxy("ipvs"), {"cluster_proxy_mode": "ipvs", **METALLB}, [CHANGE], ["ipvs"]),
    "strict_already": (proxy("ipvs", strict=True), {"cluster_proxy_mode": "ipvs", **METALLB}, [], ["ipvs"]),
    "no_need_of_strict": (proxy("iptables"), METALLB, [], ["iptables"]),
}
RENDERED = (
    "__cluster_proxy_groups",
    "__cluster_proxy_modes",
    "__cluster_proxy_modules",
    "__prereqs_proxy_packages",
    "__control_plane_kube_proxy",
)


def host(found: dict[str, Any] | None) -> dict[str, Any]:
    """Variables of a control plane host that has been read."""
    ready = {"installed": True, "ready": True, "joined": True, "init_unfinished": False, "nodes": []}
    return {"__cluster_node": {"address": "192.0.2.1"}, "__cluster_control_plane": {**ready, "kube_proxy": found}}


def run(folder: Path, inventory: dict[str, Any], *plays: dict[str, Any], returncode: int = 0) -> str:
    """Run plays with a collection path of their own; what they said."""
    if not (folder / "ansible_collections").exists():
        link_collection(folder)
    ended = play_in(folder, inventory, plays)
    assert ended.returncode == returncode, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def everywhere() -> dict[str, Any]:
    """Defaults of role cluster, and a connection to this machine."""
    defaults = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))
    return {**defaults, "ansible_connection": "local", "ansible_python_interpreter": sys.executable}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Values as the host of each case sees them."""
    folder = tmp_path_factory.mktemp("proxy")
    groups = {
        name: {
            "hosts": {f"{name}-1": host(found)},
            "vars": {"cluster_control_plane_group": name, "control_plane_kube_proxy_configuration": {}, **variables},
        }
        for name, (found, variables, _groups, _modes) in CASES.items()
    }
    groups["to_ipvs"]["hosts"]["to_ipvs-1"]["control_plane_kube_proxy_configuration"] = {"ipvs": {"scheduler": "sh"}}
    values = ", ".join(f"'{name}': {name}" for name in RENDERED)
    seen = "groups['all'] | map('extract', hostvars, 'seen')"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / f"roles/{role}/vars/main.yml") for role in ("cluster", "prereqs", "control_plane")],
        "tasks": [
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
    run(folder, {"all": {"children": groups, "vars": everywhere()}}, play)
    hosts = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return {name: hosts[f"{name}-1"] for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_groups_and_modes(rendered: dict[str, dict[str, Any]], case: str) -> None:
    _found, _variables, groups, modes = CASES[case]
    assert rendered[case]["__cluster_proxy_groups"] == groups
    assert rendered[case]["__cluster_proxy_modes"] == modes


def test_what_a_mode_brings_to_a_node(rendered: dict[str, dict[str, Any]]) -> None:
    found = {case: rendered[case] for case in ("as_before", "other_mode", "from_ipvs", "to_ipvs")}
    assert {case: values["__cluster_proxy_modules"] for case, values in found.items()} == {
        "as_before": [],
        "other_mode": [],
        "from_ipvs": [],
        "to_ipvs": ["ip_vs", "ip_vs_sh", "nf_conntrack"],
    }
    assert {case: values["__prereqs_proxy_packages"] for case, values in found.items()} == {
        "as_before": [],
        "other_mode": ["nftables"],
        "from_ipvs": ["nftables"],
        "to_ipvs": ["ipset", "ipvsadm"],
    }


def test_what_a_new_cluster_is_told(rendered: dict[str, dict[str, Any]]) -> None:
    told = {case: rendered[case]["__control_plane_kube_proxy"] for case in CASES}
    assert {case: configuration["mode"] for case, configuration in told.items()} == {
        case: variables.get("cluster_proxy_mode", "iptables") for case, (_f, variables, _g, _m) in CASES.items()
    }
    strict = {case for case, configuration in told.items() if configuration.get("ipvs") == {"strictARP": True}}
    assert strict == {"ipvs_with_metallb", "strict_already"}


def run_site(folder: Path, case: str, *tasks: dict[str, Any], returncode: int = 0) -> tuple[set[str], str]:
    """The end of the check phase, tasks after it, and the two plays of the site, which note hosts; what they said."""
    found, variables, _groups, _modes = CASES[case]
    control_plane = yaml.safe_load((ROOT / "roles/cluster/tasks/control_plane.yml").read_text(encoding="utf-8"))
    site = yaml.safe_load((ROOT / "playbooks/site.yml").read_text(encoding="utf-8"))
    plays = {play["name"]: play for play in site}
    change, leave = plays["Change kube-proxy"], plays["Protect the nodes without mode ipvs"]
    condition, modes = change["tasks"][0]["when"], leave["tasks"][0]["vars"]

    def noting(play: dict[str, Any], what: str, **more: Any) -> dict[str, Any]:
        path = f"{folder}/ran-{what}"
        task = {"name": "Run", "ansible.builtin.file": {"path": path, "state": "touch"}, **more}
        return {"hosts": play["hosts"], "tasks": [task]}

    own = [
        {"hosts": "k8s_cluster", "tasks": [control_plane[-1], *tasks]},
        noting(change, f"{CHANGE} {{{{ inventory_hostname }}}}", when=condition),
        noting(
            leave, f"{LEAVING} {{{{ inventory_hostname }}}} {{{{ __cluster_proxy_modes | join('+') }}}}", vars=modes
        ),
    ]
    common = {"gather_facts": False, "vars_files": [str(ROOT / "roles/cluster/vars/main.yml")]}
    worker = {"__cluster_node": {"address": "192.0.2.2"}}
    cluster = {"control_plane": {"hosts": {"m1": host(found)}}, "workers": {"hosts": {"w1": worker}}}
    inventory = {"all": {"children": {"k8s_cluster": {"children": cluster}}, "vars": {**everywhere(), **variables}}}

    said = run(folder, inventory, *({**play, **common} for play in own), returncode=returncode)

    return {path.name[len("ran-") :] for path in folder.glob("ran-*")}, said


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("as_before", set()),
        ("other_mode", {f"{CHANGE} m1", f"{CHANGE} w1"}),
        ("from_ipvs", {f"{CHANGE} m1", f"{CHANGE} w1", f"{LEAVING} m1 nftables", f"{LEAVING} w1 nftables"}),
    ],
)
def test_plays_of_the_site(tmp_path: Path, case: str, expected: set[str]) -> None:
    """The groups are made as the check phase makes them, and the plays find their hosts as in site.yml."""
    ran, said = run_site(tmp_path, case)
    assert ran == expected
    assert "WARNING" not in said


@pytest.mark.parametrize(("case", "expected"), [("other_mode", set()), ("from_ipvs", {f"{LEAVING} m1 nftables+ipvs"})])
def test_a_host_that_failed_on_the_way_keeps_all_in_their_mode(tmp_path: Path, case: str, expected: set[str]) -> None:
    """Its kernel may not be ready, and the DaemonSet starts its pod anew with all others; nor may a firewall close."""
    fails = {"name": "Prepare", "ansible.builtin.fail": None, "when": "inventory_hostname == 'w1'"}
    assert run_site(tmp_path, case, fails, returncode=2)[0] == expected
