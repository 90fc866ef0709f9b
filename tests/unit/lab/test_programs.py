# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling: the parts that need no compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import programs
from tests.lab.process import LabError


def test_kubernetes_learns_its_version_while_it_is_linked() -> None:
    flags = programs.KUBERNETES.linker_flags()
    assert f"-X k8s.io/component-base/version.gitVersion={programs.KUBERNETES.version}" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMajor=1" in flags


def test_programs_with_c_are_linked_statically() -> None:
    assert "-extldflags -static" in programs.FLANNEL.linker_flags()
    assert programs.go_environment(programs.FLANNEL)["CGO_ENABLED"] == "1"
    assert programs.go_environment(programs.KUBERNETES)["CGO_ENABLED"] == "0"


@pytest.mark.parametrize(("name", "release"), [("go1.26.8", (1, 26)), ("go1.21rc2", (1, 21)), ("go2.0", (2, 0))])
def test_go_versions_are_compared_as_numbers(name: str, release: tuple[int, int]) -> None:
    assert programs.go_release(name) == release


def test_an_unknown_go_version_is_named() -> None:
    with pytest.raises(LabError, match="devel"):
        programs.go_release("devel +abc")


def test_a_finished_folder_replaces_its_predecessors(tmp_path: Path) -> None:
    (tmp_path / "etcd" / "v1").mkdir(parents=True)
    (tmp_path / "etcd" / ".unfinished-killed").mkdir()
    with programs.finished_folder(tmp_path / "etcd" / "v2") as folder:
        (folder / "etcd").touch()
    assert [path.name for path in (tmp_path / "etcd").iterdir()] == ["v2"]
    assert (tmp_path / "etcd" / "v2" / "etcd").exists()


def test_a_failed_build_leaves_no_finished_folder(tmp_path: Path) -> None:
    final = tmp_path / "etcd" / "v1"
    with pytest.raises(LabError), programs.finished_folder(final):
        raise LabError("the compiler says no")
    assert not final.exists()
