# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd, ready to run pods."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host


@pytest.fixture(scope="module")
def runtime(host: Host) -> dict:
    """What containerd itself says about its configuration."""
    return json.loads(host.check_output("crictl info"))


def test_containerd_runs_now_and_at_boot(host: Host) -> None:
    service = host.service("containerd")
    assert service.is_running
    assert service.is_enabled


def test_containerd_knows_every_key_of_its_configuration(host: Host) -> None:
    assert "level=warning" not in host.run("containerd config dump").stderr


def test_cgroups_are_managed_by_systemd_as_kubelet_expects(runtime: dict) -> None:
    assert runtime["config"]["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True


def test_cni_plugins_are_searched_where_kubernetes_installs_them(host: Host, runtime: dict) -> None:
    cni = runtime["config"]["cni"]
    assert "/opt/cni/bin" in [cni.get("binDir"), *cni.get("binDirs", [])]
    assert host.file("/opt/cni/bin/portmap").exists


def test_sandbox_image_is_the_one_that_kubeadm_expects(host: Host) -> None:
    version = host.check_output("kubeadm version --output short")
    images = host.check_output("kubeadm config images list --kubernetes-version %s", version).split()
    expected = next(image for image in images if "/pause:" in image)
    assert expected in host.check_output("containerd config dump")


def test_images_are_pulled(host: Host, image: str) -> None:
    assert host.run("crictl pull %s", image).rc == 0
