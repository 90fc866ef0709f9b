#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_inputs
short_description: Validate the variables of all roles before any host is touched
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Compares every variable of the roles of this collection that is set for the host with the argument specification of
    its role, so that a value which a later role would refuse stops the run before an earlier role has changed
    anything.
  - Checks what argument specifications cannot express, such as ranges that overlap, and reports every violation at
    once.
  - A variable whose name nearly is one of this collection's is reported as misspelt.
  - Runs on the controller; nothing is sent to the host.
options:
  inventory:
    description:
      - Check the groups and the addresses across hosts as well.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  platform:
    description: Operating systems on which the module runs.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Validate the inputs
  groundplane.kubeadm.validate_inputs:
    inventory: true
"""

RETURN = r"""
violations:
  description: One sentence per violation; empty when everything can be used.
  returned: always
  type: list
  elements: str
  sample:
    - "cluster_api_port: found 70000, expected a port from 1 to 65535"
"""
