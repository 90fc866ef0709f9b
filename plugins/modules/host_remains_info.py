#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_remains_info
short_description: Tell what Kubernetes has left on a host
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Lists the files, mounts, links, chains and rules of iptables, tables of nftables, IP sets and network namespaces
    that Kubernetes, flannel and Calico have made, each known by its name. After M(groundplane.kubeadm.kubeadm_node) has
    reset a host there are none.
  - On a node of a running cluster it lists what a reset would remove.
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
  - groundplane.kubeadm._attributes.info_module
seealso:
  - module: groundplane.kubeadm.kubeadm_node
notes:
  - Runs as root.
"""

EXAMPLES = r"""
- name: Look at what is left
  groundplane.kubeadm.host_remains_info:
  register: host

- name: Require a clean host
  ansible.builtin.assert:
    that: host.remains | length == 0
"""

RETURN = r"""
remains:
  description: What is left, one line each.
  returned: success
  type: list
  elements: str
  sample:
    - /etc/kubernetes/kubelet.conf
    - link flannel.1
    - "iptables-nft, table filter: chains KUBE-FIREWALL, KUBE-FORWARD"
notes:
  description:
    - What a new cluster may stumble over though no reset removes it, because it may be anybody's or because a program
      to look at it is missing.
  returned: success
  type: list
  elements: str
  sample:
    - /etc/cni/net.d/87-podman.conflist is neither flannel's nor Calico's and stays; kubelet uses the first file by name
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_remains import read_host_remains


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the host."""
    found = read_host_remains(ModuleRunner(module), HostPaths())
    return {"changed": False, "remains": list(found.describe()), "notes": list(found.network.notes)}


def main() -> None:
    """Entry point for Ansible."""
    run_module(AnsibleModule(argument_spec={}, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
