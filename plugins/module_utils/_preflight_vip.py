# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the virtual address of the API, seen by all control plane nodes together."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    Comparison,
    CrossCheck,
    Description,
    HostFacts,
    Observation,
)


def compare_vip_holder(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Nobody has the virtual address but keepalived on a control plane node."""
    holders = {host: values["vip_holder"] for host, values in facts.items() if values.get("vip_holder")}
    for host, holder in holders.items():
        # Without a node address vip-is-node-address, or another check, has named the cause.
        if holder["local"] and not holder["keepalived"] and facts[host]["node"]:
            yield Comparison(
                (host,),
                Observation(
                    f"{holder['address']} is an address of the host, and keepalived has not brought it there",
                    "a free address, or one that keepalived holds",
                    remedy="Set cluster_vip to a free address, or take this one out of the host's network "
                    "configuration.",
                ),
            )
    known = {mac for host in holders for mac in facts[host]["macs"]}
    known |= {holder["mac"] for holder in holders.values() if holder["local"] or holder["ours"]}
    strangers: dict[tuple[str, str], list[str]] = {}
    for host, holder in holders.items():
        if holder["mac"] and holder["mac"] not in known:
            strangers.setdefault((holder["address"], holder["mac"]), []).append(host)
    for (address, mac), hosts in strangers.items():
        owners = [host for host, values in facts.items() if mac in values["macs"]]
        whose = f"{', '.join(owners)}, MAC {mac}" if owners else f"a machine with the MAC {mac}"
        yield Comparison(
            tuple(hosts), Observation(f"{address} belongs to {whose}", "a free address, or a control plane node's")
        )


VIP_CROSS_CHECKS = (
    CrossCheck(
        Description(
            id="vip-in-use",
            severity=ERROR,
            purpose="Nobody answers at the virtual address but a control plane node on which keepalived holds it. Who "
            "answers is known by the MAC address, by the cluster's CA, and by the addresses of the control plane "
            "hosts that this run leaves out.",
            remedy="Set cluster_vip to a free address, or take the address from the machine that has it. Waive this "
            "check if that is a control plane node which this run does not reach.",
            variables=("cluster_vip",),
        ),
        compare_vip_holder,
    ),
)
