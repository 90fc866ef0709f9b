# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that are there either whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import recipes
from tests.lab.process import LabError


def test_a_finished_folder_replaces_its_predecessors(tmp_path: Path) -> None:
    (tmp_path / "etcd" / "v1").mkdir(parents=True)
    (tmp_path / "etcd" / ".unfinished-killed").mkdir()
    with recipes.finished_folder(tmp_path / "etcd" / "v2") as folder:
        (folder / "etcd").touch()
    assert [path.name for path in (tmp_path / "etcd").iterdir()] == ["v2"]
    assert (tmp_path / "etcd" / "v2" / "etcd").exists()


def test_a_failed_build_leaves_no_finished_folder(tmp_path: Path) -> None:
    final = tmp_path / "etcd" / "v1"
    with pytest.raises(LabError), recipes.finished_folder(final):
        raise LabError("the compiler says no")
    assert not final.exists()
