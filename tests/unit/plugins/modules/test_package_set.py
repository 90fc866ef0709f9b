# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of package_set on a made-up machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._packages import Installed
from ansible_collections.groundplane.kubeadm.plugins.modules import package_set

RunMain = Callable[..., Dict[str, Any]]


class Machine:
    """A package manager with an index that may have to be refreshed first."""

    can_hold = True

    def __init__(self, index: Mapping[str, str], *, stale: bool = False) -> None:
        self.index = {} if stale else dict(index)
        self.fresh_index = dict(index)
        self.packages: dict[str, Installed] = {}
        self.refreshed: list[str | None] = []

    def installed(self, names: Sequence[str]) -> dict[str, Installed]:
        return {name: package for name, package in self.packages.items() if name in names}

    def available(self, wanted: Mapping[str, str]) -> dict[str, str]:
        return {name: self.index[name] for name in wanted if name in self.index}

    def refresh(self, private_directory: str | None = None) -> None:
        self.refreshed.append(private_directory)
        self.index = self.fresh_index

    def install(self, versions: Mapping[str, str]) -> None:
        self.packages.update({name: Installed(version) for name, version in versions.items()})

    def hold(self, names: Sequence[str]) -> None:
        self.packages.update({name: Installed(self.packages[name].version, held=True) for name in names})

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            del self.packages[name]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A fresh machine whose index has never been read."""
    fresh = Machine({"kubelet": "1.36.3-1.1"}, stale=True)
    monkeypatch.setattr(package_set, "package_manager", lambda runner: fresh)
    return fresh


def test_check_run_again(machine: Machine, run_main: RunMain) -> None:
    options = {"packages": {"kubelet": "1.36.3"}, "hold": True}

    predicted = run_main(package_set, options, check=True)
    assert machine.packages == {}

    done = run_main(package_set, options)
    assert done == {**predicted, "invocation": done["invocation"]}
    assert done["installed"] == ["kubelet"]
    assert done["versions"] == {"kubelet": "1.36.3-1.1"}
    assert done["diff"]["after"] == "kubelet 1.36.3-1.1 (held)\n"
    assert machine.packages == {"kubelet": Installed("1.36.3-1.1", held=True)}

    assert run_main(package_set, options)["changed"] is False
    assert run_main(package_set, options, check=True)["changed"] is False


def test_check_mode_reads_the_index_beside_the_machines_own(machine: Machine, run_main: RunMain) -> None:
    run_main(package_set, {"packages": {"kubelet": "1.36.3"}}, check=True)
    assert [directory is not None for directory in machine.refreshed] == [True]


def test_the_index_is_read_again_only_when_it_lacks_something(machine: Machine, run_main: RunMain) -> None:
    run_main(package_set, {"packages": {"kubelet": "1.36.3"}})
    run_main(package_set, {"packages": {"kubelet": "1.36.3"}})
    assert machine.refreshed == [None]


def test_check_mode_predicts_packages_of_a_repository_to_come(machine: Machine, run_main: RunMain) -> None:
    result = run_main(package_set, {"packages": {"kubeadm": "1.36.3", "containerd.io": ""}}, check=True)
    assert result["changed"] is True
    assert result["versions"] == {"kubeadm": "1.36.3", "containerd.io": ""}


def test_a_package_that_no_repository_has_is_an_error(machine: Machine, run_main: RunMain) -> None:
    result = run_main(package_set, {"packages": {"kubeadm": "1.36.9"}})
    assert result["failed"] is True
    assert "No repository of this machine has kubeadm 1.36.9" in result["msg"]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"packages": {"kubelet": "1.36.3"}}, id="another version"),
        pytest.param({"packages": {"kubelet": ""}, "state": "absent"}, id="removal"),
    ],
)
def test_machines_in_use_are_left_alone(
    machine: Machine, run_main: RunMain, tmp_path: Path, options: dict[str, Any]
) -> None:
    machine.packages["kubelet"] = Installed("1.36.2-1.1")
    result = run_main(package_set, {**options, "frozen_by": str(tmp_path)})
    assert result["failed"] is True
    assert "so this machine is in use" in result["msg"]
    assert machine.packages == {"kubelet": Installed("1.36.2-1.1")}


def test_packages_of_a_machine_out_of_use_can_change(machine: Machine, run_main: RunMain, tmp_path: Path) -> None:
    machine.packages["kubelet"] = Installed("1.35.9-1.1", held=True)
    options = {"packages": {"kubelet": "1.36.3"}, "frozen_by": str(tmp_path / "missing")}
    assert run_main(package_set, options)["versions"] == {"kubelet": "1.36.3-1.1"}


def test_absent_packages_are_removed_once(machine: Machine, run_main: RunMain) -> None:
    machine.packages["kubelet"] = Installed("1.36.3-1.1", held=True)
    options = {"packages": {"kubelet": "", "kubeadm": ""}, "state": "absent"}
    assert run_main(package_set, options)["changed"] is True
    assert machine.packages == {}
    assert run_main(package_set, options)["changed"] is False


def test_an_index_that_the_mirror_has_outlived_is_read_again(
    machine: Machine, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.index = {"kubelet": "1.36.3-1.0"}
    install = machine.install

    def install_from_mirror(versions: Mapping[str, str]) -> None:
        if versions != machine.fresh_index:
            raise CommandError(
                ["apt-get"], Result(100, "", "E: Failed to fetch kubelet_1.36.3-1.0.deb  404  Not Found")
            )
        install(versions)

    monkeypatch.setattr(machine, "install", install_from_mirror)
    assert run_main(package_set, {"packages": {"kubelet": "1.36.3"}})["versions"] == {"kubelet": "1.36.3-1.1"}
    assert machine.refreshed == [None]


def test_another_failure_is_not_tried_again(
    machine: Machine, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(versions: Mapping[str, str]) -> None:
        raise CommandError(["apt-get"], Result(100, "", "E: You do not have enough free space"))

    monkeypatch.setattr(machine, "install", install)
    assert "free space" in run_main(package_set, {"packages": {"kubelet": "1.36.3"}})["msg"]
