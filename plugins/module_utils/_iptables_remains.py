# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which chains and rules of iptables are Kubernetes', and how to take exactly these out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Iterator, NamedTuple

_OWN_CHAIN = re.compile(r"(?:KUBE|FLANNEL)-|cali-")
# Rules without a chain of their own: flannel before 0.22, Calico's last rules of FORWARD, NodeLocal DNSCache.
_OWN_COMMENT = re.compile(r"flanneld (?:masq|forward)$|cali:[\w-]{16}$|NodeLocal DNS Cache: ")
# The CNI plugins bridge and portmap: one chain for each container, named after a hash.
_CONTAINER_CHAIN = re.compile(r"CNI-(?:[DS]N-)?[0-9a-f]{21,24}$")
_CONTAINER_COMMENT = re.compile(r'(?:dnat |snat )?name: "(?P<network>[^"]*)" id: "(?P<container>[^"]*)"')
_PORT_MAPPING = re.compile(r"CNI-[DS]N-")
# Chains that the port mappings of all containers share, also those of nerdctl or podman.
_SHARED_CHAINS = frozenset(
    ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"),
)
# Every port of a Service has several.
_SHOWN_CHAINS = 12
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')


class Containers(NamedTuple):
    """What is known of the containers that CNI plugins have served.

    :arg networks: names of networks that pods are in.
    :arg foreign: ids of containers that are no pods.
    """

    networks: frozenset[str]
    foreign: frozenset[str]

    def are_pods(self, network: str, container: str) -> bool:
        """Whether a container of a network is a pod."""
        return network in self.networks and container not in self.foreign


class Rule(NamedTuple):
    """A rule as iptables-save prints it, and what of it tells whose it is."""

    text: str
    chain: str
    target: str
    comments: tuple[str, ...]


@dataclass(frozen=True)
class SavedTable:
    """One table out of iptables-save.

    :arg program: path of the iptables-save that has printed it, which tells backend and family.
    """

    program: str
    name: str
    chains: tuple[str, ...]
    rules: tuple[Rule, ...]

    @property
    def has_evidence(self) -> bool:
        """Whether anything in it can only be Kubernetes'."""
        return any(map(_OWN_CHAIN.match, self.chains)) or any(map(_has_own_comment, self.rules))


@dataclass(frozen=True)
class TableRemains:
    """What of one table is Kubernetes'.

    :arg rules: rules in chains of others, as printed by iptables-save.
    """

    program: str
    name: str
    chains: tuple[str, ...]
    rules: tuple[str, ...]

    @property
    def restore_argv(self) -> list[str]:
        """The program that takes the script; without --noflush it would empty the whole table."""
        return [self.program[: -len("-save")] + "-restore", "--noflush", "--wait=60"]

    @property
    def script(self) -> str:
        """Input of iptables-restore, which carries it out as a whole or not at all."""
        lines = [f"*{self.name}"]
        lines += [rule.replace("-A", "-D", 1) for rule in self.rules]
        lines += [f"-F {chain}" for chain in self.chains]
        lines += [f"-X {chain}" for chain in self.chains]
        return "\n".join([*lines, "COMMIT", ""])

    def describe(self) -> Iterator[str]:
        """Lines for operators."""
        where = f"{self.program.rsplit('/', 1)[-1][: -len('-save')]}, table {self.name}"
        if self.chains:
            more = len(self.chains) - _SHOWN_CHAINS
            yield f"{where}: chains {', '.join(self.chains[:_SHOWN_CHAINS])}" + (
                f" and {more} more" if more > 0 else ""
            )
        for rule in self.rules:
            yield f"{where}: rule {rule}"


def parse_save(program: str, text: str) -> list[SavedTable]:
    """Tables in the output of an iptables-save."""
    tables: list[SavedTable] = []
    name = ""
    chains: list[str] = []
    rules: list[Rule] = []
    for line in text.splitlines():
        if line.startswith("*"):
            name = line[1:].strip()
            chains, rules = [], []
        elif line.startswith(":"):
            chains.append(line[1:].split(" ", 1)[0])
        elif line.startswith("-A "):
            rules.append(_parse_rule(line))
        elif line.strip() == "COMMIT":
            tables.append(SavedTable(program, name, tuple(chains), tuple(rules)))
    return tables


def own_part(table: SavedTable, containers: Containers, *, evidence: bool) -> TableRemains | None:
    """What of a table is Kubernetes', None when nothing is.

    :arg evidence: something else proves that Kubernetes was here, so that chains which it shares are its own as long as
        nobody else uses them.
    """
    pods, foreign = _container_chains(table, containers)
    own = {chain for chain in table.chains if _OWN_CHAIN.match(chain)} | pods
    if (evidence or own) and not any(map(_PORT_MAPPING.match, foreign)):
        own |= _SHARED_CHAINS.intersection(table.chains)
    chains = tuple(chain for chain in table.chains if chain in own)
    rules = tuple(
        rule.text
        for rule in table.rules
        if rule.chain not in own and (rule.target in own or _has_own_comment(rule) or _is_of_pod(rule, containers))
    )
    return TableRemains(table.program, table.name, chains, rules) if chains or rules else None


def _has_own_comment(rule: Rule) -> bool:
    """Whether a rule has a comment that only Kubernetes' rules have."""
    return any(map(_OWN_COMMENT.match, rule.comments))


def _is_of_pod(rule: Rule, containers: Containers) -> bool:
    """Whether a rule names a pod as the container that it serves."""
    named = filter(None, map(_CONTAINER_COMMENT.match, rule.comments))
    return any(containers.are_pods(*container.groups()) for container in named)


def _container_chains(table: SavedTable, containers: Containers) -> tuple[set[str], set[str]]:
    """Chains of single containers: those of pods, and the others; rules in them or to them name the container."""
    pods = {
        chain
        for rule in table.rules
        if _is_of_pod(rule, containers)
        for chain in (rule.chain, rule.target)
        if _CONTAINER_CHAIN.match(chain)
    }
    return pods, {chain for chain in table.chains if _CONTAINER_CHAIN.match(chain)} - pods


def _parse_rule(line: str) -> Rule:
    """A rule with its target and comment; a comment may hold anything, also what looks like an option."""
    words = iter(_WORD.findall(line))
    chain, target = "", ""
    comments = []
    for word in words:
        if word == "-A":
            chain = next(words, "")
        elif word in ("-j", "-g"):
            target = next(words, "")
        elif word == "--comment":
            comments.append(_unquoted(next(words, "")))
    return Rule(line, chain, target, tuple(comments))


def _unquoted(word: str) -> str:
    """A word without the quotes and backslashes of iptables-save."""
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def tables_of(saves: Iterable[tuple[str, str]]) -> list[SavedTable]:
    """Tables of several iptables-save, given with their outputs."""
    return [table for program, text in saves for table in parse_save(program, text)]
