# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin preflight_info: the module's result with the clock's offset."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from ansible_collections.groundplane.kubeadm.plugins.action import preflight_info
from ansible_collections.groundplane.kubeadm.plugins.action.preflight_info import ActionModule, clock_offset


@pytest.mark.parametrize(
    ("before", "after", "epoch", "seconds", "uncertainty"),
    [
        pytest.param(100.0, 101.0, {"begin": 100.4, "end": 100.8}, 0.1, 0.3, id="clocks in step"),
        pytest.param(100.0, 101.0, {"begin": 160.4, "end": 160.8}, 60.1, 0.3, id="a minute ahead"),
        pytest.param(100.0, 101.0, {"begin": 40.4, "end": 40.8}, -59.9, 0.3, id="a minute behind"),
        pytest.param(100.0, 105.0, {"begin": 100.1, "end": 104.9}, 0.0, 0.1, id="a slow module blurs nothing"),
    ],
)
def test_clock_offset(before, after, epoch, seconds, uncertainty):
    offset = clock_offset(before, after, epoch)
    assert offset["seconds"] == pytest.approx(seconds)
    assert offset["uncertainty"] == pytest.approx(uncertainty)


@pytest.fixture
def run(monkeypatch, make_action):
    """Run the action between two readings of the clock, with a given result of the module."""

    def execute(module_result):
        readings = iter([100.0, 101.0])
        monkeypatch.setattr(preflight_info, "time", SimpleNamespace(time=lambda: next(readings)))
        action = make_action(ActionModule, {}, check_mode=True)
        monkeypatch.setattr(action, "_execute_module", lambda **options: module_result)
        return action.run(task_vars={})

    return execute


def test_adds_the_offset(run):
    facts = {"hostname": "a", "epoch": {"begin": 100.4, "end": 100.8}}
    result = run({"changed": False, "findings": [], "facts": facts})
    assert result["facts"]["hostname"] == "a"
    assert result["facts"]["clock_offset"] == {"seconds": 0.1, "uncertainty": 0.3}


def test_passes_a_failure_on(run):
    result = run({"failed": True, "msg": "no ip"})
    assert result["failed"]
    assert "facts" not in result


def test_the_real_clock_is_used():
    assert preflight_info.time is time
