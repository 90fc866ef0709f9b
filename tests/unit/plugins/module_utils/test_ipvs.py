# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual servers as the kernel lists them, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_filters import Programs
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ipvs import (
    VirtualServer,
    read_virtual_servers,
    removable,
    servers_of_kube_proxy,
)

from tests.unit.fake_runner import FakeRunner

LISTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0A4D060B:192B      Masq    1      0          0
UDP  0A60000A:0035 rr
  -> 0AF40002:0035      Masq    1      0          0
TCP  C000020B:7918 rr  persistent 10800
TCP  C000020B:0050 wlc
TCP  C6336464:0050 wlc
SCTP [fd00:0000:0000:0000:0000:0000:0000:0001]:01BB rr
FWM  00000001 rr
"""
SERVICES = (
    VirtualServer("TCP", "10.96.0.1", 443),
    VirtualServer("UDP", "10.96.0.10", 53),
)
NODE_PORT = VirtualServer("TCP", "192.0.2.11", 31000)
OTHERS = (VirtualServer("TCP", "192.0.2.11", 80), VirtualServer("TCP", "198.51.100.100", 80))


def link(name: str, *addresses: str) -> Any:
    """A link in the words of ip."""
    info = [{"family": "inet", "local": address, "prefixlen": 32, "scope": "global"} for address in addresses]
    return {"ifname": name, "mtu": 1500, "address": "", "flags": [], "addr_info": info}


LINKS = [link("eth0", "192.0.2.11"), link("kube-ipvs0", "10.96.0.1", "10.96.0.10")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with virtual servers, and the link of kube-proxy."""
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/ip_vs").write_text(LISTED)
    (tmp_path / "sys/class/net/kube-ipvs0").mkdir(parents=True)
    return tmp_path


def test_the_list_of_the_kernel(root: Path) -> None:
    six = VirtualServer("SCTP", "fd00::1", 443)
    assert read_virtual_servers(root) == (*SERVICES, NODE_PORT, *OTHERS, six)


def test_a_kernel_without_ipvs(tmp_path: Path) -> None:
    assert read_virtual_servers(tmp_path) == ()
    assert servers_of_kube_proxy(Programs(FakeRunner()), tmp_path) == ()


def test_those_of_kube_proxy(root: Path) -> None:
    runner = FakeRunner([(["ip", "-json", "address"], Result(0, json.dumps(LINKS), ""))], {"ip": "/usr/sbin/ip"})
    assert servers_of_kube_proxy(Programs(runner), root) == (*SERVICES, NODE_PORT)


def test_without_its_link_nobody_can_tell(root: Path) -> None:
    (root / "sys/class/net/kube-ipvs0").rmdir()
    assert servers_of_kube_proxy(Programs(FakeRunner()), root) == ()


def test_one_goes_alone() -> None:
    assert SERVICES[1].deletion == ["ipvsadm", "--delete-service", "--udp-service", "10.96.0.10:53"]
    six = VirtualServer("TCP", "fd00::1", 443)
    assert six.deletion[-2:] == ["--tcp-service", "[fd00::1]:443"]
    assert str(six) == "TCP [fd00::1]:443"


def test_what_can_be_removed() -> None:
    assert removable(SERVICES, Programs(FakeRunner(programs={"ipvsadm": "/usr/sbin/ipvsadm"}))) == (SERVICES, ())
    staying, notes = removable(SERVICES, Programs(FakeRunner()))
    assert staying == ()
    assert notes == ("2 virtual servers of kube-proxy stay without the program ipvsadm",)
    assert removable((), Programs(FakeRunner())) == ((), ())
