#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: join_info
short_description: Tell what a host needs to know to join a cluster
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Reads the endpoint, the hashes of the certificate authority and the nodes of a cluster, on one of its control plane
    nodes.
  - Returns nothing secret; a token comes from M(groundplane.kubeadm.bootstrap_token).
  - In check mode, while there is no kubeconfig because no cluster has been made yet, everything is returned empty.
options:
  kubeconfig:
    description:
      - Kubeconfig of an administrator on the node, with exactly one cluster in it.
    type: path
    default: /etc/kubernetes/admin.conf
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
  - groundplane.kubeadm._attributes.info_module
seealso:
  - module: groundplane.kubeadm.bootstrap_token
  - module: groundplane.kubeadm.kubeadm_node
"""

EXAMPLES = r"""
- name: Read what joining hosts need
  groundplane.kubeadm.join_info:
  register: join_info
"""

RETURN = r"""
endpoint:
  description:
    - Host and port of the API, from C(controlPlaneEndpoint) of the cluster's configuration, otherwise from the
      kubeconfig.
  returned: success
  type: str
  sample: api.kubernetes.internal:6443
ca_cert_hashes:
  description: Hashes of the certificate authority, for C(caCertHashes); several while it is being replaced.
  returned: success
  type: list
  elements: str
  sample: ["sha256:5f0e4b8a4b1d8d84b0ce2f7d6d6a2ff0c54a2e6a8e3c7f0f3d7a5f2b1c0d9e8f"]
certificates_uploaded:
  description: Whether the encrypted certificates for further control plane nodes are in the cluster at the moment.
  returned: success
  type: bool
  sample: false
nodes:
  description: The nodes of the cluster, ordered by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the Node object.
      type: str
    uid:
      description: Identity of the Node object; another object of the same name has another one.
      type: str
    ready:
      description: Whether the node reports to be ready.
      type: bool
    addresses:
      description: All addresses of the node, its host name among them.
      type: list
      elements: str
    control_plane:
      description: Whether it is a control plane node.
      type: bool
    kubelet_version:
      description: Version of its kubelet.
      type: str
  sample:
    - name: master-1
      uid: 1c2b3a94-52cb-4f4e-a1dc-6ff4eddd4ce1
      ready: true
      addresses: [192.0.2.11, master-1]
      control_plane: true
      kubelet_version: v1.36.3
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import ADMIN_KUBECONFIG
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._join_info import NO_CLUSTER, read_join_info


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the cluster."""
    if module.check_mode and not Path(module.params["kubeconfig"]).exists():
        return {"changed": False, **NO_CLUSTER}
    return {"changed": False, **read_join_info(ModuleRunner(module), module.params["kubeconfig"])}


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={"kubeconfig": {"type": "path", "default": ADMIN_KUBECONFIG}},
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
