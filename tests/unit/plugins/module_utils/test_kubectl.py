# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that kubectl is given."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import objects, stream
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import Kubectl, NotThereYetError

from tests.unit.fake_runner import FakeRunner

KUBECTL = "/usr/bin/kubectl"
DONE = Result(0, "", "")
FAILED = Result(1, "", "error: it failed\n")
SERVER_SIDE = ["--server-side", "--field-manager=groundplane", "--force-conflicts"]
TARGETS = objects(
    [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "server", "namespace": "web"},
            "spec": {"selector": {"matchLabels": {"app": "server", "part": "a"}}},
        },
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}},
    ]
)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    path = tmp_path / "admin.conf"
    path.touch()
    return str(path)


def runner_for(kubeconfig: str, arguments: list[str], result: Result = DONE) -> FakeRunner:
    return FakeRunner([([KUBECTL, f"--kubeconfig={kubeconfig}", *arguments], result)], {"kubectl": KUBECTL})


def test_fields_of_a_patch_go_through_standard_input(kubeconfig: str) -> None:
    how = ["--namespace=web", "--type=merge", "--field-manager=groundplane", "--patch-file=/dev/stdin"]
    runner = runner_for(kubeconfig, ["patch", "Deployment.apps/server", *how])

    Kubectl(runner, kubeconfig).patch(TARGETS[0], {"metadata": {"annotations": {"mark": None}}})

    runner.assert_finished()
    assert runner.stdin == ['{"metadata": {"annotations": {"mark": null}}}']


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        pytest.param(lambda it: it.diff(TARGETS), ["diff", *SERVER_SIDE, "--filename=-"], id="diff"),
        pytest.param(lambda it: it.apply(TARGETS), ["apply", *SERVER_SIDE, "--filename=-"], id="apply"),
        pytest.param(
            lambda it: it.existing(TARGETS), ["get", "--ignore-not-found", "--output=json", "--filename=-"], id="get"
        ),
        pytest.param(
            lambda it: it.delete(TARGETS, 0),
            ["delete", "--ignore-not-found", "--wait=false", "--filename=-"],
            id="delete",
        ),
        pytest.param(
            lambda it: it.delete(TARGETS, 60),
            ["delete", "--ignore-not-found", "--wait=true", "--timeout=60s", "--filename=-"],
            id="delete-and-wait",
        ),
    ],
)
def test_objects_go_through_standard_input(
    kubeconfig: str, call: Callable[[Kubectl], object], arguments: list[str]
) -> None:
    runner = runner_for(kubeconfig, arguments)

    call(Kubectl(runner, kubeconfig))

    runner.assert_finished()
    assert runner.stdin == [stream(TARGETS)]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        pytest.param(lambda it: it.answers(), ["get", "--raw=/readyz", "--request-timeout=10s"], id="readyz"),
        pytest.param(
            lambda it: it.rollout_status(TARGETS[0], 30),
            ["rollout", "status", "Deployment.apps/server", "--namespace=web", "--timeout=30s"],
            id="rollout",
        ),
        pytest.param(
            lambda it: it.rollout_status(TARGETS[1], 30),
            ["rollout", "status", "DaemonSet.apps/agent", "--timeout=30s"],
            id="rollout-without-namespace",
        ),
        pytest.param(
            lambda it: it.pods(TARGETS[0]),
            ["get", "pods", "--namespace=web", "--selector=app=server,part=a", "--output=json"],
            id="pods",
        ),
        pytest.param(
            lambda it: it.wait_until_established(TARGETS),
            ["wait", "--for=condition=Established", "--timeout=60s", "Deployment.apps/server", "DaemonSet.apps/agent"],
            id="established",
        ),
    ],
)
def test_questions(kubeconfig: str, call: Callable[[Kubectl], object], arguments: list[str]) -> None:
    runner = runner_for(kubeconfig, arguments)

    call(Kubectl(runner, kubeconfig))

    runner.assert_finished()


def test_conflicts_are_left_alone_on_request(kubeconfig: str) -> None:
    runner = runner_for(kubeconfig, ["apply", "--server-side", "--field-manager=groundplane", "--filename=-"])

    Kubectl(runner, kubeconfig, force_conflicts=False).apply(TARGETS)

    runner.assert_finished()


def test_api_server_that_does_not_answer(kubeconfig: str) -> None:
    runner = runner_for(kubeconfig, ["get", "--raw=/readyz", "--request-timeout=10s"], FAILED)

    assert not Kubectl(runner, kubeconfig).answers()


