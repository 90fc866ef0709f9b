# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubelet, kubeadm and kubectl at one exact version."""

from __future__ import annotations

import pytest
from testinfra.host import Host

PACKAGES = ["kubelet", "kubeadm", "kubectl"]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_installed(host: Host, package: str) -> None:
    assert host.package(package).is_installed


def test_packages_have_the_same_version(host: Host) -> None:
    assert len({host.package(package).version for package in PACKAGES}) == 1


def test_packages_are_held(host: Host) -> None:
    assert set(PACKAGES) <= set(host.check_output("apt-mark showhold").split())


def test_the_repository_is_trusted_by_its_own_key_alone(host: Host) -> None:
    source = host.file("/etc/apt/sources.list.d/kubernetes.sources")
    assert source.contains("^Signed-By: /etc/apt/keyrings/kubernetes.asc$")
    assert host.file("/etc/apt/keyrings/kubernetes.asc").mode == 0o644
    assert not host.file("/etc/apt/trusted.gpg").exists


def test_kubelet_starts_at_boot(host: Host) -> None:
    assert host.service("kubelet").is_enabled
