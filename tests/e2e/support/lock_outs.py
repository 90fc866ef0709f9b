# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules with which an operator locks everybody out, and what has to be said about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.lab.settings import HOST_ADDRESS, SUBNET

HOOK = "GROUNDPLANE-INPUT"
OTHER = "GROUNDPLANE-OTHERS"
#: Reserved for documentation, so that nobody is there.
ELSEWHERE = "198.51.100.0/24"

Chains = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Attempt:
    """One mistake.

    :arg words: what the message has to hold; where a rule shuts the controller out, its comment or the rule itself.
    :arg foreign: a rule of others at the end of INPUT that is there meanwhile.
    :arg forgets: the node is switched off and on meanwhile, so that chains of others are gone.
    """

    mistake: str
    chains: Chains
    words: tuple[str, ...]
    state: str = "present"
    foreign: str = ""
    forgets: bool = False

    def call(self, seconds: int) -> Mapping[str, Any]:
        """Options of the module."""
        return {"state": self.state, "chains": self.chains, "rollback_seconds": seconds}


def rule(target: str, comment: str, **matches: Any) -> dict[str, Any]:
    """One rule as data."""
    return {"target": target, "comment": comment, **matches}


def hook(*rules: dict[str, Any]) -> Chains:
    """The chain that INPUT leads to, alone."""
    return [{"name": HOOK, "hook": True, "rules": list(rules)}]


def text(*lines: str) -> Chains:
    """The same with rules as iptables-save prints them."""
    return [{"name": HOOK, "hook": True, "text": list(lines)}]


