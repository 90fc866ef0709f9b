#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apiserver_certificate
short_description: Make sure that the API server's serving certificate carries all names
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Replaces the serving certificate of a control plane node's API server, and its key, when one of O(names) is missing
    from it. Whatever else is in it is no reason; names that only the old certificate had are gone after a renewal.
  - Also replaces a certificate whose key is not its own, which is what a run that was killed at the wrong moment can
    leave behind.
  - C(kubeadm) makes the new certificate from O(configuration) in a private folder. It takes the place of the old one
    only when it carries all of O(names).
  - The API server takes the new certificate up by itself, without a restart. The module waits until it does.
  - Does nothing where there is no certificate yet, because C(kubeadm) makes it when the host is initialised or joins.
  - Fails when a renewal is due and the key of the cluster's CA is not on the host. Only the operator of an external CA
    can issue the certificate then.
options:
  names:
    description:
      - DNS names and IP addresses that the certificate must carry. They are compared literally, so a wildcard in the
        certificate stands for itself only.
    type: list
    elements: str
    required: true
  configuration:
    description:
      - Documents of the kubeadm API in YAML, an C(InitConfiguration) with C(localAPIEndpoint) and
        C(nodeRegistration.name) of this host, and the C(ClusterConfiguration) with O(names) in C(apiServer.certSANs).
    type: str
    required: true
  pki:
    description:
      - Folder of the cluster's certificates and keys.
    type: path
    default: /etc/kubernetes/pki
  address:
    description:
      - Address at which this host's own API server is asked for its certificate.
    type: str
    required: true
  port:
    description:
      - Port of the API server.
    type: int
    default: 6443
  timeout:
    description:
      - Seconds for which the API server may go on showing the old certificate, and for which another run of the module
        is waited for.
    type: int
    default: 120
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
seealso:
  - module: groundplane.kubeadm.kubeadm_node
notes:
  - The configuration must hold no secrets.
  - Runs as root.
"""

EXAMPLES = r"""
- name: Serve the virtual address, too
  groundplane.kubeadm.apiserver_certificate:
    names:
      - api.example.com
      - 192.0.2.10
    configuration: "{{ lookup('ansible.builtin.template', 'init.yml.j2') }}"
    address: 192.0.2.11
"""

RETURN = r"""
names:
  description:
    - Names and addresses in the certificate, sorted, names first. In check mode those that it will have at least.
      Empty where there is no certificate.
  returned: success
  type: list
  elements: str
  sample: [api.example.com, kubernetes, kubernetes.default, 10.96.0.1, 192.0.2.10, 192.0.2.11]
reasons:
  description: Why something was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["the certificate lacks api.example.com, 192.0.2.10"]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._apiserver_certificate import (
    CertificatePaths,
    bring_up_to_date,
    served_certificate,
    wait_until_served,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module


def body(module: AnsibleModule) -> dict[str, Any]:
    """Bring the certificate up to date and have it served."""
    wanted = module.params
    paths = CertificatePaths(Path(wanted["pki"]))
    plan, after = bring_up_to_date(
        ModuleRunner(module),
        paths,
        wanted["names"],
        wanted["configuration"],
        timeout=wanted["timeout"],
        check_mode=module.check_mode,
    )
    if plan.renewed and not module.check_mode:
        wait_until_served(paths, served_certificate, wanted["address"], wanted["port"], wanted["timeout"])
    names = after.in_order()
    return {
        "changed": plan.changed,
        "names": list(names),
        "reasons": plan.reasons(),
        "diff": {
            "before_header": str(paths.certificate),
            "after_header": str(paths.certificate),
            "before": "".join(f"{name}\n" for name in plan.before),
            "after": "".join(f"{name}\n" for name in names),
        },
    }


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "configuration": {"type": "str", "required": True, "no_log": False},
            "pki": {"type": "path", "default": "/etc/kubernetes/pki"},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 6443},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
