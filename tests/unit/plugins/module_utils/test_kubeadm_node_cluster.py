# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster says about its initialisation."""

from __future__ import annotations

import json
from typing import Any, Callable, Collection

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import nodes_argv, objects_argv, readyz_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_cluster import (
    ClusterState,
    read_cluster,
)

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

ADMIN = "/etc/kubernetes/admin.conf"
HOST = "kubeadm-master-1"
OBJECTS = objects_argv(
    ADMIN,
    "kube-system",
    [
        *("configmap/kubeadm-config", "configmap/kubelet-config", "deployment/coredns", "service/kube-dns"),
        *("daemonset/kube-proxy", "rolebinding/kube-proxy", f"node/{HOST}"),
    ],
)
CLUSTER_INFO = objects_argv(ADMIN, "kube-public", ["configmap/cluster-info"])


def ask(kube_system: str, kube_public: str, nodes: str | None = None) -> ClusterState:
    """State of a cluster that answers so."""
    expected = [
        (readyz_argv(ADMIN), Result(0, "ok", "")),
        (OBJECTS, Result(0, kube_system, "")),
        (CLUSTER_INFO, Result(0, kube_public, "")),
    ]
    if nodes is not None:
        expected.append((nodes_argv(ADMIN), Result(0, nodes, "")))
    runner = FakeRunner(expected)
    cluster = read_cluster(runner, ADMIN, HOST, with_nodes=nodes is not None)
    runner.assert_finished()
    return cluster


def without(text: str, names: Collection[str]) -> str:
    """Recorded objects without those of some names."""
    recorded = json.loads(text)
    recorded["items"] = [item for item in recorded["items"] if item["metadata"]["name"] not in names]
    return json.dumps(recorded)


def test_complete(fixture_text: FixtureText) -> None:
    recorded = (
        fixture_text("kubectl/initialised_kube_system.json"),
        fixture_text("kubectl/initialised_kube_public.json"),
    )
    cluster = ask(*recorded)
    assert (cluster.ready, cluster.missing, cluster.other_nodes) == (True, (), ())
    assert "controlPlaneEndpoint: 10.77.5.11:6443" in cluster.configuration
    nodes = fixture_text("kubectl/nodes.json")
    assert ask(*recorded, nodes).other_nodes == ("kubeadm-worker-1",)


MISSING = {
    "nothing of kubeadm": (
        ["kubeadm-config", "kubelet-config", "coredns", "kube-dns", "kube-proxy", HOST],
        [
            *("configmap/kubeadm-config", "configmap/kubelet-config", "deployment/coredns", "service/kube-dns"),
            *("daemonset/kube-proxy", "rolebinding/kube-proxy", "the Node object of this host"),
        ],
    ),
    "addons": (
        ["coredns", "kube-proxy"],
        ["deployment/coredns", "daemonset/kube-proxy", "rolebinding/kube-proxy"],
    ),
    "the last object": (["kube-dns"], ["service/kube-dns"]),
}


@pytest.mark.parametrize(("names", "missing"), MISSING.values(), ids=MISSING)
def test_missing(fixture_text: FixtureText, names: list[str], missing: list[str]) -> None:
    kube_system = without(fixture_text("kubectl/initialised_kube_system.json"), names)
    cluster = ask(kube_system, fixture_text("kubectl/initialised_kube_public.json"))
    assert list(cluster.missing) == missing


def test_no_cluster_info(fixture_text: FixtureText) -> None:
    cluster = ask(fixture_text("kubectl/initialised_kube_system.json"), "")
    assert cluster.missing == ("configmap/cluster-info",)


def test_no_label(fixture_text: FixtureText) -> None:
    text = fixture_text("kubectl/initialised_kube_system.json").replace("node-role.kubernetes.io/control-plane", "x")
    cluster = ask(text, fixture_text("kubectl/initialised_kube_public.json"))
    assert cluster.missing == ("the label node-role.kubernetes.io/control-plane",)


def test_disabled_addons_are_not_missed(fixture_text: FixtureText) -> None:
    recorded: dict[str, Any] = json.loads(
        without(fixture_text("kubectl/initialised_kube_system.json"), ["coredns", "kube-dns", "kube-proxy"])
    )
    config = next(item for item in recorded["items"] if item["metadata"]["name"] == "kubeadm-config")
    text = config["data"]["ClusterConfiguration"]
    text = text.replace("dns: {}", "dns:\n  disabled: true").replace("proxy: {}", "proxy:\n  disabled: true")
    config["data"]["ClusterConfiguration"] = text
    assert not ask(json.dumps(recorded), fixture_text("kubectl/initialised_kube_public.json")).missing


def test_not_ready() -> None:
    said = (
        'an error on the server ("[+]ping ok\\n[+]etcd ok\\n'
        '[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\\nreadyz check failed")'
    )
    runner = FakeRunner([(readyz_argv(ADMIN), Result(1, "", said))])
    assert read_cluster(runner, ADMIN, HOST, with_nodes=True) == ClusterState(
        ready=False,
        message='an error on the server ("[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\\n'
        'readyz check failed")',
    )


def test_gone_in_the_middle() -> None:
    runner = FakeRunner(
        [(readyz_argv(ADMIN), Result(0, "ok", "")), (OBJECTS, Result(1, "connection refused\n", ""))],
    )
    assert read_cluster(runner, ADMIN, HOST, with_nodes=False) == ClusterState(
        ready=False, message="connection refused"
    )
