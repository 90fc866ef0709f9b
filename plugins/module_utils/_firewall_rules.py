# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the packet filter as data, and as iptables-restore reads them."""

from __future__ import annotations

import ipaddress
import itertools
import re
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

IPV4 = "ipv4"
IPV6 = "ipv6"
FAMILIES = (IPV4, IPV6)

#: The prefix is the proof of ownership, as KUBE- is kube-proxy's.
OWN_PREFIX = "GROUNDPLANE-"
_OWN_NAME = re.compile(r"GROUNDPLANE-[A-Z0-9-]{1,16}")

#: Arguments of the public module, which its action plugin checks.
ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "chains": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "hook": {"type": "bool", "default": False},
            "text": {"type": "list", "elements": "str"},
            "rules": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "target": {"type": "str", "required": True},
                    "comment": {"type": "str", "required": True},
                    "family": {"type": "str", "choices": ["", IPV4, IPV6], "default": ""},
                    "protocol": {"type": "str"},
                    "interface": {"type": "str"},
                    "ports": {"type": "list", "elements": "str"},
                    "sources": {"type": "list", "elements": "str"},
                    "destinations": {"type": "list", "elements": "str"},
                    "states": {"type": "list", "elements": "str"},
                    "icmp_types": {"type": "list", "elements": "str"},
                },
            },
        },
        "mutually_exclusive": [("rules", "text")],
    },
    "families": {"type": "list", "elements": "str", "choices": list(FAMILIES), "default": list(FAMILIES)},
    "rollback_seconds": {"type": "int", "default": 60},
}

_TARGETS = {"accept": "ACCEPT", "drop": "DROP", "reject": "REJECT", "return": "RETURN"}
_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED")
_WITH_PORTS = ("tcp", "udp", "udplite", "sctp", "dccp")
_ICMP = {"icmp": IPV4, "icmpv6": IPV6}
#: One protocol has several names, and minimal systems lack /etc/protocols, so that only numbers are safe.
_PROTOCOLS = {
    "1": "icmp",
    "58": "icmpv6",
    "ipv6-icmp": "icmpv6",
    "6": "tcp",
    "17": "udp",
    "igmp": "2",
    "ipip": "4",
    "gre": "47",
    "esp": "50",
    "ah": "51",
    "ospf": "89",
    "vrrp": "112",
}
#: What the module multiport of iptables takes; a range counts as two.
_MULTIPORT_SLOTS = 15
_COMMENT_LIMIT = 200
#: The kernel's limit for the match comment, less its final zero.
_COMMENT_BYTES = 255
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')


class ChainText(NamedTuple):
    """A chain with its rules as lines that begin with -A."""

    name: str
    rules: tuple[str, ...]


