# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chains that role firewall applies, evaluated by Ansible itself from the variables of all roles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_policy import FEATURES

from tests.unit.roles.playing import link_collection, play_in

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("cluster", "firewall")


def node(number: int, *, ready: bool = True, control_plane: bool = False) -> dict[str, Any]:
    name = f"{'m' if control_plane else 'w'}{number}"
    return {
        "name": name,
        "addresses": [f"192.0.2.{number}", name],
        "control_plane": control_plane,
        "ready": ready,
    }


NODES = [node(1, control_plane=True), node(2, control_plane=True), node(21), node(22, ready=False)]


def host(number: int, name: str, **variables: Any) -> dict[str, Any]:
    """Variables of a host that was read."""
    return {
        "node_name": name,
        "__cluster_node": {"address": f"192.0.2.{number}", "interface": "eth0", "mtu": 1500},
        "__cluster_preflight": {"facts": {"hostname": name, "addresses": [f"192.0.2.{number}", f"2001:db8::{number}"]}},
        "__firewall_session": {"stdout": "198.51.100.5 50022 192.0.2.1 22"},
        **variables,
    }


def master(number: int, **control_plane: Any) -> dict[str, Any]:
    """A control plane host with what was read of its control plane."""
    read = {"installed": False, "ready": False, "joined": False, "init_unfinished": False, "nodes": []}
    return host(number, f"m{number}", __cluster_control_plane={**read, **control_plane})


def proxied(running: dict[str, Any], mode: str, former: str = "") -> dict[str, Any]:
    """The same host in a cluster whose kube-proxy runs in a mode, or is changed from another one to it."""
    read = {"mode": mode, "strict_arp": False, "former_mode": former}
    return {**running, "__cluster_control_plane": {**running["__cluster_control_plane"], "kube_proxy": read}}


MEMBERS = {"members": [{"peer_urls": ["https://192.0.2.1:2380"]}, {"peer_urls": ["https://192.0.2.3:2380"]}]}
RUNNING = {"installed": True, "ready": True, "joined": True, "nodes": NODES, "etcd": MEMBERS}
OWN_VXLAN = {"type": "vxlan", "options": {"VNI": 1, "Port": 4790, "GBP": False}}
FRESH = [master(1), master(2)]
MASTERS = [master(1, **RUNNING), master(2, **RUNNING)]
WORKERS = [host(21, "w21"), host(22, "w22")]
NO_SESSION = {"__firewall_session": {"stdout": ""}}
DOWN: dict[str, Any] = {"node_name": ""}

