# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages: control files, and the contract with the official packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import programs
from tests.lab.packages import File, Package, all_packages, package_version, render_control
from tests.lab.settings import Paths


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Package]:
    paths = Paths(tmp_path)
    plugins = programs.folder(paths, programs.CNI_PLUGINS)
    plugins.mkdir(parents=True)
    (plugins / "bridge").touch()
    return {package.name: package for package in all_packages(paths)}


def test_control_file() -> None:
    package = Package(
        name="kubelet",
        version="1.36.3-1.1",
        section="net",
        summary="Node agent for Kubernetes clusters",
        files={"usr/bin/kubelet": File()},
        depends=("iptables (>= 1.4.21)", "mount"),
    )
    assert render_control(package, "amd64", 58725) == (
        "Package: kubelet\n"
        "Version: 1.36.3-1.1\n"
        "Architecture: amd64\n"
        "Maintainer: groundplane.kubeadm contributors\n"
        "Installed-Size: 58725\n"
        "Depends: iptables (>= 1.4.21), mount\n"
        "Section: net\n"
        "Priority: optional\n"
        "Homepage: https://kubernetes.io\n"
        "Description: Node agent for Kubernetes clusters\n"
    )


def test_a_package_without_dependencies_has_no_such_field() -> None:
    package = Package(name="kubectl", version="1", section="admin", summary="A client", files={})
    assert "Depends" not in render_control(package, "arm64", 1)


def test_versions_look_like_the_official_ones() -> None:
    assert package_version("v1.36.3") == "1.36.3-1.1"


def test_official_names_and_paths(packages: dict[str, Package]) -> None:
    assert set(packages) == {"kubeadm", "kubectl", "kubelet", "kubernetes-cni", "cri-tools"}
    assert "usr/lib/systemd/system/kubelet.service" in packages["kubelet"].files
    assert "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" in packages["kubeadm"].files
    assert "opt/cni/bin/bridge" in packages["kubernetes-cni"].files
    assert packages["kubelet"].conffiles == ("/etc/default/kubelet",)


def test_every_file_that_is_packed_from_here_exists(packages: dict[str, Package], tmp_path: Path) -> None:
    sources = [file.source for package in packages.values() for file in package.files.values() if file.source]
    sources += [script for package in packages.values() for script in package.scripts.values()]
    assert [source for source in sources if not source.is_relative_to(tmp_path) and not source.is_file()] == []
