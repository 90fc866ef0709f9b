# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of all nodes that have to reach each other."""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_policy import sources_of, view_of

DOCUMENTATION = r"""
name: firewall_sources
short_description: Addresses of all nodes, also of those that a run leaves out
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Unites the hosts that a run has read with the nodes that the cluster reports, so that nobody is shut out because a
    run leaves it out or it is down.
  - Fails when the address of a node is known by neither, and when a host is new and nodes that would have to accept it
    are left out of the run.
options:
  _input:
    description: Variables of the hosts that were read, with the decision about their node address.
    type: list
    elements: dict
    required: true
  view:
    description:
      - C(inventory) and C(control_plane) are the names of all hosts and of those of the control plane.
      - C(nodes) are the nodes of the cluster, RV(groundplane.kubeadm.control_plane_info#module:nodes); null where a
        cluster may exist and could not be asked, which is an error.
      - C(members) are the URLs of etcd's members.
      - C(dual_stack) and C(limited) tell whether nodes talk by IPv4 and IPv6, and whether hosts were left out.
      - C(further_sources) are added.
    type: dict
    required: true
positional: view
"""

EXAMPLES = r"""
- name: Show whom the nodes accept as nodes
  ansible.builtin.debug:
    msg: >-
      {{ groups['k8s_cluster'] | map('extract', hostvars)
         | groundplane.kubeadm.firewall_sources({'inventory': groups['k8s_cluster'],
                                                 'control_plane': groups['control_plane'],
                                                 'nodes': control_plane.nodes}) }}
"""

RETURN = r"""
_value:
  description: Addresses and networks, C(nodes) of all and C(control_plane) of the control plane alone.
  type: dict
  sample: {nodes: [192.0.2.11, 192.0.2.21], control_plane: [192.0.2.11]}
"""


def firewall_sources(hosts: Iterable[Mapping[str, Any]], view: Mapping[str, Any]) -> dict[str, list[str]]:
    """Addresses by what their machines are."""
    try:
        sources = sources_of(view_of(hosts, view))
    except (GroundplaneError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error
    return {"nodes": list(sources.nodes), "control_plane": list(sources.control_plane)}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"firewall_sources": firewall_sources}
