#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_proxy_rules
short_description: Remove from a node what other modes of kube-proxy have left, and prove that Services answer
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Waits until kube-proxy of the node runs in O(mode) and has made its rules, removes what other modes have left, and
    waits until an API server answers at the Service C(kubernetes).
  - kube-proxy removes much of it by itself when it starts. What it does not, or failed to, goes here by its name,
    which are chains of iptables and rules that lead to them, the tables C(kube-proxy) of nftables, the sets C(KUBE-),
    the link C(kube-ipvs0), and the virtual servers of IPVS at the addresses of that link or on NodePorts of the host.
    What kubelet, the pod network or somebody else has made stays.
  - Virtual servers are removed where C(ipvsadm) is installed, sets where C(ipset) is, tables where C(nft) is.
options:
  mode:
    description: Mode in which kube-proxy runs.
    type: str
    choices: [iptables, nftables, ipvs]
    required: true
  service_cidr:
    description: Ranges of the cluster's Services; the Service C(kubernetes) has the first address of the first one.
    type: str
    required: true
  metrics_address:
    description: Address and port of kube-proxy's metrics in its configuration; empty for the default.
    type: str
    default: ""
  timeout:
    description: Seconds that each of the three conditions may take.
    type: int
    default: 60
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
attributes:
  check_mode:
    details:
      - Nothing is waited for. It predicts what kube-proxy would not remove by itself once it runs in O(mode).
seealso:
  - module: groundplane.kubeadm.kube_proxy
notes:
  - Runs as root.
"""

EXAMPLES = r"""
- name: Remove what modes other than nftables have left
  groundplane.kubeadm.kube_proxy_rules:
    mode: nftables
    service_cidr: 10.96.0.0/12
"""

RETURN = r"""
removed:
  description: What was removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [link kube-ipvs0]
notes:
  description: What stays though it may be of another mode, because it cannot be seen or removed.
  returned: success
  type: list
  elements: str
  sample: []
"""

from pathlib import Path
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import MODES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_proof import (
    prove_service,
    wait_for_mode,
    wait_for_rules,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_rules import (
    left_after_start,
    read_rules_of_other_modes,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import remove_network_remains

CLUSTER_CA = Path("/etc/kubernetes/pki/ca.crt")


def manage_rules(module: AnsibleModule) -> Mapping[str, Any]:
    """Wait for the mode, remove what others have left, and prove a Service."""
    options = module.params
    runner = ModuleRunner(module)
    mode, timeout = options["mode"], options["timeout"]
    if not module.check_mode:
        wait_for_mode(mode, options["metrics_address"], timeout)
        wait_for_rules(runner, mode, timeout)
    remains = read_rules_of_other_modes(runner, mode)
    if module.check_mode:
        remains = left_after_start(remains, mode)
    else:
        remove_network_remains(runner, remains)
        prove_service(options["service_cidr"], read_text(CLUSTER_CA) or "", timeout)
    removed = list(remains.describe())
    return {
        "changed": bool(removed),
        "removed": removed,
        "notes": list(remains.notes),
        "diff": {"before": "".join(f"{line}\n" for line in removed), "after": ""},
    }


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": list(MODES), "required": True},
            "service_cidr": {"type": "str", "required": True},
            "metrics_address": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    run_module(module, manage_rules)


if __name__ == "__main__":
    main()
