# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role cni_canal lays over the official manifest, evaluated by Ansible itself from the variables of all roles."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.playing import play_in

ROOT = Path(__file__).resolve().parents[3]

DUAL_STACK = "10.244.0.0/16,fd00:10::/56"
#: Variables of the inventory and MTUs of the nodes by case.
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "plain": ({}, (1500, 1500)),
    "jumbo": ({}, (9000, 8900)),
    "host_gw": ({"cni_flannel_backend": "host-gw", "cni_flannel_backend_options": {"MTU": 1300}}, (1500,)),
    "wireguard": ({"cni_flannel_backend": "wireguard"}, (1500,)),
    "backend_options": ({"cni_flannel_backend_options": {"MTU": 1400, "Port": 4790}}, (1500,)),
    "veth_mtu": ({"cni_canal_veth_mtu": 1280}, (1500,)),
    "dual_stack": ({"cluster_pod_cidr": DUAL_STACK}, (1500, 1400)),
    "dual_stack_ipv6_first": ({"cluster_pod_cidr": "fd00:10::/56, 10.244.0.0/16"}, (1500,)),
    "dual_stack_mtu": ({"cluster_pod_cidr": DUAL_STACK, "cni_flannel_backend_options": {"MTU": 1300}}, (1500,)),
    "dual_stack_host_gw": ({"cluster_pod_cidr": DUAL_STACK, "cni_flannel_backend": "host-gw"}, (1500,)),
    "dual_stack_wireguard": ({"cluster_pod_cidr": DUAL_STACK, "cni_flannel_backend": "wireguard"}, (1500,)),
    "ipv6": ({"cluster_pod_cidr": "fd00:10::/56"}, (1500,)),
    "felix": (
        {
            "cni_canal_felix": {
                "IptablesBackend": "NFT",
                "defaultEndpointToHostAction": "Accept",
                "logSeverityScreen": "Warning",
                "failsafeInboundHostPorts": "none",
                "prometheusMetricsEnabled": True,
                "iptablesRefreshInterval": 90,
            }
        },
        (1500,),
    ),
    "resources": (
        {
            "cni_canal_resources": {"requests": {"cpu": "100m"}},
            "cni_canal_controllers_resources": {"limits": {"memory": "200Mi"}},
            "cni_flannel_resources": {"limits": {"memory": "100Mi"}},
        },
        (1500,),
    ),
    "mirror": (
        {
            "cni_canal_image_registry": "mirror.example.com",
            "cni_flannel_image_registry": "other.example.com",
            "cni_flannel_version": "0.30.0",
        },
        (1500,),
    ),
}


@pytest.fixture(scope="module")
def kustomizations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The kustomization of each case."""
    folder = tmp_path_factory.mktemp("canal")
    children = {}
    defaults: dict[str, Any] = {}
    for role in ("cluster", "cni_canal"):
        defaults.update(yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8")))
    for case, (variables, mtus) in CASES.items():
        hosts = {f"{case}-{number}": {"node": {"mtu": mtu}} for number, mtu in enumerate(mtus)}
        children[f"group_{case}"] = {
            "hosts": hosts,
            "vars": {
                "cluster_control_plane_group": f"group_{case}",
                "cluster_workers_group": "nobody",
                "case": case,
                **variables,
            },
        }
    python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"children": {**children, "nobody": {}}, "vars": {**defaults, **python}}}
    seen = "{{ groups['all'] | select('search', '-0$') | map('extract', hostvars, 'seen') | list }}"
    names = "{{ groups['all'] | select('search', '-0$') | map('extract', hostvars, 'case') | list }}"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "vars/main.yml") for role in ("cluster", "cni_canal")],
        "tasks": [
            {"ansible.builtin.set_fact": {"__cluster_node": "{{ node }}"}},
            {"ansible.builtin.import_role": {"name": "groundplane.kubeadm.cni_flannel", "tasks_from": "settings"}},
            {"ansible.builtin.set_fact": {"seen": "{{ __cni_canal_kustomization }}"}},
            {
                "run_once": True,
                "vars": {"names": names, "seen_by_all": seen},
                "ansible.builtin.copy": {
                    "content": "{{ dict(names | zip(seen_by_all)) | to_json }}",
                    "dest": str(folder / "rendered.json"),
                    "mode": "0600",
                },
            },
        ],
    }
    # Role cluster, on which every role depends, reads real hosts.
    stub = folder / "stub" / "ansible_collections" / "groundplane" / "kubeadm"
    (stub / "roles").mkdir(parents=True)
    (stub / "galaxy.yml").write_text("namespace: groundplane\nname: kubeadm\nversion: 1.0.0\n", encoding="utf-8")
    (stub / "plugins").symlink_to(ROOT / "plugins")
    (stub / "roles" / "cni_flannel").symlink_to(ROOT / "roles" / "cni_flannel")
    (stub / "roles" / "cluster" / "tasks").mkdir(parents=True)
    (stub / "roles" / "cluster" / "tasks" / "main.yml").write_text("---\n[]\n", encoding="utf-8")
    run = play_in(folder, inventory, [play], folder / "stub")
    assert run.returncode == 0, run.stdout + run.stderr
    rendered: dict[str, dict[str, Any]] = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return rendered


def patch(kustomization: dict[str, Any], kind: str) -> dict[str, Any]:
    """The patch of one kind of object."""
    patches = [json.loads(entry["patch"]) for entry in kustomization["patches"]]
    (found,) = [entry for entry in patches if entry["kind"] == kind]
    return found


def data(kustomization: dict[str, Any]) -> dict[str, str]:
    return patch(kustomization, "ConfigMap")["data"]


def cni(kustomization: dict[str, Any]) -> dict[str, Any]:
    """The CNI configuration as Calico's installer writes it, with a number in the place of the MTU."""
    text = data(kustomization)["cni_network_config"]
    assert text.count('"mtu": __CNI_MTU__') == 1
    return json.loads(text.replace("__CNI_MTU__", "1450"))


