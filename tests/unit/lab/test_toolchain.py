# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go: which of the machine's own will do, and what happens without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab import toolchain
from tests.lab.settings import Paths


def command(folder: Path, script: str) -> Path:
    """Write an executable that stands for Go."""
    folder.mkdir(parents=True)
    go = folder / "go"
    go.write_text(f"#!/bin/sh\n{script}\n")
    go.chmod(0o755)
    return go


@pytest.mark.parametrize("version", ["go1.21rc2", "go1.26.8", "go2.0", "go1.24.4 X:rangefunc", "devel go1.27-a"])
def test_releases_that_fetch_newer_toolchains_are_new_enough(version: str) -> None:
    assert toolchain.is_new_enough(version)


@pytest.mark.parametrize("version", ["", "go1.3", "go1.19.8", "devel +a"])
def test_older_and_unknown_versions_are_not_new_enough(version: str) -> None:
    assert not toolchain.is_new_enough(version)


def test_commands_that_are_too_old_or_broken_are_passed_over(tmp_path: Path) -> None:
    old = command(tmp_path / "old", "echo go1.19.8")
    broken = command(tmp_path / "broken", "exit 127")
    wanted = command(tmp_path / "wanted", "echo go1.26.8")
    command(tmp_path / "later", "echo go1.27.0")
    folders = [tmp_path / "none", old.parent, broken.parent, wanted.parent, tmp_path / "later"]
    assert toolchain.installed_go(os.pathsep.join(map(str, folders))) == wanted


def test_a_machine_without_go_has_none(tmp_path: Path) -> None:
    assert toolchain.installed_go(str(tmp_path)) is None


def test_go_outside_of_path_is_found_in_its_official_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = command(tmp_path / "official", "echo go1.26.8")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(toolchain, "OFFICIAL_FOLDER", str(official.parent))
    assert toolchain.ensure_go(Paths(tmp_path / "cache"), print) == official


def test_go_in_the_cache_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(toolchain, "OFFICIAL_FOLDER", str(tmp_path))
    go = command(tmp_path / "go" / toolchain.GO_SUITE / "usr" / "bin", "exit 0")
    assert toolchain.ensure_go(Paths(tmp_path), print) == go
