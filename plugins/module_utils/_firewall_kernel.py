# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel filters now, by which backend, and how it would print other rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import (
    IPV4,
    IPV6,
    OWN_PREFIX,
    ChainText,
    RuleSet,
    option,
    words,
)

NFT = "nft"
LEGACY = "legacy"

#: For programs of the backend legacy, which share one lock with kubelet and kube-proxy.
WAIT = "--wait=30"

#: What these let in is the cluster's own: health checks, packets between nodes, packets that carry a mark.
_CLUSTER_CHAINS = ("KUBE-", "CNI-", "FLANNEL-", "cali-", "CILIUM_", "ANTREA-", "WEAVE-")

_PROGRAMS = {IPV4: "iptables", IPV6: "ip6tables"}
#: Tables of the backend legacy that exist; asking iptables-legacy for another one would make it.
_LEGACY_TABLES = {IPV4: "proc/net/ip_tables_names", IPV6: "proc/net/ip6_tables_names"}

# Loading the rules into a network namespace of their own answers two questions with one program: whether
# iptables-restore takes them, and how the kernel will print them. A rendering of our own would have to repeat every
# habit of every version (icmp type names, /32, multiport, the order of states, matches in text that somebody else
# wrote), and a wrong guess means rules that are loaded again in each run. The namespace has no chains but ours, so a
# rule that leads into a foreign chain is refused as well, and it vanishes with its last process.
_NORMAL_FORM = '"$1" --noflush --wait=30 || exit 65; "$2" -t filter || exit 66'
_REFUSED = 65


class Tool(NamedTuple):
    """The programs of one family, those that the host uses by default."""

    family: str
    backend: str
    iptables: str
    save: str
    restore: str


class Found(NamedTuple):
    """What of one family is in the kernel.

    :arg own: our chains and what leads into them.
    :arg foreign: rules of others that lead into our chains, elsewhere than in INPUT.
    :arg earlier: rules of INPUT that let packets in before they come to our chains.
    """

    own: RuleSet
    foreign: tuple[str, ...]
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """Where programs and files of the kernel are looked for."""

    runner: Runner
    root: Path = Path("/")

    def has_ipv6(self) -> bool:
        """Whether the kernel has IPv6 at all, even if it is switched off for every interface."""
        return (self.root / "proc/net/if_inet6").exists()


def find_tools(host: Host, families: Iterable[str]) -> tuple[Tool, ...]:
    """Programs of each family; all of one backend."""
    tools = tuple(_find_tool(host, family) for family in families)
    if len({tool.backend for tool in tools}) > 1:
        said = " and ".join(f"{_PROGRAMS[tool.family]} of the backend {tool.backend}" for tool in tools)
        raise GroundplaneError(
            f"Found {said}",
            expected="one backend for both families",
            remedy="choose one (`update-alternatives --config ip6tables`). Nothing was changed",
        )
    return tools


def _find_tool(host: Host, family: str) -> Tool:
    name = _PROGRAMS[family]
    paths = []
    for program in (name, f"{name}-save", f"{name}-restore"):
        path = host.runner.find(program)
        if path is None:
            raise GroundplaneError(
                f"Found no program {program}",
                expected="iptables for both families",
                remedy="install the package iptables (iptables-nft on the RHEL family). Nothing was changed",
            )
        paths.append(path)
    version = host.runner.run([paths[0], "--version"]).stdout
    # Before 1.8 there was no other backend, and nothing said.
    return Tool(family, NFT if "(nf_tables)" in version else LEGACY, *paths)


def refuse_mixture(host: Host, tools: Iterable[Tool], *, only_ours: bool) -> None:
    """Raise when the backend that the host does not use by default filters too.

    A packet has to pass both, so that rules of one cannot let in what the other drops.

    :arg only_ours: rules of others do not matter, because ours go.
    """
    for tool in tools:
        other = LEGACY if tool.backend == NFT else NFT
        if other == LEGACY and not _legacy_tables(host, tool.family):
            continue
        program = host.runner.find(f"{_PROGRAMS[tool.family]}-{other}-save")
        if program is None:
            continue
        evidence = _evidence(host.runner.run([program]).stdout, only_ours=only_ours)
        if evidence:
            raise GroundplaneError(
                f"Found rules of two backends: {_PROGRAMS[tool.family]} is of the backend {tool.backend}, and "
                f"{other} has {evidence}",
                expected="rules of one backend only, the one that kubelet and kube-proxy use",
                remedy=f"choose one with update-alternatives, and clear the other (`{program}` shows it) or restart "
                "the machine. Nothing was changed",
            )


def _evidence(saved: str, *, only_ours: bool) -> str:
    """What in the output of an iptables-save does or tells something; empty tables do not."""
    lines = saved.splitlines()
    telling = f":{OWN_PREFIX}" if only_ours else f":(?:KUBE-|{OWN_PREFIX})"
    chains = [line[1:].split(" ", 1)[0] for line in lines if re.match(telling, line)]
    rules = 0 if only_ours else sum(line.startswith("-A ") for line in lines)
    said = [f"{rules} rules"] if rules else []
    return " and ".join(said + ([f"the chains {', '.join(chains[:5])}"] if chains else []))


def _legacy_tables(host: Host, family: str) -> list[str]:
    return (read_text(host.root / _LEGACY_TABLES[family]) or "").split()


