# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role cni_flannel lays over the official manifest, and what else the families of a cluster decide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._flannel import backend_from, backend_of

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("cluster", "cni_flannel", "control_plane")

PRIMARY = {"address": "192.0.2.11", "interface": "eth0", "mtu": 1500, "secondary": ""}
BOTH = {**PRIMARY, "secondary": "2001:db8::11"}
DUAL_STACK = {
    "cluster_pod_cidr": "10.244.0.0/16, fd00:10::/56",
    "cluster_service_cidr": "10.96.0.0/12,fd00:96::/112",
}
SMALL_PACKETS = {"cni_flannel_backend_options": {"MTU": 1380}}
#: Variables of one host by case; `node` is the decision about its addresses.
CASES: dict[str, dict[str, Any]] = {
    "plain": {"node": PRIMARY},
    "dual_stack": {**DUAL_STACK, "node": BOTH},
    "node_networks": {**DUAL_STACK, "node": BOTH, "cluster_node_cidr": "192.0.2.0/24, 2001:db8::/64"},
    "alone": {**DUAL_STACK, "node": ""},
    "small_packets": {"node": PRIMARY, **SMALL_PACKETS},
    "small_packets_dual_stack": {**DUAL_STACK, "node": BOTH, **SMALL_PACKETS},
    "small_packets_wireguard": {**DUAL_STACK, "node": BOTH, **SMALL_PACKETS, "cni_flannel_backend": "wireguard"},
    "own_port": {"node": PRIMARY, "cni_flannel_backend_options": {"Port": 4790, "VNI": 7}},
}
SEEN = {
    "kustomization": "{{ __cni_flannel_kustomization }}",
    "registration": "{{ __cluster_node_registration if node else {} }}",
    "no_proxy": "{{ __cluster_no_proxy }}",
    "networking": "{{ __control_plane_cluster.networking }}",
    "overlay_mtu": "{{ __cluster_overlay_mtu | int }}",
    "flannel": "{{ __cluster_flannel }}",
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the variables of the roles come to in each case."""
    folder = tmp_path_factory.mktemp("flannel")
    defaults: dict[str, Any] = {}
    for role in ROLES:
        defaults.update(yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8")))
    hosts = {
        case: {**variables, "cluster_control_plane_group": f"group_{case}", "cluster_workers_group": "nobody"}
        for case, variables in CASES.items()
    }
    inventory = {
        "all": {
            "children": {
                **{f"group_{case}": {"hosts": {case: values}} for case, values in hosts.items()},
                "nobody": {},
            },
            "vars": {
                **defaults,
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "__cluster_preflight": {"facts": {"hostname": "Node-1"}},
                "__control_plane_kubeadm": {"stdout": "v1.36.3"},
            },
        }
    }
    cases = "{{ dict(groups['all'] | zip(groups['all'] | map('extract', hostvars, 'seen'))) | to_json }}"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "vars/main.yml") for role in ROLES],
        "tasks": [
            {"when": "node is mapping", "ansible.builtin.set_fact": {"__cluster_node": "{{ node }}"}},
            {"ansible.builtin.set_fact": {"seen": SEEN}},
            {
                "run_once": True,
                "ansible.builtin.copy": {"content": cases, "dest": str(folder / "seen.json"), "mode": "0600"},
            },
        ],
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml"],
        cwd=folder,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, dict[str, Any]] = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    return found


def patch(seen: dict[str, dict[str, Any]], case: str, kind: str) -> dict[str, Any]:
    """The patch of one kind of object."""
    patches = [json.loads(entry["patch"]) for entry in seen[case]["kustomization"]["patches"]]
    (found,) = [entry for entry in patches if entry["kind"] == kind]
    return found


def network(seen: dict[str, dict[str, Any]], case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(patch(seen, case, "ConfigMap")["data"]["net-conf.json"])
    return found


def container(seen: dict[str, dict[str, Any]], case: str) -> dict[str, Any]:
    (found,) = patch(seen, case, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_a_cluster_of_one_family(seen: dict[str, dict[str, Any]]) -> None:
    assert network(seen, "plain") == {
        "Network": "10.244.0.0/16",
        "EnableIPv4": True,
        "EnableNFTables": False,
        "Backend": {"Type": "vxlan"},
    }
    assert container(seen, "plain") == {
        "name": "kube-flannel",
        "command": ["/opt/bin/flanneld"],
        "args": ["--ip-masq", "--kube-subnet-mgr", "--iface=$(NODE_ADDRESS)"],
        "env": [{"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "resources": {},
    }


def test_a_cluster_of_both_families(seen: dict[str, dict[str, Any]]) -> None:
    assert network(seen, "dual_stack") == {
        "Network": "10.244.0.0/16",
        "IPv6Network": "fd00:10::/56",
        "EnableIPv4": True,
        "EnableIPv6": True,
        "EnableNFTables": False,
        "Backend": {"Type": "vxlan", "MTU": 1480},
    }
    flannel = container(seen, "dual_stack")
    assert flannel["command"] == [
        "/bin/sh",
        "-c",
        'exec /opt/bin/flanneld "$@" --iface="${NODE_ADDRESSES%,*}" --public-ipv6="${NODE_ADDRESSES#*,}"',
        "flanneld",
    ]
    assert flannel["args"] == ["--ip-masq", "--kube-subnet-mgr"]


def test_a_role_that_is_used_alone_leaves_the_mtu_to_flannel(seen: dict[str, dict[str, Any]]) -> None:
    assert network(seen, "alone")["Backend"] == {"Type": "vxlan"}


@pytest.mark.parametrize(
    ("case", "size"),
    [
        ("plain", 0),
        ("dual_stack", 0),
        ("small_packets", 1380),
        ("small_packets_dual_stack", 1400),
        ("small_packets_wireguard", 1380),
    ],
)
def test_the_preflight_knows_the_largest_packet_of_flannel(
    seen: dict[str, dict[str, Any]], case: str, size: int
) -> None:
    assert int(seen[case]["overlay_mtu"]) == size


@pytest.mark.parametrize("case", CASES)
def test_the_preflight_wants_the_backend_that_the_role_writes(seen: dict[str, dict[str, Any]], case: str) -> None:
    written = backend_of(patch(seen, case, "ConfigMap"))
    assert written is not None
    assert written == backend_from(seen[case]["flannel"])


@pytest.mark.parametrize(("case", "addresses"), [("plain", "192.0.2.11"), ("dual_stack", "192.0.2.11,2001:db8::11")])
def test_kubelet_is_told_the_addresses(seen: dict[str, dict[str, Any]], case: str, addresses: str) -> None:
    registration = seen[case]["registration"]
    assert registration["kubeletExtraArgs"] == [{"name": "node-ip", "value": addresses}]
    assert registration["name"] == "node-1"


def test_kubeadm_is_told_the_ranges_without_spaces(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["dual_stack"]["networking"] == {
        "dnsDomain": "cluster.local",
        "podSubnet": "10.244.0.0/16,fd00:10::/56",
        "serviceSubnet": "10.96.0.0/12,fd00:96::/112",
    }
    assert seen["plain"]["networking"]["podSubnet"] == "10.244.0.0/16"


@pytest.mark.parametrize(
    ("case", "nodes", "ranges"),
    [
        ("plain", "192.0.2.11", "10.244.0.0/16,10.96.0.0/12"),
        ("dual_stack", "192.0.2.11,2001:db8::11", "10.244.0.0/16,fd00:10::/56,10.96.0.0/12,fd00:96::/112"),
        ("node_networks", "192.0.2.0/24,2001:db8::/64", "10.244.0.0/16,fd00:10::/56,10.96.0.0/12,fd00:96::/112"),
    ],
)
def test_no_proxy_is_asked_for_nodes_and_ranges(
    seen: dict[str, dict[str, Any]], case: str, nodes: str, ranges: str
) -> None:
    assert seen[case]["no_proxy"] == (
        f"localhost,127.0.0.0/8,::1,api.kubernetes.internal,.svc,.cluster.local,{nodes},{ranges}"
    )
