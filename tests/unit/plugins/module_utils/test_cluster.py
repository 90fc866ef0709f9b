# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a cluster through kubectl."""

from __future__ import annotations

import json
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    Node,
    block_value,
    cluster_configuration,
    node_of,
    nodes_argv,
    objects_argv,
    parse_objects,
    read_nodes,
    read_objects,
    readyz_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result

from tests.unit.fake_runner import FakeRunner

KUBECTL = ["kubectl", "--kubeconfig", "K", "--request-timeout=20s"]


def test_argument_lists() -> None:
    assert readyz_argv("K") == [*KUBECTL, "get", "--raw", "/readyz"]
    assert nodes_argv("K") == [*KUBECTL, "get", "nodes", "--output=json"]
    assert objects_argv("K", "kube-system", ["configmap/a", "node/b"]) == [
        *KUBECTL,
        *("get", "--namespace", "kube-system", "--ignore-not-found", "--output=json", "configmap/a", "node/b"),
    ]


def test_nodes(fixture_text: Callable[[str], str]) -> None:
    runner = FakeRunner([(nodes_argv("K"), Result(0, fixture_text("kubectl/nodes.json"), ""))])
    nodes = read_nodes(runner, "K")
    assert [node._replace(uid="") for node in nodes] == [
        Node("kubeadm-master-1", "", False, ("10.77.5.11", "kubeadm-master-1"), True, "v1.36.3"),
        Node("kubeadm-worker-1", "", False, ("10.77.5.21", "kubeadm-worker-1"), False, "v1.36.3"),
    ]
    assert all(node.uid for node in nodes)


def test_ready_node(fixture_text: Callable[[str], str]) -> None:
    item = parse_objects(fixture_text("kubectl/nodes.json"))[0]
    next(c for c in item["status"]["conditions"] if c["type"] == "Ready")["status"] = "True"
    assert node_of(item).ready


def test_objects_by_kind_and_name(fixture_text: Callable[[str], str]) -> None:
    output = fixture_text("kubectl/initialised_kube_system.json")
    runner = FakeRunner([(objects_argv("K", "kube-system", ["x/y"]), Result(0, output, ""))])
    assert sorted(read_objects(runner, "K", "kube-system", ["x/y"])) == [
        "configmap/kubeadm-config",
        "configmap/kubelet-config",
        "daemonset/kube-proxy",
        "deployment/coredns",
        "node/kubeadm-master-1",
        "rolebinding/kube-proxy",
        "service/kube-dns",
    ]


@pytest.mark.parametrize(
    ("output", "count"), [("", 0), ("\n", 0), (json.dumps({"kind": "Node"}), 1)], ids=["nothing", "newline", "single"]
)
def test_forms_of_kubectls_output(output: str, count: int) -> None:
    assert len(parse_objects(output)) == count


def test_values_of_kubeadms_own_yaml(fixture_text: Callable[[str], str]) -> None:
    configuration = cluster_configuration(parse_objects(fixture_text("kubectl/kubeadm_config.json"))[0])
    assert block_value(configuration, "controlPlaneEndpoint") == "10.77.5.11:6443"
    assert block_value(configuration, "etcd", "local", "dataDir") == "/var/lib/etcd"
    assert block_value(configuration, "dns", "disabled") == ""
    assert block_value(configuration, "nothing", "at", "all") == ""


def test_values_of_blocks() -> None:
    text = "apiServer:\n  certSANs:\n  - a\n  - b\ndns:\n  disabled: true\nproxy:\n  disabled: 'false'\n"
    assert block_value(text, "dns", "disabled") == "true"
    assert block_value(text, "proxy", "disabled") == "false"
    assert block_value(text, "apiServer", "disabled") == ""
    assert block_value(text, "dns") == ""