def test_failed_apply_says_what_was_done(kubeconfig: str) -> None:
    runner = runner_for(kubeconfig, ["apply", *SERVER_SIDE, "--filename=-"], FAILED)

    with pytest.raises(CommandError, match="it failed. To do: correct the manifest; objects before"):
        Kubectl(runner, kubeconfig).apply(TARGETS)


def test_kustomization_is_rendered_without_a_cluster() -> None:
    runner = FakeRunner([([KUBECTL, "kustomize", "/etc/addons"], Result(0, "kind: Pod\n", ""))], {"kubectl": KUBECTL})

    assert Kubectl(runner, "/nowhere").render("/etc/addons") == "kind: Pod\n"


PARSE = [KUBECTL, "annotate", "--local", "--filename=-", "--output=json", "groundplane.invalid/none-"]


def test_manifest_is_parsed_without_a_cluster(fixture_text: Callable[[str], str]) -> None:
    printed = Result(0, fixture_text("kubectl/annotate-local.stdout"), "")
    runner = FakeRunner([(PARSE, printed)], {"kubectl": KUBECTL})

    parsed = Kubectl(runner, "/nowhere").parse("kind: Pod\n")

    assert runner.stdin == ["kind: Pod\n"]
    assert [target.title for target in parsed][:2] == ["Namespace/web", "Secret/web/credentials"]
    assert parsed[0].definition["metadata"] == {"name": "web"}


def test_annotations_of_the_manifest_stay() -> None:
    printed = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"b": "c"}}}'
    runner = FakeRunner([(PARSE, Result(0, printed, ""))], {"kubectl": KUBECTL})

    (target,) = Kubectl(runner, "/nowhere").parse("kind: Pod\n")

    assert target.definition["metadata"]["annotations"] == {"b": "c"}


def test_manifest_that_is_no_yaml() -> None:
    runner = FakeRunner([(PARSE, FAILED)], {"kubectl": KUBECTL})

    with pytest.raises(CommandError, match="it failed. To do: correct the manifest"):
        Kubectl(runner, "/nowhere").parse("}")


def test_host_without_kubectl(kubeconfig: str) -> None:
    with pytest.raises(NotThereYetError, match="kubectl is not installed on this host"):
        Kubectl(FakeRunner(), kubeconfig).apply(TARGETS)


def test_host_without_kubeconfig() -> None:
    with pytest.raises(NotThereYetError, match="There is no kubeconfig /nowhere.*role control_plane"):
        Kubectl(FakeRunner(programs={"kubectl": KUBECTL}), "/nowhere").apply(TARGETS)


@pytest.fixture
def silent_webhook(fixture_text: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return Result(1, "", fixture_text("kubectl/diff-silent-webhook.stderr"))


def test_a_webhook_that_does_not_answer_yet_is_waited_for(kubeconfig: str, silent_webhook: Result) -> None:
    argv = [KUBECTL, f"--kubeconfig={kubeconfig}", "apply", *SERVER_SIDE, "--filename=-"]
    runner = FakeRunner([(argv, silent_webhook), (argv, silent_webhook), (argv, DONE)], {"kubectl": KUBECTL})
    Kubectl(runner, kubeconfig, webhook_timeout=60).apply(TARGETS)
    runner.assert_finished()


def test_a_webhook_that_never_answers(kubeconfig: str, silent_webhook: Result) -> None:
    runner = runner_for(kubeconfig, ["apply", *SERVER_SIDE, "--filename=-"], silent_webhook)
    with pytest.raises(CommandError, match="failed calling webhook"):
        Kubectl(runner, kubeconfig).apply(TARGETS)


def test_other_errors_are_not_waited_for(kubeconfig: str) -> None:
    runner = runner_for(kubeconfig, ["diff", *SERVER_SIDE, "--filename=-"], FAILED)
    assert Kubectl(runner, kubeconfig, webhook_timeout=60).diff(TARGETS) == FAILED


@pytest.mark.parametrize(("namespace", "where"), [("web", ["--namespace=web"]), ("", [])])
def test_objects_are_found_by_their_label(kubeconfig: str, namespace: str, where: list[str]) -> None:
    runner = runner_for(kubeconfig, ["get", "a.example.com,b", *where, "--selector=owner=me", "--output=json"])
    assert Kubectl(runner, kubeconfig).labelled(["a.example.com", "b"], "owner=me", namespace) == DONE
    runner.assert_finished()
