# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools and announcements of MetalLB as objects of the cluster."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._metallb import objects_of

DOCUMENTATION = r"""
name: metallb_objects
short_description: Pools and announcements of MetalLB as objects of the cluster
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Makes the objects that M(groundplane.kubeadm.kube_manifest) applies, in the namespace C(metallb-system).
  - All of them carry the label C(app.kubernetes.io/managed-by=groundplane.kubeadm), by which they are found and deleted
    when they are wanted no more.
options:
  _input:
    description:
      - Entries by kind, which is C(IPAddressPool), C(L2Advertisement), C(BGPPeer) or C(BGPAdvertisement).
      - Each has a C(name), may have C(labels), and all other keys are fields of C(spec).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show a pool as it is applied
  ansible.builtin.debug:
    msg: >-
      {{ {'IPAddressPool': [{'name': 'web', 'addresses': ['192.0.2.200-192.0.2.220']}]}
         | groundplane.kubeadm.metallb_objects }}
"""

RETURN = r"""
_value:
  description: Objects as O(groundplane.kubeadm.kube_manifest#module:definitions) takes them.
  type: list
  elements: dict
"""


def metallb_objects(configuration: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Objects of the cluster."""
    try:
        return objects_of(configuration)
    except KeyError as error:
        raise AnsibleFilterError(f"Found an entry or a kind that is not MetalLB's: {error}") from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"metallb_objects": metallb_objects}
