# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only shows when hosts are compared with each other."""

from __future__ import annotations

import re
from typing import Iterator, Mapping

from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Comparison,
    CrossCheck,
    Description,
    HostFacts,
    Observation,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_reachability import REACHABILITY_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_vip import VIP_CROSS_CHECKS

# Kubernetes' leases and logs begin to suffer at some seconds; kubeadm dates certificates back by five minutes.
_NOTICEABLE_SKEW = 2.0
# Firmware without a number of its own says 00000000-... or ffffffff-...
_PLACEHOLDER_UUID = re.compile(r"(0|-)+|(f|-)+")


def compare_hostnames(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Two hosts of one name would be one Node."""
    names = {host: [str(values["hostname"]).lower()] for host, values in facts.items()}
    return _duplicates(names, "hostname {}", "a name of its own for every host")


def compare_macs(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Machines cloned together with their network card."""
    return _duplicates({host: values["macs"] for host, values in facts.items()}, "MAC {}", "one for every host")


def compare_product_uuids(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Machines cloned together with their firmware's number; containers have none to compare."""
    uuids = {
        host: [values["product_uuid"]]
        for host, values in facts.items()
        if not _PLACEHOLDER_UUID.fullmatch(values["product_uuid"])
    }
    return _duplicates(uuids, "product_uuid {}", "one for every host")


def compare_machine_ids(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """Machines cloned together with their identity."""
    identifiers = {host: [values["machine_id"]] for host, values in facts.items()}
    return _duplicates(identifiers, "machine-id {}", "one for every host")


def compare_node_addresses(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """The same node address on two hosts is what a NAT interface looks like; that of the second family counts, too."""
    nodes = {host: values["node"] for host, values in facts.items() if values["node"]}
    addresses = {host: [node["address"], node.get("secondary", "")] for host, node in nodes.items()}
    return _duplicates(addresses, "node address {}", "an address of its own for every host")


def compare_clocks(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """How far the two clocks that differ most are apart, less what the measurement leaves open."""
    offsets = [
        (values["clock_offset"]["seconds"], values["clock_offset"]["uncertainty"], host)
        for host, values in facts.items()
        if values.get("clock_offset")
    ]
    if not offsets:
        return
    (slowest, slowest_uncertainty, behind), (fastest, fastest_uncertainty, ahead) = min(offsets), max(offsets)
    skew = fastest - slowest - slowest_uncertainty - fastest_uncertainty
    if skew > min(_NOTICEABLE_SKEW, maximum_skew):
        yield Comparison(
            (behind, ahead),
            Observation(
                f"the clock of {ahead} is at least {skew:.1f} s ahead of {behind}'s",
                f"at most {maximum_skew:g} s" if skew > maximum_skew else f"less than {_NOTICEABLE_SKEW:g} s",
                severity=ERROR if skew > maximum_skew else WARNING,
            ),
        )


def compare_mtus(facts: HostFacts, maximum_skew: float) -> Iterator[Comparison]:
    """The overlay of every node has to fit through the interface of every other."""
    mtus = {host: values["node"]["mtu"] for host, values in facts.items() if values["node"]}
    if len(set(mtus.values())) > 1:
        listed = ", ".join(f"{host} {mtu}" for host, mtu in mtus.items())
        yield Comparison(tuple(mtus), Observation(f"MTU {listed}", "the same MTU on the node interface of every host"))


def _duplicates(values: Mapping[str, list[str]], found: str, expected: str) -> Iterator[Comparison]:
    """One comparison for every set of hosts that have values in common."""
    owners: dict[str, tuple[str, ...]] = {}
    for host, items in values.items():
        for item in filter(None, items):
            owners[item] = (*owners.get(item, ()), host)
    shared: dict[tuple[str, ...], list[str]] = {}
    for item, hosts in owners.items():
        if len(hosts) > 1:
            shared.setdefault(hosts, []).append(item)
    for hosts, items in shared.items():
        yield Comparison(hosts, Observation(found.format(", ".join(items)), expected))


CROSS_CHECKS = (
    CrossCheck(
        Description(
            id="duplicate-hostname",
            severity=ERROR,
            purpose="Every host has a name of its own; two of one name would be one Node.",
            remedy="Set another name with hostnamectl set-hostname NAME.",
        ),
        compare_hostnames,
    ),
    CrossCheck(
        Description(
            id="duplicate-mac",
            severity=ERROR,
            purpose="Every interface that carries an address has a MAC of its own; cloned machines often do not.",
            remedy="Give the clone's network card a new address in the hypervisor.",
        ),
        compare_macs,
    ),
    CrossCheck(
        Description(
            id="duplicate-product-uuid",
            severity=ERROR,
            purpose="Every machine has its own product_uuid, as far as its firmware has one at all.",
            remedy="Give the clone a new UUID in the hypervisor; waive this check for boards that all say the same.",
        ),
        compare_product_uuids,
    ),
    CrossCheck(
        Description(
            id="duplicate-machine-id",
            severity=ERROR,
            purpose="Every host has its own /etc/machine-id. systemd derives DHCP identities and the MACs of overlay "
            "devices from it.",
            remedy="On the clone: rm /etc/machine-id /var/lib/dbus/machine-id, systemd-machine-id-setup, reboot.",
        ),
        compare_machine_ids,
    ),
    CrossCheck(
        Description(
            id="duplicate-node-address",
            severity=ERROR,
            purpose="Every host has its own node address. One that several share usually is that of a NAT interface.",
            remedy="Set cluster_node_cidr to the network that the nodes share, or cluster_node_ip for every host.",
            variables=("cluster_node_ip", "cluster_node_cidr"),
        ),
        compare_node_addresses,
    ),
    *VIP_CROSS_CHECKS,
    CrossCheck(
        Description(
            id="clock-skew",
            severity=ERROR,
            purpose="The clocks agree: 2 seconds apart is a warning, 30 an error. What the measurement leaves open is "
            "taken off.",
            remedy="Start a time service on both hosts and let it step the clock (chronyc makestep).",
            variables=("prereqs_preflight_maximum_clock_skew",),
        ),
        compare_clocks,
    ),
    CrossCheck(
        Description(
            id="mtu-mismatch",
            severity=WARNING,
            purpose="The interfaces that carry the node addresses have the same MTU; else large packets between pods "
            "are lost without a word.",
            remedy="Set the same MTU everywhere, or give the pod network the smallest one.",
        ),
        compare_mtus,
    ),
    *REACHABILITY_CHECKS,
)
