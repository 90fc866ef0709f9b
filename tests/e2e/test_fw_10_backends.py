# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same rules in both backends of iptables: predicted, applied, kept, brought back at boot, taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.support.filtered import CHAINS_OF_OTHERS, LEGACY, NFT, Called, FilteredNodes
from tests.e2e.support.lock_outs import ALSO_GOOD, GOOD, KNOWN, REST, SSH, Attempt, hook
from tests.e2e.support.packet_filter import OURS, SERVICE, Rules, everything, of_others, of_ours
from tests.e2e.support.phases import Phases

# Minutes.
pytestmark = pytest.mark.long

FIRST = Attempt("none", GOOD, ()).call(60)
#: With a chain less.
SECOND = Attempt("none", hook(KNOWN, SSH, REST), ()).call(60)
OTHER = Attempt("none", ALSO_GOOD, ()).call(60)
NOTHING = Attempt("none", [], (), state="absent").call(60)

TABLES = "*filter", "*nat"
STARTED_LATER = ("network-pre.target", "containerd.service", "kubelet.service")


@dataclass(frozen=True)
class Step:
    """One run, and how the nodes looked after it.

    :arg kept: what lies on the disk.
    """

    called: Called
    rules: Rules
    kept: dict[str, str]


@dataclass(frozen=True)
class Story:
    """Everything that happens to the nodes, in this order.

    :arg fresh: rules before anything of ours.
    :arg kept: what lay on the disk then.
    :arg again: the second rules once more, after jumps of others have moved before ours.
    :arg moved: rules just before that.
    """

    fresh: Rules
    kept: dict[str, str]
    predicted: Step
    first: Step
    second: Step
    moved: Rules
    again: Step


@pytest.fixture(scope="module")
def story(filtered_nodes: FilteredNodes, phases: Phases) -> Story:
    """Predict, apply, change, apply again."""
    nodes, names = filtered_nodes.nodes, filtered_nodes.names

    def step(name: str, call: Mapping[str, Any], *arguments: str) -> Step:
        with phases.phase(f"{name}, five nodes"):
            called = filtered_nodes.call(dict.fromkeys(names, call), *arguments)
        return Step(called, everything(nodes, names), filtered_nodes.kept())

    fresh, kept = filtered_nodes.fresh(), filtered_nodes.kept()
    predicted = step("check mode", FIRST, "--check", "--diff")
    first = step("first rules", FIRST)
    second = step("other rules with a chain less", SECOND)
    nodes.run_on(
        names,
        "for program in iptables ip6tables; do $program --wait -D INPUT -j GROUNDPLANE-INPUT && "
        "$program --wait -A INPUT -j GROUNDPLANE-INPUT || exit 1; done",
    )
    moved = everything(nodes, names)
    again = step("the same rules again", SECOND)
    return Story(fresh, kept, predicted, first, second, moved, again)


def test_others_have_chains_in_both_families_and_tables(story: Story) -> None:
    for rules in story.fresh.values():
        assert OURS not in rules
        assert all(rules.count(f"{table}\n") == 2 for table in TABLES)
        assert all(f":{chain} " in rules for chain in CHAINS_OF_OTHERS)


def test_check_mode_changes_nothing(story: Story) -> None:
    story.predicted.called.require(changed=True)
    assert story.predicted.rules == story.fresh
    assert story.predicted.kept == story.kept


def test_check_mode_predicts_the_very_rules(story: Story, filtered_nodes: FilteredNodes) -> None:
    story.first.called.require(changed=True)
    for name in filtered_nodes.names:
        entries = {entry["after_header"]: entry for entry in story.predicted.called.results[name]["diff"]}
        shown = [entries[f"{family}, table filter"] for family in ("ipv4", "ipv6")]
        predicted = [line for entry in shown for line in entry["after"].splitlines()]
        assert all(not entry["before"] for entry in shown)
        assert sorted(line for line in predicted if line[0] == "-") == sorted(
            line for line in of_ours(story.first.rules)[name].splitlines() if line[0] == "-"
        )


def test_the_same_rules_stand_in_both_backends(story: Story, filtered_nodes: FilteredNodes) -> None:
    ours = of_ours(story.first.rules)
    for name, backend in filtered_nodes.backends.items():
        assert story.first.called.results[name]["backend"] == backend
        assert story.first.called.results[name]["families"] == ["ipv4", "ipv6"]
        assert ours[name].count("-A INPUT -j GROUNDPLANE-INPUT") == 2
    assert len(set(ours.values())) == 1
    assert {len(filtered_nodes.of_backend(backend)) for backend in (NFT, LEGACY)} == {2, 3}


def test_a_change_is_made_and_removes_what_has_left_it(story: Story) -> None:
    story.second.called.require(changed=True)
    for before, after in zip(of_ours(story.first.rules).values(), of_ours(story.second.rules).values(), strict=True):
        assert "GROUNDPLANE-OTHERS" in before
        assert "GROUNDPLANE-OTHERS" not in after
        assert after.count("-A INPUT -j GROUNDPLANE-INPUT") == 2


