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
  etcd:
    description:
      - Read the members of etcd as well, as control plane nodes need it that join. It fails when kubeadm runs etcd in
        the cluster and the member on this node cannot be asked.
    type: bool
    default: false
  cri_socket:
    description:
      - Socket of the container runtime in which etcd runs, for O(etcd).
    type: str
    default: unix:///run/containerd/containerd.sock
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

- name: Read what a joining control plane node needs
  groundplane.kubeadm.join_info:
    etcd: true
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
etcd_members:
  description:
    - The members of etcd, ordered by name; empty unless O(etcd), and when the cluster uses an etcd that kubeadm does
      not run.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Its id, in hexadecimal digits.
      type: str
    name:
      description: Its name, which is that of its node; empty while it has never been started.
      type: str
    peer_urls:
      description: Where the other members reach it.
      type: list
      elements: str
    client_urls:
      description: Where API servers reach it.
      type: list
      elements: str
    learner:
      description: Whether it has no vote yet.
      type: bool
    healthy:
      description: Whether it answers now.
      type: bool
  sample:
    - id: 8e9e05c52164694d
      name: master-1
      peer_urls: ["https://192.0.2.11:2380"]
      client_urls: ["https://192.0.2.11:2379"]
      learner: false
      healthy: true
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
    etcd_socket = module.params["cri_socket"] if module.params["etcd"] else ""
    return {"changed": False, **read_join_info(ModuleRunner(module), module.params["kubeconfig"], etcd_socket)}


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "kubeconfig": {"type": "path", "default": ADMIN_KUBECONFIG},
            "etcd": {"type": "bool", "default": False},
            "cri_socket": {"type": "str", "default": "unix:///run/containerd/containerd.sock"},
        },
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
