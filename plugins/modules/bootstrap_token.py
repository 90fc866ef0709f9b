#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bootstrap_token
short_description: Create a short-lived token for joining hosts, and delete it again
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Makes sure that a bootstrap token of a description exists that lives long enough, or that there is none.
  - A token that is still good is used again, so that repeated runs do not pile tokens up.
  - Runs on a control plane node. Check mode predicts as well while no cluster has been made there yet.
options:
  state:
    description:
      - V(present) returns a token, and creates it only when none is good for O(minimum_ttl).
      - V(absent) deletes the token O(token_id), or without it every token of the description.
    type: str
    default: present
    choices: [present, absent]
  ttl:
    description:
      - Life of a created token, in hours, minutes and seconds. A token without an end is refused.
    type: str
    default: 30m
  minimum_ttl:
    description:
      - Life that must be left in a token for it to be used again.
    type: str
    default: 10m
  description:
    description:
      - Description that marks the tokens as one's own.
    type: str
    default: groundplane.kubeadm
  token_id:
    description:
      - Public part of the token to delete, the six characters before the dot.
    type: str
  kubeconfig:
    description:
      - Kubeconfig of an administrator on the node.
    type: path
    default: /etc/kubernetes/admin.conf
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
seealso:
  - module: groundplane.kubeadm.join_info
  - module: groundplane.kubeadm.kubeadm_node
notes:
  - RV(token) is secret; set C(no_log) on the task. A diff shows only public parts and ends.
"""

EXAMPLES = r"""
- name: Get a token for the hosts that join in this run
  groundplane.kubeadm.bootstrap_token:
    ttl: 30m
  register: bootstrap_token
  no_log: true

- name: Delete the token
  groundplane.kubeadm.bootstrap_token:
    state: absent
    token_id: "{{ bootstrap_token.token_id }}"
"""

RETURN = r"""
token:
  description:
    - The token, a secret. Empty in check mode when one would be created.
  returned: when O(state=present)
  type: str
  sample: abcdef.0123456789abcdef
token_id:
  description: Its public part.
  returned: when O(state=present)
  type: str
  sample: abcdef
expires:
  description: When it ends.
  returned: when O(state=present)
  type: str
  sample: "2026-01-31T12:30:00Z"
"""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._bootstrap_token import (
    apply_tokens,
    decide_absent,
    decide_present,
    read_tokens,
    result_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import ADMIN_KUBECONFIG
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._duration import parse_duration
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module


def body(module: AnsibleModule) -> dict[str, Any]:
    """Bring the tokens of the description to the wanted state."""
    wanted = module.params
    runner = ModuleRunner(module)
    ttl = parse_duration(wanted["ttl"], "ttl")
    no_cluster_yet = module.check_mode and not Path(wanted["kubeconfig"]).exists()
    tokens = [] if no_cluster_yet else read_tokens(runner, wanted["kubeconfig"])
    if wanted["state"] == "absent":
        plan = decide_absent(tokens, wanted["description"], wanted["token_id"])
    else:
        plan = decide_present(
            tokens,
            wanted["description"],
            ttl=ttl,
            minimum_ttl=parse_duration(wanted["minimum_ttl"], "minimum_ttl"),
            now=datetime.now(timezone.utc),
        )
    created = ""
    if not module.check_mode:
        created = apply_tokens(runner, wanted["kubeconfig"], plan, description=wanted["description"], ttl=ttl)
    result: dict[str, Any] = {"changed": plan.changed, "diff": plan.diff(wanted["description"])}
    if wanted["state"] == "present":
        result.update(result_of(plan, created))
    return result


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "ttl": {"type": "str", "default": "30m"},
            "minimum_ttl": {"type": "str", "default": "10m"},
            "description": {"type": "str", "default": "groundplane.kubeadm"},
            "token_id": {"type": "str", "no_log": False},
            "kubeconfig": {"type": "path", "default": ADMIN_KUBECONFIG},
        },
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
