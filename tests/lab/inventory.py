# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible inventory of a set, as a user would write it, with what the lab needs in files of their own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.lab import manifests, ssh
from tests.lab.nodes import CONTROL_PLANE, DEFAULT_SET, MACHINES, WORKERS, Node
from tests.lab.settings import HOST_ADDRESS, REGISTRY_PORT, REPOSITORY_ROOT, WEB_PORT, Paths
from tests.lab.source import Source
from tests.lab.versions import calico_version, without_v

#: Settings that every set of the lab shares, written by hand and kept in git.
SHARED_VARIABLES = REPOSITORY_ROOT / "inventories/lab/group_vars/k8s_cluster/lab.yml"
MIRRORED_REGISTRIES = ("registry.k8s.io", "ghcr.io", "docker.io", "quay.io")
NOTE = "# Written by `python -m tests.lab up`, which overwrites it.\n"


def folder(paths: Paths, set_name: str) -> Path:
    """Folder of a set's inventory; that of the set `lab` lies in the checkout."""
    return REPOSITORY_ROOT / "inventories/lab" if set_name == DEFAULT_SET else paths.inventory(set_name)


def hosts(nodes: Sequence[Node], paths: Paths) -> dict[str, Any]:
    """Content of hosts.yml; several control plane nodes share the virtual address that is reserved for their set."""
    groups: dict[str, Any] = {CONTROL_PLANE: {"hosts": {}}, WORKERS: {"hosts": {}}}
    machines: dict[str, Any] = {"hosts": {}}
    for node in nodes:
        group = machines if node.group == MACHINES else groups[node.group]
        group["hosts"][node.name] = {"ansible_host": str(node.address)}
    if machines["hosts"]:
        groups[WORKERS]["children"] = {MACHINES: machines}
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(paths.ssh_key),
        "ansible_ssh_common_args": " ".join(ssh.options(paths)),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    masters = [node for node in nodes if node.group == CONTROL_PLANE]
    if len(masters) > 1:
        variables["cluster_vip"] = str(masters[0].virtual_address)
    return {"k8s_cluster": {"children": groups, "vars": variables}}


def source_variables(source: Source, minor: str) -> dict[str, Any]:
    """Variables that point the roles at the lab's own mirrors, for programs the lab has built."""
    if source is Source.UPSTREAM:
        return {}
    web = f"http://{HOST_ADDRESS}:{WEB_PORT}"
    packages = f"{web}/core:/stable:/{minor}/deb/"
    mirror = {"url": f"http://{HOST_ADDRESS}:{REGISTRY_PORT}"}
    metallb = "metallb/metallb/v{{ metallb_version }}/config/manifests/metallb-native.yaml"
    flannel = "flannel-io/flannel/releases/download/v{{ cni_flannel_version }}/kube-flannel.yml"
    canal = "projectcalico/calico/v{{ cni_canal_version }}/manifests/canal.yaml"
    return {
        "kube_packages_repository_url": packages,
        "kube_packages_repository_key_url": f"{packages}Release.key",
        "containerd_registry_mirrors": {registry: [dict(mirror)] for registry in MIRRORED_REGISTRIES},
        "cni_flannel_manifest_url": f"{web}/{flannel}",
        "cni_canal_manifest_url": f"{web}/{canal}",
        # The release that can be built is not always the one that the role has chosen.
        "cni_canal_version": without_v(calico_version()),
        "cni_canal_manifest_checksum": f"sha256:{manifests.CANAL_DIGEST}",
        "metallb_manifest_url": f"{web}/{metallb}",
    }


def write(set_name: str, nodes: Sequence[Node], variables: Mapping[str, Any], paths: Paths) -> Path:
    """Write the inventory of a set and return its folder."""
    target = folder(paths, set_name)
    group_variables = target / "group_vars/k8s_cluster"
    group_variables.mkdir(parents=True, exist_ok=True)
    (target / "hosts.yml").write_text(as_yaml(hosts(nodes, paths)))
    (group_variables / "source.yml").write_text(as_yaml(variables))
    shared = group_variables / SHARED_VARIABLES.name
    if shared != SHARED_VARIABLES:
        shared.unlink(missing_ok=True)
        shared.symlink_to(SHARED_VARIABLES)
    return target


def remove(set_name: str, paths: Paths) -> None:
    """Remove the inventory of a set; of the one in the checkout only what write made."""
    target = folder(paths, set_name)
    if set_name != DEFAULT_SET:
        shutil.rmtree(target, ignore_errors=True)
        return
    (target / "hosts.yml").unlink(missing_ok=True)
    (target / "group_vars/k8s_cluster/source.yml").unlink(missing_ok=True)


def as_yaml(content: Mapping[str, Any]) -> str:
    """Text of a YAML file that Ansible and yamllint are content with."""
    return "---\n" + NOTE + yaml.dump(dict(content), Dumper=_IndentedDumper, sort_keys=False, width=1000)


class _IndentedDumper(yaml.SafeDumper):
    """Indents lists below their keys, as the rest of the repository does."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)
