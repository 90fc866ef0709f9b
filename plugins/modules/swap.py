#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swap
short_description: Turn swap off, now and at every boot
version_added: 1.0.0
description:
  - Turns every active swap device and swap file off, and closes every way by which swap comes back at the next boot.
  - Lines of type C(swap) in C(/etc/fstab) become comments that begin with C(# groundplane.kubeadm:). Nothing else in
    the file changes, not a single byte.
  - Swap units of systemd are masked, including those that its generators make of GPT partitions and of the
    configuration of C(zram-generator). A unit file that an administrator wrote to C(/etc/systemd/system) cannot be
    masked; it is disabled. The configuration of C(zram-generator) itself is left alone, because it may describe devices
    that are no swap.
  - The services C(zramswap), C(zram-config), C(dphys-swapfile) and C(swapspace), which make swap of their own, are
    stopped and masked where they are installed.
  - No program is started on a machine without swap.
author:
  - groundplane.kubeadm contributors (@groundplane)
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
options:
  state:
    description: V(absent) makes it a machine without swap.
    type: str
    choices: [absent]
    default: absent
seealso:
  - name: Swap memory management
    description: What Kubernetes says about nodes with swap.
    link: https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/
"""

EXAMPLES = r"""
- name: Turn swap off
  groundplane.kubeadm.swap:
    state: absent
"""

RETURN = r"""
devices:
  description: Devices and files on which swap was turned off, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/dev/dm-1]
fstab_entries:
  description: Lines of C(/etc/fstab) that became comments, or would in check mode.
  returned: success
  type: list
  elements: str
  sample: ["/dev/mapper/rl-swap none swap defaults 0 0"]
units:
  description: Units of systemd that were masked or disabled, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [dev-zram0.swap]
"""

from pathlib import Path
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import write_document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._swap import decide_absent, read_state, turn_off

ROOT = Path("/")


def remove_swap(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide and, outside check mode, apply."""
    plan = decide_absent(read_state(ROOT), str(ROOT / "etc/fstab"))
    if plan.changed and not module.check_mode:
        if plan.fstab.changed:
            write_document(module, plan.fstab, 0o644)
        plan = turn_off(plan, ModuleRunner(module), ROOT)
    return {
        "changed": plan.changed,
        "devices": list(plan.devices),
        "fstab_entries": list(plan.fstab_entries),
        "units": [unit.name for unit in plan.units],
        "diff": plan.diff(),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"state": {"type": "str", "choices": ["absent"], "default": "absent"}},
        supports_check_mode=True,
    )
    run_module(module, remove_swap)


if __name__ == "__main__":
    main()