def container(kustomization: dict[str, Any], name: str) -> dict[str, Any]:
    pod = patch(kustomization, "DaemonSet")["spec"]["template"]["spec"]
    return next(entry for entry in pod["containers"] if entry["name"] == name)


def felix(kustomization: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(kustomization, "calico-node")["env"]}


@pytest.mark.parametrize(
    ("case", "mtu"),
    [
        ("plain", "1450"),
        ("jumbo", "8850"),
        # flannel looks at the option in none of these: it has no device there.
        ("host_gw", "1500"),
        ("wireguard", "1420"),
        ("backend_options", "1350"),
        ("veth_mtu", "1280"),
        # vxlan over IPv6 takes 70 of the smallest MTU.
        ("dual_stack", "1330"),
        ("ipv6", "1430"),
        ("dual_stack_mtu", "1250"),
        ("dual_stack_host_gw", "1500"),
        ("dual_stack_wireguard", "1420"),
    ],
)
def test_pods_get_the_mtu_that_the_backend_leaves(
    kustomizations: dict[str, dict[str, Any]], case: str, mtu: str
) -> None:
    assert data(kustomizations[case])["veth_mtu"] == mtu


@pytest.mark.parametrize(
    ("case", "network"),
    [
        ("plain", {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}),
        ("backend_options", {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "MTU": 1400, "Port": 4790}}),
    ],
)
def test_the_network_of_one_family_is_that_of_flannel(
    kustomizations: dict[str, dict[str, Any]], case: str, network: dict[str, Any]
) -> None:
    found = json.loads(data(kustomizations[case])["net-conf.json"])
    assert found == {**network, "EnableIPv4": True, "EnableNFTables": False}


BOTH_NETWORKS = {"EnableIPv4": True, "Network": "10.244.0.0/16", "EnableIPv6": True, "IPv6Network": "fd00:10::/56"}


@pytest.mark.parametrize(
    ("case", "network"),
    [
        ("dual_stack", {**BOTH_NETWORKS, "Backend": {"Type": "vxlan", "MTU": 1380}}),
        ("dual_stack_ipv6_first", {**BOTH_NETWORKS, "Backend": {"Type": "vxlan", "MTU": 1480}}),
        ("dual_stack_mtu", {**BOTH_NETWORKS, "Backend": {"Type": "vxlan", "MTU": 1300}}),
        ("dual_stack_host_gw", {**BOTH_NETWORKS, "Backend": {"Type": "host-gw"}}),
        ("dual_stack_wireguard", {**BOTH_NETWORKS, "Backend": {"Type": "wireguard"}}),
        (
            "ipv6",
            {
                "EnableIPv4": False,
                "EnableIPv6": True,
                "IPv6Network": "fd00:10::/56",
                "Backend": {"Type": "vxlan", "MTU": 1480},
            },
        ),
    ],
)
def test_the_network_of_ipv6_leaves_room_for_its_longer_header(
    kustomizations: dict[str, dict[str, Any]], case: str, network: dict[str, Any]
) -> None:
    found = json.loads(data(kustomizations[case])["net-conf.json"])
    assert found == {**network, "EnableNFTables": False}


