# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubelet, kubeadm and kubectl at one exact version."""

from __future__ import annotations

from typing import Any

import pytest
from testinfra.host import Host


@pytest.fixture(scope="module")
def packages(variables: dict[str, Any]) -> list[str]:
    """Packages that belong on the node."""
    with_kubectl = "control_plane" in variables["group_names"] or variables.get(
        "kube_packages_kubectl_on_workers", True
    )
    return ["kubelet", "kubeadm", *(["kubectl"] if with_kubectl else [])]


@pytest.fixture
def apt(host: Host) -> None:
    """The other family of packages keeps its repositories and holds in other places."""
    if not host.exists("apt-mark"):
        pytest.skip("a node without apt")


def test_packages_are_installed_at_the_same_version(host: Host, packages: list[str]) -> None:
    assert [name for name in packages if not host.package(name).is_installed] == []
    assert len({host.package(name).version for name in packages}) == 1


@pytest.mark.usefixtures("apt")
def test_packages_are_held(host: Host, packages: list[str], variables: dict[str, Any]) -> None:
    held = set(host.check_output("apt-mark showhold").split())
    assert set(packages) & held == (set(packages) if variables.get("kube_packages_hold", True) else set())


@pytest.mark.usefixtures("apt")
def test_the_repository_is_trusted_by_its_own_key_alone(host: Host) -> None:
    source = host.file("/etc/apt/sources.list.d/kubernetes.sources")
    assert source.contains("^Signed-By: /etc/apt/keyrings/kubernetes.asc$")
    assert host.file("/etc/apt/keyrings/kubernetes.asc").mode == 0o644
    key = host.check_output("cat /etc/apt/keyrings/kubernetes.asc")
    assert [path for path in _trusted_for_everything(host) if key in host.file(path).content_string] == []


def test_kubelet_starts_at_boot(host: Host) -> None:
    assert host.service("kubelet").is_enabled


def _trusted_for_everything(host: Host) -> list[str]:
    return host.check_output("find /etc/apt/trusted.gpg.d -name '*.asc'").split()
