#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_node
short_description: Make a host a control plane node or a worker with kubeadm, or take it out again
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Brings a host to a state in a Kubernetes cluster with C(kubeadm init), C(kubeadm join) and C(kubeadm reset).
  - Decides by the state of the cluster and of the host, not by a single file, so that a run which was killed at any
    moment can simply be repeated.
  - A half-finished C(kubeadm init) is completed when it was begun by this module with the same configuration, and
    otherwise undone and begun anew. A half-finished C(kubeadm join) is undone and begun anew.
  - Refuses whatever could cost data, such as a host of another cluster, an etcd of unknown origin, or a node of the
    same name elsewhere.
  - A C(kubeadm) that an earlier, killed run has left running is waited for; there are never two at once.
  - The configuration reaches C(kubeadm) through a pipe. Neither argument lists nor files ever hold a token, and the
    output of C(kubeadm) is not returned; when it fails, its error lines are, together with the last lines of the logs
    of kubelet and of exited control plane containers, without anything that looks like a token or a certificate key.
options:
  state:
    description:
      - V(initialised) makes the host the first control plane node of a cluster.
      - V(joined) makes it a further node of an existing cluster.
      - V(reset) undoes either, including etcd's data in its default folder and what Kubernetes, flannel and Calico
        leave in the host's network, links, files, chains and rules of iptables and nftables, each by its name, so that
        what others have set up stays as it is.
        The Node object stays in the cluster.
    type: str
    required: true
    choices: [initialised, joined, reset]
  configuration:
    description:
      - Documents of the kubeadm API in YAML, C(InitConfiguration), C(ClusterConfiguration) and others for
        V(initialised), C(JoinConfiguration) for V(joined).
      - Must be the same text in every run, since a half-finished C(kubeadm init) is completed only with the
        configuration it was begun with.
      - Required whenever C(kubeadm init) or C(kubeadm join) has to run. For V(joined), check mode can do without,
        which tells whether a token has to be made at all.
    type: str
  node_name:
    description:
      - Name of the node, as in the configuration's C(nodeRegistration).
    type: str
  node_address:
    description:
      - Address by which the cluster knows the node. Required for V(joined), where it tells the node from a namesake.
    type: str
  control_plane:
    description:
      - Whether V(joined) means a control plane node. The configuration then needs a section C(controlPlane).
    type: bool
    default: false
  cluster_nodes:
    description:
      - Nodes of the cluster as read on a control plane node just before,
        RV(groundplane.kubeadm.join_info#module:nodes).
    type: list
    elements: dict
    default: []
  etcd_members:
    description:
      - Members of etcd as read on a control plane node just before,
        RV(groundplane.kubeadm.join_info#module:etcd_members). With O(control_plane), they tell how far an interrupted
        join has come. Empty for a cluster with an etcd elsewhere.
    type: list
    elements: dict
    default: []
  ca_cert_hashes:
    description:
      - Hashes of the CA of the cluster, RV(groundplane.kubeadm.join_info#module:ca_cert_hashes). They tell a host of
        this cluster from one of another. Required for V(joined), except in check mode while there is no cluster yet.
    type: list
    elements: str
    default: []
  cri_socket:
    description:
      - Socket of the container runtime.
    type: str
    default: unix:///run/containerd/containerd.sock
  timeout:
    description:
      - Seconds after which a running C(kubeadm) is ended, and for which an API server that is installed but does not
        answer, or a run that is still at work, is waited for.
    type: int
    default: 600
  offline:
    description:
      - Whether V(reset) leaves the cluster alone, so that C(kubeadm reset) does not remove this host's member of etcd.
      - For a host that M(groundplane.kubeadm.cluster_node) has taken out already, and for a cluster whose hosts are all
        reset at once, where C(kubeadm) would wait minutes for answers that nobody gives any more.
    type: bool
    default: false
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
seealso:
  - module: groundplane.kubeadm.bootstrap_token
  - module: groundplane.kubeadm.join_info
notes:
  - Runs as root.
"""

EXAMPLES = r"""
- name: Initialise the first control plane node
  groundplane.kubeadm.kubeadm_node:
    state: initialised
    configuration: "{{ lookup('ansible.builtin.template', 'init.yml.j2') }}"
    node_name: master-1
    node_address: 192.0.2.11

- name: Find out whether the worker has to be joined
  groundplane.kubeadm.kubeadm_node:
    state: joined
    node_name: worker-1
    node_address: 192.0.2.21
    cluster_nodes: "{{ join_info.nodes }}"
    ca_cert_hashes: "{{ join_info.ca_cert_hashes }}"
  check_mode: true
  register: prediction

- name: Join the worker
  groundplane.kubeadm.kubeadm_node:
    state: joined
    configuration: "{{ lookup('ansible.builtin.template', 'join.yml.j2') }}"
    node_name: worker-1
    node_address: 192.0.2.21
    cluster_nodes: "{{ join_info.nodes }}"
    ca_cert_hashes: "{{ join_info.ca_cert_hashes }}"

- name: Reset the host
  groundplane.kubeadm.kubeadm_node:
    state: reset
"""

RETURN = r"""
action:
  description:
    - What was done, or would be done in check mode.
    - V(resume-init) completes an interrupted C(kubeadm init), V(resume-join) an interrupted C(kubeadm join) of a
      control plane node whose etcd and kubelet have joined, V(reinit) and V(rejoin) clean the host up first,
      with C(kubeadm reset) where kubeadm has been at work, V(repair) removes what a killed run has left behind at its
      very end and starts the kubelet.
    - In check mode, V(wait) tells that nothing can be decided before a running C(kubeadm) has ended or an installed
      control plane answers. Otherwise the module has waited for that.
  returned: success
  type: str
  sample: init
steps:
  description: The same in words, one line per step.
  returned: success
  type: list
  elements: str
  sample:
    - record that this kubeadm init is ours
    - initialise the control plane with kubeadm init
    - remove the record of the kubeadm init, which has ended
stale:
  description:
    - Whether the cluster still has a Node object of this name, or an etcd member of this address, though the host has
      to join. Remove it with M(groundplane.kubeadm.cluster_node) before the join; C(kubeadm join) refuses a name whose
      node is ready, and this module refuses to join a member of etcd anew.
  returned: success
  type: bool
  sample: false
logs:
  description:
    - Last lines of the logs of kubelet and of exited control plane containers, by their source. Empty when C(kubeadm)
      failed before it had anything to wait for.
  returned: when C(kubeadm) failed
  type: dict
  sample:
    kubelet: ["kubelet.service: Failed with result 'exit-code'."]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node import NodeRequest, bring_to_state
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_listener import dismiss_listener


def body(module: AnsibleModule) -> dict[str, Any]:
    """Bring the host to the wanted state."""
    request = NodeRequest(**module.params)
    if not module.check_mode:
        # A preflight whose findings were waived may have left one, on the ports that kubeadm wants to be free.
        dismiss_listener()
    plan = bring_to_state(ModuleRunner(module), HostPaths(), request, check_mode=module.check_mode)
    for warning in plan.warnings:
        module.warn(warning)
    return {
        "changed": plan.changed,
        "action": plan.action,
        "steps": [step.value for step in plan.steps],
        "stale": plan.stale,
        "diff": {"before": plan.found + "\n", "after": plan.outcome() + "\n"},
    }


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["initialised", "joined", "reset"]},
            "configuration": {"type": "str", "no_log": True},
            "node_name": {"type": "str"},
            "node_address": {"type": "str"},
            "control_plane": {"type": "bool", "default": False},
            "cluster_nodes": {"type": "list", "elements": "dict", "default": []},
            "etcd_members": {"type": "list", "elements": "dict", "default": []},
            "ca_cert_hashes": {"type": "list", "elements": "str", "default": []},
            "cri_socket": {"type": "str", "default": "unix:///run/containerd/containerd.sock"},
            "timeout": {"type": "int", "default": 600},
            "offline": {"type": "bool", "default": False},
        },
        required_if=[
            ("state", "initialised", ("configuration", "node_name")),
            ("state", "joined", ("node_name", "node_address")),
        ],
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
