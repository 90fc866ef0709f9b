# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who measures whom in the preflight."""

from __future__ import annotations

from typing import Any

from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import peers

DOCUMENTATION = r"""
name: reachability_peers
short_description: Hosts to which a host measures the way
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - A control plane host measures the way to every other host. A worker measures the way to every control plane host and
    to its two neighbours in the ring of all workers in alphabetical order.
  - Who measures a host is whom it measures itself.
options:
  _input:
    description: All hosts of the play.
    type: list
    elements: str
    required: true
  host:
    description: The host that measures, one of them.
    type: str
    required: true
  control_plane:
    description: The hosts of the control plane.
    type: list
    elements: str
    required: true
positional: host, control_plane
"""

EXAMPLES = r"""
- name: Show the hosts to which this one measures the way
  ansible.builtin.debug:
    msg: >-
      {{ ansible_play_hosts
         | groundplane.kubeadm.reachability_peers(inventory_hostname, groups['control_plane']) }}
"""

RETURN = r"""
_value:
  description: Names of hosts.
  type: list
  elements: str
  sample: [master-1, worker-1, worker-3]
"""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"reachability_peers": reachability_peers}


def reachability_peers(hosts: list[str], host: str, control_plane: list[str]) -> list[str]:
    """Names of the hosts to which a host measures the way."""
    # Only those control plane hosts that take part in this play.
    return peers(hosts, [name for name in control_plane if name in hosts], host)
