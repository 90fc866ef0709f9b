# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what every host-task evaluation of a run came to, as JSON, for the tests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_evaluations
type: aggregate
short_description: Write the evaluations of a run as JSON
description:
  - Counts every task on every host, handlers and skipped tasks included, and notes its outcome.
  - Results stay out of the file, so that it can hold no secret.
options:
  path:
    description: File to write.
    required: true
    type: path
    env:
      - name: COUNT_EVALUATIONS_PATH
    ini:
      - section: count_evaluations
        key: path
"""


class CallbackModule(CallbackBase):
    """Collects while the run goes on and writes once at its end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_evaluations"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._evaluations: list[dict[str, Any]] = []
        self._plays: list[dict[str, Any]] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Note when each play begins."""
        self._plays.append({"name": play.get_name(), "started": time.time()})

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note a task that succeeded, changed or not."""
        self._note(result, "changed" if result.result.get("changed", False) else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Note a task that failed."""
        del ignore_errors
        self._note(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Note a task whose condition did not hold."""
        self._note(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Note a task whose host did not answer."""
        self._note(result, "unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the file."""
        content = {
            "ended": time.time(),
            "plays": self._plays,
            "recap": {host: stats.summarize(host) for host in sorted(stats.processed)},
            "evaluations": self._evaluations,
        }
        path: str = super().get_option("path")
        Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _note(self, result: Any, outcome: str) -> None:
        self._evaluations.append(
            {
                "host": result.host.get_name(),
                "task": result.task.get_name(),
                "module": result.task.resolved_action or result.task.action,
                "outcome": outcome,
                "ended": time.time(),
            }
        )
