# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of kube_manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.modules import kube_manifest

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Dict[str, Any]]

KUBECTL = "/usr/bin/kubectl"
SERVER_SIDE = ["--server-side", "--field-manager=groundplane", "--force-conflicts", "--filename=-"]
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "server", "namespace": "web"}}
CREATED = Result(
    1,
    "diff -u -N /tmp/LIVE-1/apps.v1.Deployment.web.server /tmp/MERGED-1/apps.v1.Deployment.web.server\n"
    "--- /tmp/LIVE-1/apps.v1.Deployment.web.server\tt\n+++ /tmp/MERGED-1/apps.v1.Deployment.web.server\tt\n"
    "@@ -0,0 +1,2 @@\n+apiVersion: apps/v1\n+kind: Deployment\n",
    "",
)
SAME = Result(0, "", "")
ROLLOUT = ["rollout", "status", "Deployment.apps/server", "--namespace=web", "--timeout=300s"]


class Host:
    """A host with kubectl, whose answers are given in advance."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kubeconfig = folder / "admin.conf"
        self.kubeconfig.touch()
        self._monkeypatch = monkeypatch

    def answers(self, *answers: tuple[list[str], Result]) -> FakeRunner:
        expected = [([KUBECTL, f"--kubeconfig={self.kubeconfig}", *argv], result) for argv, result in answers]
        runner = FakeRunner(expected, {"kubectl": KUBECTL})
        self._monkeypatch.setattr(kube_manifest, "ModuleRunner", lambda module: runner)
        return runner

    def options(self, **more: Any) -> dict[str, Any]:
        return {"definitions": [DEPLOYMENT], "kubeconfig": str(self.kubeconfig), **more}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def described(action: str) -> list[dict[str, str]]:
    return [{"api_version": "apps/v1", "kind": "Deployment", "namespace": "web", "name": "server", "action": action}]


def test_check_predicts(host: Host, run_main: RunMain) -> None:
    runner = host.answers((["diff", *SERVER_SIDE], CREATED))

    result = run_main(kube_manifest, host.options(wait=True), check=True, diff=True)

    runner.assert_finished()
    assert (result["changed"], result["objects"]) == (True, described("created"))
    assert result["diff"][0]["after"] == "apiVersion: apps/v1\nkind: Deployment\n"


def test_applies_and_waits(host: Host, run_main: RunMain) -> None:
    runner = host.answers((["diff", *SERVER_SIDE], CREATED), (["apply", *SERVER_SIDE], SAME), (ROLLOUT, SAME))

    result = run_main(kube_manifest, host.options(wait=True))

    runner.assert_finished()
    assert (result["changed"], result["objects"]) == (True, described("created"))


def test_applies_without_waiting(host: Host, run_main: RunMain) -> None:
    runner = host.answers((["diff", *SERVER_SIDE], CREATED), (["apply", *SERVER_SIDE], SAME))

    assert run_main(kube_manifest, host.options())["changed"] is True
    runner.assert_finished()


def test_applies_nothing_when_nothing_differs_and_waits_all_the_same(host: Host, run_main: RunMain) -> None:
    runner = host.answers((["diff", *SERVER_SIDE], SAME), (ROLLOUT, SAME))

    result = run_main(kube_manifest, host.options(wait=True))

    runner.assert_finished()
    assert (result["changed"], result["objects"]) == (False, described("unchanged"))


@pytest.mark.parametrize(("wait", "arguments"), [(True, ["--wait=true", "--timeout=300s"]), (False, ["--wait=false"])])
def test_deletes_what_exists(host: Host, run_main: RunMain, wait: bool, arguments: list[str]) -> None:
    runner = host.answers(
        (["get", "--ignore-not-found", "--output=json", "--filename=-"], Result(0, json.dumps(DEPLOYMENT), "")),
        (["delete", "--ignore-not-found", *arguments, "--filename=-"], SAME),
    )

    result = run_main(kube_manifest, host.options(state="absent", wait=wait))

    runner.assert_finished()
    assert (result["changed"], result["objects"]) == (True, described("deleted"))


def test_deletes_nothing_when_nothing_exists(host: Host, run_main: RunMain) -> None:
    runner = host.answers((["get", "--ignore-not-found", "--output=json", "--filename=-"], SAME))

    assert run_main(kube_manifest, host.options(state="absent"))["changed"] is False
    runner.assert_finished()


@pytest.mark.parametrize(("state", "action", "changed"), [("present", "created", True), ("absent", "unchanged", False)])
def test_check_on_a_host_without_cluster(host: Host, run_main: RunMain, state: str, action: str, changed: bool) -> None:
    host.answers()
    host.kubeconfig.unlink()

    result = run_main(kube_manifest, host.options(state=state), check=True)

    assert (result["changed"], result["objects"]) == (changed, described(action))
    assert "The prediction is that of a new cluster" in str(result["warnings"])


def test_check_when_the_manifest_is_not_there_yet(host: Host, run_main: RunMain) -> None:
    host.answers()

    result = run_main(kube_manifest, {"path": "/nowhere/web.yaml"}, check=True)

    assert (result["changed"], result["objects"]) == (True, [])


def test_host_without_cluster_is_an_error(host: Host, run_main: RunMain) -> None:
    host.answers()
    host.kubeconfig.unlink()

    result = run_main(kube_manifest, host.options())

    assert result["failed"] is True
    assert "There is no kubeconfig" in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the following is required: url, path, content, definitions"),
        ({"path": "/a", "content": "b"}, "mutually exclusive"),
        ({"path": "/a", "checksum": "sha256:0"}, "url"),
    ],
)
def test_options_that_do_not_fit(run_main: RunMain, options: dict[str, Any], message: str) -> None:
    assert message in run_main(kube_manifest, options)["msg"]
