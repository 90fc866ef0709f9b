# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a distribution would flush or freeze the chains of Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_persistence import read_notes

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below the root of a made-up machine."""

    def write_below(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write_below


def enable(root: Path, unit: str) -> None:
    """Enable a unit as systemctl does."""
    folder = root / "etc/systemd/system/multi-user.target.wants"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")


def ids(root: Path, backend: str = "nft") -> list[str]:
    """What is noted."""
    return [note.id for note in read_notes(root, backend)]


def test_nothing_to_note_on_a_plain_machine(tmp_path: Path) -> None:
    assert ids(tmp_path) == []


def test_netfilter_persistent(tmp_path: Path, write: Write) -> None:
    """The settings are those of Debian's package, where all of them are comments."""
    write("usr/share/netfilter-persistent/plugins.d/15-ip4tables", "#!/bin/sh\n")
    write("etc/default/netfilter-persistent", "# IPTABLES_SKIP_SAVE=yes\nIP6TABLES_SKIP_SAVE=yes\n")
    assert ids(tmp_path) == ["netfilter-persistent-save"]
    write("etc/iptables/rules.v4", "*filter\n:KUBE-FIREWALL - [0:0]\nCOMMIT\n")
    assert ids(tmp_path) == ["netfilter-persistent-save"]
    enable(tmp_path, "netfilter-persistent.service")
    assert ids(tmp_path) == [
        "netfilter-persistent-flush",
        "netfilter-persistent-frozen",
        "netfilter-persistent-save",
    ]
    write("etc/iptables/rules.v4", "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n")
    write(
        "etc/default/netfilter-persistent",
        "IPTABLES_RESTORE_NOFLUSH=yes\nIPTABLES_SKIP_SAVE='yes' # never\nIP6TABLES_SKIP_SAVE=yes\n",
    )
    assert ids(tmp_path) == []


def test_iptables_services(tmp_path: Path, write: Write) -> None:
    write("etc/sysconfig/iptables-config", 'IPTABLES_SAVE_ON_STOP="yes"\nIPTABLES_SAVE_ON_RESTART="no"\n')
    assert ids(tmp_path) == []
    enable(tmp_path, "iptables.service")
    enable(tmp_path, "ip6tables.service")
    notes = read_notes(tmp_path, "nft")
    assert [note.id for note in notes] == [
        "iptables-services-flush",
        "iptables-services-save",
        "iptables-services-flush",
    ]
    assert notes[1].remedy == "set IPTABLES_SAVE_ON_STOP=no in /etc/sysconfig/iptables-config"


def test_nftables(tmp_path: Path, write: Write) -> None:
    write("etc/nftables.conf", "#!/usr/sbin/nft -f\n\nflush ruleset\n")
    assert ids(tmp_path) == []
    enable(tmp_path, "nftables.service")
    assert ids(tmp_path) == ["nftables-flush"]
    assert ids(tmp_path, "legacy") == []
    write("etc/nftables.conf", "# flush ruleset\n")
    assert ids(tmp_path) == []


def test_nftables_by_an_included_file(tmp_path: Path, write: Write) -> None:
    enable(tmp_path, "nftables.service")
    write("etc/sysconfig/nftables.conf", 'include "/etc/nftables/*.nft"\n')
    write("etc/nftables/main.nft", "flush ruleset\n")
    (note,) = read_notes(tmp_path, "nft")
    assert "/etc/nftables/main.nft" in note.found


def test_ufw(tmp_path: Path, write: Write) -> None:
    write("etc/ufw/ufw.conf", "ENABLED=no\n")
    assert ids(tmp_path) == []
    write("etc/ufw/ufw.conf", "ENABLED=yes\n")
    assert ids(tmp_path) == ["ufw-active"]
    write("etc/default/ufw", "MANAGE_BUILTINS=yes\n")
    assert ids(tmp_path) == ["ufw-active", "ufw-flush"]


def test_firewalld(tmp_path: Path, write: Write) -> None:
    enable(tmp_path, "firewalld.service")
    assert ids(tmp_path) == ["firewalld-active"]
    write("etc/firewalld/firewalld.conf", "FirewallBackend=iptables\n")
    assert ids(tmp_path) == ["firewalld-active", "firewalld-flush"]
