# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests in a cluster: what applying or deleting them would change, and doing it."""

from __future__ import annotations

import json
import math
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._download_cache import DownloadCache
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import (
    KubeObject,
    foundations_first,
    objects,
    parse_json_stream,
    stream,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import (
    Kubectl,
    NotThereYetError,
    in_namespace,
)

CREATED = "created"
CONFIGURED = "configured"
DELETED = "deleted"
UNCHANGED = "unchanged"

#: Exit codes of kubectl diff; above these it failed.
_SAME, _DIFFERENT = 0, 1

_MISSING_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')
_MISSING_KIND = re.compile(r'no matches for kind "([^"]+)" in version "([^"]+)"')
#: What the API server says where an admission webhook has answered no.
_REFUSAL = "denied the request"
#: What kubectl says of a resource that it is to list: its plural, without the group.
_MISSING_RESOURCE = re.compile(r"""server doesn't have a resource type "([^"]+)\"""")
#: What kubectl says of a kind that was removed while it still remembers it: plural, group and name of the object.
_REMOVED_KIND = re.compile(r"could not find the requested resource \(\w+ [^.\s]+\.(\S+) ([^)]+)\)")

#: Lines of an object that only its creation decides.
_BORN_WITH = re.compile(r"^  (?:creationTimestamp|uid): .*\n", re.MULTILINE)


class RefusedError(CommandError):
    """An admission webhook was asked and refuses."""


class Source(NamedTuple):
    """Where a manifest comes from: exactly one of url, path, content and definitions, and what is laid over it."""

    url: str | None = None
    checksum: str | None = None
    path: str | None = None
    content: str | None = None
    definitions: Sequence[Mapping[str, Any]] | None = None
    kustomization: Mapping[str, Any] | None = None


class Prune(NamedTuple):
    """Which objects are ours, and to be deleted when the manifest has them no more.

    :ivar selector: a label that none but ours carry, such as example.com/owner=me.
    :ivar resources: plural and group, such as ipaddresspools.metallb.io.
    :ivar namespace: where they are looked for; empty for resources without a namespace.
    """

    selector: str
    resources: Sequence[str]
    namespace: str = ""


@dataclass(frozen=True)
class Change:
    """What happens to one object, with the text of the difference.

    :arg unified: the difference in the form of diff -u; before and after are used without it.
    """

    target: KubeObject
    action: str
    before: str = ""
    after: str = ""
    unified: str = ""

    def diff(self) -> dict[str, str]:
        """Entry of the module's diff."""
        title = self.target.title
        if self.unified:
            return {"prepared": f"--- before: {title}\n+++ after: {title}\n{self.unified}"}
        return {"before_header": title, "after_header": title, "before": self.before, "after": self.after}

    def describe(self) -> dict[str, str]:
        """Entry of the module's result."""
        return {
            "api_version": self.target.api_version,
            "kind": self.target.kind,
            "namespace": self.target.namespace,
            "name": self.target.name,
            "action": self.action,
        }


@dataclass(frozen=True)
class Plan:
    """What happens to every object of a manifest.

    :arg unknown: the manifest will be applied, and its objects cannot be named yet.
    :arg prune_first: what is to be deleted stands in the way of what is to be applied.
    """

    changes: Sequence[Change] = ()
    unknown: bool = False
    prune_first: bool = False

    @property
    def changed(self) -> bool:
        """Whether any object has to change."""
        return self.unknown or any(change.action != UNCHANGED for change in self.changes)

    def existing(self) -> list[KubeObject]:
        """The objects to delete, which exist."""
        return [change.target for change in self.changes if change.action == DELETED]

    def present(self) -> list[KubeObject]:
        """The objects that shall be there."""
        return [change.target for change in self.changes if change.action != DELETED]

    @property
    def applies(self) -> bool:
        """Whether any object has to be created or changed."""
        return any(change.action in (CREATED, CONFIGURED) for change in self.changes)

    def diff(self) -> list[dict[str, str]]:
        """Entries of the module's diff."""
        return [change.diff() for change in self.changes if change.action != UNCHANGED]


def read_manifest(source: Source, kubectl: Kubectl, cache: DownloadCache, temporary: str) -> list[KubeObject]:
    """Objects of a manifest in their final form.

    :arg temporary: folder for what kubectl wants to have as files.
    """
    if source.definitions is not None and source.kustomization is None:
        return objects(source.definitions)
    manifest = _read_text(source, kubectl, cache)
    if source.kustomization is not None:
        manifest = _overlay(manifest, source.kustomization, kubectl, temporary)
    return kubectl.parse(manifest)


def _read_text(source: Source, kubectl: Kubectl, cache: DownloadCache) -> str:
    if source.url is not None:
        return cache.read(source.url, source.checksum).decode("utf-8")
    if source.path is not None:
        path = Path(source.path)
        if not path.exists():
            raise NotThereYetError(f"There is no {path} on this host", remedy="put the manifest there first")
        return kubectl.render(source.path) if path.is_dir() else path.read_text(encoding="utf-8")
    if source.definitions is not None:
        return stream(objects(source.definitions))
    return source.content or ""


def _overlay(manifest: str, kustomization: Mapping[str, Any], kubectl: Kubectl, temporary: str) -> str:
    """Manifest with a kustomization laid over it."""
    with tempfile.TemporaryDirectory(dir=temporary) as name:
        folder = Path(name)
        (folder / "manifest.yaml").write_text(manifest, encoding="utf-8")
        complete = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            **kustomization,
            "resources": ["manifest.yaml", *kustomization.get("resources", [])],
        }
        # JSON is YAML, and needs no library.
        (folder / "kustomization.yaml").write_text(json.dumps(complete), encoding="utf-8")
        return kubectl.render(name)


