#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: control_plane_info
short_description: Tell what there is of a control plane on a host
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Reads the files of a control plane node, and asks its own API server and its own member of etcd, whatever the
    endpoint of the cluster leads to.
  - On a host without a control plane everything is returned empty at once; nothing has to be installed there.
  - The API server is asked with the administrator's kubeconfig, because anonymous requests may be switched off. Its
    certificate is verified against the cluster's CA.
  - Never fails because a control plane is broken; what is wrong is in RV(message).
options:
  address:
    description:
      - Address at which the API server of the host is asked.
      - By default the one that it advertises, which its manifest names.
    type: str
  api_port:
    description:
      - Port of the API server of the host.
      - By default the one in its manifest.
    type: int
  cri_socket:
    description:
      - Socket of the container runtime, in which etcd is asked for its members.
    type: str
    default: unix:///run/containerd/containerd.sock
  timeout:
    description:
      - Seconds for which a control plane is waited for that is completely installed and whose kubelet runs, or is about
        to be started, as after a reboot.
      - Check mode waits as well. It changes nothing, and a prediction from a control plane that is just starting would
        be a wrong one.
    type: int
    default: 0
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
  - groundplane.kubeadm._attributes.info_module
seealso:
  - module: groundplane.kubeadm.join_info
  - module: groundplane.kubeadm.preflight_report
notes:
  - Runs as root.
"""

EXAMPLES = r"""
- name: Read the control plane, which may be starting after a reboot
  groundplane.kubeadm.control_plane_info:
    timeout: 60
  register: control_plane
"""

RETURN = r"""
installed:
  description: Whether the static pod manifest of an API server is there.
  returned: success
  type: bool
  sample: true
init_unfinished:
  description: Whether M(groundplane.kubeadm.kubeadm_node) has begun a C(kubeadm init) here whose end it has not seen.
  returned: success
  type: bool
  sample: false
ready:
  description: Whether the API server of this host is ready and serves the administrator.
  returned: success
  type: bool
  sample: true
joined:
  description:
    - Whether the cluster knows the host as a control plane node, which it does not before C(kubeadm init) or
      C(kubeadm join) is at its end.
  returned: success
  type: bool
  sample: true
message:
  description: Why it is not ready, in one line; empty when it is, and where none is installed.
  returned: success
  type: str
  sample: The connection to the server 192.0.2.11:6443 was refused
address:
  description: Address of the API server; empty where none is installed.
  returned: success
  type: str
  sample: 192.0.2.11
ca_cert_hashes:
  description: Hashes of the certificates in C(/etc/kubernetes/pki/ca.crt), as in C(caCertHashes).
  returned: success
  type: list
  elements: str
  sample: ["sha256:5f0e4b8a4b1d8d84b0ce2f7d6d6a2ff0c54a2e6a8e3c7f0f3d7a5f2b1c0d9e8f"]
etcd:
  description: The etcd of this control plane.
  returned: success
  type: dict
  contains:
    external:
      description: Whether the API server uses an etcd that kubeadm does not run.
      type: bool
    leader:
      description: Whether the member on this host knows a leader, which there is only with a quorum.
      type: bool
    members:
      description: All members as the one on this host knows them; empty when it cannot be asked.
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
    external: false
    leader: true
    members:
      - id: 8e9e05c52164694d
        name: master-1
        peer_urls: ["https://192.0.2.11:2380"]
        client_urls: ["https://192.0.2.11:2379"]
        learner: false
        healthy: true
nodes:
  description: The nodes of the cluster as in RV(groundplane.kubeadm.join_info#module:nodes); empty unless RV(ready).
  returned: success
  type: list
  elements: dict
  sample:
    - name: master-1
      uid: 1c2b3a94-52cb-4f4e-a1dc-6ff4eddd4ce1
      ready: true
      addresses: [192.0.2.11, master-1]
      control_plane: true
      kubelet_version: v1.36.3
cluster_configuration:
  description: C(ClusterConfiguration) that the cluster keeps, in YAML; empty unless RV(ready).
  returned: success
  type: str
  sample: "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
kubelet_configuration:
  description: C(KubeletConfiguration) that the cluster keeps for all nodes, in YAML; empty unless RV(ready).
  returned: success
  type: str
  sample: "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
kube_proxy_configuration:
  description:
    - C(KubeProxyConfiguration) that the cluster keeps, in YAML.
    - Empty unless RV(ready), and where kubeadm has deployed no kube-proxy.
  returned: success
  type: str
  sample: "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
networks:
  description:
    - Pod networks of this collection that are at work in the cluster, V(canal) and V(flannel); empty unless RV(ready).
    - Both are there while V(canal) takes over from V(flannel).
  returned: success
  type: list
  elements: str
  sample: [flannel]
kube_proxy:
  description: Configuration of kube-proxy in the cluster; null unless RV(ready), and where kubeadm has deployed none.
  returned: success
  type: dict
  contains:
    mode:
      description: The mode.
      type: str
    strict_arp:
      description: Whether nodes answer ARP for the addresses of their own interfaces only, in mode V(ipvs).
      type: bool
    former_mode:
      description:
        - The mode before, while a change by M(groundplane.kubeadm.kube_proxy) is under way; else empty.
      type: str
  sample:
    mode: iptables
    strict_arp: false
    former_mode: ""
flannel_backend:
  description:
    - What nodes have to have in common to reach each other through flannel, also that of V(canal); null unless
      RV(ready), where neither of RV(networks) is at work, and where the configuration is none of flannel's.
    - While V(canal) takes over from V(flannel), that of V(flannel).
  returned: success
  type: dict
  contains:
    type:
      description: The backend.
      type: str
    options:
      description:
        - With flannel's defaults filled in, C(VNI), C(Port) and C(GBP) of V(vxlan), and C(ListenPort), C(ListenPortV6),
          C(Mode) and C(PSK) of V(wireguard); empty for all others.
        - C(PSK) is no more than the first eight digits of the key's SHA-256, and empty where there is none.
      type: dict
  sample:
    type: vxlan
    options:
      VNI: 1
      Port: 8472
      GBP: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._control_plane_info import read_control_plane
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the control plane."""
    control_plane = read_control_plane(
        ModuleRunner(module),
        HostPaths(),
        cri_socket=module.params["cri_socket"],
        address=module.params["address"] or "",
        api_port=module.params["api_port"] or 0,
        timeout=module.params["timeout"],
    )
    return {"changed": False, **control_plane.as_dict()}


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str"},
            "api_port": {"type": "int"},
            "cri_socket": {"type": "str", "default": "unix:///run/containerd/containerd.sock"},
            "timeout": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run_module(module, body)


if __name__ == "__main__":
    main()