def read_kernel(host: Host, tool: Tool) -> Found:
    """What of one family is ours."""
    if tool.backend == LEGACY and "filter" not in _legacy_tables(host, tool.family):
        return Found(RuleSet(), ())
    return parse_filter(host.runner.run([tool.save, "-t", "filter"]).stdout)


def parse_filter(saved: str) -> Found:
    """Our part of the table filter as iptables-save prints it."""
    chains: dict[str, list[str]] = {}
    jumps: list[str] = []
    foreign: list[str] = []
    for line in saved.splitlines():
        if line.startswith(f":{OWN_PREFIX}"):
            chains[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            arguments = words(line)
            if arguments[1] in chains:
                chains[arguments[1]].append(line)
            elif target(line).startswith(OWN_PREFIX):
                (jumps if arguments[1] == "INPUT" else foreign).append(line)
    own = RuleSet(tuple(ChainText(name, tuple(rules)) for name, rules in chains.items()), tuple(jumps))
    return Found(own, tuple(foreign), tuple(_earlier(saved.splitlines())))


def _earlier(lines: Sequence[str]) -> Iterator[str]:
    """Rules of INPUT that let in more than the host itself and what is known, as far as our first jump.

    The chain of somebody else that a rule leads into is looked at, but not those that this one leads into.
    """
    passing = [line for line in lines if line.startswith("-A ") and _lets_pass(words(line))]
    accepting = {words(line)[1] for line in passing if target(line) == "ACCEPT"}
    rules = [line for line in lines if line.startswith("-A INPUT ")]
    # A jump with conditions leads only some packets to us.
    ours = [number for number, line in enumerate(rules) if re.fullmatch(rf"-A INPUT -j {OWN_PREFIX}\S+", line)]
    for line in rules[: min(ours, default=0)]:
        name = target(line)
        chosen = name in accepting and not name.startswith((*_CLUSTER_CHAINS, OWN_PREFIX))
        if line in passing and (name == "ACCEPT" or chosen):
            yield line


def _lets_pass(arguments: Sequence[str]) -> bool:
    """Whether a rule means packets that come in from outside and begin something."""
    plain = [(name, value) for before, name, value in zip(["", *arguments], arguments, arguments[1:]) if before != "!"]
    for name, value in plain:
        if (name, value) == ("-i", "lo"):
            return False
        if name in ("--ctstate", "--state") and set(value.split(",")) <= {"ESTABLISHED", "RELATED"}:
            return False
    return True


def target(line: str) -> str:
    """Where a rule leads."""
    return option(words(line), "-j", "-g", "--jump", "--goto")


def chain_lines(chains: Iterable[ChainText], empty: Iterable[str] = ()) -> list[str]:
    """Lines that fill chains from nothing, and empty others; a built-in chain in them would get another policy."""
    filled = list(chains)
    lines = [f":{name} - [0:0]" for name in [*(chain.name for chain in filled), *empty]]
    return lines + [rule for chain in filled for rule in chain.rules]


def table(lines: Sequence[str]) -> str:
    """Input of iptables-restore, which takes it as a whole or not at all."""
    return "\n".join(["*filter", *lines, "COMMIT", ""])


def normal_form(host: Host, tool: Tool, wanted: RuleSet) -> RuleSet:
    """Chains as the kernel will print them once they are loaded; raises when they cannot be."""
    unshare = host.runner.find("unshare")
    if unshare is None:
        raise GroundplaneError(
            "Found no program unshare",
            expected="util-linux, to try rules where they hurt nobody",
            remedy="install the package util-linux. Nothing was changed",
        )
    # With the jump, because the kernel looks for loops only in chains that a packet can reach.
    lines = [*chain_lines(wanted.chains), *wanted.jumps]
    argv = [unshare, "--net", "sh", "-c", _NORMAL_FORM, "normal-form", tool.restore, tool.save]
    result = host.runner.run(argv, stdin=table(lines), check=False)
    if result.rc == _REFUSED:
        raise refused(tool, lines, result.stderr or result.stdout)
    if result.rc != 0:
        raise CommandError(
            argv,
            result,
            remedy="let root make network namespaces (user.max_net_namespaces above 0; in a container, the capability "
            "CAP_SYS_ADMIN): rules are tried in one before they reach the host. Nothing was changed",
        )
    return RuleSet(parse_filter(result.stdout).own.ordered(wanted.names).chains, wanted.jumps)


def refused(tool: Tool, lines: Sequence[str], said: str) -> GroundplaneError:
    """The error for rules that iptables-restore does not take, with the rule that it means.

    :arg lines: what stood between the table's first and last line.
    """
    numbers = [int(number) for number in re.findall(r"\bline:? (\d+)", said)]
    # The first line is the table's.
    named = [lines[number - 2] for number in numbers if 2 <= number < len(lines) + 2]
    missing = re.search(r"Chain '([^']+)' does not exist", said)
    if missing:
        # Told with the number of a later line.
        named = [line for line in lines if line.startswith("-A ") and target(line) == missing.group(1)]
    where = f' at "{named[0]}"' if named else ""
    hint = ""
    if named and re.search(r"\d\.\d|:[0-9a-f]*:", named[0]):
        hint = '. A text line for one family only begins with "-4" or "-6"'
    return GroundplaneError(
        f"{tool.restore} refuses the rules{where}: {' '.join(said.split())}",
        remedy=f"correct the rule{hint}. Nothing was changed",
    )
