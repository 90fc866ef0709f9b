# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rule has kept the controller out, told from what our rules counted until they were taken back."""

from __future__ import annotations

import re
from typing import Iterable, Mapping, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import option, words

_COUNTED = re.compile(r"\[(\d+):\d+\] (-A .*)")


class Suspect(NamedTuple):
    """A rule that has dropped or rejected packets since it was loaded.

    :arg fits: whether it could have met the controller's connection.
    :arg number: its place in its chain, from 1.
    """

    fits: bool
    packets: int
    family: str
    chain: str
    number: int
    comment: str
    rule: str

    def describe(self) -> str:
        """One line for operators."""
        name = f' "{self.comment}"' if self.comment else ""
        return (
            f"rule {self.number} of {self.chain} ({self.family}){name}, which met {self.packets} packets: {self.rule}"
        )


def suspects(counters: Mapping[str, Iterable[str]], port: int | None) -> list[Suspect]:
    """Rules that dropped or rejected something, the likeliest first.

    All counters began at zero when the change was loaded.

    :arg counters: lines of iptables-save -c by family.
    :arg port: TCP port of the controller's connection, where it is known.
    """
    found = []
    for family, lines in counters.items():
        numbers: dict[str, int] = {}
        for packets, rule in (match.groups() for match in map(_COUNTED.match, lines) if match):
            arguments = words(rule)
            chain = arguments[1]
            numbers[chain] = numbers.get(chain, 0) + 1
            if int(packets) and option(arguments, "-j") in ("DROP", "REJECT"):
                comment = option(arguments, "--comment")
                fits = _fits(arguments, port)
                found.append(Suspect(fits, int(packets), family, chain, numbers[chain], comment, rule))
    return sorted(found, key=lambda suspect: (not suspect.fits, -suspect.packets))


def _fits(arguments: list[str], port: int | None) -> bool:
    """Whether a rule could meet a new TCP connection to a port."""
    if option(arguments, "-p") not in ("", "tcp"):
        return False
    ports = option(arguments, "--dport", "--dports")
    if port is None or not ports or "!" in arguments:
        return True
    for entry in ports.split(","):
        first, _colon, last = entry.partition(":")
        if int(first) <= port <= int(last or first):
            return True
    return False
