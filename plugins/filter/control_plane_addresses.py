# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node addresses of a whole control plane."""

from __future__ import annotations

import ipaddress
from typing import Any, Iterable, Mapping, Sequence

DOCUMENTATION = r"""
name: control_plane_addresses
short_description: Node addresses of the whole control plane, by node name
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Unites the control plane hosts that a run has reached with those members of the cluster that it has not, so that a
    member which is down for an hour does not drop out of everybody's configuration.
options:
  _input:
    description: Variables of the hosts that were reached, with the decision about their node address.
    type: list
    elements: dict
    required: true
  nodes:
    description: Nodes of the cluster, RV(groundplane.kubeadm.control_plane_info#module:nodes).
    type: list
    elements: dict
    required: true
  order:
    description: The hosts of the group in the order of the inventory, in which the result is; other members come last.
    type: list
    elements: str
    required: true
  departing:
    description: Name of a host or node that is being removed and is left out.
    type: str
    default: ""
positional: nodes, order, departing
"""

EXAMPLES = r"""
- name: Show the addresses of the control plane
  ansible.builtin.debug:
    msg: >-
      {{ groups['control_plane'] | map('extract', hostvars)
         | groundplane.kubeadm.control_plane_addresses(control_plane.nodes, groups['control_plane']) }}
"""

RETURN = r"""
_value:
  description: Address by node name.
  type: dict
  sample: {master-1: 192.0.2.11, master-2: 192.0.2.12}
"""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def control_plane_addresses(
    hosts: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]], order: Sequence[str], departing: str = ""
) -> dict[str, str]:
    """Node address of each control plane node by its name; what a host itself says comes before the cluster's view."""
    found = {}
    position = {}
    for host in hosts:
        name = host["__cluster_preflight"]["facts"]["hostname"].lower()
        found[name] = host["__cluster_node"]["address"]
        position[name] = order.index(host["inventory_hostname"])
    for node in nodes:
        addresses = [address for address in node["addresses"] if _is_address(address)]
        if node["control_plane"] and addresses and node["name"] != departing and addresses[0] not in found.values():
            found.setdefault(node["name"], addresses[0])
            position.setdefault(node["name"], order.index(node["name"]) if node["name"] in order else len(order))
    return {name: found[name] for name in sorted(found, key=lambda name: (position[name], name))}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"control_plane_addresses": control_plane_addresses}