def both(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> Chains:
    """The chain that INPUT leads to, and another one."""
    return [*hook(*first), {"name": OTHER, "rules": second}]


KNOWN = rule("accept", "known connections", states=["ESTABLISHED", "RELATED"])
SSH = rule("accept", "SSH", protocol="tcp", ports=["22"])
REST = rule("drop", "everything else")
KNOWN_TEXT = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
SSH_TEXT = "-p tcp -m tcp --dport 22 -j ACCEPT"

#: Rules that lock nobody out, with a second chain.
GOOD = both(
    [KNOWN, rule("accept", "the host itself", interface="lo"), SSH, rule(OTHER, "more"), REST],
    [rule("accept", "web", protocol="tcp", ports=["80", "443"])],
)
#: The same with one rule more.
ALSO_GOOD = both([KNOWN, SSH, rule(OTHER, "more"), REST], [rule("accept", "another web", protocol="tcp", ports=["81"])])

#: Each is loaded and shuts SSH, with connections that exist or without them.
LOCK_OUTS = (
    Attempt("SSH is dropped", hook(KNOWN, rule("drop", "no SSH here", protocol="tcp", ports=["22"])), ("no SSH here",)),
    Attempt(
        "SSH from a wrong source only",
        hook(KNOWN, rule("accept", "administrators", protocol="tcp", ports=["22"], sources=[ELSEWHERE]), REST),
        ("everything else",),
    ),
    Attempt(
        "SSH at a wrong port",
        hook(KNOWN, rule("accept", "SSH", protocol="tcp", ports=["2222"]), REST),
        ("everything else",),
    ),
    Attempt("the drop stands first", hook(rule("drop", "the last rule first"), KNOWN, SSH), ("the last rule first",)),
    Attempt("nothing but a drop", hook(rule("drop", "nothing at all")), ("nothing at all",)),
    Attempt(
        "SSH is reset",
        text(KNOWN_TEXT, "-p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset"),
        ("--reject-with tcp-reset",),
    ),
    Attempt(
        "SSH is rejected",
        hook(KNOWN, rule("reject", "go away", protocol="tcp", ports=["20:23"])),
        ("go away",),
    ),
    Attempt(
        "a rule of the user drops before SSH",
        both(
            [KNOWN, rule(OTHER, "rules of the user"), SSH, REST],
            [rule("drop", "a noisy neighbour", sources=[str(HOST_ADDRESS)])],
        ),
        ("a noisy neighbour",),
    ),
    Attempt(
        "new connections are dropped",
        hook(KNOWN, rule("drop", "no strangers", states=["NEW"]), SSH),
        ("no strangers",),
    ),
    Attempt(
        "the sources of SSH are an empty list, a second chain drops",
        both(
            [KNOWN, rule("accept", "SSH", protocol="tcp", ports=["22"], sources=[]), rule(OTHER, "the rest")],
            [rule("drop", "dropped in the second chain")],
        ),
        ("dropped in the second chain", OTHER),
    ),
    Attempt(
        "IPv4 is dropped, IPv6 is open",
        hook(KNOWN, rule("drop", "no IPv4", family="ipv4"), SSH),
        ("no IPv4", "ipv4"),
    ),
    Attempt("text of one family drops", text("-4 -p tcp -j DROP", SSH_TEXT), ("-p tcp -j DROP",)),
    Attempt(
        "text drops a range of ports",
        text(KNOWN_TEXT, '-p tcp -m multiport --dports 1:1023 -m comment --comment "low ports" -j DROP', SSH_TEXT),
        ("low ports",),
    ),
    Attempt(
        "text drops whoever is not elsewhere",
        text(KNOWN_TEXT, f"-4 ! -s {ELSEWHERE} -j DROP", SSH_TEXT),
        (f"! -s {ELSEWHERE}",),
    ),
    Attempt(
        "the addresses of the nodes are dropped",
        hook(KNOWN, rule("drop", "not to nodes", destinations=[str(SUBNET)]), SSH),
        ("not to nodes",),
    ),
    Attempt(
        "an interface is dropped",
        hook(rule("drop", "nothing from outside", interface="eth+"), SSH),
        ("nothing from outside",),
    ),
    Attempt(
        "known connections are dropped, new ones are not",
        hook(rule("drop", "nothing known", states=["ESTABLISHED", "RELATED"]), SSH),
        ("nothing known",),
    ),
    Attempt(
        "the first packet of a connection is dropped",
        text(KNOWN_TEXT, '-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment "no beginning" -j DROP'),
        ("no beginning",),
    ),
    Attempt(
        "SSH is let in by IPv6 only",
        hook(KNOWN, rule("accept", "SSH", family="ipv6", protocol="tcp", ports=["22"]), REST),
        ("everything else",),
    ),
    Attempt(
        "the accepting rule goes, and others drop after it",
        hook(KNOWN, rule("accept", "web", protocol="tcp", ports=["80"])),
        ("None of the rules has dropped or rejected a packet", "an accepting rule may have gone"),
        foreign="-p tcp -m tcp --dport 22 -m comment --comment others -j DROP",
    ),
)

#: Each is refused before anything is loaded.
REFUSED = (
    Attempt(
        "a word of another packet filter in the middle",
        text(KNOWN_TEXT, "-p tcp -m tcp dport 22 accept", "-j DROP"),
        ("-p tcp -m tcp dport 22 accept", "Nothing was changed"),
    ),
    Attempt(
        "a match that does not exist in the middle",
        text(SSH_TEXT, "-m moonphase --full -j ACCEPT", "-j DROP"),
        ("-m moonphase --full -j ACCEPT", "Nothing was changed"),
    ),
    Attempt(
        "a jump to a chain that is missing",
        text(SSH_TEXT, "-p tcp -j GROUNDPLANE-MISSING", "-j DROP"),
        ("-p tcp -j GROUNDPLANE-MISSING", "Nothing was changed"),
    ),
    Attempt(
        "a rule that leads to a chain that is missing",
        hook(SSH, rule("GROUNDPLANE-MISSING", "somewhere"), REST),
        ("rule 2 of GROUNDPLANE-INPUT", "GROUNDPLANE-MISSING", "Nothing was changed"),
    ),
    Attempt(
        "a loop of chains",
        both([SSH, rule(OTHER, "there"), REST], [rule(HOOK, "and back")]),
        ("Nothing was changed",),
    ),
)
