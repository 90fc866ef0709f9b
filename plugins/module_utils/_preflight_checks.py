# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of preflight checks on one host, and the facts that the comparison across hosts needs."""

from __future__ import annotations

from typing import Any

from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_endpoint import ENDPOINT_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_ipv6 import IPV6_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_kubernetes import KUBERNETES_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_machine import MACHINE_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Finding, Wanted
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_network import NETWORK_CHECKS, node_address
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_proxy import PROXY_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_software import SOFTWARE_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_storage import STORAGE_CHECKS

CHECKS = (
    *MACHINE_CHECKS,
    *STORAGE_CHECKS,
    *SOFTWARE_CHECKS,
    *NETWORK_CHECKS,
    *IPV6_CHECKS,
    *PROXY_CHECKS,
    *ENDPOINT_CHECKS,
    *KUBERNETES_CHECKS,
)

# Bridges of other container and virtual machine tools, which have the same address on every host by design or by
# cloning and carry no traffic between nodes.
_LOCAL_BRIDGES = ("br-", "docker", "lxdbr", "podman", "virbr")
# The virtual routers of VRRP share their address on purpose.
_VRRP_PREFIX = "00:00:5e:00:"


def run_checks(snapshot: Snapshot, wanted: Wanted) -> list[Finding]:
    """Everything that is found on a host, in the order of the registry."""
    return [finding for check in CHECKS for finding in check.findings(snapshot, wanted)]


def facts_of(snapshot: Snapshot, wanted: Wanted) -> dict[str, Any]:
    """What the comparison across hosts and the roles need to know about a host."""
    node = node_address(snapshot, wanted)
    return {
        "hostname": snapshot.hostname,
        "machine_id": snapshot.machine_id,
        "product_uuid": snapshot.product_uuid,
        "macs": _macs(snapshot),
        "addresses": [
            address.address
            for link in snapshot.network.links
            if not link.made_by_cluster
            for address in link.addresses
            if address.scope == "global" and not address.short_lived and address.ip != wanted.virtual_address
        ],
        "vip_holder": snapshot.vip_holder._asdict() if snapshot.vip_holder else None,
        "node": node._asdict() if node else None,
        "kernel": snapshot.kernel.release,
        "architecture": snapshot.machine,
        "cgroup_version": snapshot.cgroups.version,
        "cpus": snapshot.cpus,
        "memory_mib": snapshot.memory_mib,
        "package_version": snapshot.repository.version,
        "firewall": snapshot.own_rules,
        "cluster": {
            "known": snapshot.cluster.known,
            "server": snapshot.cluster.server,
            "ca_hash": snapshot.cluster.ca_hash,
        },
    }


def _macs(snapshot: Snapshot) -> list[str]:
    """MAC addresses of the interfaces by which the host speaks to others."""
    return sorted(
        {
            link.mac
            for link in snapshot.network.links
            if link.mac and link.up and not link.made_by_cluster
            if not link.name.startswith(_LOCAL_BRIDGES) and not link.mac.startswith(_VRRP_PREFIX)
            if any(address.scope == "global" for address in link.addresses)
        }
    )
