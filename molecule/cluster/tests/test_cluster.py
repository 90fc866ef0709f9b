# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster whose nodes are ready and whose system runs."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host


def kubectl(host: Host, resource: str) -> list[dict]:
    """Items of a resource in all namespaces."""
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf get {resource} --all-namespaces --output json"
    return json.loads(host.check_output(command))["items"]


def test_both_machines_are_ready_nodes(control_plane_node: Host) -> None:
    ready = {
        node["metadata"]["name"]: next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
        for node in kubectl(control_plane_node, "nodes")
    }
    assert ready == {"molecule-master-1": "True", "molecule-worker-1": "True"}


@pytest.mark.parametrize("kind", ["deployments", "daemonsets"])
def test_every_workload_is_rolled_out(control_plane_node: Host, kind: str) -> None:
    waiting = [
        item["metadata"]["name"]
        for item in kubectl(control_plane_node, kind)
        if item["status"].get("unavailableReplicas") or item["status"].get("numberUnavailable")
    ]
    assert waiting == []


def test_no_token_to_join_is_left_behind(control_plane_node: Host) -> None:
    tokens = [
        secret["metadata"]["name"]
        for secret in kubectl(control_plane_node, "secrets")
        if secret["type"] == "bootstrap.kubernetes.io/token"
    ]
    assert tokens == []
