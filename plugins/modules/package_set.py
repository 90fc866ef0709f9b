#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a set of packages to their wanted versions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: package_set
short_description: Bring a set of packages to their wanted versions and hold them
version_added: 1.0.0
description:
  - Installs missing packages, changes the version of others and keeps all of them out of general upgrades, in one
    step.
  - The package index is read again only when it does not know a wanted package or version. In check mode it is then
    read into a temporary folder, so that fresh machines get a prediction with versions.
  - In check mode packages that come from a repository which is not set up yet are predicted as well.
  - Uses C(apt-get) or C(dnf), whichever the machine has. Recommended packages are not installed.
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
options:
  packages:
    description:
      - Package names and versions.
      - A version without packaging revision, such as V(1.36.3), is met by any revision of it.
      - An empty version is met by any installed version; if there is none, the newest is installed.
      - A name may list alternatives as in V(chrony | systemd-timesyncd); an installed one is kept, else the first is
        installed.
    type: dict
    required: true
  state:
    description: Whether the packages shall be there. Absent packages lose their configuration too (apt).
    type: str
    choices: [present, absent]
    default: present
  hold:
    description:
      - Keep the packages out of general upgrades. Only O(state=present).
      - Used with C(apt-get). With C(dnf) use O(groundplane.kubeadm.package_repository#module:exclude), which holds them
        without a plugin.
    type: bool
    default: false
  frozen_by:
    description:
      - As long as this file exists, changing the version of an installed package or removing it is an error.
      - It marks machines in use, such as nodes of a running cluster, whose versions change by an upgrade only.
    type: path
author:
  - groundplane.kubeadm contributors (@groundplane)
"""

EXAMPLES = r"""
- name: Install the Kubernetes packages
  groundplane.kubeadm.package_set:
    packages:
      kubelet: 1.36.3-1.1
      kubeadm: 1.36.3-1.1
      kubectl: 1.36.3-1.1
    hold: true
    frozen_by: /etc/kubernetes/kubelet.conf

- name: Install a time service unless there is one
  groundplane.kubeadm.package_set:
    packages:
      systemd-timesyncd | chrony: ""
"""

RETURN = r"""
versions:
  description: Versions of the packages that are there afterwards, or would be. Empty when the newest is not known yet.
  returned: success
  type: dict
  sample:
    kubelet: 1.36.3-1.1
installed:
  description: Packages that were, or would be, installed or changed.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._packages import (
    PackageManager,
    PackagePlan,
    after_plan,
    choose_alternatives,
    describe,
    is_stale_index,
    outdated_packages,
    package_manager,
    plan_absence,
    plan_presence,
    refuse_changes,
    split_alternatives,
)


def find_available(manager: PackageManager, outdated: Mapping[str, str], module: AnsibleModule) -> dict[str, str]:
    """Full versions of outdated packages; the index is refreshed once when it does not know all of them.

    In check mode it is refreshed beside the machine's own, and what it still does not know comes from a repository that
    an earlier task would have added.
    """
    if not outdated:
        return {}
    available = manager.available(outdated)
    if set(available) != set(outdated):
        manager.refresh(module.tmpdir if module.check_mode else None)
        available = manager.available(outdated)
        missing = {name: version for name, version in outdated.items() if name not in available}
        if missing and not module.check_mode:
            raise GroundplaneError(
                "No repository of this machine has " + ", ".join(sorted(" ".join(item) for item in missing.items())),
                remedy="check the version asked for and the package repositories of this machine",
            )
    return available


def apply(manager: PackageManager, plan: PackagePlan) -> None:
    """Carry the plan out."""
    if plan.install:
        manager.install(plan.install)
    if plan.hold:
        manager.hold(plan.hold)
    if plan.remove:
        manager.remove(plan.remove)


def package_set(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide, apply."""
    manager = package_manager(ModuleRunner(module))
    requested = {name: str(version or "") for name, version in module.params["packages"].items()}
    names = [name for alternatives in requested for name in split_alternatives(alternatives)]
    installed = manager.installed(names)
    hold = module.params["hold"] and manager.can_hold

    if module.params["state"] == "absent":
        plan = plan_absence(names, installed)
    else:
        wanted = choose_alternatives(requested, installed)
        outdated = outdated_packages(wanted, installed)
        available = find_available(manager, outdated, module)
        plan = plan_presence(wanted, installed, available, hold=hold)

    frozen_by = module.params["frozen_by"]
    if frozen_by and Path(frozen_by).exists():
        refuse_changes(plan, installed, frozen_by)
    if not module.check_mode:
        try:
            apply(manager, plan)
        except CommandError as error:
            if not (plan.install and is_stale_index(error)):
                raise
            # The mirror has replaced what a complete, but old index still names.
            manager.refresh(None)
            plan = plan_presence(wanted, installed, manager.available(outdated), hold=hold)
            apply(manager, plan)
    return {
        "changed": plan.changed,
        "versions": dict(plan.versions),
        "installed": sorted(plan.install),
        "diff": {
            "before_header": "packages",
            "after_header": "packages",
            "before": describe(installed),
            "after": describe(after_plan(installed, plan)),
        },
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "hold": {"type": "bool", "default": False},
            "frozen_by": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run_module(module, package_set)


if __name__ == "__main__":
    main()
