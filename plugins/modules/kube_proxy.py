#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_proxy
short_description: Change the mode of kube-proxy in a cluster that runs
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Changes fields of the configuration that kubeadm keeps in the ConfigMap C(kube-system/kube-proxy), line by line, so
    that all others stay as they are, and has every pod of the DaemonSet C(kube-system/kube-proxy) started with it.
  - Runs on a host that has C(kubectl) and a kubeconfig, usually a control plane node.
  - A change that was interrupted is continued. It is known by an annotation of the ConfigMap, which stays until the
    module is called with O(finish), because what the former mode has left on the nodes is somebody else's to remove
    (M(groundplane.kubeadm.kube_proxy_rules)). Where the mode stays the same the change ends by itself.
  - Without a kube-proxy of kubeadm's there is nothing to do.
options:
  mode:
    description: Mode; without it the one that is there stays.
    type: str
    choices: [iptables, nftables, ipvs]
  strict_arp:
    description:
      - Have nodes answer ARP for the addresses of their own interfaces only, as MetalLB needs it with V(ipvs).
      - Has no effect in other modes, and never turns it off.
    type: bool
    default: false
  finish:
    description: Do nothing but end the change that is under way.
    type: bool
    default: false
  kubeconfig:
    description: Kubeconfig of an administrator.
    type: path
    default: /etc/kubernetes/admin.conf
  timeout:
    description: Seconds until every pod has to be started anew.
    type: int
    default: 300
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
seealso:
  - module: groundplane.kubeadm.kube_proxy_rules
  - name: Virtual IPs and service proxies
    description: What the modes are.
    link: https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

EXAMPLES = r"""
- name: Change the mode
  groundplane.kubeadm.kube_proxy:
    mode: nftables
  register: kube_proxy

- name: Remove what the former mode has left on the nodes
  groundplane.kubeadm.kube_proxy_rules:
    mode: nftables
    service_cidr: 10.96.0.0/12
    metrics_address: "{{ kube_proxy.metrics_address }}"

- name: End the change
  groundplane.kubeadm.kube_proxy:
    finish: true
"""

RETURN = r"""
mode:
  description: The mode; empty where kube-proxy is none of kubeadm's.
  returned: success
  type: str
  sample: nftables
former_mode:
  description: The mode before, while a change is under way that nobody has ended; else empty.
  returned: success
  type: str
  sample: iptables
metrics_address:
  description: Address and port of the metrics in the configuration; empty for the default.
  returned: success
  type: str
  sample: ""
"""

import time
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import MODES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_change import (
    Plan,
    State,
    apply_plan,
    decide,
    end_change,
    read_state,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import Kubectl, NotThereYetError

_NOTHING = {"changed": False, "mode": "", "former_mode": "", "metrics_address": ""}


def manage_kube_proxy(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide and, outside check mode, apply."""
    options = module.params
    kubectl = Kubectl(ModuleRunner(module), options["kubeconfig"])
    try:
        state = read_state(kubectl)
    except NotThereYetError:
        if not module.check_mode:
            raise
        return _NOTHING
    if state is None:
        return _NOTHING
    if options["finish"]:
        return finish(kubectl, state, check_mode=module.check_mode)
    plan = decide(
        state,
        mode=options["mode"] or "",
        strict_arp=options["strict_arp"],
        moment=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    if not module.check_mode:
        apply_plan(kubectl, state, plan, options["timeout"])
    return {**describe(plan), "changed": plan.changed, "diff": plan.diff()}


def finish(kubectl: Kubectl, state: State, *, check_mode: bool) -> dict[str, Any]:
    """End the change that is under way."""
    under_way = state.proxy.change is not None
    if under_way and not check_mode:
        end_change(kubectl)
    configuration = state.proxy.configuration
    return {
        "changed": under_way,
        "mode": configuration.mode,
        "former_mode": "",
        "metrics_address": configuration.metrics_address,
    }


def describe(plan: Plan) -> dict[str, Any]:
    """What is there when a plan has been carried out."""
    return {
        "mode": plan.after.mode,
        "former_mode": plan.change.former if plan.change and not plan.ends_by_itself else "",
        "metrics_address": plan.after.metrics_address,
    }


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": list(MODES)},
            "strict_arp": {"type": "bool", "default": False},
            "finish": {"type": "bool", "default": False},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    run_module(module, manage_kube_proxy)


if __name__ == "__main__":
    main()
