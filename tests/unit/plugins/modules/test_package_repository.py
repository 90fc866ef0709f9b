# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of package_repository on a made-up machine."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._repository_files import (
    AptSources,
    DnfRepositories,
    Repository,
    repository_format,
)
from ansible_collections.groundplane.kubeadm.plugins.modules import package_repository

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Dict[str, Any]]

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQGN\n-----END PGP PUBLIC KEY BLOCK-----\n"
OPTIONS = {
    "name": "kubernetes",
    "url": "https://packages.example.com/v1.36/deb/",
    "key_url": "https://packages.example.com/v1.36/deb/Release.key",
}


class Machine:
    """Folders below a temporary one, a key server, and the commands that were run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key: str | None = KEY
        self.downloads: list[str] = []
        self.commands: list[list[str]] = []

    def run(self, argv: list[str]) -> Result:
        self.commands.append(argv)
        return Result(0, "", "")

    def find(self, program: str) -> str | None:
        return "/usr/bin/apt-get" if program == "apt-get" else None

    def open_url(self, url: str, timeout: int) -> io.BytesIO:
        self.downloads.append(url)
        if self.key is None:
            raise OSError("connection refused")
        return io.BytesIO(self.key.encode())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with apt and nothing in its folders."""
    made = Machine(tmp_path)
    monkeypatch.setattr(package_repository, "ModuleRunner", lambda module: made)
    monkeypatch.setattr(package_repository, "open_url", made.open_url)
    monkeypatch.setattr(AptSources, "source_path", lambda self, name: f"{tmp_path}/sources.list.d/{name}.sources")
    monkeypatch.setattr(AptSources, "key_path", lambda self, name: f"{tmp_path}/keyrings/{name}.asc")
    return made


def test_check_run_again(machine: Machine, run_main: RunMain) -> None:
    predicted = run_main(package_repository, OPTIONS, check=True)
    assert list(machine.root.iterdir()) == []
    assert machine.commands == []

    done = run_main(package_repository, OPTIONS)
    assert done == {**predicted, "invocation": done["invocation"]}
    assert done["changed"] is True
    assert (machine.root / "keyrings/kubernetes.asc").read_text() == KEY
    assert (machine.root / "sources.list.d/kubernetes.sources").read_text() == (
        "Types: deb\n"
        "URIs: https://packages.example.com/v1.36/deb/\n"
        "Suites: /\n"
        f"Signed-By: {machine.root}/keyrings/kubernetes.asc\n"
    )
    assert [argv[-1] for argv in machine.commands] == ["update"]
    assert f"--option=Dir::Etc::SourceList={machine.root}/sources.list.d/kubernetes.sources" in machine.commands[0]

    machine.downloads.clear()
    assert run_main(package_repository, OPTIONS)["changed"] is False
    assert machine.downloads == []
    assert len(machine.commands) == 1


def test_another_repository_brings_its_key(machine: Machine, run_main: RunMain) -> None:
    run_main(package_repository, OPTIONS)
    machine.key = KEY.replace("mQGN", "mQGO")
    result = run_main(package_repository, {**OPTIONS, "url": "https://packages.example.com/v1.37/deb/"})
    assert [Path(path).name for path in result["paths"]] == ["kubernetes.asc", "kubernetes.sources"]


def test_absent_repository_is_removed_once(machine: Machine, run_main: RunMain) -> None:
    run_main(package_repository, OPTIONS)
    assert run_main(package_repository, {"name": "kubernetes", "state": "absent"})["changed"] is True
    assert [path for path in machine.root.rglob("*") if path.is_file()] == []
    assert run_main(package_repository, {"name": "kubernetes", "state": "absent"})["changed"] is False


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param(None, "cannot be downloaded: connection refused", id="unreachable"),
        pytest.param("<html>login</html>", "is not an ASCII-armoured OpenPGP key", id="some other page"),
    ],
)
def test_nothing_is_written_without_a_usable_key(
    machine: Machine, run_main: RunMain, key: str | None, message: str
) -> None:
    machine.key = key
    result = run_main(package_repository, OPTIONS)
    assert result["failed"] is True
    assert message in result["msg"]
    assert list(machine.root.iterdir()) == []


def test_apt_declares_suite_and_components() -> None:
    repository = Repository("docker", "https://download.example.com/debian", suite="trixie", components=["stable"])
    assert AptSources().render(repository) == (
        "Types: deb\n"
        "URIs: https://download.example.com/debian\n"
        "Suites: trixie\n"
        "Components: stable\n"
        "Signed-By: /etc/apt/keyrings/docker.asc\n"
    )


@pytest.mark.parametrize(
    ("exclude", "last_lines"),
    [
        pytest.param(["kubelet", "kubeadm"], "exclude=kubelet kubeadm\n", id="held"),
        pytest.param([], "", id="not held"),
    ],
)
def test_dnf_checks_signatures_and_holds_by_exclusion(exclude: list[str], last_lines: str) -> None:
    layout = DnfRepositories()
    repository = Repository("kubernetes", "https://example.com/rpm/", "https://example.com/rpm/key", exclude=exclude)
    assert layout.source_path("kubernetes") == "/etc/yum.repos.d/kubernetes.repo"
    assert layout.key_path("kubernetes") is None
    assert layout.render(repository) == (
        "[kubernetes]\n"
        "name=kubernetes\n"
        "baseurl=https://example.com/rpm/\n"
        "enabled=1\n"
        "gpgcheck=1\n"
        "gpgkey=https://example.com/rpm/key\n" + last_lines
    )
    assert layout.refresh_command("kubernetes")[-3:] == ["--disablerepo=*", "--enablerepo=kubernetes", "makecache"]


def test_the_machine_decides_on_the_format() -> None:
    assert isinstance(repository_format(FakeRunner(programs={"apt-get": "/usr/bin/apt-get"})), AptSources)
    assert isinstance(repository_format(FakeRunner(programs={"dnf": "/usr/bin/dnf"})), DnfRepositories)


def test_a_machine_without_package_manager_is_an_error(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_repository, "ModuleRunner", lambda module: FakeRunner())
    assert "neither apt-get nor dnf" in run_main(package_repository, OPTIONS)["msg"]


def test_a_repository_that_cannot_be_read_is_taken_back(
    machine: Machine, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(argv: list[str]) -> Result:
        raise CommandError(argv, Result(100, "", "the public key is not available"))

    with monkeypatch.context() as patched:
        patched.setattr(machine, "run", refuse)
        assert "public key is not available" in run_main(package_repository, OPTIONS)["msg"]
    assert [path for path in machine.root.rglob("*") if path.is_file()] == []
    assert run_main(package_repository, OPTIONS)["changed"] is True
