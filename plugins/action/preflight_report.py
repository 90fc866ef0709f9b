# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares hosts, prints the table of the preflight and fails on errors, all on the controller."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Mapping

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_control_plane import Unreachable
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import ERROR, WARNING
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_report import (
    WAIVED,
    Line,
    Report,
    build_report,
    render,
)
from ansible_collections.groundplane.kubeadm.plugins.plugin_utils._configurations import (
    kept_configurations,
    written_configurations,
)

_ARGUMENTS = {
    "results": {"type": "dict", "required": True},
    "control_planes": {"type": "dict", "default": {}},
    "reachability": {"type": "dict", "default": {}},
    "guarded_hosts": {"type": "list", "elements": "str", "default": []},
    "unreachable": {
        "type": "dict",
        "default": {},
        "options": {
            name: {"type": "list", "elements": "str", "default": []} for name in ("control_plane", "workers", "failed")
        },
    },
    "etcd_hosts": {"type": "list", "elements": "str", "default": []},
    "network": {"type": "str", "default": ""},
    "proxy_mode": {"type": "str", "default": ""},
    "ranges": {
        "type": "dict",
        "default": {},
        "options": {name: {"type": "str"} for name in ("cluster_pod_cidr", "cluster_service_cidr")},
    },
    "flannel_backend": {"type": "dict", "default": {}},
    "configuring_host": {"type": "str", "default": ""},
    "extra_findings": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "id": {"type": "str", "required": True},
            "severity": {"type": "str", "choices": [ERROR, WARNING], "required": True},
            "found": {"type": "str", "required": True},
            "expected": {"type": "str", "required": True},
            "remedy": {"type": "str", "required": True},
            "hosts": {"type": "list", "elements": "str", "required": True},
        },
    },
    "ignore": {"type": "list", "elements": "str", "default": []},
    "host_ignore": {"type": "dict", "default": {}},
    "maximum_clock_skew": {"type": "float", "default": 30},
    "json_path": {"type": "path"},
}


class ActionModule(ActionBase):
    """The report of the preflight."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        report = build_report(
            arguments["results"],
            control_planes=arguments["control_planes"],
            reachability=arguments["reachability"],
            guarded_hosts=arguments["guarded_hosts"],
            unreachable=Unreachable(**{name: tuple(hosts) for name, hosts in arguments["unreachable"].items()}),
            etcd_hosts=arguments["etcd_hosts"],
            network=arguments["network"],
            proxy_mode=arguments["proxy_mode"],
            ranges={name: text for name, text in arguments["ranges"].items() if text},
            flannel_backend=arguments["flannel_backend"],
            configurations=self._written(arguments["configuring_host"], task_vars or {}),
            kept_configurations=kept_configurations(arguments["control_planes"]),
            extra=arguments["extra_findings"],
            ignore=arguments["ignore"],
            host_ignore=arguments["host_ignore"],
            maximum_skew=arguments["maximum_clock_skew"],
        )
        for line in render(report, self._width()):
            self._display.display(line.text, color=_colour(line))
        for remark in report.remarks:
            self._display.warning(remark)
        written = bool(arguments["json_path"]) and self._write(Path(arguments["json_path"]), report)
        if report.failure:
            result.update(failed=True, changed=False, counts=report.counts, msg=report.failure)
        else:
            result.update(changed=written, counts=report.counts, findings=report.findings)
        return result

    def _written(self, host: str, variables: dict[str, Any]) -> dict[str, Mapping[str, Any]]:
        """What a host's variables say for kubeadm."""
        return written_configurations(variables["hostvars"][host]) if host else {}

    def _width(self) -> int:
        """Columns of the terminal; Ansible measured it before this worker process lost it."""
        configured = os.environ.get("COLUMNS", "")
        return int(configured) if configured.isdigit() else int(self._display.columns)

    def _write(self, path: Path, report: Report) -> bool:
        """Bring the JSON report up to date; whether it was not."""
        content = {"counts": report.counts, "findings": report.findings}
        text = json.dumps(content, indent=2) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        if not self._task.check_mode:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
        return True


def _colour(line: Line) -> str | None:
    """Ansible's colour for lines of this status."""
    colours = {ERROR: constants.COLOR_ERROR, WARNING: constants.COLOR_WARN, WAIVED: constants.COLOR_SKIP}
    return colours.get(line.status)