@pytest.mark.parametrize(
    ("case", "subnets"),
    [
        ("plain", ["usePodCidr"]),
        ("dual_stack", ["usePodCidr", "usePodCidrIPv6"]),
        ("ipv6", ["usePodCidrIPv6"]),
    ],
)
def test_addresses_come_from_the_ranges_of_the_node(
    kustomizations: dict[str, dict[str, Any]], case: str, subnets: list[str]
) -> None:
    ipam = cni(kustomizations[case])["plugins"][0]["ipam"]
    assert ipam == {"type": "host-local", "ranges": [[{"subnet": subnet}] for subnet in subnets]}


def test_addresses_in_use_are_kept_where_flannel_keeps_them(kustomizations: dict[str, dict[str, Any]]) -> None:
    assert cni(kustomizations["plain"])["name"] == "cbr0"


@pytest.mark.parametrize(("case", "ipv6"), [("plain", "false"), ("dual_stack", "true"), ("ipv6", "true")])
def test_felix_knows_the_families(kustomizations: dict[str, dict[str, Any]], case: str, ipv6: str) -> None:
    assert felix(kustomizations[case]) == {
        "FELIX_DEFAULTENDPOINTTOHOSTACTION": "Return",
        "FELIX_IPTABLESBACKEND": "Auto",
        "FELIX_IPV6SUPPORT": ipv6,
    }


def test_settings_of_felix_win_whatever_their_case(kustomizations: dict[str, dict[str, Any]]) -> None:
    assert felix(kustomizations["felix"]) == {
        "FELIX_DEFAULTENDPOINTTOHOSTACTION": "Accept",
        "FELIX_FAILSAFEINBOUNDHOSTPORTS": "none",
        "FELIX_IPTABLESBACKEND": "NFT",
        "FELIX_IPTABLESREFRESHINTERVAL": "90",
        "FELIX_IPV6SUPPORT": "false",
        "FELIX_LOGSEVERITYSCREEN": "Warning",
        "FELIX_PROMETHEUSMETRICSENABLED": "true",
    }


def test_flannel_takes_the_address_of_the_node(kustomizations: dict[str, dict[str, Any]]) -> None:
    flannel = container(kustomizations["plain"], "kube-flannel")
    assert flannel["command"] == ["/opt/bin/flanneld", "--ip-masq", "--kube-subnet-mgr", "--iface=$(NODE_ADDRESS)"]
    assert flannel["env"] == [{"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]


@pytest.mark.parametrize(
    ("case", "pair"),
    [("dual_stack", "192.0.2.11,fd00::11"), ("dual_stack_ipv6_first", "fd00::11,192.0.2.11")],
)
def test_flannel_takes_both_addresses_of_the_node(
    kustomizations: dict[str, dict[str, Any]], case: str, pair: str, tmp_path: Path
) -> None:
    flannel = container(kustomizations[case], "kube-flannel")
    (variable,) = flannel["env"]
    assert variable == {"name": "NODE_ADDRESSES", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}
    # Kubernetes itself would replace what looks like $(NAME).
    assert "$(" not in " ".join(flannel["command"])
    program = tmp_path / "flanneld"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    command = [part.replace("/opt/bin/flanneld", str(program)) for part in flannel["command"]]
    run = subprocess.run(command, env={variable["name"]: pair}, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "--ip-masq",
        "--kube-subnet-mgr",
        "--iface=192.0.2.11",
        "--public-ipv6=fd00::11",
    ]


def test_every_container_has_resources_of_its_own(kustomizations: dict[str, dict[str, Any]]) -> None:
    found = kustomizations["resources"]
    assert container(found, "calico-node")["resources"] == {"requests": {"cpu": "100m"}}
    assert container(found, "kube-flannel")["resources"] == {"limits": {"memory": "100Mi"}}
    (controllers,) = patch(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert controllers["resources"] == {"limits": {"memory": "200Mi"}}


def test_official_images(kustomizations: dict[str, dict[str, Any]]) -> None:
    defaults = yaml.safe_load((ROOT / "roles/cni_flannel/defaults/main.yml").read_text(encoding="utf-8"))
    assert kustomizations["plain"]["images"] == [
        {
            "name": "docker.io/flannel/flannel",
            "newName": "ghcr.io/flannel-io/flannel",
            "newTag": f"v{defaults['cni_flannel_version']}",
        }
    ]


def test_images_of_a_mirror(kustomizations: dict[str, dict[str, Any]]) -> None:
    named = {image["name"]: image for image in kustomizations["mirror"]["images"]}
    assert {name: image["newName"] for name, image in named.items()} == {
        "docker.io/flannel/flannel": "other.example.com/flannel-io/flannel",
        "quay.io/calico/cni": "mirror.example.com/calico/cni",
        "quay.io/calico/node": "mirror.example.com/calico/node",
        "quay.io/calico/kube-controllers": "mirror.example.com/calico/kube-controllers",
    }
    assert named["docker.io/flannel/flannel"]["newTag"] == "v0.30.0"
