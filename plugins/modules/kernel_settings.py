#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_settings
short_description: Load kernel modules and set sysctls, now and at every boot
version_added: 1.0.0
description:
  - Makes sure that kernel modules are there and that sysctls have their values in the running kernel, and writes both
    to files of their own for the next boot.
  - The running kernel is asked what it has, so that modules that are built in count, also on machines without any
    loadable module. C(modprobe) is run only for modules that are missing.
  - Only values that differ are written. The files are compared by what they mean, not by their spaces and comments.
  - Warns when another file would give one of the O(sysctls) a different value at the next boot.
author:
  - groundplane.kubeadm contributors (@groundplane)
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
options:
  state:
    description:
      - V(present) applies and keeps the settings.
      - V(absent) removes the two files. Modules stay loaded and running values stay as they are, because others may
        need them by now.
    type: str
    choices: [absent, present]
    default: present
  modules:
    description: Names of kernel modules. When the list is empty there is no file for modules.
    type: list
    elements: str
    default: []
  sysctls:
    description:
      - Values by key. When there are none there is no file for sysctls.
      - A key is written with dots (V(net.ipv4.ip_forward)), or with slashes where a part has a dot in itself
        (V(net/ipv4/conf/eth0.100/forwarding)). V(true) and V(false) mean 1 and 0.
      - It is an error when the kernel does not have a key after the modules are there.
    type: dict
    default: {}
  modules_path:
    description: File that names the modules for systemd-modules-load.
    type: path
    default: /etc/modules-load.d/groundplane-kubeadm.conf
  sysctls_path:
    description: File that holds the values for systemd-sysctl.
    type: path
    default: /etc/sysctl.d/99-groundplane-kubeadm.conf
"""

EXAMPLES = r"""
- name: Let bridged traffic pass through iptables and forward packets
  groundplane.kubeadm.kernel_settings:
    modules:
      - overlay
      - br_netfilter
    sysctls:
      net.bridge.bridge-nf-call-iptables: 1
      net.bridge.bridge-nf-call-ip6tables: 1
      net.ipv4.ip_forward: 1

- name: Keep nothing for the next boot
  groundplane.kubeadm.kernel_settings:
    state: absent
"""

RETURN = r"""
loaded:
  description: Modules that were loaded, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [br_netfilter]
written:
  description: Sysctls that were written to the running kernel, or would be in check mode.
  returned: success
  type: dict
  sample:
    net.ipv4.ip_forward: "1"
files:
  description: Files that were written or removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/sysctl.d/99-groundplane-kubeadm.conf]
"""

from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import write_document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_settings import (
    apply_running,
    decide_absent,
    decide_present,
    read_state,
    running_kernel,
    settings,
)


def apply_settings(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide and, outside check mode, apply."""
    options = module.params
    kernel = running_kernel()
    wanted = settings(options["modules"], options["sysctls"], options["modules_path"], options["sysctls_path"])
    state = read_state(kernel, wanted)
    if options["state"] == "present":
        plan = decide_present(wanted, state, kernel.release)
    else:
        plan = decide_absent(wanted, state)
    for warning in plan.warnings:
        module.warn(warning)
    if not module.check_mode:
        apply_running(plan, kernel, ModuleRunner(module))
        for document in plan.changed_documents:
            write_document(module, document, 0o644)
    return {
        "changed": plan.changed,
        "loaded": list(plan.load),
        "written": dict(plan.write),
        "files": [document.path for document in plan.changed_documents],
        "diff": plan.diff(),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "modules": {"type": "list", "elements": "str", "default": []},
            "sysctls": {"type": "dict", "default": {}},
            "modules_path": {"type": "path", "default": "/etc/modules-load.d/groundplane-kubeadm.conf"},
            "sysctls_path": {"type": "path", "default": "/etc/sysctl.d/99-groundplane-kubeadm.conf"},
        },
        supports_check_mode=True,
    )
    run_module(module, apply_settings)


if __name__ == "__main__":
    main()
