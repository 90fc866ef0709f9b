#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch_kubeconfig
short_description: Fetch the administrator's kubeconfig to the controller
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Reads a kubeconfig on the host, names its context, cluster and user after the cluster and keeps it on the controller
    as a file that only its owner can read.
  - The content is never part of the output or of a diff.
options:
  source:
    description: Kubeconfig on the host.
    type: path
    default: /etc/kubernetes/admin.conf
  destination:
    description: File on the controller; missing folders are made with mode 0700.
    type: path
    required: true
  cluster_name:
    description: Name of the context and the cluster; the user is called C(<cluster_name>-admin).
    type: str
    required: true
  server:
    description: URL of the API as the controller reaches it.
    type: str
    required: true
attributes:
  check_mode:
    description: Predicts; when the host has no kubeconfig yet, the copy is predicted as a change.
    support: full
  diff_mode:
    description: Names the file that would change; the content is secret.
    support: partial
    details: No content is shown.
  platform:
    description: Operating systems on which the module runs.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Fetch the administrator's kubeconfig
  groundplane.kubeadm.fetch_kubeconfig:
    destination: "{{ inventory_dir }}/artifacts/production.conf"
    cluster_name: production
    server: https://192.0.2.10:6443
"""

RETURN = r"""
destination:
  description: File on the controller.
  returned: always
  type: str
  sample: /home/operator/inventory/artifacts/production.conf
"""
