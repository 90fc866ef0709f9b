# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster whose nodes are ready and whose system runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testinfra.host import Host

Items = Callable[[str], list[dict]]


def test_every_machine_is_a_ready_node(nodes: list[Host], items: Items) -> None:
    ready = {
        node["metadata"]["name"]: next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
        for node in items("nodes")
    }
    assert ready == {node.check_output("hostname"): "True" for node in nodes}


@pytest.mark.parametrize("kind", ["deployments", "daemonsets"])
def test_every_workload_is_rolled_out(items: Items, kind: str) -> None:
    waiting = [
        item["metadata"]["name"]
        for item in items(kind)
        if item["status"].get("unavailableReplicas") or item["status"].get("numberUnavailable")
    ]
    assert waiting == []


def test_no_token_to_join_is_left_behind(items: Items) -> None:
    tokens = [
        secret["metadata"]["name"] for secret in items("secrets") if secret["type"] == "bootstrap.kubernetes.io/token"
    ]
    assert tokens == []
