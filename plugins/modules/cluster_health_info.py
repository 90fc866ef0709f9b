#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_health_info
short_description: Wait until the nodes of a cluster are Ready and its system workloads are rolled out
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Asks the API, on a control plane node, for nodes, pods, Deployments and DaemonSets until every wanted node is Ready
    and every pod of the wanted namespaces on these nodes is ready, or the time is over.
  - Nodes that are not named do not count, so that a machine which is down does not hold up the others.
  - In check mode the state is read once and nothing is waited for; a cluster that does not exist yet is no error then.
options:
  kubeconfig:
    description: Kubeconfig of an administrator.
    type: path
    default: /etc/kubernetes/admin.conf
  nodes:
    description: Names of the nodes that must be Ready.
    type: list
    elements: str
    required: true
  namespaces:
    description: Namespaces whose workloads must be rolled out.
    type: list
    elements: str
    default: [kube-system]
  timeout:
    description: Seconds to wait at most.
    type: int
    default: 300
extends_documentation_fragment:
  - groundplane.kubeadm._attributes.info_module
"""

EXAMPLES = r"""
- name: Wait until the cluster is healthy
  groundplane.kubeadm.cluster_health_info:
    nodes: [master-1, worker-1, worker-2]
    namespaces: [kube-system, kube-flannel]
"""

RETURN = r"""
healthy:
  description: Whether every condition is met.
  returned: always
  type: bool
  sample: true
pending:
  description: One sentence per condition that is not met; only in check mode this is not a failure.
  returned: always
  type: list
  elements: str
  sample: []
summary:
  description: Nodes and workloads in lines for people.
  returned: always
  type: list
  elements: str
  sample:
    - "master-1: control plane, Ready, v1.36.3, 192.0.2.10"
    - "system workloads: 3, pods ready: 11 of 11"
"""

import time
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster_health import Health, judge, read_objects
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, ModuleRunner, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_POLL_SECONDS = 1


def _look(runner: Runner, params: dict[str, Any]) -> Health:
    try:
        objects = read_objects(runner, params["kubeconfig"])
    except CommandError as error:
        return Health((f"the API does not answer: {error.result.stderr.strip()}",), ())
    return judge(objects, nodes=params["nodes"], namespaces=params["namespaces"])


def wait(module: AnsibleModule) -> dict[str, Any]:
    """Look until the cluster is healthy or the time is over."""
    params = module.params
    if module.check_mode and not Path(params["kubeconfig"]).exists():
        line = "There is no cluster yet; a run ends when its nodes are Ready and its system workloads are rolled out."
        return {"changed": False, "healthy": False, "pending": [line], "summary": [line]}
    runner = ModuleRunner(module)
    deadline = time.monotonic() + params["timeout"]
    health = _look(runner, params)
    while health.pending and not module.check_mode:
        if time.monotonic() >= deadline:
            raise GroundplaneError(
                "The cluster is not healthy after {} seconds: {}".format(params["timeout"], "; ".join(health.pending)),
                expected="every node Ready and every system workload rolled out",
                remedy="look at 'kubectl describe' of what is named and at 'journalctl -u kubelet' there",
                facts={"pending": list(health.pending), "summary": list(health.summary)},
            )
        time.sleep(_POLL_SECONDS)
        health = _look(runner, params)
    return {
        "changed": False,
        "healthy": not health.pending,
        "pending": list(health.pending),
        "summary": list(health.summary),
    }


def main() -> NoReturn:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            "nodes": {"type": "list", "elements": "str", "required": True},
            "namespaces": {"type": "list", "elements": "str", "default": ["kube-system"]},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    run_module(module, wait)


if __name__ == "__main__":
    main()
