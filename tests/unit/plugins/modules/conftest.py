# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module's entry point as Ansible does and returns what it printed."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any, Callable

import pytest
from ansible.module_utils import _internal, basic
from ansible.module_utils.common import warnings


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Call main() of a module with options and return its result."""

    def run(module: ModuleType, options: dict[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        encoded = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", encoded)
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        # Tests of action plugins load the controller, after which a module's warnings would go to its display.
        monkeypatch.setattr(_internal, "is_controller", False)
        monkeypatch.setattr(warnings, "_global_warnings", {})
        with pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run
