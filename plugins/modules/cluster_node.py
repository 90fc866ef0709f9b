#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_node
short_description: Take a node out of its cluster
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Removes what a cluster knows of a node - its pods, its member of etcd, its Node object - from another control plane
    node, whether the machine itself still answers or not. The machine is left alone;
    M(groundplane.kubeadm.kubeadm_node) resets it.
  - Decides by the Node objects and by etcd's list of members. A node of which only one is left is removed as well, and
    a run that was killed can simply be repeated.
  - Believes no program's word. The list of members and the Node objects are read again until they show the removal,
    because C(kubeadm reset) only warns when it could not remove a member.
  - Refuses to remove the host that it runs on, the last control plane node, the last voting member of etcd, and every
    member without which the remaining ones would have no quorum. Without a quorum nothing can be removed, not even a
    dead member.
  - Refuses an etcd member that matches two nodes, one by its name and another by its address.
  - Where etcd is external, the control plane has no members of its own and only the Node object is removed.
options:
  state:
    description:
      - V(absent) removes the node.
    type: str
    choices: [absent]
    default: absent
  name:
    description:
      - Name of the Node object. C(kubeadm) gives the node's etcd member the same name.
    type: str
    required: true
  address:
    description:
      - Address of the node. It finds an etcd member that was never started, and so has no name, where no Node object
        tells the address.
      - A node of this name at another address may be another machine. It is removed only when it gives no sign of
        life, that is when it is not Ready and no etcd member of its name answers.
    type: str
    default: ""
  drain:
    description:
      - Whether to cordon and drain the node first. A node that is not Ready is never drained, since nothing there could
        end the pods; where a node ceases to be Ready meanwhile, its pods are not waited for any longer.
      - Pods of DaemonSets stay, data in volumes of the type C(emptyDir) are lost.
      - Pods without a controller, which nothing would start again elsewhere, stop the module before it has changed
        anything.
    type: bool
    default: true
  drain_timeout:
    description:
      - Seconds after which a drain is given up, for example because a C(PodDisruptionBudget) forbids it. Nothing has
        been removed then, and the node stays cordoned.
    type: int
    default: 300
  kubeconfig:
    description:
      - Kubeconfig of an administrator on the node. Its credentials are used at the API server of this host, since the
        endpoint may lead to the node that is removed.
    type: path
    default: /etc/kubernetes/admin.conf
  cri_socket:
    description:
      - Socket of the container runtime, through which etcd is reached.
    type: str
    default: unix:///run/containerd/containerd.sock
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
seealso:
  - module: groundplane.kubeadm.kubeadm_node
notes:
  - Runs as root on a control plane node other than the one to remove.
  - Remove a node before its machine is reset or used anew. The kubelet of a machine that is still a node brings its
    Node object back when it starts again.
"""

EXAMPLES = r"""
- name: Take a control plane node that is gone out of the cluster
  groundplane.kubeadm.cluster_node:
    name: master-3
  delegate_to: master-1

- name: Remove what a half-finished join has left in the cluster
  groundplane.kubeadm.cluster_node:
    name: master-3
    address: 192.0.2.13
    drain: false
  delegate_to: master-1

- name: Empty and remove a worker, with ten minutes for its pods
  groundplane.kubeadm.cluster_node:
    name: worker-2
    drain_timeout: 600
  delegate_to: master-1
"""

RETURN = r"""
action:
  description:
    - What was done, or would be done in check mode.
    - V(none) when the cluster does not know the node.
  returned: success
  type: str
  sample: remove
steps:
  description: The same in words, one line per step.
  returned: success
  type: list
  elements: str
  sample:
    - cordon and drain the node master-3
    - remove the etcd member master-3 (192.0.2.13)
    - delete the Node object master-3
node:
  description: Whether the cluster had a Node object of this name.
  returned: success
  type: bool
  sample: true
members:
  description: The members that were removed from etcd, or would be in check mode, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identity of the member, hexadecimal.
      type: str
    name:
      description: Name of the member, empty when it was never started.
      type: str
    peer_urls:
      description: Where the other members reach it.
      type: list
      elements: str
    client_urls:
      description: Where clients reach it, empty when it was never started.
      type: list
      elements: str
    learner:
      description: Whether it had no vote yet.
      type: bool
    healthy:
      description: Whether it answered and followed the same leader as the member of this host.
      type: bool
  sample:
    - id: da0706bc04e14f91
      name: master-3
      peer_urls: [https://192.0.2.13:2380]
      client_urls: [https://192.0.2.13:2379]
      learner: false
      healthy: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import ADMIN_KUBECONFIG
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster_node import (
    RemovalRequest,
    remove_from_cluster,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module


def body(module: AnsibleModule) -> dict[str, Any]:
    """Take the node out of the cluster."""
    options = {key: value for key, value in module.params.items() if key != "state"}
    removal = remove_from_cluster(ModuleRunner(module), RemovalRequest(**options), check_mode=module.check_mode)
    return {
        "changed": removal.changed,
        "action": "remove" if removal.changed else "none",
        "steps": list(removal.steps),
        "node": removal.node is not None,
        "members": [member.as_dict() for member in removal.members],
        "diff": removal.diff(),
    }


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "drain": {"type": "bool", "default": True},
            "drain_timeout": {"type": "int", "default": 300},
            "kubeconfig": {"type": "path", "default": ADMIN_KUBECONFIG},
            "cri_socket": {"type": "str", "default": "unix:///run/containerd/containerd.sock"},
        },
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
