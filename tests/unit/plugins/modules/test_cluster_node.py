# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of cluster_node."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import Node
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster_node import Removal, RemovalRequest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import Member
from ansible_collections.groundplane.kubeadm.plugins.modules import cluster_node

RunMain = Callable[..., Any]

NODE = Node("master-3", "uid", True, ("192.0.2.13", "master-3"), True, "v1.36.3")
MEMBER = Member("da0706bc04e14f91", "master-3", ("https://192.0.2.13:2380",), ("https://192.0.2.13:2379",), False, True)


@pytest.fixture
def decides(monkeypatch: pytest.MonkeyPatch) -> Callable[[Removal], list[Any]]:
    """Let the module come to a decision; the list returned remembers what it was asked."""

    def prepare(removal: Removal) -> list[Any]:
        asked: list[Any] = []

        def remove(runner: Runner, request: RemovalRequest, *, check_mode: bool) -> Removal:
            asked.append((request, check_mode))
            return removal

        monkeypatch.setattr(cluster_node, "remove_from_cluster", remove)
        return asked

    return prepare


@pytest.mark.parametrize("check", [True, False])
def test_removal(decides: Callable[[Removal], list[Any]], run_main: RunMain, check: bool) -> None:
    asked = decides(Removal("master-3", NODE, (MEMBER,), drain=True))
    options = {"name": "master-3", "address": "192.0.2.13", "drain_timeout": 60}
    result = run_main(cluster_node, options, check=check, diff=True)
    assert asked == [(RemovalRequest("master-3", "192.0.2.13", drain_timeout=60), check)]
    assert (result["changed"], result["action"], result["node"]) == (True, "remove", True)
    assert result["members"] == [
        {
            "id": "da0706bc04e14f91",
            "name": "master-3",
            "peer_urls": ["https://192.0.2.13:2380"],
            "client_urls": ["https://192.0.2.13:2379"],
            "learner": False,
            "healthy": True,
        }
    ]
    assert result["steps"] == [
        "cordon and drain the node master-3",
        "remove the etcd member master-3 (192.0.2.13)",
        "delete the Node object master-3",
    ]
    assert result["diff"]["before"].startswith("Node master-3: control plane, Ready, 192.0.2.13 master-3\n")


def test_nothing_to_remove(decides: Callable[[Removal], list[Any]], run_main: RunMain) -> None:
    decides(Removal("master-3"))
    result = run_main(cluster_node, {"name": "master-3"})
    assert (result["changed"], result["action"], result["node"]) == (False, "none", False)
    assert (result["steps"], result["members"]) == ([], [])


def test_defaults_of_the_options_are_those_of_the_request(
    decides: Callable[[Removal], list[Any]], run_main: RunMain
) -> None:
    asked = decides(Removal("worker-1"))
    run_main(cluster_node, {"name": "worker-1"})
    assert asked == [(RemovalRequest("worker-1"), False)]


def test_refusal(monkeypatch: pytest.MonkeyPatch, run_main: RunMain) -> None:
    def refuse(*arguments: Any, **options: Any) -> Removal:
        raise GroundplaneError("master-3 is the last one", remedy="join another")

    monkeypatch.setattr(cluster_node, "remove_from_cluster", refuse)
    result = run_main(cluster_node, {"name": "master-3"})
    assert (result["failed"], result["msg"]) == (True, "master-3 is the last one. To do: join another.")
