# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of certificate_upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._certificate_upload import delete_argv, upload_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import objects_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import token_list_argv
from ansible_collections.groundplane.kubeadm.plugins.modules import certificate_upload

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Any]
FixtureText = Callable[[str], str]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """A kubeconfig that exists."""
    (tmp_path / "admin.conf").write_text("")
    return str(tmp_path / "admin.conf")


@pytest.fixture
def on_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixture_text: FixtureText) -> Callable[..., FakeRunner]:
    """Let the module find the recorded node and run exactly these commands."""

    def prepare(*commands: tuple[list[str], Result]) -> FakeRunner:
        manifest = tmp_path / "kube-apiserver.yaml"
        manifest.write_text(fixture_text("kubeadm/kube-apiserver.manifest"))
        runner = FakeRunner(commands)
        monkeypatch.setattr(certificate_upload, "API_SERVER_MANIFEST", str(manifest))
        monkeypatch.setattr(certificate_upload, "ModuleRunner", lambda module: runner)
        return runner

    return prepare


def test_upload(
    kubeconfig: str, on_node: Callable[..., FakeRunner], run_main: RunMain, fixture_text: FixtureText
) -> None:
    names = ["configmap/kubeadm-config", "secret/kubeadm-certs"]
    config = Result(0, fixture_text("kubectl/kubeadm_config.json"), "")
    read = (objects_argv(kubeconfig, "kube-system", names), config)
    on_node(read)
    predicted = run_main(certificate_upload, {"kubeconfig": kubeconfig}, check=True, diff=True)
    assert (predicted["changed"], predicted["certificate_key"]) == (True, "")

    runner = on_node(read, (["timeout", "300", *upload_argv(kubeconfig)], Result(0, "", "")))
    done = run_main(certificate_upload, {"kubeconfig": kubeconfig}, diff=True)
    runner.assert_finished()
    assert (done["changed"], done["diff"]) == (True, predicted["diff"])
    assert len(done["certificate_key"]) == 64
    assert f'"certificateKey": "{done["certificate_key"]}"' in (runner.stdin[1] or "")
    assert done["certificate_key"] not in str(done["diff"])


def test_delete(
    kubeconfig: str, on_node: Callable[..., FakeRunner], run_main: RunMain, fixture_text: FixtureText
) -> None:
    certificates = objects_argv(kubeconfig, "kube-system", ["secret/kubeadm-certs"])
    found = (certificates, Result(0, fixture_text("kubectl/kubeadm_certs.json"), ""))
    tokens = (token_list_argv(kubeconfig), Result(0, fixture_text("kubeadm/token_list_certs.json"), ""))
    options = {"kubeconfig": kubeconfig, "state": "absent"}
    on_node(found, tokens)
    predicted = run_main(certificate_upload, options, check=True, diff=True)
    names = ("kubeadm-certs", "bootstrap-token-fyaq3w", "bootstrap-token-jpm61d")
    runner = on_node(found, tokens, (delete_argv(kubeconfig, names), Result(0, "", "")))
    done = run_main(certificate_upload, options, diff=True)
    runner.assert_finished()
    assert done == {**predicted, "invocation": done["invocation"]}
    assert done["changed"] is True
    assert "certificate_key" not in done

    on_node((certificates, Result(0, "", "")), (token_list_argv(kubeconfig), Result(0, "", "")))
    assert run_main(certificate_upload, options)["changed"] is False


@pytest.mark.parametrize(("state", "changed"), [("present", True), ("absent", False)])
def test_prediction_before_there_is_a_cluster(
    tmp_path: Path, on_node: Callable[..., FakeRunner], run_main: RunMain, state: str, changed: bool
) -> None:
    on_node()
    options = {"kubeconfig": str(tmp_path / "none"), "state": state}
    assert run_main(certificate_upload, options, check=True)["changed"] is changed
