#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_upload
short_description: Upload the control plane's shared certificates for nodes that join, and delete them again
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Uploads the certificates and keys that all control plane nodes share, encrypted with a new key, to the Secret
    C(kubeadm-certs) with C(kubeadm init phase upload-certs). Those of an external etcd are among them when the cluster
    uses one.
  - The key reaches C(kubeadm) in a configuration through a pipe. Neither argument lists nor files ever hold it.
  - Runs on a control plane node. Check mode predicts as well while no cluster has been made there yet.
options:
  state:
    description:
      - V(present) uploads the certificates in any case and replaces an earlier upload, whose key nobody can know any
        more. Use it only when a control plane node really joins.
      - V(absent) deletes the Secret C(kubeadm-certs), the bootstrap token that owns it, and the tokens of the same
        purpose that earlier uploads have left behind. Other tokens stay.
    type: str
    default: present
    choices: [present, absent]
  kubeconfig:
    description:
      - Kubeconfig of an administrator on the node.
    type: path
    default: /etc/kubernetes/admin.conf
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
seealso:
  - module: groundplane.kubeadm.bootstrap_token
  - module: groundplane.kubeadm.kubeadm_node
notes:
  - RV(certificate_key) is secret; set C(no_log) on the task. A diff shows only names.
  - C(kubeadm) has the uploaded certificates end after two hours.
  - Where a CA is external and its key not on the node, C(kubeadm) refuses the upload.
  - Runs as root.
"""

EXAMPLES = r"""
- name: Upload the shared certificates for the control plane nodes that join in this run
  groundplane.kubeadm.certificate_upload:
  register: certificate_upload
  no_log: true

- name: Delete them
  groundplane.kubeadm.certificate_upload:
    state: absent
"""

RETURN = r"""
certificate_key:
  description:
    - Key for C(certificateKey) in the C(JoinConfiguration) of control plane nodes, a secret. Empty in check mode.
  returned: when O(state=present)
  type: str
  sample: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._certificate_upload import (
    API_SERVER_MANIFEST,
    decide_absent,
    decide_present,
    delete,
    new_key,
    read_source,
    read_uploaded,
    upload,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import ADMIN_KUBECONFIG
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module


def body(module: AnsibleModule) -> dict[str, Any]:
    """Bring the uploaded certificates to the wanted state."""
    kubeconfig = module.params["kubeconfig"]
    act = _present if module.params["state"] == "present" else _absent
    return act(ModuleRunner(module), kubeconfig, check_mode=module.check_mode)


def _present(runner: Runner, kubeconfig: str, *, check_mode: bool) -> dict[str, Any]:
    """Upload with a new key."""
    no_cluster_yet = check_mode and not Path(kubeconfig).exists()
    source = None if no_cluster_yet else read_source(runner, kubeconfig, Path(API_SERVER_MANIFEST))
    plan = decide_present(source)
    key = ""
    if source is not None and not check_mode:
        key = new_key()
        upload(runner, kubeconfig, source, key)
    return {"changed": plan.changed, "diff": plan.diff(), "certificate_key": key}


def _absent(runner: Runner, kubeconfig: str, *, check_mode: bool) -> dict[str, Any]:
    """Delete what uploads have left."""
    if check_mode and not Path(kubeconfig).exists():
        return {"changed": False}
    plan = decide_absent(read_uploaded(runner, kubeconfig))
    if not check_mode:
        delete(runner, kubeconfig, plan)
    return {"changed": plan.changed, "diff": plan.diff()}


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "kubeconfig": {"type": "path", "default": ADMIN_KUBECONFIG},
        },
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
