# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of bootstrap_token."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    token_create_argv,
    token_delete_argv,
    token_list_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.modules import bootstrap_token

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Any]

DESCRIPTION = "groundplane.kubeadm join"


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """A kubeconfig that exists."""
    (tmp_path / "admin.conf").write_text("")
    return str(tmp_path / "admin.conf")


@pytest.fixture
def with_commands(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the module run exactly these commands."""

    def prepare(*commands: tuple[list[str], Result]) -> None:
        monkeypatch.setattr(bootstrap_token, "ModuleRunner", lambda module: FakeRunner(commands))

    return prepare


def test_create(kubeconfig: str, with_commands: Callable[..., None], run_main: RunMain) -> None:
    nothing = (token_list_argv(kubeconfig), Result(0, "", ""))
    options = {"kubeconfig": kubeconfig, "description": DESCRIPTION}
    with_commands(nothing)
    predicted = run_main(bootstrap_token, options, check=True, diff=True)
    assert (predicted["changed"], predicted["token"]) == (True, "")

    create = token_create_argv(kubeconfig, timedelta(minutes=30), DESCRIPTION)
    with_commands(nothing, (create, Result(0, "abcdef.0123456789abcdef\n", "")))
    done = run_main(bootstrap_token, options, diff=True)
    assert (done["changed"], done["token"], done["token_id"]) == (True, "abcdef.0123456789abcdef", "abcdef")
    assert "0123456789abcdef" not in str(done["diff"])


def test_delete(
    kubeconfig: str, with_commands: Callable[..., None], run_main: RunMain, fixture_text: Callable[[str], str]
) -> None:
    listed = (token_list_argv(kubeconfig), Result(0, fixture_text("kubeadm/token_list.json"), ""))
    with_commands(listed, (token_delete_argv(kubeconfig, ["rjnkkl", "uupzy7"]), Result(0, "", "")))
    options = {"kubeconfig": kubeconfig, "description": DESCRIPTION, "state": "absent"}
    result = run_main(bootstrap_token, options)
    assert result["changed"] is True
    assert "token" not in result

    with_commands(listed)
    assert run_main(bootstrap_token, {**options, "token_id": "zzzzzz"})["changed"] is False


def test_prediction_before_there_is_a_cluster(
    tmp_path: Path, with_commands: Callable[..., None], run_main: RunMain
) -> None:
    with_commands()
    assert run_main(bootstrap_token, {"kubeconfig": str(tmp_path / "none")}, check=True)["changed"] is True


def test_wrong_duration(kubeconfig: str, with_commands: Callable[..., None], run_main: RunMain) -> None:
    with_commands()
    assert "ttl is 'soon'" in run_main(bootstrap_token, {"kubeconfig": kubeconfig, "ttl": "soon"})["msg"]
