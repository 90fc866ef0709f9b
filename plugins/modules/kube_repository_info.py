#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: kube_repository_info
short_description: Find the Kubernetes version that a package repository offers
version_added: 1.0.0
description:
  - Reads the index of a deb or rpm repository and finds which version of the Kubernetes packages a wish such as V(1.36)
    means.
  - Needs no package manager and no configured repository, so that it can answer before anything on the host is changed.
  - The index is read for its versions only. Signatures are checked by the package manager when it installs.
author:
  - groundplane.kubeadm contributors (@groundplane)
extends_documentation_fragment:
  - groundplane.kubeadm._attributes.info_module
options:
  url:
    description:
      - Address of the repository, the folder that holds C(Packages.gz) (deb) or C(repodata/) (rpm).
      - Proxies are taken from the environment of the task (C(http_proxy), C(https_proxy), C(no_proxy)).
    type: str
    required: true
  kind:
    description: Kind of the repository.
    type: str
    choices: [deb, rpm]
    required: true
  version:
    description:
      - A minor version such as V(1.36) stands for its newest patch release for which every one of O(packages) exists.
      - A full version such as V(1.36.3) stands for exactly this one.
      - Pre-releases are never chosen.
    type: str
    required: true
  architecture:
    description:
      - Architecture of the machine that will install the packages, in the words of the kernel (V(x86_64), V(aarch64))
        or of the package manager (V(amd64), V(arm64)).
      - Without it, the architecture of the host on which the module runs.
    type: str
  packages:
    description:
      - Packages that must exist in the version. Only packages that carry the version of the Kubernetes release can be
        named; C(cri-tools) and C(kubernetes-cni) have versions of their own and come as dependencies.
    type: list
    elements: str
    default: [kubeadm, kubelet, kubectl]
  timeout:
    description: Seconds without an answer after which the repository counts as unreachable.
    type: int
    default: 15
seealso:
  - name: Kubernetes package repositories
    description: The official repositories, one for every minor version.
    link: https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/
"""

EXAMPLES = r"""
- name: Find the newest patch release of Kubernetes 1.36
  groundplane.kubeadm.kube_repository_info:
    url: https://pkgs.k8s.io/core:/stable:/v1.36/deb/
    kind: deb
    version: "1.36"
  register: repository

- name: Install kubeadm in that version
  ansible.builtin.apt:
    name: "kubeadm={{ repository.package_versions.kubeadm }}"

- name: Ask a mirror through a proxy whether it has one exact version
  groundplane.kubeadm.kube_repository_info:
    url: https://mirror.example.com/kubernetes/v1.36/rpm/
    kind: rpm
    version: "1.36.3"
    architecture: aarch64
  environment:
    https_proxy: http://proxy.example.com:3128
"""

RETURN = r"""
version:
  description: The Kubernetes version that was found.
  returned: success
  type: str
  sample: 1.36.3
package_versions:
  description: For each of O(packages), its newest package of that version as the package manager names it.
  returned: success
  type: dict
  sample:
    kubeadm: 1.36.3-1.1
    kubectl: 1.36.3-1.1
    kubelet: 1.36.3-1.1
available:
  description: All versions in the repository for which every one of O(packages) exists, newest first.
  returned: success
  type: list
  elements: str
  sample: [1.36.3, 1.36.2, 1.36.1, 1.36.0]
"""

import platform
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._package_repository import (
    KUBERNETES_PACKAGES,
    find_version,
    url_fetcher,
)


def read_repository(module: AnsibleModule) -> Mapping[str, Any]:
    """Result of the module: the version found and its packages."""
    options = module.params
    selection = find_version(
        url_fetcher(options["timeout"]),
        url=options["url"],
        kind=options["kind"],
        version=options["version"],
        architecture=options["architecture"] or platform.machine(),
        names=options["packages"],
    )
    return {"changed": False, **selection._asdict()}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["deb", "rpm"], "required": True},
            "version": {"type": "str", "required": True},
            "architecture": {"type": "str"},
            "packages": {"type": "list", "elements": "str", "default": list(KUBERNETES_PACKAGES)},
            "timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    run_module(module, read_repository)


if __name__ == "__main__":
    main()
