# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for manifests, from outputs of kubectl 1.36.3 recorded on a real API server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._download_cache import DownloadCache
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_manifest import (
    CONFIGURED,
    CREATED,
    DELETED,
    UNCHANGED,
    Change,
    Plan,
    Prune,
    RefusedError,
    Source,
    apply_plan,
    apply_pruned,
    changes_from_diff,
    delete_plan,
    parse_diff,
    plan_absent,
    plan_present,
    plan_prune,
    plan_pruned,
    plan_without_cluster,
    pod_problems,
    read_manifest,
    wait_for_rollout,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import (
    KubeObject,
    objects,
    parse_json_stream,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import Kubectl, NotThereYetError

from tests.unit.fake_runner import FakeRunner

KUBECTL = "/usr/bin/kubectl"
SAME = Result(0, "", "")
DEPLOYMENT = "Deployment/web/server"

FixtureText = Callable[[str], str]


class FakeKubectl(Kubectl):
    """Replays answers and remembers what was asked for."""

    def __init__(self, answers: Sequence[Result] = (), *, ready: bool = True) -> None:
        super().__init__(FakeRunner(programs={"kubectl": KUBECTL}), "/nowhere")
        self._answers = list(answers)
        self._ready = ready
        self.asked: list[tuple[Any, ...]] = []

    def _answer(self, verb: str, *details: Any) -> Result:
        self.asked.append((verb, *details))
        return self._answers.pop(0) if self._answers else SAME

    def render(self, folder: str) -> str:
        self.asked.append(("render", folder))
        files = {file.name: file.read_text() for file in Path(folder).iterdir()}
        return json.dumps(files)

    def parse(self, manifest: str) -> list[KubeObject]:
        self.asked.append(("parse", manifest))
        return []

    def answers(self) -> bool:
        return self._ready

    def diff(self, targets: Sequence[KubeObject]) -> Result:
        return self._answer("diff", *titles(targets))

    def apply(self, targets: Sequence[KubeObject]) -> None:
        self._answer("apply", *titles(targets))

    def existing(self, targets: Sequence[KubeObject]) -> Result:
        return self._answer("existing", *titles(targets))

    def labelled(self, resources: Sequence[str], selector: str, namespace: str) -> Result:
        return self._answer("labelled", *resources)

    def delete(self, targets: Sequence[KubeObject], timeout: int) -> None:
        self._answer("delete", timeout, *titles(targets))

    def wait_until_established(self, definitions: Sequence[KubeObject]) -> None:
        self._answer("established", *titles(definitions))

    def rollout_status(self, workload: KubeObject, timeout: int) -> Result:
        return self._answer("rollout", workload.title, timeout)

    def pods(self, workload: KubeObject) -> Result:
        return self._answer("pods", workload.title)


def titles(targets: Sequence[KubeObject]) -> list[str]:
    return [target.title for target in targets]


def actions(plan: Plan) -> dict[str, str]:
    return {change.target.title: change.action for change in plan.changes}


def fail(url: str) -> bytes:
    raise AssertionError(f"nobody should ask for {url}")


@pytest.fixture
def targets(fixture_text: FixtureText) -> list[KubeObject]:
    """A namespace, a Secret and a Deployment in it, a ConfigMap without namespace, an object of a custom kind."""
    return objects(parse_json_stream(fixture_text("kubectl/annotate-local.stdout")))


def custom_kind() -> KubeObject:
    metadata = {"name": "sites.example.com"}
    return KubeObject(
        {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata}
    )


class TestReadManifest:
    def read(self, kubectl: Kubectl, temporary: Path, fetch: Callable[[str], bytes] = fail, **source: Any) -> Any:
        cache = DownloadCache(fetch, frozen=False, folder=temporary / "cache")
        return read_manifest(Source(**source), kubectl, cache, str(temporary))

    def test_definitions_need_no_kubectl(self, tmp_path: Path) -> None:
        definition = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}

        assert self.read(FakeKubectl(), tmp_path, definitions=[definition]) == [KubeObject(definition)]

    def test_content(self, tmp_path: Path) -> None:
        kubectl = FakeKubectl()
        self.read(kubectl, tmp_path, content="kind: Pod\n")
        assert kubectl.asked == [("parse", "kind: Pod\n")]

    def test_file(self, tmp_path: Path) -> None:
        (tmp_path / "web.yaml").write_text("kind: Pod\n")
        kubectl = FakeKubectl()
        self.read(kubectl, tmp_path, path=str(tmp_path / "web.yaml"))
        assert kubectl.asked == [("parse", "kind: Pod\n")]

    def test_folder(self, tmp_path: Path) -> None:
        kubectl = FakeKubectl()
        self.read(kubectl, tmp_path, path=str(tmp_path))
        assert kubectl.asked == [("render", str(tmp_path)), ("parse", "{}")]

    def test_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(NotThereYetError, match="There is no .*/web.yaml on this host"):
            self.read(FakeKubectl(), tmp_path, path=str(tmp_path / "web.yaml"))

    def test_address(self, tmp_path: Path) -> None:
        kubectl = FakeKubectl()
        self.read(kubectl, tmp_path, lambda url: b"kind: Pod\n", url="https://example.com/web.yaml")
        assert kubectl.asked == [("parse", "kind: Pod\n")]

    @pytest.mark.parametrize(("content", "matches"), [(b"kind: Pod\n", True), (b"kind: Node\n", False)])
    def test_checksum(self, tmp_path: Path, content: bytes, matches: bool) -> None:
        checksum = "sha256:" + hashlib.sha256(b"kind: Pod\n").hexdigest()
        source = {"url": "https://example.com/web.yaml", "checksum": checksum}
        if matches:
            assert self.read(FakeKubectl(), tmp_path, lambda url: content, **source) == []
            return
        with pytest.raises(GroundplaneError, match="find out whether the version or the content changed"):
            self.read(FakeKubectl(), tmp_path, lambda url: content, **source)

    def test_kustomization_is_laid_over(self, tmp_path: Path) -> None:
        kubectl = FakeKubectl()
        self.read(kubectl, tmp_path, content="kind: Pod\n", kustomization={"namespace": "web", "resources": ["more"]})

        rendered = json.loads(kubectl.asked[1][1])
        assert rendered["manifest.yaml"] == "kind: Pod\n"
        assert json.loads(rendered["kustomization.yaml"]) == {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "web",
            "resources": ["manifest.yaml", "more"],
        }
        assert list(tmp_path.iterdir()) == []

    def test_kustomization_over_definitions(self, tmp_path: Path) -> None:
        kubectl = FakeKubectl()
        definition = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}
        self.read(kubectl, tmp_path, definitions=[definition], kustomization={})
        assert json.loads(kubectl.asked[1][1])["manifest.yaml"] == "---\n" + json.dumps(definition) + "\n"