#: Control plane hosts, workers, and variables of the whole cluster.
CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]] = {
    "fresh": (FRESH, WORKERS, {}),
    "running": (MASTERS, WORKERS, {"cluster_vip": "192.0.2.100", "load_balancer_unicast": "false"}),
    "alone": (MASTERS[:1], [], {"cni_flannel_backend": "host-gw", "cluster_api_port": 16443}),
    "worker_down": (MASTERS, [WORKERS[0], DOWN], {"cni_flannel_backend": "wireguard"}),
    "silent": ([master(1, installed=True)], WORKERS, {}),
    "interrupted": ([master(1, installed=True, init_unfinished=True)], WORKERS, {}),
    "silent_and_worker_down": ([master(1, installed=True)], [DOWN], {}),
    "external_etcd": (MASTERS, WORKERS, {"control_plane_external_etcd": {"endpoints": ["https://192.0.2.31:2379"]}}),
    "external_balancer": (
        MASTERS,
        WORKERS,
        {"cluster_endpoint_address": "198.51.100.80", "firewall_api_sources": ["198.51.100.81"]},
    ),
    "checked_by_others": (
        [{**MASTERS[0], "__firewall_api_connections": {"stdout": "ESTAB 0 0 192.0.2.1:6443 198.51.100.81:44377"}}],
        WORKERS,
        {"cluster_endpoint_address": "198.51.100.80"},
    ),
    "own_network": (MASTERS, WORKERS, {"cluster_cni": "none", "firewall_features": ["calico-vxlan", "metallb"]}),
    "metallb": (
        MASTERS,
        WORKERS,
        {
            "metallb_enabled": True,
            "metallb_address_pools": [{"name": "web", "addresses": ["192.0.2.200-192.0.2.201"]}],
            "cluster_proxy_mode": "ipvs",
        },
    ),
    "metallb_gone": (MASTERS, WORKERS, {"metallb_enabled": True, "metallb_state": "absent"}),
    "ipvs": (MASTERS, WORKERS, {"cluster_proxy_mode": "ipvs"}),
    "leaves_ipvs": ([proxied(running, "ipvs") for running in MASTERS], WORKERS, {"cluster_proxy_mode": "nftables"}),
    "left_ipvs": ([proxied(running, "nftables", "ipvs") for running in MASTERS], WORKERS, {}),
    # As in group_vars of the control plane alone.
    "chosen_for_masters": (
        [
            {
                **running,
                "cni_flannel_backend": "wireguard",
                "cni_flannel_backend_options": {"ListenPort": 1024},
                "control_plane_external_etcd": {"endpoints": ["https://192.0.2.31:2379"]},
            }
            for running in MASTERS
        ],
        WORKERS,
        {},
    ),
    "own_ports": (
        MASTERS,
        WORKERS,
        {"cni_flannel_backend_options": {"Port": 4790, "MTU": 1400}, "firewall_node_port_range": "20000:20100"},
    ),
    "other_backend": (
        [master(1, **RUNNING, flannel_backend=OWN_VXLAN), master(2, **RUNNING, flannel_backend=OWN_VXLAN)],
        WORKERS,
        {"cni_flannel_backend": "wireguard"},
    ),
    "dual_stack": (FRESH, WORKERS, {"cluster_pod_cidr": "10.244.0.0/16,fd00:10::/56"}),
    "not_over_ssh": ([{**FRESH[0], **NO_SESSION, "firewall_ssh_ports": [2022]}], [], {}),
    "no_port_of_ssh": ([{**FRESH[0], **NO_SESSION, "ansible_port": 2022}], [], {}),
    "from_itself": (
        [{**FRESH[0], "__firewall_session": {"stdout": "192.0.2.1 50022 192.0.2.1 22"}}],
        [],
        {"firewall_ssh_sources": ["192.0.2.0/24"]},
    ),
}
RENDERED = (
    "__firewall_all_features",
    "__firewall_prover",
    "__firewall_proven_ports",
    "__cluster_flannel",
    "__cluster_overlay_port",
)
#: What an earlier task of the run sets; facts and not variables, as in a run.
EARLIER = (
    "__cluster_node",
    "__cluster_preflight",
    "__cluster_control_plane",
    "__firewall_session",
    "__firewall_api_connections",
)


