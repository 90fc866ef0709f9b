# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that the acceptance tests of all scenarios ask."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from testinfra import get_hosts
from testinfra.host import Host


@pytest.fixture(scope="session")
def nodes() -> list[Host]:
    """Every node."""
    return _hosts("k8s_cluster")


@pytest.fixture(scope="session")
def control_plane_nodes() -> list[Host]:
    """The control plane nodes; a test that asks only them runs once and not on every node."""
    return _hosts("control_plane")


@pytest.fixture(scope="session")
def items(control_plane_nodes: list[Host]) -> Callable[[str], list[dict]]:
    """Objects of a resource in all namespaces."""

    def get(resource: str) -> list[dict]:
        command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf get {resource} --all-namespaces --output json"
        return json.loads(control_plane_nodes[0].check_output(command))["items"]

    return get


def _hosts(group: str) -> list[Host]:
    inventory = f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/nodes"
    return get_hosts([f"ansible://{group}"], ansible_inventory=inventory)
