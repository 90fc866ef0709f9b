# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modes of kube-proxy leave on a node where another one is at work.

At its start in mode nftables kube-proxy removes what iptables and ipvs have made, and in these two what nftables has
made. Between iptables and ipvs, which share chains, it removes nothing; and of ipvs it forgets the sets of IPv6. What
kubelet makes, such as KUBE-FIREWALL and KUBE-KUBELET-CANARY, is of no mode.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_filters import (
    Programs,
    ipsets,
    iptables_saves,
    link_names,
    nft_tables,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._iptables_remains import (
    Rule,
    SavedTable,
    TableRemains,
    tables_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ipvs import (
    LINK,
    removable,
    servers_of_kube_proxy,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPTABLES, IPVS, NFTABLES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import NetworkRemains

_OF_A_SERVICE = r"(?:SVC|SVL|SEP|EXT|FW)-[A-Z2-7]{16}"
#: Chains of iptables by mode and table.
_CHAINS = {
    IPTABLES: {
        "nat": re.compile(rf"KUBE-(?:SERVICES|NODEPORTS|POSTROUTING|MARK-MASQ|PROXY-CANARY|{_OF_A_SERVICE})$"),
        "filter": re.compile(r"KUBE-(?:SERVICES|EXTERNAL-SERVICES|NODEPORTS|FORWARD|PROXY-FIREWALL|PROXY-CANARY)$"),
        "mangle": re.compile(r"KUBE-PROXY-CANARY$"),
    },
    IPVS: {
        "nat": re.compile(r"KUBE-(?:SERVICES|NODE-PORT|POSTROUTING|MARK-MASQ|LOAD-BALANCER)$"),
        "filter": re.compile(
            r"KUBE-(?:NODE-PORT|FORWARD|PROXY-FIREWALL|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER)$"
        ),
    },
    NFTABLES: {},
}
#: Comments of rules by which one mode alone leads to a chain that others have as well.
_COMMENTS = {IPTABLES: "kubernetes load balancer firewall", IPVS: "kube-proxy firewall rules"}
#: Comments of all rules in chains of others that lead to its own.
_JUMPS = frozenset(
    (
        *_COMMENTS.values(),
        "kubernetes externally-visible service portals",
        "kubernetes forwarding rules",
        "kubernetes health check rules",
        "kubernetes health check service ports",
        "kubernetes ipvs access filter",
        "kubernetes postrouting rules",
        "kubernetes service portals",
    )
)
_NFT_TABLES = ("ip kube-proxy", "ip6 kube-proxy")
_IPSET = re.compile(r"KUBE-")
_IPV6_SETS = "KUBE-6-"
_SERVICE_CHAINS = "KUBE-SVC-"
_MATCHES_SET = re.compile(r" --match-set KUBE-")


def part_of_other_modes(table: SavedTable, mode: str) -> TableRemains | None:
    """What of a table of iptables is none of a mode's but of another, None when nothing is.

    A chain to which somebody else leads, such as a CNI plugin to KUBE-MARK-MASQ, stays with all that it leads to.
    """
    in_use = _led_to_by_others(table)
    chains = tuple(
        chain
        for chain in table.chains
        if chain not in in_use
        and not _is_chain_of(mode, table, chain)
        and any(_is_chain_of(other, table, chain) for other in _CHAINS)
    )
    comments = {comment for other, comment in _COMMENTS.items() if other != mode}
    rules = tuple(
        rule.text
        for rule in table.rules
        if rule.chain not in chains and (rule.target in chains or comments.intersection(rule.comments))
    )
    return TableRemains(table.program, table.name, chains, rules) if chains or rules else None


def _led_to_by_others(table: SavedTable) -> set[str]:
    """Chains that rules which are not kube-proxy's lead to, and those that these lead to in turn."""
    targets: dict[str, set[str]] = {}
    pending = set()
    for rule in table.rules:
        targets.setdefault(rule.chain, set()).add(rule.target)
        if not rule.chain.startswith("KUBE-") and _JUMPS.isdisjoint(rule.comments):
            pending.add(rule.target)
    found: set[str] = set()
    while pending:
        chain = pending.pop()
        found.add(chain)
        pending |= targets.get(chain, set()) - found
    return found


def _is_chain_of(mode: str, table: SavedTable, chain: str) -> bool:
    pattern = _CHAINS[mode].get(table.name)
    return pattern is not None and pattern.match(chain) is not None


def read_rules_of_other_modes(runner: Runner, mode: str, root: Path = Path("/")) -> NetworkRemains:
    """What modes other than this one have left; programs that are not installed are not asked.

    :arg root: below which everything lies; only tests set it.
    """
    programs = Programs(runner)
    parts = (part_of_other_modes(table, mode) for table in tables_of(iptables_saves(programs, root)))
    found = NetworkRemains(
        tables=tuple(part for part in parts if part),
        nft_tables=() if mode == NFTABLES else _kube_proxy_tables(programs),
    )
    if mode == IPVS:
        return replace(found, notes=tuple(programs.notes))
    servers, notes = removable(servers_of_kube_proxy(programs, root), programs)
    return replace(
        found,
        ipsets=tuple(filter(_IPSET.match, ipsets(programs, root))),
        virtual_servers=servers,
        links=tuple(name for name in link_names(root) if name == LINK),
        notes=(*notes, *programs.notes),
    )


def left_after_start(remains: NetworkRemains, mode: str) -> NetworkRemains:
    """What of it kube-proxy would not remove by itself when it starts in a mode."""
    if mode == NFTABLES:
        forgotten = tuple(name for name in remains.ipsets if name.startswith(_IPV6_SETS))
        return NetworkRemains(ipsets=forgotten, notes=remains.notes)
    return replace(remains, nft_tables=())


def serves(runner: Runner, mode: str, root: Path = Path("/")) -> bool:
    """Whether the rules of a mode are there; before it makes those of nftables, kube-proxy has removed all others.

    Chains that iptables and ipvs share are written anew one family after the other, those of ipvs after its servers. As
    long as they hold rules of the former mode, these are about to go by themselves and keep the sets from going.
    """
    if mode == NFTABLES:
        return True
    programs = Programs(runner)
    tables = tables_of(iptables_saves(programs, root))
    if any(_is_of_other_modes(rule, mode, table) for table in tables for rule in table.rules):
        return False
    if mode == IPTABLES:
        return any(chain.startswith(_SERVICE_CHAINS) for table in tables for chain in table.chains)
    return bool(servers_of_kube_proxy(programs, root))


def _is_of_other_modes(rule: Rule, mode: str, table: SavedTable) -> bool:
    """Whether a rule in a chain of a mode is of another one: it leads to a chain or asks a set that the mode lacks."""
    if not _is_chain_of(mode, table, rule.chain):
        return False
    if mode == IPTABLES and _MATCHES_SET.search(rule.text):
        return True
    return not _is_chain_of(mode, table, rule.target) and any(
        _is_chain_of(other, table, rule.target) for other in _CHAINS
    )


def _kube_proxy_tables(programs: Programs) -> tuple[str, ...]:
    return tuple(name for name in nft_tables(programs) if name in _NFT_TABLES)
