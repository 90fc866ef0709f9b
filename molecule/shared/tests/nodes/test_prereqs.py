# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is ready to become a Kubernetes node."""

from __future__ import annotations

from typing import Any

import pytest
from testinfra.host import Host

TIME_SERVICES = {f"{name}.service" for name in ("chrony", "chronyd", "ntpsec", "openntpd", "systemd-timesyncd")}


@pytest.mark.parametrize("program", ["iptables", "ip", "modprobe", "losetup", "mount"])
def test_programs_that_kubelet_and_cni_plugins_call_are_there(host: Host, program: str) -> None:
    assert host.exists(program)


def test_swap_is_off_now_and_at_boot(host: Host, variables: dict[str, Any]) -> None:
    if variables.get("cluster_swap_allowed"):
        pytest.skip("the inventory allows swap")
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


def test_time_service_starts_at_boot(host: Host, variables: dict[str, Any]) -> None:
    if not variables.get("prereqs_time_service_enabled", True):
        pytest.skip("the inventory leaves the clock to somebody else")
    # In containers it stays inactive: they share the clock of their host.
    listing = host.check_output("systemctl list-unit-files --type=service --state=enabled --no-legend")
    assert TIME_SERVICES & {line.split()[0] for line in listing.splitlines()}


def test_endpoint_leads_to_the_control_plane(
    host: Host, variables: dict[str, Any], control_plane_nodes: list[Host]
) -> None:
    endpoint = variables.get("cluster_endpoint", f"api.{variables.get('cluster_name', 'kubernetes')}.internal")
    balancer = variables.get("cluster_endpoint_address")
    expected = [balancer] if balancer else _addresses(control_plane_nodes)
    (address, *_further) = host.addr(endpoint).ip_addresses
    assert address in expected


def _addresses(nodes: list[Host]) -> list[str]:
    return [address for node in nodes for address in node.check_output("hostname --all-ip-addresses").split()]
