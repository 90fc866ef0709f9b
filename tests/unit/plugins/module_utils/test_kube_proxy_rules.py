# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one mode of kube-proxy leaves and another one does not need, between what all of them and kubelet have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._iptables_remains import TableRemains, parse_save
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ipvs import VirtualServer
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_rules import (
    left_after_start,
    part_of_other_modes,
    read_rules_of_other_modes,
    serves,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import NetworkRemains

from tests.unit.fake_runner import FakeRunner
from tests.unit.iptables_restore import carried_out

FixtureText = Callable[[str], str]

SAVE = "/usr/sbin/iptables-nft-save"

#: Mode ipvs, with a rule of an operator's that leads to none of its chains.
IPVS = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
-A INPUT -j KUBE-FIREWALL
-A INPUT -p tcp -m tcp --dport 80 -m comment --comment "not of kube-proxy" -j ACCEPT
-A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
-A KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
-A KUBE-NODE-PORT -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT
-A KUBE-PROXY-FIREWALL -m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
COMMIT
"""

KUBELET = {"KUBE-FIREWALL", "KUBE-KUBELET-CANARY"}
SHARED = {"KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-FORWARD", "KUBE-PROXY-FIREWALL"}


def parts(text: str, mode: str) -> list[TableRemains]:
    found = (part_of_other_modes(table, mode) for table in parse_save(SAVE, text))
    return [part for part in found if part]


def left(text: str, mode: str) -> str:
    """The output once everything of other modes is gone."""
    return carried_out(text, {f"*{part.name}": part.script for part in parts(text, mode)})


def kube_chains(text: str) -> set[str]:
    return set(re.findall(r"^:(KUBE-\S+)", text, re.MULTILINE))


@pytest.mark.parametrize(("recorded", "mode"), [("node-save", "iptables"), ("shared-save-after", "nftables")])
def test_nothing_of_other_modes(recorded: str, mode: str, fixture_text: FixtureText) -> None:
    assert parts(fixture_text(f"iptables/{recorded}"), mode) == []


def test_a_mode_keeps_what_is_its_own() -> None:
    assert parts(IPVS, "ipvs") == []


def test_from_iptables_to_nftables(fixture_text: FixtureText) -> None:
    before = fixture_text("iptables/node-save")
    after = left(before, "nftables")
    assert kube_chains(after) == {*KUBELET, "KUBE-IPTABLES-HINT"}
    gone = [line for line in before.splitlines() if line.startswith("-A") and line not in after]
    assert all("KUBE-" in line for line in gone)
    assert "-A INPUT -j KUBE-FIREWALL" in after
    assert "FLANNEL-POSTRTG" in after


def test_from_iptables_to_ipvs(fixture_text: FixtureText) -> None:
    after = left(fixture_text("iptables/node-save"), "ipvs")
    assert kube_chains(after) == {*KUBELET, *SHARED, "KUBE-IPTABLES-HINT"}
    # Filters are by mode, and so is what leads to a chain that both have.
    (filtered,) = [part for part in after.split("*") if part.startswith("filter")]
    assert "KUBE-SERVICES" not in filtered
    assert "kubernetes load balancer firewall" not in after
    assert '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD' in after


def test_from_ipvs_to_iptables() -> None:
    after = left(IPVS, "iptables")
    assert kube_chains(after) == KUBELET | SHARED
    assert "kube-proxy firewall rules" not in after
    assert "not of kube-proxy" in after
    assert '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES' in after


def test_from_ipvs_to_nftables() -> None:
    assert kube_chains(left(IPVS, "nftables")) == KUBELET


def test_a_chain_that_somebody_else_uses_stays(fixture_text: FixtureText) -> None:
    """With what it leads to, and with the rule: without it the ports of a container would be silent."""
    foreign = "-A CNI-HOSTPORT-SETMARK -j KUBE-SVC-NPX46M4PTMTKRN6Y\n"
    first = "-A CNI-HOSTPORT-SETMARK -m comment"
    after = left(fixture_text("iptables/node-save").replace(first, foreign + first), "nftables")
    assert foreign in after
    assert kube_chains(after) - KUBELET == {
        "KUBE-IPTABLES-HINT",
        "KUBE-SVC-NPX46M4PTMTKRN6Y",
        "KUBE-SEP-BW2HPEZCU62TOLAL",
        "KUBE-MARK-MASQ",
    }


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "nftables"])
def test_once_is_enough(mode: str, fixture_text: FixtureText) -> None:
    for before in (IPVS, fixture_text("iptables/node-save")):
        assert parts(left(before, mode), mode) == []


def said(command: str, text: str) -> tuple[list[str], Result]:
    """A program and what it prints."""
    return command.split(), Result(0, text, "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host on which mode ipvs has been."""
    (tmp_path / "sys/class/net/kube-ipvs0").mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0").mkdir()
    (tmp_path / "sys/module/ip_set").mkdir(parents=True)
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/ip_vs").write_text("TCP  0A600001:01BB rr  \n")
    return tmp_path


ADDRESS = {"family": "inet", "local": "10.96.0.1", "prefixlen": 32, "scope": "global"}
LINK = {"ifname": "kube-ipvs0", "mtu": 1500, "address": "", "flags": [], "addr_info": [ADDRESS]}
LINKS = said("ip -json address", json.dumps([LINK]))
TABLES = said("nft list tables", "table ip kube-proxy\ntable ip6 kube-proxy\ntable ip calico\n")
SETS = said("ipset list -name", "KUBE-CLUSTER-IP\nKUBE-6-CLUSTER-IP\ncali40s:X\n")
SERVER = VirtualServer("TCP", "10.96.0.1", 443)


def read(root: Path, mode: str, *commands: Any, programs: tuple[str, ...] = ()) -> NetworkRemains:
    """What other modes have left on a host where exactly these programs are installed."""
    found = {command[0][0].rsplit("/", 1)[-1]: command[0][0] for command in commands}
    runner = FakeRunner(commands, {**found, **dict.fromkeys(programs, "/usr/sbin/program")})
    remains = read_rules_of_other_modes(runner, mode, root)
    runner.assert_finished()
    return remains


def test_a_node_in_mode_iptables(root: Path) -> None:
    remains = read(root, "iptables", said(SAVE, IPVS), TABLES, LINKS, SETS, programs=("ipvsadm",))
    assert [table.name for table in remains.tables] == ["filter", "nat"]
    assert remains.nft_tables == ("ip kube-proxy", "ip6 kube-proxy")
    assert remains.ipsets == ("KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP")
    assert (remains.virtual_servers, remains.links, remains.notes) == ((SERVER,), ("kube-ipvs0",), ())


def test_a_node_in_mode_nftables(root: Path) -> None:
    remains = read(root, "nftables", said(SAVE, ""), LINKS, SETS)
    assert (remains.nft_tables, remains.virtual_servers, remains.links) == ((), (), ("kube-ipvs0",))
    assert remains.notes == ("1 virtual servers of kube-proxy stay without the program ipvsadm",)


def test_a_node_in_mode_ipvs(root: Path, fixture_text: FixtureText) -> None:
    remains = read(root, "ipvs", said(SAVE, fixture_text("iptables/node-save")), TABLES)
    assert [table.name for table in remains.tables] == ["mangle", "filter", "nat"]
    assert remains.nft_tables == ("ip kube-proxy", "ip6 kube-proxy")
    assert (remains.ipsets, remains.virtual_servers, remains.links) == ((), (), ())


def test_a_node_that_has_been_in_one_mode_alone(tmp_path: Path, fixture_text: FixtureText) -> None:
    assert not read(tmp_path, "iptables", said(SAVE, fixture_text("iptables/node-save")))


def test_what_kube_proxy_would_remove_itself() -> None:
    table = TableRemains(SAVE, "nat", ("KUBE-SVC-X",), ())
    remains = NetworkRemains(
        tables=(table,),
        nft_tables=("ip kube-proxy",),
        ipsets=("KUBE-IP", "KUBE-6-IP"),
        links=("kube-ipvs0",),
        notes=("a note",),
    )
    assert left_after_start(remains, "nftables") == NetworkRemains(ipsets=("KUBE-6-IP",), notes=("a note",))
    for mode in ("iptables", "ipvs"):
        kept = left_after_start(remains, mode)
        assert (kept.tables, kept.nft_tables, kept.links) == ((table,), (), ("kube-ipvs0",))


def asked(*commands: Any) -> FakeRunner:
    return FakeRunner(commands, {command[0][0].rsplit("/", 1)[-1]: command[0][0] for command in commands})


def test_rules_that_are_there(root: Path, fixture_text: FixtureText) -> None:
    assert serves(asked(said(SAVE, fixture_text("iptables/node-save"))), "iptables", root)
    assert serves(asked(LINKS), "ipvs", root)
    assert serves(asked(), "nftables", root)


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_rules_of_the_former_mode_in_one_family(root: Path, mode: str, fixture_text: FixtureText) -> None:
    """The other family has been written anew; a set that a rule asks for cannot be destroyed."""
    texts = {"iptables": fixture_text("iptables/node-save"), "ipvs": IPVS}
    former = next(text for name, text in texts.items() if name != mode)
    saves = [said(SAVE, texts[mode]), said("/usr/sbin/ip6tables-nft-save", former)]
    assert not serves(asked(*saves), mode, root)
    saves[1] = said("/usr/sbin/ip6tables-nft-save", texts[mode])
    assert serves(asked(*saves, *([LINKS] if mode == "ipvs" else [])), mode, root)


def test_a_set_alone_is_of_the_former_mode(root: Path, fixture_text: FixtureText) -> None:
    hairpin = "-A KUBE-POSTROUTING -m set --match-set KUBE-6-LOOP-BACK dst,dst,src -j MASQUERADE\n"
    text = fixture_text("iptables/node-save").replace("-A KUBE-POSTROUTING", f"{hairpin}-A KUBE-POSTROUTING", 1)
    assert not serves(asked(said(SAVE, text)), "iptables", root)


def test_rules_that_are_still_missing(root: Path, tmp_path: Path) -> None:
    assert not serves(asked(said(SAVE, IPVS)), "iptables", root)
    (root / "proc/net/ip_vs").write_text("")
    assert not serves(asked(), "ipvs", root)
