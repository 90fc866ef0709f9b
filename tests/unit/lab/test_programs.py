# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling: the parts that need no compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import programs
from tests.lab.parts import Part
from tests.lab.settings import Paths
from tests.lab.versions import calico_version


def test_kubernetes_learns_its_version_while_it_is_linked() -> None:
    flags = programs.KUBERNETES.linker_flags()
    assert f"-X k8s.io/component-base/version.gitVersion={programs.KUBERNETES.version}" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMajor=1" in flags


def test_calico_says_its_release_and_not_the_commit() -> None:
    assert f"buildinfo.Version={calico_version()}" in programs.CALICO.linker_flags()


def test_programs_with_c_are_linked_statically() -> None:
    assert "-extldflags -static" in programs.FLANNEL.linker_flags()
    assert programs.go_environment(programs.FLANNEL)["CGO_ENABLED"] == "1"
    assert programs.go_environment(programs.KUBERNETES)["CGO_ENABLED"] == "0"


def test_only_what_is_missing_of_the_wanted_parts_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, compiled = Paths(tmp_path), []
    monkeypatch.setattr(programs, "_compile", lambda paths, group, report: compiled.append(group))
    for group in programs.GROUPS[Part.BASE]:
        programs.folder(paths, group).mkdir(parents=True)
    programs.pause_program(paths).parent.mkdir(parents=True)
    programs.pause_program(paths).touch()
    programs.ensure_programs(paths, [Part.BASE], lambda message: None)
    assert compiled == []
    programs.ensure_programs(paths, [Part.BASE, Part.METALLB], lambda message: None)
    assert compiled == [programs.METALLB]


def test_every_part_has_programs_of_its_own() -> None:
    groups = [group.name for part in Part for group in programs.GROUPS[part]]
    assert len(set(groups)) == len(groups)