def plan_present(kubectl: Kubectl, targets: Sequence[KubeObject]) -> Plan:
    """Ask the API server what applying would change.

    It cannot be asked about objects whose namespace or kind is missing. These would be created, which is certain when
    the same manifest brings the namespace or the kind; otherwise applying fails with the API server's own words.
    """
    pending = foundations_first(targets)
    predicted: list[Change] = []
    while pending:
        result = kubectl.diff(pending)
        if result.rc in (_SAME, _DIFFERENT):
            return Plan([*changes_from_diff(pending, result.stdout), *predicted])
        waiting = [target for target in pending if _lacks_foundation(target, result.stderr)]
        if not waiting:
            raise _not_answered(kubectl, "diff", result)
        predicted.extend(_creation(target) for target in waiting)
        pending = [target for target in pending if target not in waiting]
    return Plan(predicted)


def plan_absent(kubectl: Kubectl, targets: Sequence[KubeObject]) -> Plan:
    """Ask the API server which of the objects exist; those of a kind that it does not know cannot."""
    pending = list(targets)
    existing: list[KubeObject] = []
    while pending:
        result = kubectl.existing(pending)
        if result.rc == 0:
            existing = objects(parse_json_stream(result.stdout))
            break
        unknown = [target for target in pending if _lacks_foundation(target, result.stderr)]
        if not unknown:
            raise _not_answered(kubectl, "get", result)
        pending = [target for target in pending if target not in unknown]
    return Plan([_deletion(target, existing) for target in targets])


def plan_prune(kubectl: Kubectl, prune: Prune, targets: Iterable[KubeObject]) -> Plan:
    """Ask the API server which objects carry the label that makes them ours, and delete those not among the targets."""
    wanted = {(target.resource, target.name) for target in targets}
    resources = list(prune.resources)
    while resources:
        result = kubectl.labelled(resources, prune.selector, prune.namespace)
        if result.rc == 0:
            found = objects(parse_json_stream(result.stdout))
            return Plan([_deletion(each, [each]) for each in found if (each.resource, each.name) not in wanted])
        unknown = _MISSING_RESOURCE.findall(result.stderr)
        known = [resource for resource in resources if resource.partition(".")[0] not in unknown]
        if len(known) == len(resources):
            raise _not_answered(kubectl, "get", result)
        resources = known
    return Plan()


