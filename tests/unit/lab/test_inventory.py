# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that `up` writes."""

from __future__ import annotations

import pytest
import yaml

from tests.lab import inventory
from tests.lab.nodes import CONTROL_PLANE, MACHINES, WORKERS, plan_set
from tests.lab.settings import Paths
from tests.lab.source import Source
from tests.lab.versions import calico_version, without_v

NODES = plan_set("e2e", 3, {CONTROL_PLANE: 1, WORKERS: 2}, "trixie", "1.7", "built")


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "cache")


def test_hosts_are_grouped_as_the_collection_expects(paths):
    groups = inventory.hosts(NODES, paths)["k8s_cluster"]["children"]
    assert groups == {
        "control_plane": {"hosts": {"e2e-master-1": {"ansible_host": "10.77.3.11"}}},
        "workers": {
            "hosts": {
                "e2e-worker-1": {"ansible_host": "10.77.3.21"},
                "e2e-worker-2": {"ansible_host": "10.77.3.22"},
            }
        },
    }


def test_virtual_machines_are_a_part_of_the_workers(paths):
    nodes = plan_set("e2e", 3, {CONTROL_PLANE: 0, WORKERS: 1, MACHINES: 1}, "trixie", "1.7", "built")
    assert inventory.hosts(nodes, paths)["k8s_cluster"]["children"]["workers"] == {
        "hosts": {"e2e-worker-1": {"ansible_host": "10.77.3.21"}},
        "children": {"machines": {"hosts": {"e2e-machine-1": {"ansible_host": "10.77.3.231"}}}},
    }


@pytest.mark.parametrize(
    ("masters", "virtual_address"), [pytest.param(1, None, id="one"), pytest.param(3, "10.77.3.10", id="several")]
)
def test_several_control_plane_nodes_share_a_virtual_address(paths, masters, virtual_address):
    nodes = plan_set("e2e", 3, {CONTROL_PLANE: masters, WORKERS: 1}, "trixie", "1.7", "built")
    assert inventory.hosts(nodes, paths)["k8s_cluster"]["vars"].get("cluster_vip") == virtual_address


def test_host_keys_are_checked_against_the_list_of_the_lab(paths):
    arguments = inventory.hosts(NODES, paths)["k8s_cluster"]["vars"]["ansible_ssh_common_args"]
    assert f"UserKnownHostsFile={paths.state}/ssh/known_hosts" in arguments
    assert "StrictHostKeyChecking=yes" in arguments


def test_built_programs_come_from_the_mirrors_of_the_lab():
    variables = inventory.source_variables(Source.BUILT, "v1.36")
    assert variables["kube_packages_repository_url"] == "http://10.77.0.1:8080/core:/stable:/v1.36/deb/"
    assert variables["kube_packages_repository_key_url"].endswith("/core:/stable:/v1.36/deb/Release.key")
    assert variables["containerd_registry_mirrors"]["quay.io"] == [{"url": "http://10.77.0.1:5000"}]
    assert "v{{ cni_flannel_version }}/" in variables["cni_flannel_manifest_url"]
    assert "v{{ cni_canal_version }}/" in variables["cni_canal_manifest_url"]
    assert variables["cni_canal_version"] == without_v(calico_version())
    assert "v{{ metallb_version }}/" in variables["metallb_manifest_url"]


def test_upstream_needs_no_variables():
    assert inventory.source_variables(Source.UPSTREAM, "v1.36") == {}


def test_a_written_inventory_can_be_read_and_removed(paths, monkeypatch, tmp_path):
    shared = tmp_path / "lab.yml"
    shared.write_text("---\nanswer: 42\n")
    monkeypatch.setattr(inventory, "SHARED_VARIABLES", shared)
    folder = inventory.write("e2e", NODES, {"a": {"b": [{"c": 1}]}}, paths)
    group_variables = folder / "group_vars/k8s_cluster"
    assert yaml.safe_load((folder / "hosts.yml").read_text()) == inventory.hosts(NODES, paths)
    assert yaml.safe_load((group_variables / "source.yml").read_text()) == {"a": {"b": [{"c": 1}]}}
    assert yaml.safe_load((group_variables / "lab.yml").read_text()) == {"answer": 42}

    inventory.write("e2e", NODES[:1], {}, paths)
    assert "e2e-worker-1" not in (folder / "hosts.yml").read_text()

    inventory.remove("e2e", paths)
    assert not folder.exists()
    assert shared.exists()
    inventory.remove("e2e", paths)


def test_the_default_set_has_its_inventory_in_the_checkout(paths):
    assert inventory.folder(paths, "lab") == inventory.REPOSITORY_ROOT / "inventories/lab"


def test_lists_are_indented_as_in_the_rest_of_the_repository():
    assert inventory.as_yaml({"a": [1]}).endswith("a:\n  - 1\n")
