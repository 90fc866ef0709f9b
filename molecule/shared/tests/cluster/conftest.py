# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as kubectl on a control plane node shows it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from testinfra.host import Host

from tests.acceptance.workload import Kubectl, Workload


@pytest.fixture(scope="session")
def settings(control_plane_nodes: list[Host]) -> dict[str, Any]:
    """What the inventory says about the cluster."""
    return control_plane_nodes[0].ansible.get_variables()


@pytest.fixture(scope="session")
def kubectl(control_plane_nodes: list[Host]) -> Kubectl:
    """Run kubectl as the cluster's administrator."""

    def run(arguments: Sequence[str], stdin: str) -> str:
        command = shlex.join(["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", *arguments])
        return control_plane_nodes[0].check_output(f"{command} <<'END-OF-INPUT'\n{stdin}\nEND-OF-INPUT")

    return run


@pytest.fixture(scope="session")
def items(kubectl: Kubectl) -> Callable[[str], list[dict]]:
    """Objects of a resource in all namespaces."""
    return lambda resource: json.loads(kubectl(["get", resource, "--all-namespaces", "--output=json"], ""))["items"]


@pytest.fixture(scope="session")
def workload(kubectl: Kubectl, image: str) -> Iterator[Workload]:
    """A pod on every node, until the end of the tests."""
    pods = Workload(kubectl, image)
    try:
        pods.create()
        yield pods
    finally:
        pods.remove()
