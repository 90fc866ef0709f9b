# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is to what shall be: one piece for iptables-restore, and only chains of ours in it."""

from __future__ import annotations

from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import Found, Tool, parse_filter
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_plan import (
    FamilyPlan,
    chains_before,
    decide,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import (
    ChainText,
    RuleSet,
    parse_chains,
    render,
)

TOOL = Tool("ipv4", "nft", "iptables", "iptables-save", "iptables-restore")
A = ChainText("GROUNDPLANE-A", ("-A GROUNDPLANE-A -p icmp -m icmp --icmp-type 8 -j ACCEPT",))
LOADED_A = ChainText("GROUNDPLANE-A", ("-A GROUNDPLANE-A -p icmp -m icmp --icmp-type echo-request -j ACCEPT",))
B = ChainText("GROUNDPLANE-B", ("-A GROUNDPLANE-B -j DROP",))
JUMP = "-A INPUT -j GROUNDPLANE-A"
NORMAL = RuleSet((A,), (JUMP,))
WANTED = RuleSet((LOADED_A,), (JUMP,))


def plan(*chains: ChainText, jumps: tuple[str, ...] = (), foreign: tuple[str, ...] = ()) -> FamilyPlan:
    """Plan for a host that has these, where A is wanted."""
    return decide(TOOL, Found(RuleSet(chains, jumps), foreign), WANTED, NORMAL)


def test_what_the_kernel_prints_alike_is_no_change() -> None:
    """It is loaded in other words than those that it is compared by."""
    assert not plan(A, jumps=(JUMP,)).changed
    assert plan(LOADED_A, jumps=(JUMP,)).changed


def test_a_fresh_host() -> None:
    fresh = plan()
    assert fresh.changed
    assert fresh.restore_lines() == [":GROUNDPLANE-A - [0:0]", *LOADED_A.rules, "-I INPUT 1 -j GROUNDPLANE-A"]
    assert fresh.rollback_text() == "*filter\n:GROUNDPLANE-A - [0:0]\nCOMMIT\n"
    assert fresh.diff()["before"] == ""
    assert fresh.diff()["after"] == f"{JUMP}\n:GROUNDPLANE-A\n{A.rules[0]}\n"


def test_a_jump_that_is_there_is_left_alone_wherever_it_is() -> None:
    assert plan(B, A, jumps=("-A INPUT -j GROUNDPLANE-B", JUMP)).restore_lines() == [
        ":GROUNDPLANE-A - [0:0]",
        ":GROUNDPLANE-B - [0:0]",
        *LOADED_A.rules,
        "-D INPUT -j GROUNDPLANE-B",
        "-X GROUNDPLANE-B",
    ]


def test_two_jumps_become_one() -> None:
    twice = plan(A, jumps=(JUMP, JUMP))
    assert twice.changed
    assert twice.restore_lines()[-3:] == [
        "-D INPUT -j GROUNDPLANE-A",
        "-D INPUT -j GROUNDPLANE-A",
        "-I INPUT 1 -j GROUNDPLANE-A",
    ]


def test_a_missing_jump_alone_is_a_change() -> None:
    assert plan(A).restore_lines()[-1] == "-I INPUT 1 -j GROUNDPLANE-A"


def test_somebodys_own_way_into_our_chain_stays() -> None:
    extra = "-A INPUT -i eth1 -j GROUNDPLANE-A"
    assert not plan(A, jumps=(extra, JUMP)).changed
    assert plan(A, jumps=(extra,)).restore_lines()[-1] == "-I INPUT 1 -j GROUNDPLANE-A"
    assert extra in plan(A, jumps=(extra,)).after.jumps


@pytest.mark.parametrize(
    ("jumps", "wanted", "expected"),
    [
        ((JUMP,), NORMAL, ("-A INPUT -j ACCEPT",)),
        ((JUMP, JUMP), NORMAL, ()),
        (("-A INPUT -j GROUNDPLANE-B",), NORMAL, ()),
        ((JUMP,), RuleSet(), ()),
    ],
)
def test_what_comes_before_a_jump_counts_only_where_the_jump_stays(
    jumps: tuple[str, ...], wanted: RuleSet, expected: tuple[str, ...]
) -> None:
    found = Found(RuleSet((A, B), jumps), (), ("-A INPUT -j ACCEPT",))
    assert decide(TOOL, found, wanted, wanted).earlier == expected


def test_all_of_ours_goes_and_comes_back() -> None:
    jumps = (JUMP, "-A INPUT -i eth1 -j GROUNDPLANE-A")
    gone = decide(TOOL, Found(RuleSet((A, B), jumps), ()), RuleSet(), RuleSet())
    assert gone.restore_lines() == [
        ":GROUNDPLANE-A - [0:0]",
        ":GROUNDPLANE-B - [0:0]",
        "-D INPUT -j GROUNDPLANE-A",
        "-D INPUT -i eth1 -j GROUNDPLANE-A",
        "-X GROUNDPLANE-A",
        "-X GROUNDPLANE-B",
    ]
    assert gone.rollback_text().splitlines()[1:-1] == [
        ":GROUNDPLANE-A - [0:0]",
        ":GROUNDPLANE-B - [0:0]",
        *A.rules,
        *B.rules,
    ]
    assert not decide(TOOL, Found(RuleSet(), ()), RuleSet(), RuleSet()).changed


def test_foreign_rules_hold_a_chain_that_has_to_go() -> None:
    foreign = ("-A OTHER -j GROUNDPLANE-B",)
    with pytest.raises(GroundplaneError, match="-A OTHER -j GROUNDPLANE-B.*Nothing was changed"):
        plan(A, B, jumps=(JUMP,), foreign=foreign)
    assert not plan(A, jumps=(JUMP,), foreign=("-A OTHER -j GROUNDPLANE-A",)).changed


def test_what_was_there_can_be_put_back(fixture_text: Callable[[str], str]) -> None:
    """What the module returned goes back into it, and comes out as the kernel had printed it."""
    plans = []
    for family, program in (("ipv4", "iptables"), ("ipv6", "ip6tables")):
        found = parse_filter(fixture_text(f"iptables/firewall-nft-{program}-save"))
        plans.append(decide(TOOL._replace(family=family), found, RuleSet(), RuleSet()))
    previous = chains_before(plans)
    assert [(chain["name"], chain["hook"]) for chain in previous] == [
        ("GROUNDPLANE-INPUT", True),
        ("GROUNDPLANE-NODES", False),
    ]
    chains = parse_chains(previous)
    for plan in plans:
        assert plan.before.chains
        assert render(chains, plan.tool.family) == plan.before


def test_rules_without_words_and_chains_without_jump_can_be_told_too() -> None:
    counting = ChainText("GROUNDPLANE-A", ("-A GROUNDPLANE-A",))
    found = Found(RuleSet((counting,), ("-A INPUT -i eth1 -j GROUNDPLANE-A",)), ())
    assert chains_before([decide(TOOL, found, WANTED, NORMAL)]) == [
        {"name": "GROUNDPLANE-A", "hook": False, "text": ["-4"]}
    ]
    assert chains_before([decide(TOOL, Found(RuleSet(), ()), WANTED, NORMAL)]) == []
