# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the virtual address, compared across control plane nodes."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_across_hosts import CROSS_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import VipHolder
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_vip import (
    VIP_CROSS_CHECKS,
    compare_vip_holder,
)

VIP = "192.0.2.100"
STRANGER = "02:ff:ff:ff:ff:ff"


def mac(number):
    return f"02:00:00:00:00:0{number}"


def master(number, **holder):
    return {
        "macs": [mac(number)],
        "node": {"address": f"192.0.2.{number}", "interface": "eth0", "mtu": 1500},
        "vip_holder": VipHolder(VIP, **holder)._asdict(),
    }


def worker(number):
    return {**master(number), "vip_holder": None}


HOLDING = master(1, mac=mac(1), local=True, keepalived=True)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({}, [], id="no hosts"),
        pytest.param({"m1": worker(1)}, [], id="nobody asked"),
        pytest.param({"m1": {"macs": []}}, [], id="facts without the virtual address"),
        pytest.param({"m1": master(1), "m2": master(2), "w1": worker(4)}, [], id="a free address"),
        pytest.param(
            {"m1": HOLDING, "m2": master(2, mac=mac(1)), "m3": master(3, mac=mac(1), keepalived=True)},
            [],
            id="a running cluster",
        ),
        pytest.param(
            {
                "m1": master(1, mac="00:00:5e:00:01:33", local=True, keepalived=True),
                "m2": master(2, mac="00:00:5e:00:01:33"),
            },
            [],
            id="a virtual router's MAC",
        ),
        pytest.param(
            {"m2": master(2, mac=mac(1), ours=True), "m3": master(3, mac=mac(1))},
            [],
            id="a control plane node outside of the run",
        ),
        pytest.param({"m1": master(1, mac=mac(1), local=True)}, [(("m1",), "is an address of the host")], id="fixed"),
        pytest.param(
            {"m1": master(1, mac=mac(1), local=True), "m2": master(2, mac=mac(1))},
            [(("m1",), "is an address of the host")],
            id="fixed and seen by a neighbour",
        ),
        pytest.param(
            {"m1": {**master(1, mac=mac(1), local=True), "node": None}}, [], id="the only address, told elsewhere"
        ),
        pytest.param(
            {"m1": master(1, mac=STRANGER), "m2": master(2, mac=STRANGER), "m3": master(3)},
            [(("m1", "m2"), f"192.0.2.100 belongs to a machine with the MAC {STRANGER}")],
            id="a stranger",
        ),
        pytest.param(
            {"m1": HOLDING, "m2": master(2, mac=STRANGER)},
            [(("m2",), f"192.0.2.100 belongs to a machine with the MAC {STRANGER}")],
            id="a stranger beside keepalived",
        ),
        pytest.param(
            {"m1": master(1, mac=mac(4)), "w1": worker(4)},
            [(("m1",), f"192.0.2.100 belongs to w1, MAC {mac(4)}")],
            id="a worker",
        ),
    ],
)
def test_compares_holders(facts, expected):
    found = [(comparison.hosts, comparison.observation.found) for comparison in compare_vip_holder(facts, 30)]
    assert [hosts for hosts, _text in found] == [hosts for hosts, _text in expected]
    assert all(part in text for (_hosts, text), (_same, part) in zip(found, expected))


def test_says_what_to_do():
    (check,) = VIP_CROSS_CHECKS
    for holder in ({"mac": STRANGER}, {"mac": mac(1), "local": True}):
        (comparison,) = check.compare({"m1": master(1, **holder)}, 30)
        finding = check.description.finding(comparison.observation)
        assert (finding.id, finding.severity) == ("vip-in-use", "error")
        assert "cluster_vip" in finding.remedy


def test_is_registered():
    assert set(VIP_CROSS_CHECKS) <= set(CROSS_CHECKS)
