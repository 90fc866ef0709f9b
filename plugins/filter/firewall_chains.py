# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter's chains of a node."""

from __future__ import annotations

from typing import Any, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_policy import chains_for, choices_of

DOCUMENTATION = r"""
name: firewall_chains
short_description: The chains of a node, from what it is and whom it has to hear
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Makes the chains that M(groundplane.kubeadm.iptables_persistence) applies. They hold exactly the ports that the
    choices need, see C(docs/firewall.md).
  - Fails when the address from which Ansible itself is connected would be shut out, and where that cannot be told.
options:
  _input:
    description:
      - C(control_plane) (bool) tells what the host is.
      - C(features) are choices such as V(stacked-etcd), V(keepalived), V(flannel-vxlan), V(ipvs).
      - C(node_sources), C(control_plane_sources), C(pod_ranges), C(service_ranges), C(api_sources),
        C(load_balancer_sources), C(node_port_sources) and C(ssh_sources) are lists of addresses and networks.
      - C(pool_ranges) are the addresses that MetalLB gives away.
      - C(ssh_connection) is the variable SSH_CONNECTION of Ansible's session on the host, C(ssh_ports) are ports beside
        the one that it tells, C(own_addresses) are the addresses of the host itself.
      - C(cluster_ports) are further ports for nodes and pods, such as V(9100/tcp).
      - C(rules_before) and C(rules_after) are rules of your own.
      - C(api_connections) is what C(ss -Htn) lists of the API server's connections. A client among them that the rules
        would shut out is an error.
      - C(ports) has the ports that were chosen, C(api), C(endpoint), C(node_ports), C(vxlan), C(wireguard) and
        C(wireguard_ipv6).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the rules of a worker that speaks to two nodes
  ansible.builtin.debug:
    msg: >-
      {{ {'features': ['flannel-vxlan'], 'node_sources': ['192.0.2.11', '192.0.2.21'], 'pod_ranges': ['10.244.0.0/16'],
           'ssh_ports': [22]}
         | groundplane.kubeadm.firewall_chains }}
"""

RETURN = r"""
_value:
  description: Chains as O(groundplane.kubeadm.iptables_persistence#module:chains) takes them.
  type: list
  elements: dict
"""


def firewall_chains(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Chains of a host."""
    try:
        return chains_for(choices_of(values))
    except (GroundplaneError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"firewall_chains": firewall_chains}
