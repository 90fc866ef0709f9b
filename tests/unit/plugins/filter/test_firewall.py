# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy as the role calls it; what it decides is tested where it is decided."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.filter import firewall_chains, firewall_sources

chains = firewall_chains.FilterModule().filters()["firewall_chains"]
sources = firewall_sources.FilterModule().filters()["firewall_sources"]

HOST = {
    "inventory_hostname": "m1",
    "__cluster_node": {"address": "192.0.2.11"},
    "__cluster_preflight": {"facts": {"hostname": "m1", "addresses": ["192.0.2.11"]}},
}
VIEW = {"inventory": ["m1", "w1"], "control_plane": ["m1"], "nodes": []}


def test_the_chains_of_a_host():
    first, second = chains({"features": ["metallb"], "ssh_ports": [22], "node_sources": ["192.0.2.11"]})
    assert first["hook"] and not second["hook"]
    assert ["7946"] in [rule.get("ports") for rule in second["rules"]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"features": ["metalb"]}, "metalb"),
        ({"ssh_sources": []}, "ssh"),
        ({"node_sources": ["there"], "ssh_ports": [22]}, "there"),
    ],
)
def test_what_cannot_be_a_chain(values, words):
    with pytest.raises(AnsibleFilterError, match=words):
        chains(values)


def test_the_sources_of_a_run():
    assert sources([HOST], VIEW) == {"nodes": ["192.0.2.11"], "control_plane": ["192.0.2.11"]}


def test_a_node_that_would_be_shut_out():
    with pytest.raises(AnsibleFilterError, match="w1 could not be read"):
        sources([HOST], {**VIEW, "nodes": None})
