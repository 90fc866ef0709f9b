# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as data become lines for iptables-restore, each in its own family."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import (
    RuleSet,
    option,
    parse_chains,
    render,
    words,
)


def hook(**content: Any) -> dict[str, Any]:
    """The chain that INPUT leads to."""
    return {"name": "GROUNDPLANE-INPUT", "hook": True, **content}


def lines(stands_in: str, **rule: Any) -> list[str]:
    """Lines of one rule without what all of them have."""
    chains = parse_chains([hook(rules=[{"target": "accept", "comment": "why", **rule}])])
    head, tail = "-A GROUNDPLANE-INPUT ", '-m comment --comment "why" -j ACCEPT'
    found = render(chains, stands_in).chains[0].rules
    assert all(line.startswith(head) and line.endswith(tail) for line in found)
    return [line[len(head) : -len(tail)].strip() for line in found]


@pytest.mark.parametrize(
    ("rule", "ipv4", "ipv6"),
    [
        ({}, [""], [""]),
        ({"family": "ipv4"}, [""], []),
        ({"interface": "eth+"}, ["-i eth+"], ["-i eth+"]),
        ({"sources": ["10.1.2.3/8", "fd00::1"]}, ["-s 10.0.0.0/8"], ["-s fd00::1/128"]),
        ({"sources": ["10.0.0.1", "10.0.0.1"]}, ["-s 10.0.0.1/32"], []),
        ({"sources": []}, [], []),
        ({"destinations": []}, [], []),
        ({"ports": [], "protocol": "tcp"}, [], []),
        (
            {"sources": ["10.0.0.1", "10.0.0.2"], "destinations": ["10.9.0.0/16"]},
            ["-s 10.0.0.1/32 -d 10.9.0.0/16", "-s 10.0.0.2/32 -d 10.9.0.0/16"],
            [],
        ),
        ({"protocol": "tcp", "ports": ["22"]}, ["-p tcp -m tcp --dport 22"], ["-p tcp -m tcp --dport 22"]),
        ({"protocol": "17", "ports": ["1:9"]}, ["-p udp -m udp --dport 1:9"], ["-p udp -m udp --dport 1:9"]),
        ({"protocol": "VRRP"}, ["-p 112"], ["-p 112"]),
        ({"protocol": "icmp"}, ["-p icmp"], []),
        ({"protocol": "1", "icmp_types": ["8"]}, ["-p icmp -m icmp --icmp-type 8"], []),
        (
            {"protocol": "ipv6-icmp", "icmp_types": ["echo-request", "135"]},
            [],
            ["-p icmpv6 -m icmp6 --icmpv6-type echo-request", "-p icmpv6 -m icmp6 --icmpv6-type 135"],
        ),
        (
            {"states": ["established", "NEW", "RELATED", "NEW"]},
            ["-m conntrack --ctstate NEW,RELATED,ESTABLISHED"],
            ["-m conntrack --ctstate NEW,RELATED,ESTABLISHED"],
        ),
    ],
)
def test_one_rule_in_both_families(rule: dict[str, Any], ipv4: list[str], ipv6: list[str]) -> None:
    assert lines("ipv4", **rule) == ipv4
    assert lines("ipv6", **rule) == ipv6


def test_more_ports_than_one_match_takes() -> None:
    ports = ["100:200", *(str(port) for port in range(1, 14)), "300:400"]
    assert lines("ipv4", protocol="tcp", ports=ports) == [
        "-p tcp -m multiport --dports 100:200,1,2,3,4,5,6,7,8,9,10,11,12,13",
        "-p tcp -m multiport --dports 300:400",
    ]


def test_targets_comments_and_the_jump() -> None:
    rules = [
        {"target": "drop", "comment": 'a "b" \\'},
        {"target": "reject", "comment": "r"},
        {"target": "return", "comment": "r"},
        {"target": "GROUNDPLANE-NODES", "comment": "nodes"},
    ]
    chains = parse_chains([{"name": "GROUNDPLANE-NODES"}, hook(rules=rules)])
    found = render(chains, "ipv4")
    assert found.jumps == ("-A INPUT -j GROUNDPLANE-INPUT",)
    assert found.names == ("GROUNDPLANE-NODES", "GROUNDPLANE-INPUT")
    assert [words(line) for line in found.chains[1].rules] == [
        ["-A", "GROUNDPLANE-INPUT", "-m", "comment", "--comment", 'a "b" \\', "-j", "DROP"],
        ["-A", "GROUNDPLANE-INPUT", "-m", "comment", "--comment", "r", "-j", "REJECT"],
        ["-A", "GROUNDPLANE-INPUT", "-m", "comment", "--comment", "r", "-j", "RETURN"],
        ["-A", "GROUNDPLANE-INPUT", "-m", "comment", "--comment", "nodes", "-j", "GROUNDPLANE-NODES"],
    ]


