# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a host is called and which operating system it has, without a module on the host."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._operating_system import (
    OS_RELEASE,
    operating_system,
    parse_os_release,
)


class ActionModule(ActionBase):
    """Returns facts under the names that Ansible's own setup gives them."""

    _VALID_ARGS = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        answer = self._low_level_execute_command(f"uname -n && cat {OS_RELEASE}", sudoable=False)
        if answer["rc"] != 0:
            error = GroundplaneError(
                f"{OS_RELEASE} cannot be read: {answer['stderr'].strip() or answer['stdout'].strip()}",
                expected="the file by which every supported distribution says what it is",
                remedy="take a supported distribution, and let the user with whom Ansible connects read the file",
            )
            return {**result, "failed": True, "msg": str(error)}
        nodename, _newline, os_release = answer["stdout"].partition("\n")
        found = operating_system(parse_os_release(os_release))
        result["ansible_facts"] = {
            "ansible_nodename": nodename.strip(),
            "ansible_os_family": found.family,
            "ansible_distribution": found.distribution,
            "ansible_distribution_release": found.release,
            "ansible_distribution_version": found.version,
            "ansible_distribution_major_version": found.version.partition(".")[0],
        }
        return {**result, "changed": False}
