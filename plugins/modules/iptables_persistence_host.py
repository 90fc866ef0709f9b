#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iptables_persistence_host
short_description: The part of iptables_persistence that works on the host
version_added: 1.0.0
description:
  - Internal to the action plugin of M(groundplane.kubeadm.iptables_persistence), which calls it over two connections.
    Use that module instead. A change that is made by this module alone is taken back by its timer.
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
options:
  operation:
    description:
      - V(apply) loads the rules and arms the timer that takes them back.
      - V(confirm) disarms it and saves the rules for the next boot.
      - V(outcome) tells what has become of a change.
    type: str
    choices: [apply, confirm, outcome]
    required: true
  change:
    description: Name of the change, hexadecimal digits that the action plugin has made up.
    type: str
    required: true
  state:
    description: As in M(groundplane.kubeadm.iptables_persistence).
    type: str
    choices: [present, absent]
    default: present
  chains:
    description: As in M(groundplane.kubeadm.iptables_persistence), already checked for types.
    type: list
    elements: dict
  families:
    description: As in M(groundplane.kubeadm.iptables_persistence).
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  rollback_seconds:
    description: As in M(groundplane.kubeadm.iptables_persistence).
    type: int
    default: 60
author:
  - groundplane.kubeadm contributors (@groundplane)
seealso:
  - module: groundplane.kubeadm.iptables_persistence
"""

EXAMPLES = r"""
- name: See what has become of a change of the packet filter
  groundplane.kubeadm.iptables_persistence_host:
    operation: outcome
    change: 0a1b2c3d4e5f
"""

RETURN = r"""
outcome:
  description: What has become of the change.
  returned: with O(operation=confirm) and O(operation=outcome)
  type: str
  sample: confirmed
counters:
  description: Our rules with what they had counted when they were taken back, by family.
  returned: with O(operation=confirm) and O(operation=outcome)
  type: dict
log:
  description: What the script that takes a change back has printed.
  returned: with O(operation=confirm) and O(operation=outcome)
  type: str
pending:
  description: Seconds until the rules are taken back, none when nothing waits for a confirmation.
  returned: with O(operation=apply)
  type: int
loaded:
  description: Whether rules are, or would be, loaded; otherwise only files wait for the confirmation.
  returned: with O(operation=apply)
  type: bool
"""

from pathlib import Path
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_apply import apply
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_transaction import change_of, confirm

ROOT = Path("/")


def work(module: AnsibleModule) -> Mapping[str, Any]:
    """Do the one operation that is asked for."""
    change = change_of(ROOT, module.params["change"])
    runner = ModuleRunner(module)
    if module.params["operation"] == "apply":
        return apply(module, runner, ROOT, change)
    if module.params["operation"] == "outcome" or module.check_mode:
        return {"changed": False, **change.report()}
    return {"changed": True, **confirm(module, runner, ROOT, change)}


def main() -> None:
    """Entry point."""
    families = ["ipv4", "ipv6"]
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["apply", "confirm", "outcome"], "required": True},
            "change": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "chains": {"type": "list", "elements": "dict"},
            "families": {"type": "list", "elements": "str", "choices": families, "default": families},
            "rollback_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    run_module(module, work)


if __name__ == "__main__":
    main()