def inventory() -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for role in ROLES:
        defaults.update(yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8")))
    children = {}
    for name, (masters, workers, variables) in CASES.items():
        for group, hosts in (("masters", masters), ("workers", workers)):
            children[f"{name}_{group}"] = {
                "hosts": {f"{name}-{values['node_name'] or 'down'}": {**values, "given": values} for values in hosts},
                "vars": {
                    "cluster_control_plane_group": f"{name}_masters",
                    "cluster_workers_group": f"{name}_workers",
                    **variables,
                },
            }
    python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {"all": {"children": children, "vars": {**defaults, **python}}}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Values as each host sees them; the error in place of chains that there cannot be."""
    folder = tmp_path_factory.mktemp("firewall")
    link_collection(folder)
    values = ", ".join(f"'{name}': {name}" for name in RENDERED)
    hand_over = {
        "run_once": True,
        "ansible.builtin.copy": {
            "content": (
                "{% set all = {} %}{% for name in groups['all'] %}{% set ignored = all.update({name: {"
                "'seen': hostvars[name].seen | default({}), 'chains': hostvars[name].chains | default([]),"
                "'error': hostvars[name].failure | default('')}}) %}{% endfor %}{{ all | to_json }}"
            ),
            "dest": str(folder / "rendered.json"),
            "mode": "0600",
        },
    }
    read = "given.__cluster_node is defined"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "vars/main.yml") for role in ROLES],
        "tasks": [
            *(
                {"when": f"given.{name} is defined", "ansible.builtin.set_fact": {name: f"{{{{ given.{name} }}}}"}}
                for name in EARLIER
            ),
            {"when": read, "ansible.builtin.set_fact": {"seen": "{{ {" + values + "} }}"}},
            {
                "when": read,
                "block": [{"ansible.builtin.set_fact": {"chains": "{{ __firewall_chains }}"}}],
                "rescue": [{"ansible.builtin.set_fact": {"failure": "{{ ansible_failed_result.msg }}"}}],
            },
            hand_over,
        ],
    }
    run = play_in(folder, inventory(), [play])
    assert run.returncode == 0, run.stdout + run.stderr
    hosts: dict[str, dict[str, Any]] = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return hosts


def opened(rendered: dict[str, dict[str, Any]], host: str) -> set[str]:
    """Protocol and ports of everything that the chains do not drop."""
    assert rendered[host]["error"] == ""
    assert [chain["name"] for chain in rendered[host]["chains"]] == ["GROUNDPLANE-INPUT", "GROUNDPLANE-NODES"]
    return {
        f"{rule.get('protocol', 'any')}/{','.join(rule.get('ports', []))}"
        for chain in rendered[host]["chains"]
        for rule in chain["rules"]
        if rule["target"] in ("accept", "return") and rule.get("protocol") not in (None, "icmp", "icmpv6")
    } - {"udp/68", "udp/546"}


@pytest.mark.parametrize(
    ("host", "backend", "port"),
    [
        ("fresh-w21", {"Type": "vxlan"}, 8472),
        ("alone-m1", {"Type": "host-gw"}, 0),
        ("chosen_for_masters-m1", {"Type": "wireguard", "ListenPort": 1024}, 1024),
        ("chosen_for_masters-w21", {"Type": "wireguard", "ListenPort": 1024}, 1024),
        ("own_ports-w21", {"Type": "vxlan", "Port": 4790, "MTU": 1400}, 4790),
        ("own_network-w21", {}, 0),
    ],
)
def test_the_preflight_knows_the_same_backend(
    rendered: dict[str, dict[str, Any]], host: str, backend: dict[str, Any], port: int
) -> None:
    seen = rendered[host]["seen"]
    assert (seen["__cluster_flannel"], int(seen["__cluster_overlay_port"])) == (backend, port)


def sources(rendered: dict[str, dict[str, Any]], host: str, comment: str) -> list[list[str]]:
    rules = [rule for chain in rendered[host]["chains"] for rule in chain["rules"]]
    return [rule["sources"] for rule in rules if rule["comment"] == comment and "sources" in rule]


MASTER_PORTS = {"tcp/22", "tcp/6443", "tcp/2379,2380", "tcp/10250"}
IPVS_PORTS = {"tcp/30000:32767", "udp/30000:32767"}


@pytest.mark.parametrize(
    ("host", "ports"),
    [
        ("fresh-m1", {*MASTER_PORTS, "udp/8472"}),
        ("fresh-w21", {"tcp/22", "tcp/10250", "udp/8472"}),
        # 2 is IGMP, 112 is VRRP.
        ("running-m1", {*MASTER_PORTS, "udp/8472", "112/", "2/"}),
        ("running-w21", {"tcp/22", "tcp/10250", "udp/8472"}),
        ("alone-m1", {"tcp/22", "tcp/16443", "tcp/2379,2380", "tcp/10250"}),
        ("worker_down-m1", {*MASTER_PORTS, "udp/51820,51821"}),
        ("interrupted-w21", {"tcp/22", "tcp/10250", "udp/8472"}),
        ("external_etcd-m1", {"tcp/22", "tcp/6443", "tcp/10250", "udp/8472"}),
        ("external_balancer-m1", {*MASTER_PORTS, "udp/8472"}),
        ("own_network-w21", {"tcp/22", "tcp/10250", "udp/4789", "tcp/7946", "udp/7946"}),
        (
            "metallb-w21",
            {*("tcp/22", "tcp/10250", "udp/8472", "tcp/7946", "udp/7946"), *IPVS_PORTS},
        ),
        ("metallb_gone-w21", {"tcp/22", "tcp/10250", "udp/8472"}),
        ("ipvs-w21", {"tcp/22", "tcp/10250", "udp/8472", *IPVS_PORTS}),
        # Until the change is over, pods of kube-proxy may still run in the former mode.
        ("leaves_ipvs-w21", {"tcp/22", "tcp/10250", "udp/8472", *IPVS_PORTS}),
        ("left_ipvs-w21", {"tcp/22", "tcp/10250", "udp/8472", *IPVS_PORTS}),
        ("chosen_for_masters-m1", {"tcp/22", "tcp/6443", "tcp/10250", "udp/1024,51821"}),
        ("chosen_for_masters-w21", {"tcp/22", "tcp/10250", "udp/1024,51821"}),
        ("own_ports-w21", {"tcp/22", "tcp/10250", "udp/4790"}),
        ("other_backend-w21", {"tcp/22", "tcp/10250", "udp/4790"}),
        ("not_over_ssh-m1", {"tcp/2022", "tcp/6443", "tcp/2379,2380", "tcp/10250", "udp/8472"}),
    ],
)
def test_what_is_opened(rendered: dict[str, dict[str, Any]], host: str, ports: set[str]) -> None:
    assert opened(rendered, host) == ports


@pytest.mark.parametrize(
    ("host", "nodes", "etcd"),
    [
        ("fresh-w21", [1, 2, 21, 22], None),
        ("fresh-m1", [1, 2, 21, 22], [1, 2]),
        ("running-m1", [1, 2, 3, 21, 22], [1, 2, 3]),
        ("worker_down-w21", [1, 2, 3, 21, 22], None),
        ("interrupted-m1", [1, 21, 22], [1]),
        ("alone-m1", [1, 2, 3, 21, 22], [1, 2, 3]),
    ],
)
def test_who_is_a_node(
    rendered: dict[str, dict[str, Any]], host: str, nodes: list[int], etcd: list[int] | None
) -> None:
    def addresses(numbers: list[int]) -> list[str]:
        return [f"192.0.2.{number}" for number in numbers]

    assert sources(rendered, host, "nodes of the cluster") == [addresses(nodes)]
    assert sources(rendered, host, "etcd") == ([] if etcd is None else [addresses(etcd)])


def test_both_families_of_a_dual_stack_cluster(rendered: dict[str, dict[str, Any]]) -> None:
    (nodes,) = sources(rendered, "dual_stack-w21", "nodes of the cluster")
    assert {"192.0.2.1", "2001:db8::1", "2001:db8::22"} <= set(nodes)


def test_a_worker_is_not_shut_out_by_a_run_that_knows_nothing_of_it(rendered: dict[str, dict[str, Any]]) -> None:
    assert "silent_and_worker_down-down could not be read" in rendered["silent_and_worker_down-m1"]["error"]


def test_nodes_outside_of_the_inventory_are_not_forgotten_while_the_api_is_down(
    rendered: dict[str, dict[str, Any]],
) -> None:
    for host in ("silent-m1", "silent-w21"):
        assert "none of whose API servers answers" in rendered[host]["error"]


@pytest.mark.parametrize(
    ("host", "words"), [("no_port_of_ssh-m1", "firewall_ssh_ports"), ("from_itself-m1", "another machine")]
)
def test_a_login_that_would_prove_nothing_stops_the_run(
    rendered: dict[str, dict[str, Any]], host: str, words: str
) -> None:
    assert words in rendered[host]["error"]


def test_the_load_balancer_of_the_operators_is_a_client_of_the_api(rendered: dict[str, dict[str, Any]]) -> None:
    assert ["198.51.100.80", "198.51.100.81"] in sources(rendered, "external_balancer-m1", "API server")


def test_the_addresses_from_which_it_checks_are_not_forgotten(rendered: dict[str, dict[str, Any]]) -> None:
    assert "from 198.51.100.81, which these rules would shut out" in rendered["checked_by_others-m1"]["error"]
    assert rendered["checked_by_others-w21"]["error"] == ""


@pytest.mark.parametrize(
    ("host", "prover", "ports"),
    [
        ("fresh-m1", "fresh-m2", []),
        ("fresh-w21", "fresh-m1", []),
        ("running-m1", "running-m2", [10250, 6443, 2380]),
        ("running-m2", "running-m1", [10250, 6443, 2380]),
        ("running-w21", "running-m1", [10250]),
        # Its kubelet did not answer before.
        ("running-w22", "running-m1", []),
        ("external_etcd-m1", "external_etcd-m2", [10250, 6443]),
        ("alone-m1", "", [10250, 16443]),
    ],
)
def test_who_proves_what(rendered: dict[str, dict[str, Any]], host: str, prover: str, ports: list[int]) -> None:
    assert rendered[host]["seen"]["__firewall_prover"] == prover
    assert rendered[host]["seen"]["__firewall_proven_ports"] == ports


def test_features_that_can_be_chosen_exist() -> None:
    specification = yaml.safe_load((ROOT / "roles/firewall/meta/argument_specs.yml").read_text(encoding="utf-8"))
    options = specification["argument_specs"]["main"]["options"]
    choices = set(options["firewall_features"]["choices"])
    assert choices <= FEATURES
    # kube-proxy may have been configured by others.
    assert "ipvs" in choices


@pytest.mark.parametrize("playbook", ["site", "reset", "remove_node", "firewall"])
def test_the_playbooks_use_the_role(playbook: str) -> None:
    assert "groundplane.kubeadm.firewall" in (ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")


def test_hosts_are_protected_before_anything_is_needed_of_the_others() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text(encoding="utf-8"))
    names = [play["name"] for play in plays]
    assert (
        names.index("Check every host and compare them")
        < names.index("Protect the control plane nodes")
        < names.index("Protect the workers")
        < names.index("Balance the API among the control plane nodes")
    )
    for name in ("Protect the control plane nodes", "Protect the workers"):
        # One task that is skipped is all it costs those who do not want it.
        (task,) = plays[names.index(name)]["tasks"]
        assert task["when"] == "firewall_enabled | default(false) | bool"
        assert "ansible.builtin.include_role" in task
