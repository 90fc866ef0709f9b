# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter of nodes: our chains, the chains of others, and what a stranger reaches."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.support.lab import LabSet

FIREWALL = "playbooks/firewall.yml"
OURS = "GROUNDPLANE-"
SERVICE = "groundplane-firewall.service"

#: What a node of a cluster listens on at its address, and some ports on which nobody does.
PORTS = (22, 80, 179, 2379, 2380, 6443, 7946, 9100, 10248, 10249, 10250, 10256, 10257, 10259)
CONNECT_SECONDS = 2.0

_SAVE = "for save in iptables-save ip6tables-save; do echo \"## $save\"; $save | sed 's/ *[[][0-9:]*[]]$//'; done"

Rules = Mapping[str, str]


def everything(nodes: LabSet, names: Iterable[str] | None = None) -> Rules:
    """All rules of both families by node, without counters and the remarks of the time."""
    saved = nodes.run_on(nodes.names if names is None else names, f"{_SAVE} | grep -v '^# '")
    return dict(saved)


def of_ours(rules: Rules) -> Rules:
    """The lines of our chains, in their order, by node."""
    return {name: _lines(text, ours=True) for name, text in rules.items()}


def of_others(rules: Rules) -> Rules:
    """All other lines, by node."""
    return {name: _lines(text, ours=False) for name, text in rules.items()}


def reached(nodes: LabSet, name: str, ports: Iterable[int] = PORTS) -> set[int]:
    """TCP ports of a node that this machine gets a connection to."""
    chosen = list(ports)
    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        answers = pool.map(lambda port: _connects(nodes.address(name), port), chosen)
        return {port for port, answered in zip(chosen, answers, strict=True) if answered}


def controller_address(nodes: LabSet) -> str:
    """Address of this machine as the nodes see it."""
    return nodes.run(nodes.names[0], 'echo "${SSH_CONNECTION%% *}"').strip()


def _lines(text: str, *, ours: bool) -> str:
    return "\n".join(line for line in text.splitlines() if (OURS in line) is ours)


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