class RuleSet(NamedTuple):
    """Everything of one family that is or shall be ours.

    :arg jumps: rules of INPUT that lead into our chains, as lines that begin with -A.
    """

    chains: tuple[ChainText, ...] = ()
    jumps: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the chains."""
        return tuple(chain.name for chain in self.chains)

    def ordered(self, names: Sequence[str]) -> RuleSet:
        """The same with the chains in the order of names, the others after them."""
        position = {name: number for number, name in enumerate(names)}
        return self._replace(chains=tuple(sorted(self.chains, key=lambda chain: position.get(chain.name, len(names)))))

    def describe(self) -> str:
        """Text for a diff: what leads into the chains, then each chain in the order of its rules."""
        lines = list(self.jumps)
        for chain in self.chains:
            lines += [f":{chain.name}", *chain.rules]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Rule:
    """One rule as data; None means any, an empty list means nothing at all."""

    target: str
    comment: str
    family: str = ""
    protocol: str | None = None
    interface: str | None = None
    ports: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    destinations: Sequence[str] | None = None
    states: Sequence[str] | None = None
    icmp_types: Sequence[str] | None = None


@dataclass(frozen=True)
class Chain:
    """One of our chains; INPUT leads to the one that is the hook."""

    name: str
    hook: bool
    rules: tuple[Rule, ...]
    text: tuple[str, ...]


def parse_chains(raw: Iterable[Mapping[str, Any]]) -> tuple[Chain, ...]:
    """Chains out of the option of that name, which is already of the right types."""
    chains = tuple(
        Chain(
            name=item["name"],
            hook=bool(item.get("hook")),
            rules=tuple(Rule(**rule) for rule in item.get("rules") or ()),
            text=tuple(item.get("text") or ()),
        )
        for item in raw
    )
    names = [chain.name for chain in chains]
    for name in names:
        check_name(name)
    if len(set(names)) != len(names):
        raise _wrong(f"the chains {', '.join(names)}", "each name once")
    hooks = [chain.name for chain in chains if chain.hook]
    if len(hooks) != 1:
        raise _wrong(f"{len(hooks)} chains with hook", "exactly one, to which INPUT leads")
    for chain in chains:
        for number, rule in enumerate(chain.rules, start=1):
            _check_rule(rule, f"rule {number} of {chain.name}", names)
        for number, line in enumerate(chain.text, start=1):
            _check_text(line, f"line {number} of {chain.name}")
    return chains


def check_name(name: str) -> None:
    """Raise unless a chain of this name could be ours."""
    if not _OWN_NAME.fullmatch(name):
        raise _wrong(
            f'the chain name "{name}"',
            f"{OWN_PREFIX} and up to 16 capital letters, digits and hyphens",
        )


def render(chains: Sequence[Chain], family: str) -> RuleSet:
    """What of the chains stands in one family."""
    return RuleSet(
        chains=tuple(
            ChainText(chain.name, tuple(f"-A {chain.name} {line}".rstrip() for line in _lines(chain, family)))
            for chain in chains
        ),
        jumps=tuple(f"-A INPUT -j {chain.name}" for chain in chains if chain.hook),
    )


def words(line: str) -> list[str]:
    """Arguments of a line as iptables-restore and iptables-save understand each other."""
    return [
        re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') and len(word) > 1 else word
        for word in _WORD.findall(line)
    ]


def option(arguments: Sequence[str], *names: str) -> str:
    """Value of the first of the options that a rule has, empty without any of them."""
    for name, value in zip(arguments, arguments[1:]):
        if name in names:
            return value
    return ""


def _lines(chain: Chain, family: str) -> Iterator[str]:
    for rule in chain.rules:
        yield from _rule_lines(rule, family)
    for line in chain.text:
        first, _space, rest = line.strip().partition(" ")
        if first in ("-4", "-6"):
            if first == ("-4" if family == IPV4 else "-6"):
                yield rest.strip()
        else:
            yield line.strip()


def _rule_lines(rule: Rule, family: str) -> Iterator[str]:
    """Lines of one rule; a list is spread over as many rules as iptables needs for it."""
    protocol = _protocol(rule)
    if rule.family not in ("", family) or _ICMP.get(protocol, family) != family:
        return
    variants = itertools.product(
        [f"-s {source}" for source in _networks(rule.sources, family)] if rule.sources is not None else [""],
        [f"-d {source}" for source in _networks(rule.destinations, family)] if rule.destinations is not None else [""],
        _port_matches(rule.ports) if rule.ports is not None else [""],
        _icmp_matches(rule.icmp_types, family) if rule.icmp_types is not None else [""],
    )
    states = sorted({state.upper() for state in rule.states or ()}, key=_STATES.index)
    for source, destination, ports, icmp in variants:
        parts = [
            source,
            destination,
            f"-i {rule.interface}" if rule.interface else "",
            f"-p {protocol}" if protocol else "",
            f"-m conntrack --ctstate {','.join(states)}" if states else "",
            # The match has the protocol's name: -m tcp --dport.
            f"-m {protocol} {ports}" if ports.startswith("--dport ") else ports,
            icmp,
            f"-m comment --comment {_quoted(rule.comment)}",
            f"-j {_TARGETS.get(rule.target, rule.target)}",
        ]
        yield " ".join(part for part in parts if part)


def _networks(addresses: Iterable[str], family: str) -> list[str]:
    """Addresses and networks of one family, each once, in the order given."""
    version = 4 if family == IPV4 else 6
    networks = (ipaddress.ip_network(address, strict=False) for address in addresses)
    return list(dict.fromkeys(str(network) for network in networks if network.version == version))


def _port_matches(ports: Sequence[str]) -> list[str]:
    """Matches for destination ports, several when one cannot take them all."""
    if len(ports) == 1:
        return [f"--dport {ports[0]}"]
    groups: list[list[str]] = []
    free = 0
    for port in ports:
        slots = 2 if ":" in port else 1
        if slots > free:
            groups.append([])
            free = _MULTIPORT_SLOTS
        groups[-1].append(port)
        free -= slots
    return [f"-m multiport --dports {','.join(group)}" for group in groups]


def _icmp_matches(types: Sequence[str], family: str) -> list[str]:
    match = "-m icmp --icmp-type" if family == IPV4 else "-m icmp6 --icmpv6-type"
    return [f"{match} {name}" for name in types]


def _quoted(comment: str) -> str:
    """A comment that iptables-restore reads as one word."""
    escaped = comment.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _protocol(rule: Rule) -> str:
    name = (rule.protocol or "").lower()
    return _PROTOCOLS.get(name, name)


def _check_rule(rule: Rule, where: str, chains: Sequence[str]) -> None:
    protocol = _protocol(rule)
    if rule.target not in _TARGETS and rule.target not in chains:
        raise _wrong(f'{where} with target "{rule.target}"', f"one of {', '.join([*_TARGETS, *chains])}")
    if not rule.comment.strip() or not rule.comment.isprintable() or len(rule.comment) > _COMMENT_LIMIT:
        raise _wrong(f"{where} with comment {rule.comment!r}", f"1 to {_COMMENT_LIMIT} printable characters")
    if len(rule.comment.encode()) > _COMMENT_BYTES:
        raise _wrong(f"{where} with comment {rule.comment!r}", f"at most {_COMMENT_BYTES} bytes")
    if protocol and not re.fullmatch(r"[a-z0-9-]+", protocol):
        raise _wrong(f'{where} with protocol "{rule.protocol}"', "a name such as tcp, or a number")
    if rule.ports is not None and protocol not in _WITH_PORTS:
        raise _wrong(f"{where} with ports and protocol {rule.protocol or 'any'}", f"one of {', '.join(_WITH_PORTS)}")
    if rule.icmp_types is not None and protocol not in _ICMP:
        raise _wrong(f"{where} with icmp_types and protocol {rule.protocol or 'any'}", "icmp or icmpv6")
    if rule.interface is not None and not re.fullmatch(r"[^\s/\"'\\!-][^\s/\"'\\!]{0,14}", rule.interface):
        raise _wrong(f'{where} with interface "{rule.interface}"', "a name of up to 15 characters; + at its end is any")
    for port in rule.ports or ():
        _check_port(port, where)
    for name in rule.icmp_types or ():
        if not re.fullmatch(r"[a-z0-9/-]+", name):
            raise _wrong(f'{where} with ICMP type "{name}"', "a name such as echo-request, or a number")
    for state in rule.states or ():
        if state.upper() not in _STATES:
            raise _wrong(f'{where} with state "{state}"', f"one of {', '.join(_STATES)}")
    for address in [*(rule.sources or ()), *(rule.destinations or ())]:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            raise _wrong(f'{where} with "{address}"', "an address or a network such as 192.0.2.0/24") from None


def _check_port(port: str, where: str) -> None:
    bounds = port.split(":")
    if len(bounds) > 2 or not all(re.fullmatch(r"[0-9]{1,5}", bound) and int(bound) <= 65535 for bound in bounds):
        raise _wrong(f'{where} with port "{port}"', 'a number up to 65535 or a range such as "30000:32767"')
    if int(bounds[0]) > int(bounds[-1]):
        raise _wrong(f'{where} with port "{port}"', "a range that begins with the lower number")


def _check_text(line: str, where: str) -> None:
    """Raise for what could become another line or another command of iptables-restore."""
    if not line.strip() or not line.isprintable():
        raise _wrong(f"{where}: {line!r}", "one rule in printable characters")
    first = words(line)[0]
    if first in ("-A", "-I", "-D", "-R", "-N", "-X", "-F", "-P", "-E", "-Z", "-t") or first[0] in "*:#":
        raise _wrong(f"{where}: {line!r}", 'a rule without its chain, such as "-p tcp -m tcp --dport 22 -j ACCEPT"')


def _wrong(found: str, expected: str) -> GroundplaneError:
    return GroundplaneError(f"Found {found}", expected=expected, remedy="correct the rules. Nothing was changed")
