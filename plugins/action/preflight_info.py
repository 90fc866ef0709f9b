# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module preflight_info and measures the host's clock against the controller's on the way."""

from __future__ import annotations

import time
from typing import Any, Mapping

from ansible.plugins.action import ActionBase


def clock_offset(before: float, after: float, epoch: Mapping[str, float]) -> dict[str, float]:
    """How far the host's clock is ahead, from four readings in this order: before, begin, end, after.

    The module began no sooner than before and ended no later than after; everything between these bounds is possible.
    """
    most = epoch["begin"] - before
    least = epoch["end"] - after
    return {"seconds": round((most + least) / 2, 3), "uncertainty": round(abs(most - least) / 2, 3)}


class ActionModule(ActionBase):
    """The module of the same name with facts.clock_offset added."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        before = time.time()
        result.update(self._execute_module(module_name="groundplane.kubeadm.preflight_info", task_vars=task_vars))
        after = time.time()
        if "facts" in result:
            result["facts"]["clock_offset"] = clock_offset(before, after, result["facts"]["epoch"])
        return result
