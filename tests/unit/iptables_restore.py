# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iptables-restore would make of recorded outputs of iptables-save."""

from __future__ import annotations

import re


def carried_out(text: str, scripts: dict[str, str]) -> str:
    """What is left of an output once iptables-restore --noflush has carried out one script for each table."""
    lines: list[str] = []
    for section in re.split(r"(?=^\*)", text, flags=re.MULTILINE):
        left = section.splitlines()
        for command in scripts.get(section.split("\n", 1)[0], "").splitlines()[1:-1]:
            letter, argument = command[1], command[3:]
            if letter == "D":
                left.remove("-A " + argument)
            elif letter == "F":
                left = [line for line in left if not line.startswith(f"-A {argument} ")]
            else:
                assert not any(line.endswith((f"-j {argument}", f"-g {argument}")) for line in left)
                left = [line for line in left if not line.startswith(f":{argument} ")]
        lines += left
    return comparable("\n".join(lines))


def comparable(text: str) -> str:
    """An output without times and counters."""
    lines = [line.split(" [")[0] if line.startswith(":") else line for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("#"))
