# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of file_set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.modules import file_set

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Dict[str, Any]]

OURS = "# Managed by groundplane.kubeadm\n"


def permissions(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def test_check_run_again(tmp_path: Path, run_main: RunMain) -> None:
    config, key = tmp_path / "etc/config.toml", tmp_path / "etc/certs.d/registry/client.key"
    options = {
        "files": [
            {"path": str(config), "content": OURS + "version = 2\n", "validate": ["grep", "version", "%s"]},
            {"path": str(key), "secret_content": OURS + "private", "mode": "0600"},
        ],
        "owned_directories": [str(tmp_path / "etc")],
    }

    predicted = run_main(file_set, options, check=True)
    assert not (tmp_path / "etc").exists()

    done = run_main(file_set, options)
    assert done == {**predicted, "invocation": done["invocation"]}
    assert done["written"] == [str(config), str(key)]
    assert config.read_text() == OURS + "version = 2\n"
    assert (permissions(config), permissions(key)) == ("0o644", "0o600")

    assert run_main(file_set, options)["changed"] is False
    assert run_main(file_set, options, check=True)["changed"] is False


def test_secret_content_appears_nowhere(tmp_path: Path, run_main: RunMain) -> None:
    options = {"files": [{"path": str(tmp_path / "client.key"), "secret_content": "first private key"}]}
    assert "first private key" not in str(run_main(file_set, options, diff=True))
    options["files"][0]["secret_content"] = "second private key"
    changed = run_main(file_set, options, diff=True)
    assert "private key" not in str(changed)
    assert changed["diff"][0]["before"] != changed["diff"][0]["after"]


def test_permissions_alone_are_a_change(tmp_path: Path, run_main: RunMain) -> None:
    path = tmp_path / "client.key"
    path.write_text("private")
    path.chmod(0o644)
    options = {"files": [{"path": str(path), "secret_content": "private", "mode": "0600"}]}
    assert run_main(file_set, options)["changed"] is True
    assert permissions(path) == "0o600"
    assert run_main(file_set, options)["changed"] is False


def test_files_that_left_the_set_are_removed_and_foreign_ones_stay(tmp_path: Path, run_main: RunMain) -> None:
    kept, left, foreign = tmp_path / "a/hosts.toml", tmp_path / "b/hosts.toml", tmp_path / "c/hosts.toml"
    for path, text in ((kept, OURS), (left, OURS), (foreign, "# mine\n" + OURS)):
        path.parent.mkdir()
        path.write_text(text)
    options = {"files": [{"path": str(kept), "content": OURS}], "owned_directories": [str(tmp_path)]}

    assert run_main(file_set, options, check=True)["removed"] == [str(left)]
    assert left.exists()
    assert run_main(file_set, options)["removed"] == [str(left)]
    assert (kept.exists(), left.parent.exists(), foreign.exists()) == (True, False, True)
    assert run_main(file_set, options)["changed"] is False


def test_a_whole_folder_of_files_can_leave(tmp_path: Path, run_main: RunMain) -> None:
    folder = tmp_path / "ours"
    files = [{"path": str(folder / name), "content": OURS} for name in ("one", "two")]
    options = {"files": files, "owned_directories": [str(folder)]}
    run_main(file_set, options)

    assert run_main(file_set, {**options, "files": []})["changed"]

    assert not folder.exists()


def test_content_that_its_program_refuses_is_not_written(tmp_path: Path, run_main: RunMain) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    bad.write_text("version = 2\n")
    result = run_main(
        file_set,
        {
            "files": [
                {"path": str(good), "content": "fine"},
                {"path": str(bad), "content": "broken", "validate": ["grep", "version", "%s"]},
            ]
        },
    )
    assert f"grep refuses the new content of {bad}" in result["msg"]
    assert bad.read_text() == "version = 2\n"
    assert not good.exists()


@pytest.mark.parametrize(("check", "failed"), [(True, False), (False, True)])
def test_a_program_that_is_yet_to_be_installed_validates_nothing_in_check_mode(
    tmp_path: Path, run_main: RunMain, check: bool, failed: bool
) -> None:
    options = {"files": [{"path": str(tmp_path / "new"), "content": "", "validate": ["no-such-program", "%s"]}]}
    assert run_main(file_set, options, check=check).get("failed", False) is failed


def test_content_is_given_once(tmp_path: Path, run_main: RunMain) -> None:
    both = {"path": str(tmp_path / "new"), "content": "", "secret_content": ""}
    assert "mutually exclusive" in run_main(file_set, {"files": [both]})["msg"]


@pytest.mark.parametrize(
    ("state", "read_before_the_file", "changed"),
    [("active", True, True), ("active", False, False), ("inactive", True, False)],
)
def test_a_restart_or_reload_that_a_killed_run_still_owes_is_a_change(
    tmp_path: Path,
    run_main: RunMain,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    read_before_the_file: bool,
    changed: bool,
) -> None:
    files = [{"path": str(tmp_path / "config.toml"), "content": "version = 2\n"}]
    microseconds = int((time.monotonic() + (-60 if read_before_the_file else 60)) * 1_000_000)
    shown = f"ActiveState={state}\nStateChangeTimestampMonotonic={microseconds}\n"
    properties = ["--property=StateChangeTimestampMonotonic", "--property=ActiveState"]
    argv = ["systemctl", "show", *properties, "containerd.service"]

    run_main(file_set, {"files": files})
    monkeypatch.setattr(file_set, "ModuleRunner", lambda module: FakeRunner([(argv, Result(0, shown, ""))]))
    result = run_main(file_set, {"files": files, "reader": "containerd.service"})
    assert result["changed"] is changed
    assert result["written"] == []
