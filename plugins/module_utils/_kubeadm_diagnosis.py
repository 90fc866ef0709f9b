# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can say about a kubeadm that failed while waiting for kubelet or the control plane."""

from __future__ import annotations

import json

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import STATIC_PODS, error_lines, redact

_LINES = "20"
_WAITING_PHASES = ("wait-control-plane", "kubelet-start", "kubelet-wait-bootstrap", "etcd-join")
# Exit code of coreutils' timeout when it had to end the program.
_TIMED_OUT = 124


def failure(runner: Runner, command: str, result: Result, cri_socket: str, timeout: int) -> GroundplaneError:
    """The error for a kubeadm that ended badly, with everything needed to act on it and nothing secret.

    :arg command: what was run, for the message, such as kubeadm init.
    """
    lines = [f"it was ended by signal {-result.rc}"] if result.rc < 0 else error_lines(result)
    if result.rc == _TIMED_OUT:
        lines.append(f"it was ended because it had not finished within {timeout} seconds")
    waited = result.rc == _TIMED_OUT or any(phase in line for line in lines for phase in _WAITING_PHASES)
    logs = _logs(runner, cri_socket) if waited else {}
    reasons = "; ".join(lines)
    return GroundplaneError(
        f"{command} failed with exit code {result.rc}: {reasons}",
        remedy="remove the cause and run again; what has been done so far is recognised"
        + (", and the logs of this result may show the cause" if logs else ""),
        facts={"rc": result.rc, "logs": logs},
    )


def _logs(runner: Runner, cri_socket: str) -> dict[str, list[str]]:
    """Last lines of kubelet and of those control plane containers that have exited, by their source."""
    journal = ["journalctl", "--unit", "kubelet", "--lines", _LINES, "--no-pager", "--output", "cat"]
    logs = {"kubelet": runner.run(journal, check=False).stdout}
    if runner.find("crictl") is not None:
        crictl = ["crictl", "--runtime-endpoint", cri_socket]
        listed = runner.run([*crictl, "ps", "--all", "--state", "exited", "--output", "json"], check=False)
        for name, container in _newest_exited(listed).items():
            written = runner.run([*crictl, "logs", "--tail", _LINES, container], check=False)
            logs[f"{name} (exited)"] = written.stdout + written.stderr
    return {source: redact(text).splitlines() for source, text in logs.items() if text.strip()}


def _newest_exited(listed: Result) -> dict[str, str]:
    """Id of the newest exited container of each control plane component."""
    containers = json.loads(listed.stdout)["containers"] if listed.rc == 0 else []
    oldest_first = sorted(containers, key=lambda container: int(container["createdAt"]))
    return {
        container["metadata"]["name"]: container["id"]
        for container in oldest_first
        if container["metadata"]["name"] in STATIC_PODS
    }