def plan_pruned(kubectl: Kubectl, targets: Sequence[KubeObject], prune: Prune) -> Plan:
    """Ask what applying would change, and delete what is ours beside it.

    A new object may be refused only because an old one still has what it wants. The dry run cannot do without the old
    one, so what is new is predicted then, and asked about once the old one is gone.
    """
    leftovers = plan_prune(kubectl, prune, targets).changes
    try:
        return Plan([*plan_present(kubectl, targets).changes, *leftovers])
    except RefusedError:
        if not leftovers:
            raise
    known = plan_absent(kubectl, targets).existing()
    created = [_creation(target) for target in targets if target not in known]
    return Plan([*leftovers, *plan_present(kubectl, known).changes, *created], prune_first=True)


def plan_without_cluster(targets: Sequence[KubeObject], *, present: bool) -> Plan:
    """Prediction for a cluster that is not there yet: every object will be created, and none has to be deleted."""
    if not present:
        return Plan([Change(target, UNCHANGED) for target in targets])
    return Plan([_creation(target) for target in foundations_first(targets)], unknown=not targets)


def _lacks_foundation(target: KubeObject, stderr: str) -> bool:
    """Whether an error says that an object's namespace or kind is missing."""
    return (
        target.namespace in _MISSING_NAMESPACE.findall(stderr)
        or (target.kind, target.api_version) in _MISSING_KIND.findall(stderr)
        or (target.group, target.name) in _REMOVED_KIND.findall(stderr)
    )


def _not_answered(kubectl: Kubectl, verb: str, result: Result) -> GroundplaneError:
    """Error for an answer that is none."""
    if not kubectl.answers():
        said = result.stderr.strip().splitlines()
        return NotThereYetError(
            "The API server does not answer: " + (said[-1] if said else "kubectl printed nothing"),
            remedy="see that the cluster runs (crictl ps, journalctl -u kubelet) and that the kubeconfig points to it",
        )
    if "executable file not found" in result.stderr:
        return GroundplaneError(
            "kubectl diff needs the program diff, and it is not installed", remedy="install the package diffutils"
        )
    if _REFUSAL in result.stderr:
        remedy = "correct what the admission webhook names; nothing of the manifest was applied"
        return RefusedError(["kubectl", verb], result, remedy=remedy)
    remedy = "correct the manifest, or see who else manages the fields named (force_conflicts); nothing was changed"
    return CommandError(["kubectl", verb], result, remedy=remedy)


def _creation(target: KubeObject) -> Change:
    """Prediction for an object that is not there."""
    shown = "(content not shown)" if target.is_secret else json.dumps(target.definition, indent=2)
    return Change(target, CREATED, after=shown + "\n")


def _deletion(target: KubeObject, existing: Iterable[KubeObject]) -> Change:
    """Change that deletes an object if it is among those that exist."""
    for found in existing:
        same_name = (found.resource, found.name) == (target.resource, target.name)
        if same_name and target.namespace in ("", found.namespace):
            return Change(target, DELETED, before=target.title + "\n")
    return Change(target, UNCHANGED)


def changes_from_diff(targets: Sequence[KubeObject], output: str) -> list[Change]:
    """One change for each object, from the output of kubectl diff."""
    sections = parse_diff(output)
    return [_change(target, _section_of(target, sections)) for target in targets]


def parse_diff(output: str) -> dict[str, str]:
    """Differences by the name of their file; headers with random folders and times are dropped."""
    sections = {}
    for section in re.split(r"^diff [^\n]*\n", output, flags=re.MULTILINE)[1:]:
        header = re.match(r"--- \S*/([^\t\n]+)[^\n]*\n\+\+\+ [^\n]*\n", section)
        if header:
            sections[header.group(1)] = section[header.end() :]
    return sections


def _section_of(target: KubeObject, sections: Mapping[str, str]) -> str:
    """Difference of one object, empty when there is none.

    kubectl names a file group.version.kind.namespace.name. Where the manifest leaves the namespace out, it may be none
    or that of the kubeconfig.
    """
    prefix = ".".join((*target.api_version.split("/"), target.kind, ""))
    if target.namespace:
        return sections.get(f"{prefix}{target.namespace}.{target.name}", "")
    found = (
        section
        for name, section in sections.items()
        if name.startswith(prefix) and name[len(prefix) :].partition(".")[2] == target.name
    )
    return next(found, "")