def test_a_second_run_changes_nothing_though_others_have_jumps_before_ours(story: Story) -> None:
    assert story.moved != story.second.rules
    story.again.called.require(changed=False)
    assert story.again.rules == story.moved
    assert story.again.kept == story.second.kept


def test_nothing_of_others_is_touched_or_kept(story: Story, filtered_nodes: FilteredNodes) -> None:
    steps = (story.predicted, story.first, story.second, story.again)
    assert [of_others(step.rules) == of_others(story.fresh) for step in steps] == [True] * len(steps)
    for name, text in filtered_nodes.nodes.run_on(
        filtered_nodes.names, "cat /etc/groundplane/firewall/rules.v4 /etc/groundplane/firewall/rules.v6"
    ).items():
        lines = [line for line in text.splitlines() if line[:1] in (":", "-")]
        assert lines, name
        assert all(OURS in line for line in lines), text


def test_rules_in_two_backends_are_refused(story: Story, filtered_nodes: FilteredNodes) -> None:
    story.again.called.require(changed=False)
    nodes = filtered_nodes.nodes
    one, other, *_more = filtered_nodes.of_backend(NFT)
    old = filtered_nodes.of_backend(LEGACY)[0]
    mixtures = {
        one: (
            "iptables-legacy -A FORWARD -p udp -j DROP",
            "iptables-legacy -D FORWARD -p udp -j DROP",
            "legacy has 1 rules",
        ),
        other: (
            "update-alternatives --quiet --set ip6tables /usr/sbin/ip6tables-legacy",
            "update-alternatives --quiet --auto ip6tables",
            "iptables of the backend nft and ip6tables of the backend legacy",
        ),
        old: (
            "ip6tables-nft -N KUBE-MARK-MASQ",
            "ip6tables-nft -X KUBE-MARK-MASQ",
            "nft has the chains KUBE-MARK-MASQ",
        ),
    }
    try:
        for name, (make, _undo, _words) in mixtures.items():
            nodes.run(name, make)
        called = filtered_nodes.call(dict.fromkeys(mixtures, OTHER))
    finally:
        for name, (_make, undo, _words) in mixtures.items():
            nodes.run(name, undo)

    for name, (_make, _undo, words) in mixtures.items():
        result = called.results[name]
        assert result["failed"], result
        assert words in result["msg"], result["msg"]
        assert "Nothing was changed" in result["msg"]
    assert everything(nodes, filtered_nodes.names) == story.again.rules
    assert filtered_nodes.kept() == story.again.kept


@pytest.fixture(scope="module")
def restarted(story: Story, filtered_nodes: FilteredNodes, phases: Phases) -> list[str]:
    """A node of each backend that was shut down and switched on."""
    story.again.called.require(changed=False)
    names = [filtered_nodes.of_backend(backend)[-1] for backend in (NFT, LEGACY)]
    with phases.phase("restarting a node of each backend"):
        filtered_nodes.nodes.stop(names)
        filtered_nodes.nodes.start(names)
    return names


def test_after_a_restart_the_rules_are_the_same(
    restarted: list[str], story: Story, filtered_nodes: FilteredNodes
) -> None:
    rules = everything(filtered_nodes.nodes, restarted)
    assert not any("KUBE-SERVICES" in text for text in rules.values())
    ours = of_ours(rules)
    assert {name: set(text.splitlines()) for name, text in ours.items()} == {
        name: set(of_ours(story.again.rules)[name].splitlines()) for name in restarted
    }


def test_they_are_loaded_before_the_network_and_what_makes_pods(
    restarted: list[str], filtered_nodes: FilteredNodes
) -> None:
    show = "systemctl show --value --property"
    for name in restarted:
        before, state, *times = filtered_nodes.nodes.run(
            name,
            f"{show}=Before {SERVICE}; {show}=ActiveState {SERVICE}; {show}=UserspaceTimestampMonotonic; "
            f"for unit in {SERVICE} network-pre.target ssh.service; do "
            f"{show}=ActiveEnterTimestampMonotonic $unit; done",
        ).splitlines()
        assert set(STARTED_LATER) <= set(before.split())
        assert state == "active"
        began, ours, network, ssh = (int(time) for time in times)
        assert 0 < began < ours < network < ssh, name


def test_taking_them_back_leaves_what_was_there_before(
    restarted: list[str], story: Story, filtered_nodes: FilteredNodes, phases: Phases
) -> None:
    names = filtered_nodes.names
    with phases.phase("taking the rules back, five nodes"):
        filtered_nodes.call(dict.fromkeys(names, NOTHING)).require(changed=True)

    rules = everything(filtered_nodes.nodes, names)
    assert OURS not in "".join(rules.values())
    assert {name: text for name, text in rules.items() if name not in restarted} == {
        name: text for name, text in story.fresh.items() if name not in restarted
    }
    look = f"ls -d /etc/groundplane; systemctl cat {SERVICE}; find /etc/systemd -name '*groundplane*'; true"
    assert set(filtered_nodes.nodes.run_on(names, look).values()) == {""}
