# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that the acceptance tests ask, those of a scenario or of an inventory of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from testinfra import get_hosts
from testinfra.host import Host

#: The one that Kubernetes' own tests use; the registry is that of Kubernetes' images.
IMAGE = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"

Hosts = Callable[[str], list[Host]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let clusters without a way out bring an image of their own."""
    parser.addoption("--image", default=IMAGE, help="image with sh, httpd, wget and nslookup of busybox (%(default)s)")


@pytest.fixture(scope="session")
def hosts_of(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    """Hosts of a group, as root."""
    inventory = request.config.getoption("ansible_inventory")
    with ExitStack() as roots:
        yield lambda group: [
            _as_root(host, roots) for host in get_hosts([f"ansible://{group}"], ansible_inventory=inventory)
        ]


@pytest.fixture(scope="module")
def host(_testinfra_host: Host) -> Iterator[Host]:
    """A node, as root like the roles, whoever the inventory logs in as."""
    with ExitStack() as roots:
        yield _as_root(_testinfra_host, roots)


@pytest.fixture(scope="module")
def variables(host: Host) -> dict[str, Any]:
    """What the inventory says about a node."""
    return host.ansible.get_variables()


@pytest.fixture(scope="session")
def nodes(hosts_of: Hosts) -> list[Host]:
    """Every node."""
    return hosts_of("k8s_cluster")


@pytest.fixture(scope="session")
def control_plane_nodes(hosts_of: Hosts) -> list[Host]:
    """The control plane nodes; a test that asks only them runs once and not on every node."""
    return hosts_of("control_plane")


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest, nodes: list[Host]) -> Iterator[str]:
    """Image of the pods; taken from the nodes again that had it not."""
    reference = request.config.getoption("image")
    borrowers = [node for node in nodes if node.run("crictl inspecti %s", reference).rc != 0]
    yield reference
    for node in borrowers:
        node.run_test("crictl rmi %s", reference)


def _as_root(host: Host, roots: ExitStack) -> Host:
    if host.check_output("id -u") != "0":
        roots.enter_context(host.sudo())
    return host
