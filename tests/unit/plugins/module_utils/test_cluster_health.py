# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health of a cluster is judged from what its API said of a real one."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster_health import judge, read_objects
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result

from tests.unit.fake_runner import FakeRunner

NODES = ("master-1", "worker-1", "worker-2")
NAMESPACES = ("kube-system", "kube-flannel")
ARGV = [
    "kubectl",
    "--kubeconfig",
    "/etc/kubernetes/admin.conf",
    "--request-timeout=20s",
    "get",
    "nodes,pods,deployments.apps,daemonsets.apps",
    "--all-namespaces",
    "-o",
    "json",
]


@pytest.fixture
def objects(fixture_text):
    """Objects of a healthy cluster of three nodes."""
    return json.loads(fixture_text("kubectl/cluster_objects.json"))["items"]


def find(objects, kind, name):
    return next(item for item in objects if item["kind"] == kind and item["metadata"]["name"].startswith(name))


def pending(objects, nodes=NODES, namespaces=NAMESPACES):
    return list(judge(objects, nodes=nodes, namespaces=namespaces).pending)


def make_unready(item):
    for condition in item["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "False"


def test_a_healthy_cluster_has_nothing_pending(objects):
    assert pending(objects) == []


def test_the_summary_names_nodes_and_workloads(objects):
    lines = judge(objects, nodes=["master-1", "worker-1"], namespaces=NAMESPACES).summary
    assert lines[0] == "master-1: control plane, Ready, v1.36.3, 10.77.0.11"
    assert lines[2] == "worker-2: worker, Ready, v1.36.3, 10.77.0.22 (not reached by this run)"
    assert lines[-1] == "system workloads: 3, pods ready: 12 of 12"


def test_a_missing_node_is_named(objects):
    assert pending(objects, nodes=[*NODES, "worker-3"]) == ["Node worker-3 does not exist"]


def test_a_node_that_is_not_ready_is_named(objects):
    make_unready(find(objects, "Node", "worker-1"))
    assert pending(objects) == ["Node worker-1 is not Ready"]


def test_nodes_that_are_not_asked_for_hold_nothing_up(objects):
    make_unready(find(objects, "Node", "worker-2"))
    for item in objects:
        if item["kind"] == "Pod" and item["spec"].get("nodeName") == "worker-2":
            make_unready(item)
    assert pending(objects, nodes=["master-1", "worker-1"]) == []


def test_a_node_that_is_down_holds_no_daemon_set_up(objects):
    make_unready(find(objects, "Node", "worker-2"))
    find(objects, "DaemonSet", "kube-proxy")["status"]["updatedNumberScheduled"] = 2
    assert pending(objects, nodes=["master-1", "worker-1"]) == []
    find(objects, "DaemonSet", "kube-proxy")["status"]["updatedNumberScheduled"] = 1
    assert pending(objects, nodes=["master-1", "worker-1"]) == ["DaemonSet kube-system/kube-proxy has made 1 of 3 pods"]


def test_a_pod_that_is_not_ready_is_named(objects):
    pod = find(objects, "Pod", "kube-proxy")
    make_unready(pod)
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    assert pending(objects) == [f"Pod kube-system/{name} on {node} is not ready"]


def test_a_pod_without_node_is_named(objects):
    pod = find(objects, "Pod", "coredns")
    make_unready(pod)
    del pod["spec"]["nodeName"]
    assert pending(objects) == [f"Pod kube-system/{pod['metadata']['name']} on no node is not ready"]


@pytest.mark.parametrize(
    "change", [{"metadata": {"deletionTimestamp": "2026-11-20T12:00:00Z"}}, {"phase": "Succeeded"}]
)
def test_pods_that_leave_or_have_ended_hold_nothing_up(objects, change):
    pod = find(objects, "Pod", "coredns")
    make_unready(pod)
    pod["metadata"].update(change.get("metadata", {}))
    pod["status"]["phase"] = change.get("phase", "Running")
    assert pending(objects) == []


def test_a_namespace_without_workload_is_named(objects):
    assert pending(objects, namespaces=["kube-system", "calico-system"]) == ["Namespace calico-system has no workload"]


@pytest.mark.parametrize(
    ("kind", "name", "status", "words"),
    [
        ("Deployment", "coredns", {"observedGeneration": 0}, "has not been looked at by its controller"),
        ("Deployment", "coredns", {"updatedReplicas": 1}, "has made 1 of 2 pods"),
        ("DaemonSet", "kube-proxy", {"updatedNumberScheduled": 2}, "has made 2 of 3 pods"),
        ("DaemonSet", "kube-proxy", {"desiredNumberScheduled": 0, "updatedNumberScheduled": 0}, "has made 0 of 0 pods"),
    ],
)
def test_a_workload_that_is_not_rolled_out_is_named(objects, kind, name, status, words):
    changed = copy.deepcopy(objects)
    find(changed, kind, name)["status"].update(status)
    (line,) = pending(changed)
    assert line == f"{kind} kube-system/{name} {words}"


def test_everything_is_read_in_one_request(fixture_text, objects):
    runner = FakeRunner([(ARGV, Result(0, fixture_text("kubectl/cluster_objects.json"), ""))])
    assert read_objects(runner, "/etc/kubernetes/admin.conf") == objects
    runner.assert_finished()


def test_an_api_that_does_not_answer_is_an_error():
    runner = FakeRunner([(ARGV, Result(1, "", "The connection to the server was refused"))])
    with pytest.raises(CommandError, match="was refused"):
        read_objects(runner, "/etc/kubernetes/admin.conf")
