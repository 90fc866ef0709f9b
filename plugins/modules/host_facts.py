#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin host_facts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Gather the name and the operating system of a host
version_added: 1.0.0
description:
  - Sets the few facts that the roles use, under the names that M(ansible.builtin.setup) gives them.
  - Reads C(/etc/os-release) and asks C(uname) by one command, as the user with whom Ansible connects and without
    Python. That takes a fraction of the time of M(ansible.builtin.setup), which matters where there are many hosts.
author:
  - groundplane.kubeadm contributors (@groundplane)
options: {}
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  facts:
    description: Returns facts, which are set for the host.
    support: full
  platform:
    description: Operating systems on which it works.
    support: full
    platforms: linux
seealso:
  - module: ansible.builtin.setup
"""

EXAMPLES = r"""
- name: Gather the few facts that the roles use
  groundplane.kubeadm.host_facts:
"""

RETURN = r"""
ansible_facts:
  description: Facts of the host.
  returned: success
  type: dict
  contains:
    ansible_nodename:
      description: Name of the host as its kernel has it.
      type: str
      sample: master-1
    ansible_os_family:
      description: V(Debian), V(RedHat), or the distribution where it belongs to neither.
      type: str
      sample: Debian
    ansible_distribution:
      description: Name of the distribution.
      type: str
      sample: Ubuntu
    ansible_distribution_release:
      description: Code name of its release, empty where it has none.
      type: str
      sample: noble
    ansible_distribution_version:
      description: Number of its release; on Debian without that of the update.
      type: str
      sample: "24.04"
    ansible_distribution_major_version:
      description: The first part of it.
      type: str
      sample: "24"
"""
