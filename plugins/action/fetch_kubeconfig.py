# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the administrator's kubeconfig to the controller without showing it."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.yaml.dumper import AnsibleDumper
from ansible.plugins.action import ActionBase
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig_copy import for_controller, is_as_good


def _write_private(destination: Path, content: str) -> None:
    """Replace a file atomically; it is private before it has any content."""
    destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates with mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
        Path(temporary).replace(destination)
    except BaseException:
        Path(temporary).unlink()
        raise


def _is_current(destination: Path, content: str) -> bool:
    if not destination.is_file() or destination.stat().st_mode & 0o777 != 0o600:
        return False
    try:
        existing = yaml.safe_load(destination.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        return False
    wanted = yaml.safe_load(content)
    return bool(existing == wanted) or is_as_good(existing, wanted)


class ActionModule(ActionBase):
    """Reads on the host, writes on the controller."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {
                "source": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
                "destination": {"type": "path", "required": True},
                "cluster_name": {"type": "str", "required": True},
                "server": {"type": "str", "required": True},
            }
        )
        destination = Path(arguments["destination"]).expanduser()
        result.update(changed=False, destination=str(destination))
        content = self._read(arguments, task_vars)
        if content is not None and _is_current(destination, content):
            return result
        result["changed"] = True
        if self._task.diff:
            result["diff"] = [{"prepared": f"{destination}: new kubeconfig (content not shown)\n"}]
        if not self._task.check_mode:
            if content is None:
                raise AnsibleActionFail(
                    f"Found no {arguments['source']} on the host. Expected a control plane node. "
                    "To do: initialise the control plane first."
                )
            _write_private(destination, content)
        return result

    def _read(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> str | None:
        """Kubeconfig for the controller, None when the host has none."""
        exists = self._execute_remote_stat(arguments["source"], all_vars=task_vars, follow=True, checksum=False)[
            "exists"
        ]
        if not exists:
            return None
        slurped = self._execute_module(
            module_name="ansible.builtin.slurp", module_args={"src": arguments["source"]}, task_vars=task_vars
        )
        if slurped.get("failed"):
            raise AnsibleActionFail(f"{arguments['source']} cannot be read: {slurped.get('msg')}")
        kubeconfig = yaml.safe_load(base64.b64decode(slurped["content"]))
        try:
            wanted = for_controller(kubeconfig, cluster_name=arguments["cluster_name"], server=arguments["server"])
        except GroundplaneError as error:
            raise AnsibleActionFail(str(error)) from error
        # Arguments are strings of Ansible's own kind, which only its dumper knows.
        return yaml.dump(wanted, Dumper=AnsibleDumper, sort_keys=False)
