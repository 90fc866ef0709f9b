# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule that shut the door, in counters of the real iptables."""

from __future__ import annotations

from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_blame import suspects


def test_the_rule_for_the_port_comes_first(fixture_text: Callable[[str], str]) -> None:
    """More packets of another protocol were dropped; a rule that met nothing is no suspect."""
    found = suspects({"ipv4": fixture_text("iptables/firewall-counters").splitlines()}, 22)
    assert [(suspect.comment, suspect.number, suspect.fits) for suspect in found] == [
        ("no ssh", 2, True),
        ("no names", 1, False),
    ]
    assert found[0].packets < found[1].packets
    assert found[0].describe().startswith('rule 2 of GROUNDPLANE-INPUT (ipv4) "no ssh", which met ')


@pytest.mark.parametrize(
    ("rule", "port", "fits"),
    [
        ("-j DROP", 22, True),
        ("-p tcp -j REJECT", 22, True),
        ("-p udp -j DROP", 22, False),
        ("-p tcp -m tcp --dport 80 -j DROP", 22, False),
        ("-p tcp -m tcp --dport 80 -j DROP", None, True),
        ("-p tcp -m tcp ! --dport 80 -j DROP", 22, True),
        ("-p tcp -m multiport --dports 80,20:23 -j DROP", 22, True),
    ],
)
def test_could_a_rule_meet_the_connection(rule: str, port: int | None, fits: bool) -> None:
    (found,) = suspects({"ipv6": [f"[3:180] -A GROUNDPLANE-A {rule}"]}, port)
    assert found.fits is fits
    assert found.describe() == f"rule 1 of GROUNDPLANE-A (ipv6), which met 3 packets: -A GROUNDPLANE-A {rule}"


def test_accepting_rules_and_other_lines_are_no_suspects() -> None:
    assert (
        suspects({"ipv4": ["[9:9] -A GROUNDPLANE-A -j ACCEPT", "[0:0] -A GROUNDPLANE-A -j DROP", "rubbish"]}, 22) == []
    )
