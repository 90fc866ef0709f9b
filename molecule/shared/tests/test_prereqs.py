# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is ready to become a Kubernetes node."""

from __future__ import annotations

import pytest
from testinfra.host import Host


@pytest.mark.parametrize("program", ["iptables", "ip", "modprobe", "losetup", "mount"])
def test_programs_that_kubelet_and_cni_plugins_call_are_there(host: Host, program: str) -> None:
    assert host.exists(program)


def test_swap_is_off_now_and_at_boot(host: Host) -> None:
    assert len(host.file("/proc/swaps").content_string.splitlines()) == 1
    fstab = host.file("/etc/fstab")
    entries = fstab.content_string.splitlines() if fstab.exists else []
    assert [line for line in entries if "swap" in line.split("#")[0].split()] == []


@pytest.mark.parametrize("module", ["overlay", "br_netfilter"])
def test_kernel_modules_are_loaded_at_boot(host: Host, module: str) -> None:
    assert host.file("/etc/modules-load.d/groundplane-kubeadm.conf").contains(f"^{module}$")


@pytest.mark.parametrize(
    "key", ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward"]
)
def test_kernel_parameters_hold_now_and_at_boot(host: Host, key: str) -> None:
    assert host.sysctl(key) == 1
    assert host.file("/etc/sysctl.d/99-groundplane-kubeadm.conf").contains(f"^{key} = 1$")


def test_time_service_starts_at_boot(host: Host) -> None:
    # In containers it stays inactive: they share the clock of their host.
    assert host.service("systemd-timesyncd").is_enabled


def test_endpoint_leads_to_the_control_plane(host: Host, control_plane_nodes: list[Host]) -> None:
    (address,) = host.addr("api.lab.internal").ipv4_addresses
    assert [node for node in control_plane_nodes if address in node.check_output("hostname --all-ip-addresses").split()]