class TestPlanPresent:
    def test_nothing_differs(self, targets: list[KubeObject]) -> None:
        plan = plan_present(FakeKubectl([SAME]), targets)

        assert not plan.changed
        assert set(actions(plan).values()) == {UNCHANGED}
        assert plan.diff() == []

    def test_nothing_to_apply(self) -> None:
        kubectl = FakeKubectl()

        assert not plan_present(kubectl, []).changed
        assert kubectl.asked == []

    def test_differences_of_every_sort(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        plan = plan_present(FakeKubectl([Result(1, fixture_text("kubectl/diff-mixed.stdout"), "")]), targets)

        assert plan.changed
        assert actions(plan) == {
            "Namespace/web": UNCHANGED,
            "Secret/web/credentials": CONFIGURED,
            "ConfigMap/settings": CREATED,
            DEPLOYMENT: CREATED,
            "Site/web/home": CREATED,
        }

    def test_new_cluster(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        kubectl = FakeKubectl([Result(2, "", fixture_text("kubectl/diff-missing-namespace.stderr")), SAME])

        plan = plan_present(kubectl, targets)

        assert kubectl.asked[1] == ("diff", "Namespace/web", "ConfigMap/settings")
        assert actions(plan)[DEPLOYMENT] == CREATED
        assert actions(plan)["Site/web/home"] == CREATED

    @pytest.mark.parametrize("recorded", ["diff-missing-kind", "diff-removed-kind"])
    def test_kind_that_is_not_there(self, targets: list[KubeObject], fixture_text: FixtureText, recorded: str) -> None:
        kubectl = FakeKubectl([Result(2, "", fixture_text(f"kubectl/{recorded}.stderr")), SAME])

        plan = plan_present(kubectl, targets)

        assert [title for title, action in actions(plan).items() if action == CREATED] == ["Site/web/home"]
        assert len(kubectl.asked) == 2

    def test_nothing_can_be_asked_for(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        kubectl = FakeKubectl([Result(2, "", fixture_text("kubectl/diff-missing-namespace.stderr"))])

        plan = plan_present(kubectl, [target for target in targets if target.namespace])

        assert set(actions(plan).values()) == {CREATED}

    @pytest.mark.parametrize(
        ("stderr", "found"),
        [
            (
                "E1120 memcache.go\nThe connection to the server 10.77.0.11:6443 was refused\n",
                "10.77.0.11:6443 was refused",
            ),
            ("", "kubectl printed nothing"),
        ],
    )
    def test_no_api_server(self, targets: list[KubeObject], stderr: str, found: str) -> None:
        with pytest.raises(NotThereYetError, match=f"The API server does not answer: .*{found}"):
            plan_present(FakeKubectl([Result(2, "", stderr)], ready=False), targets)

    def test_node_without_diff(self, targets: list[KubeObject]) -> None:
        said = 'error: failed to run "diff": executable file not found in $PATH\n'

        with pytest.raises(GroundplaneError, match="install the package diffutils"):
            plan_present(FakeKubectl([Result(2, "", said)]), targets)

    def test_manifest_that_the_api_server_refuses(self, targets: list[KubeObject]) -> None:
        said = "Error from server: failed to create typed patch object: .bogus: field not declared in schema\n"

        with pytest.raises(CommandError, match="field not declared in schema. To do: correct the manifest"):
            plan_present(FakeKubectl([Result(2, "", said)]), targets)


class TestDiff:
    def test_new_object_is_shown_without_what_its_birth_decides(
        self, targets: list[KubeObject], fixture_text: FixtureText
    ) -> None:
        changes = changes_from_diff(targets, fixture_text("kubectl/diff-mixed.stdout"))

        assert changes[2].diff() == {
            "before_header": "ConfigMap/settings",
            "after_header": "ConfigMap/settings",
            "before": "",
            "after": "apiVersion: v1\ndata:\n  colour: green\nkind: ConfigMap\nmetadata:\n"
            "  name: settings\n  namespace: default\n",
        }

    def test_secrets_are_never_shown(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        secret = targets[1]
        recorded = changes_from_diff([secret], fixture_text("kubectl/diff-mixed.stdout"))[0]
        header = "diff -u -N a b\n--- /tmp/LIVE-1/v1.Secret.web.credentials\tt\n+++ b\n"
        new = header + "@@ -1 +1,2 @@\n-null\n+apiVersion: v1\n+data:\n"

        assert (recorded.before, recorded.after) == ("(content before not shown)\n", "(content not shown)\n")
        created = changes_from_diff([secret], new)[0]
        assert (created.action, created.before, created.after) == (CREATED, "", "(content not shown)\n")
        assert "hunter2" not in str(plan_without_cluster([secret], present=True).diff())

    def test_changed_object_is_shown_as_kubectl_does(self, targets: list[KubeObject]) -> None:
        hunk = "@@ -1,2 +1,2 @@\n data:\n-  colour: red\n+  colour: green\n"
        output = f"diff -u -N a b\n--- /tmp/LIVE-1/v1.ConfigMap.default.settings\tt\n+++ /tmp/MERGED-2/x\tt\n{hunk}"

        (change,) = changes_from_diff([targets[2]], output)

        assert change.action == CONFIGURED
        assert change.diff() == {"prepared": "--- before: ConfigMap/settings\n+++ after: ConfigMap/settings\n" + hunk}

    def test_same_name_in_another_namespace_is_another_object(self, targets: list[KubeObject]) -> None:
        output = "diff -u -N a b\n--- /tmp/LIVE-1/apps.v1.Deployment.other.server\tt\n+++ b\n@@ -1 +1 @@\n-a\n+b\n"

        assert changes_from_diff([targets[3]], output)[0].action == UNCHANGED

    def test_output_without_header_is_left_out(self) -> None:
        assert parse_diff("diff -u -N a b\nBinary files differ\n") == {}


class TestPlanAbsent:
    def test_existing_objects(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        plan = plan_absent(FakeKubectl([Result(0, fixture_text("kubectl/get-existing.stdout"), "")]), targets)

        assert {title for title, action in actions(plan).items() if action == DELETED} == {
            "Namespace/web",
            "Secret/web/credentials",
        }
        assert plan.diff()[0]["before"] == "Namespace/web\n"

    def test_single_object_without_namespace(self, targets: list[KubeObject]) -> None:
        found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}

        plan = plan_absent(FakeKubectl([Result(0, json.dumps(found), "")]), targets)

        assert [change.target.title for change in plan.changes if change.action == DELETED] == ["ConfigMap/settings"]

    def test_same_name_in_another_namespace_stays(self, targets: list[KubeObject]) -> None:
        found = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "credentials", "namespace": "other"}}

        assert not plan_absent(FakeKubectl([Result(0, json.dumps(found), "")]), targets).changed

    def test_kind_that_is_not_there(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        kubectl = FakeKubectl([Result(1, "", fixture_text("kubectl/diff-missing-kind.stderr")), SAME])

        assert not plan_absent(kubectl, targets).changed
        assert "Site/web/home" not in kubectl.asked[1]

    def test_only_kinds_that_are_not_there(self, targets: list[KubeObject], fixture_text: FixtureText) -> None:
        kubectl = FakeKubectl([Result(1, "", fixture_text("kubectl/diff-missing-kind.stderr"))])

        assert not plan_absent(kubectl, targets[-1:]).changed

    def test_no_api_server(self, targets: list[KubeObject]) -> None:
        with pytest.raises(NotThereYetError):
            plan_absent(FakeKubectl([Result(1, "", "refused")], ready=False), targets)


class TestPlanWithoutCluster:
    def test_every_object_will_be_created(self, targets: list[KubeObject]) -> None:
        plan = plan_without_cluster(targets, present=True)

        assert plan.changed
        assert set(actions(plan).values()) == {CREATED}
        assert json.loads(plan.diff()[2]["after"]) == targets[2].definition

    def test_objects_that_are_not_known_yet(self) -> None:
        plan = plan_without_cluster([], present=True)

        assert plan.changed
        assert plan.diff() == []

    def test_nothing_has_to_be_deleted(self, targets: list[KubeObject]) -> None:
        assert not plan_without_cluster(targets, present=False).changed


class TestApply:
    def test_foundations_are_there_before_the_others(self, targets: list[KubeObject]) -> None:
        kubectl = FakeKubectl()

        apply_plan(kubectl, Plan([Change(target, CREATED) for target in (targets[3], targets[0], custom_kind())]))

        assert kubectl.asked == [
            ("apply", "Namespace/web", "CustomResourceDefinition/sites.example.com"),
            ("established", "CustomResourceDefinition/sites.example.com"),
            ("apply", DEPLOYMENT),
        ]

    def test_foundations_alone(self, targets: list[KubeObject]) -> None:
        kubectl = FakeKubectl()
        apply_plan(kubectl, Plan([Change(targets[0], CREATED)]))
        assert kubectl.asked == [("apply", "Namespace/web")]

    def test_others_alone(self, targets: list[KubeObject]) -> None:
        kubectl = FakeKubectl()
        apply_plan(kubectl, Plan([Change(targets[3], CONFIGURED)]))
        assert kubectl.asked == [("apply", DEPLOYMENT)]

    def test_foundations_are_deleted_last(self, targets: list[KubeObject]) -> None:
        kubectl = FakeKubectl()
        changes = [Change(targets[0], DELETED), Change(targets[1], UNCHANGED), Change(targets[3], DELETED)]

        delete_plan(kubectl, Plan(changes), 60)

        assert kubectl.asked == [("delete", 60, DEPLOYMENT, "Namespace/web")]


class TestWaitForRollout:
    def test_all_workloads_share_the_time(self, targets: list[KubeObject]) -> None:
        kubectl = FakeKubectl()
        moments = iter([100.0, 100.0, 170.0])

        wait_for_rollout(kubectl, [targets[3], targets[0], targets[3]], 60, lambda: next(moments))

        assert kubectl.asked == [("rollout", DEPLOYMENT, 60), ("rollout", DEPLOYMENT, 1)]

    def test_workload_that_does_not_come_up(self, targets: list[KubeObject]) -> None:
        progress = "Waiting for deployment rollout to finish: 0 of 1 updated replicas are available...\n"
        pods = {
            "items": [{"metadata": {"name": "server-1"}, "status": {"containerStatuses": [waiting("ErrImagePull")]}}]
        }
        kubectl = FakeKubectl([Result(1, progress, "error: timed out\n"), Result(0, json.dumps(pods), "")])

        with pytest.raises(GroundplaneError) as raised:
            wait_for_rollout(kubectl, targets, 60)

        assert raised.value.found == (
            "Deployment/web/server is not rolled out after 60 s: Waiting for deployment rollout to finish: "
            "0 of 1 updated replicas are available...; error: timed out; "
            "pod server-1, container server waits: ErrImagePull"
        )
        assert "kubectl describe pods --namespace=web" in raised.value.remedy

    def test_pods_that_cannot_be_read(self, targets: list[KubeObject]) -> None:
        kubectl = FakeKubectl([Result(1, "", "error: timed out\n"), Result(1, "", "refused")])

        with pytest.raises(GroundplaneError, match="is not rolled out after 60 s: error: timed out. Expected"):
            wait_for_rollout(kubectl, targets, 60)


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"name": "server", "state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("status", "problems"),
    [
        pytest.param({}, [], id="unknown"),
        pytest.param({"containerStatuses": [{"name": "server", "state": {"running": {}}}]}, [], id="running"),
        pytest.param({"containerStatuses": [waiting("PodInitializing")]}, [], id="waits-for-its-init-containers"),
        pytest.param(
            {"initContainerStatuses": [waiting("CrashLoopBackOff", "back-off 10s")]},
            ["pod a, container server waits: CrashLoopBackOff: back-off 10s"],
            id="init-container",
        ),
        pytest.param(
            {
                "conditions": [
                    {"type": "Ready", "status": "False"},
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
                ]
            },
            ["pod a is not scheduled: 0/1 nodes are available"],
            id="not-scheduled",
        ),
    ],
)
def test_pod_problems(status: dict[str, Any], problems: list[str]) -> None:
    assert pod_problems({"items": [{"metadata": {"name": "a"}, "status": status}]}) == problems


def pool(name: str) -> KubeObject:
    metadata = {"name": name, "namespace": "metallb-system"}
    return KubeObject({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": metadata})


PRUNE = Prune("app.kubernetes.io/managed-by=groundplane.kubeadm", ("foos.metallb.io", "ipaddresspools.metallb.io"))
WEB, OTHER = "IPAddressPool/metallb-system/web", "IPAddressPool/metallb-system/other"


class TestPrune:
    """Of what kubectl found by our label, the pool web, and of a webhook that refuses a pool beside it."""

    @pytest.fixture
    def labelled(self, fixture_text: FixtureText) -> Result:
        return Result(0, fixture_text("kubectl/get-labelled.stdout"), "")

    @pytest.fixture
    def denied(self, fixture_text: FixtureText) -> Result:
        return Result(2, "", fixture_text("kubectl/diff-denied.stderr"))

    def test_what_has_left_the_manifest_is_deleted(self, labelled: Result) -> None:
        plan = plan_prune(FakeKubectl([labelled]), PRUNE, [pool("other")])
        assert actions(plan) == {WEB: DELETED}

    def test_what_is_in_the_manifest_stays(self, labelled: Result) -> None:
        assert plan_prune(FakeKubectl([labelled]), PRUNE, [pool("web")]).changes == []

    def test_resources_that_the_api_server_does_not_know_have_no_objects(
        self, labelled: Result, fixture_text: FixtureText
    ) -> None:
        unknown = Result(1, "", fixture_text("kubectl/get-missing-resource.stderr"))
        kubectl = FakeKubectl([unknown, labelled])
        assert actions(plan_prune(kubectl, PRUNE, [])) == {WEB: DELETED}
        assert kubectl.asked == [("labelled", *PRUNE.resources), ("labelled", "ipaddresspools.metallb.io")]

    def test_no_resource_is_known(self, fixture_text: FixtureText) -> None:
        unknown = Result(1, "", fixture_text("kubectl/get-missing-resource.stderr"))
        assert plan_prune(FakeKubectl([unknown]), Prune("a=b", ("foos.metallb.io",)), []) == Plan()

    def test_an_api_server_that_does_not_answer(self) -> None:
        with pytest.raises(NotThereYetError):
            plan_prune(FakeKubectl([Result(1, "", "connection refused")], ready=False), PRUNE, [])

    def test_deleting_comes_last(self, labelled: Result) -> None:
        kubectl = FakeKubectl([labelled, SAME])
        plan = plan_pruned(kubectl, [pool("other")], PRUNE)
        assert (actions(plan), plan.prune_first) == ({OTHER: UNCHANGED, WEB: DELETED}, False)

        done = apply_pruned(kubectl, plan, 60)

        assert (done, kubectl.asked[-1]) == (plan, ("delete", 60, WEB))
        assert not any(verb == "apply" for verb, *_rest in kubectl.asked)

    def test_applying_without_anything_to_delete(self) -> None:
        kubectl = FakeKubectl()
        apply_pruned(kubectl, Plan([Change(pool("other"), CREATED)]), 60)
        assert kubectl.asked == [("apply", OTHER)]

    def test_what_stands_in_the_way_is_deleted_first(self, labelled: Result, denied: Result) -> None:
        kubectl = FakeKubectl([labelled, denied, SAME])
        plan = plan_pruned(kubectl, [pool("other")], PRUNE)
        assert (actions(plan), plan.prune_first) == ({WEB: DELETED, OTHER: CREATED}, True)

        fresh = Result(
            1,
            f"diff -u a b\n--- /a/metallb.io.v1beta1.{OTHER.replace('/', '.')}\tt\n+++ b\tt\n@@ -0,0 +1 @@\n+a: b\n",
            "",
        )
        kubectl = FakeKubectl([SAME, fresh])
        done = apply_pruned(kubectl, plan, 60)

        assert kubectl.asked == [("delete", 60, WEB), ("diff", OTHER), ("apply", OTHER)]
        assert actions(done) == {WEB: DELETED, OTHER: CREATED}

    def test_nothing_is_left_to_apply_once_it_is_gone(self) -> None:
        kubectl = FakeKubectl()
        plan = Plan([Change(pool("web"), DELETED), Change(pool("other"), UNCHANGED)], prune_first=True)
        assert actions(apply_pruned(kubectl, plan, 60)) == {WEB: DELETED, OTHER: UNCHANGED}
        assert kubectl.asked == [("delete", 60, WEB), ("diff", OTHER)]

    def test_a_refusal_with_nothing_to_delete_is_an_error(self, denied: Result) -> None:
        with pytest.raises(RefusedError, match="overlaps with already defined CIDR"):
            plan_pruned(FakeKubectl([SAME, denied]), [pool("other")], PRUNE)