def _change(target: KubeObject, section: str) -> Change:
    if not section:
        return Change(target, UNCHANGED)
    lines = section.splitlines(keepends=True)
    # An object that does not exist is an empty file, or null where kubectl masks its content.
    is_new = lines[0].startswith("@@ -0,0 ") or [line for line in lines if line.startswith("-")] == ["-null\n"]
    action = CREATED if is_new else CONFIGURED
    if target.is_secret:
        # kubectl masks its data, but annotations may hold them a second time.
        before = "" if is_new else "(content before not shown)\n"
        return Change(target, action, before=before, after="(content not shown)\n")
    if is_new:
        after = "".join(line[1:] for line in lines if line.startswith("+"))
        return Change(target, action, after=_BORN_WITH.sub("", after))
    return Change(target, action, unified=section)


def apply_plan(kubectl: Kubectl, plan: Plan) -> None:
    """Apply all objects; namespaces and kinds come first, so that the others find them."""
    targets = plan.present()
    foundations = [target for target in targets if target.is_foundation]
    custom_kinds = [target for target in foundations if target.is_custom_kind]
    others = [target for target in targets if not target.is_foundation]
    if foundations:
        kubectl.apply(foundations)
    if custom_kinds:
        kubectl.wait_until_established(custom_kinds)
    if others:
        kubectl.apply(others)


def apply_pruned(kubectl: Kubectl, plan: Plan, timeout: int) -> Plan:
    """Apply what has to change and delete what is ours beside it; returns the plan as it was carried out.

    What goes is deleted last, so that there is no time without both, unless it stands in the way.

    :arg timeout: seconds to wait until the objects are gone.
    """
    if not plan.prune_first:
        if plan.applies:
            apply_plan(kubectl, plan)
        if plan.existing():
            delete_plan(kubectl, plan, timeout)
        return plan
    delete_plan(kubectl, plan, timeout)
    deleted = [change for change in plan.changes if change.action == DELETED]
    rest = plan_present(kubectl, plan.present())
    if rest.changed:
        apply_plan(kubectl, rest)
    return Plan([*deleted, *rest.changes])


def delete_plan(kubectl: Kubectl, plan: Plan, timeout: int) -> None:
    """Delete what exists, the foundations last.

    :arg timeout: seconds to wait until the objects are gone, 0 for not waiting.
    """
    kubectl.delete(foundations_first(plan.existing())[::-1], timeout)


def wait_for_rollout(
    kubectl: Kubectl, targets: Iterable[KubeObject], timeout: int, clock: Callable[[], float] = time.monotonic
) -> None:
    """Wait until every workload among the objects is rolled out.

    :arg timeout: seconds for all of them together.
    """
    deadline = clock() + timeout
    for workload in (target for target in targets if target.is_workload):
        result = kubectl.rollout_status(workload, max(1, math.ceil(deadline - clock())))
        if result.rc != 0:
            raise _not_rolled_out(kubectl, workload, result, timeout)


def _not_rolled_out(kubectl: Kubectl, workload: KubeObject, result: Result, timeout: int) -> GroundplaneError:
    last_lines = [text.strip().splitlines()[-1] for text in (result.stdout, result.stderr) if text.strip()]
    pods = kubectl.pods(workload)
    reasons = pod_problems(json.loads(pods.stdout)) if pods.rc == 0 else []
    command = " ".join(["kubectl describe pods", *in_namespace(workload)])
    return GroundplaneError(
        f"{workload.title} is not rolled out after {timeout} s: " + "; ".join([*last_lines, *reasons]),
        expected="every pod available",
        remedy=f"look at its pods ({command}), or give them longer (wait_timeout)",
    )


def pod_problems(pods: Mapping[str, Any]) -> list[str]:
    """What keeps pods from running, from the list that the API server has of them."""
    problems = []
    for pod in pods.get("items", []):
        name = pod["metadata"]["name"]
        status = pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                problems.append(f"pod {name} is not scheduled: {condition.get('message', '')}")
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason", "PodInitializing") != "PodInitializing":
                detail = ": ".join(part for part in (waiting["reason"], waiting.get("message")) if part)
                problems.append(f"pod {name}, container {container['name']} waits: {detail}")
    return problems