def test_text_stands_in_both_families_unless_it_names_one() -> None:
    chains = parse_chains([hook(text=[" -j ACCEPT", "-4 -s 10.0.0.1 -j DROP", "-6  -s fd00::1 -j DROP"])])
    head = "-A GROUNDPLANE-INPUT "
    assert render(chains, "ipv4").chains[0].rules == (head + "-j ACCEPT", head + "-s 10.0.0.1 -j DROP")
    assert render(chains, "ipv6").chains[0].rules == (head + "-j ACCEPT", head + "-s fd00::1 -j DROP")


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ([{"name": "MINE", "hook": True}], 'the chain name "MINE"'),
        ([{"name": "GROUNDPLANE-TOO-LONG-FOR-IPTABLES", "hook": True}], "up to 16"),
        ([{"name": "GROUNDPLANE-input", "hook": True}], "capital letters"),
        ([hook(), hook()], "each name once"),
        ([{"name": "GROUNDPLANE-A"}], "0 chains with hook"),
        ([hook(), {"name": "GROUNDPLANE-A", "hook": True}], "2 chains with hook"),
        ([hook(text=["-A INPUT -j DROP"])], "line 1 of GROUNDPLANE-INPUT"),
        ([hook(text=["-j ACCEPT", "-j DROP\n:INPUT DROP"])], "line 2 of GROUNDPLANE-INPUT"),
        ([hook(text=["  "])], "one rule"),
        ([hook(text=[":INPUT DROP"])], "a rule without its chain"),
        ([hook(text=["COMMIT\n"])], "one rule in printable"),
    ],
)
def test_wrong_chains_are_refused(chains: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(GroundplaneError, match=message):
        parse_chains(chains)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"target": "KUBE-FIREWALL"}, 'target "KUBE-FIREWALL".*accept, drop, reject, return, GROUNDPLANE-INPUT'),
        ({"comment": " "}, "1 to 200 printable"),
        ({"comment": "x" * 201}, "1 to 200 printable"),
        ({"comment": "two\nlines"}, "1 to 200 printable"),
        ({"comment": "ü" * 150}, "at most 255 bytes"),
        ({"protocol": "tcp -j DROP"}, "a name such as tcp"),
        ({"ports": ["22"]}, "ports and protocol any"),
        ({"ports": ["22"], "protocol": "icmp"}, "ports and protocol icmp"),
        ({"ports": ["65536"], "protocol": "tcp"}, "up to 65535"),
        ({"ports": ["ssh"], "protocol": "tcp"}, "up to 65535"),
        ({"ports": ["1:2:3"], "protocol": "tcp"}, "or a range"),
        ({"ports": ["9:1"], "protocol": "tcp"}, "begins with the lower"),
        ({"icmp_types": ["8"]}, "icmp or icmpv6"),
        ({"icmp_types": ["8 -j"], "protocol": "icmp"}, "echo-request"),
        ({"interface": "-x"}, "up to 15 characters"),
        ({"interface": "eth0 -j DROP"}, "up to 15 characters"),
        ({"states": ["OLD"]}, "INVALID, NEW, RELATED, ESTABLISHED"),
        ({"sources": ["node-1"]}, '"node-1".*an address or a network'),
        ({"destinations": ["10.0.0.0/40"]}, "an address or a network"),
    ],
)
def test_wrong_rules_are_refused_by_name(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(GroundplaneError, match=f"(?s)rule 1 of GROUNDPLANE-INPUT.*{message}"):
        parse_chains([hook(rules=[{"target": "accept", "comment": "why", **rule}])])


def test_a_rule_set_in_words() -> None:
    rules = render(parse_chains([hook(text=["-j DROP"]), {"name": "GROUNDPLANE-A"}]), "ipv4")
    assert rules.ordered(["GROUNDPLANE-A"]).describe() == (
        "-A INPUT -j GROUNDPLANE-INPUT\n:GROUNDPLANE-A\n:GROUNDPLANE-INPUT\n-A GROUNDPLANE-INPUT -j DROP\n"
    )
    assert RuleSet().describe() == ""


def test_options_of_a_line() -> None:
    arguments = words(r'-A X -m comment --comment "it\'s \"-j\" \\" -j DROP')
    assert option(arguments, "--comment") == 'it\'s "-j" \\'
    assert option(arguments, "-j", "-g") == "DROP"
    assert option(arguments, "-p") == ""
