# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts are built when, without building any."""

from __future__ import annotations

import shutil
from collections.abc import Collection

import pytest

from tests.lab import build, cli
from tests.lab.parts import Part
from tests.lab.process import LabError
from tests.lab.settings import Paths

BASE, CANAL, METALLB = Part.BASE, Part.CANAL, Part.METALLB


class Builds:
    """Stands in for everything that builds, and remembers which parts it was asked for."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.asked: list[list[Part]] = []
        self.fails = False

    def ensure(self, paths: Paths, parts: Collection[Part], report: object) -> None:
        self._paths.programs.mkdir(exist_ok=True)
        self.asked.append(list(parts))

    def ensure_repository(self, paths: Paths, report: object) -> None:
        self._paths.web.mkdir(exist_ok=True)

    def ensure_images(self, paths: Paths, parts: Collection[Part], report: object) -> None:
        if self.fails:
            raise LabError("the registry says no")
        self._paths.registry.mkdir(exist_ok=True)

    def of(self, *add_ons: Part) -> list[list[Part]]:
        """Have these add-ons, and return what was built for that."""
        self.asked = []
        build.ensure_built(self._paths, add_ons, lambda message: None)
        return self.asked


@pytest.fixture
def paths(tmp_path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def builds(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Builds:
    found = Builds(paths)
    monkeypatch.setattr(build, "ensure_programs", found.ensure)
    monkeypatch.setattr(build, "ensure_repository", found.ensure_repository)
    monkeypatch.setattr(build, "ensure_manifests", lambda paths, parts, report: None)
    monkeypatch.setattr(build, "ensure_images", found.ensure_images)
    return found


def test_without_add_ons_the_base_is_everything(builds: Builds) -> None:
    assert builds.of() == [[BASE]]
    assert builds.of() == []


def test_an_add_on_that_comes_later_is_built_alone(builds: Builds) -> None:
    builds.of()
    assert builds.of(CANAL) == [[CANAL]]
    assert builds.of(CANAL, METALLB) == [[METALLB]]


def test_an_add_on_brings_the_base_along(builds: Builds) -> None:
    assert builds.of(METALLB) == [[BASE, METALLB]]
    assert builds.of() == []


def test_an_add_on_that_is_there_is_not_built_again_whether_it_is_asked_for_or_not(builds: Builds) -> None:
    builds.of(CANAL)
    assert builds.of() == []
    assert builds.of(CANAL) == []


def test_asking_twice_is_asking_once(builds: Builds) -> None:
    assert builds.of(CANAL, CANAL) == [[BASE, CANAL]]


def test_a_new_recipe_counts_for_whoever_is_asked_for(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    builds.of(CANAL)
    monkeypatch.setattr(build, "RECIPE_FILES", ("programs.py",))
    assert builds.of() == [[BASE]]
    assert builds.of(CANAL) == [[CANAL]]


@pytest.mark.parametrize("folder", ["programs", "web", "registry"])
def test_add_ons_go_with_a_folder_that_is_removed(builds: Builds, paths: Paths, folder: str) -> None:
    builds.of(CANAL)
    shutil.rmtree(getattr(paths, folder))
    assert builds.of() == [[BASE]]
    assert builds.of(CANAL) == [[CANAL]]


def test_a_build_that_failed_goes_on_where_it_stopped(builds: Builds) -> None:
    builds.of()
    builds.fails = True
    with pytest.raises(LabError):
        builds.of(CANAL)
    builds.fails = False
    assert builds.of() == []
    assert builds.of(CANAL) == [[CANAL]]


def test_the_command_line_names_the_add_ons(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["up", "--help"])
    assert "--with {canal,metallb}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["up", "--with", "base"])
    assert "invalid choice: 'base'" in capsys.readouterr().err
