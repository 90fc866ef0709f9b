# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubectl on a control plane node."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import (
    KubeObject,
    objects,
    parse_json_stream,
    stream,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import wait_until

FIELD_MANAGER = "groundplane"

#: How long the API server may take until it serves a new kind.
_ESTABLISHED_TIMEOUT = 60

#: What the API server says when it could not ask an admission webhook; one that was asked and refuses is another thing.
_SILENT_WEBHOOK = re.compile(r'failed calling webhook "[^"]+"')


class NotThereYetError(GroundplaneError):
    """Something is missing that an earlier step of a real run brings: kubectl, a kubeconfig, a file, a cluster."""


class Kubectl:
    """kubectl with one kubeconfig.

    :arg webhook_timeout: seconds that the admission webhooks of a question or a change may take until they answer.
    """

    def __init__(
        self, runner: Runner, kubeconfig: str, *, force_conflicts: bool = True, webhook_timeout: int = 0
    ) -> None:
        self._runner = runner
        self._kubeconfig = kubeconfig
        self._webhook_timeout = webhook_timeout
        self._server_side = ["--server-side", "--field-manager=" + FIELD_MANAGER]
        if force_conflicts:
            self._server_side.append("--force-conflicts")

    def render(self, folder: str) -> str:
        """Manifest that a kustomization makes; needs no cluster."""
        return self._local("kustomize", folder, remedy="correct the kustomization").stdout

    def parse(self, manifest: str) -> list[KubeObject]:
        """Objects of a manifest in YAML or JSON; needs no cluster.

        kubectl is the YAML parser: removing an annotation that nothing has prints every object as JSON.
        """
        arguments = ("annotate", "--local", "--filename=-", "--output=json", FIELD_MANAGER + ".invalid/none-")
        printed = self._local(*arguments, stdin=manifest, remedy="correct the manifest").stdout
        return objects(_without_empty_annotations(document) for document in parse_json_stream(printed))

    def answers(self) -> bool:
        """Whether the API server is there and ready."""
        return self._ask("get", "--raw=/readyz", "--request-timeout=10s").rc == 0

    def diff(self, targets: Sequence[KubeObject]) -> Result:
        """Difference between the cluster and what applying would make of it, by the API server's dry run."""
        return self._admitted(lambda: self._ask("diff", *self._server_side, "--filename=-", stdin=stream(targets)))

    def apply(self, targets: Sequence[KubeObject]) -> None:
        """Apply objects."""
        remedy = "correct the manifest; objects before the one that failed were applied"
        arguments = ("apply", *self._server_side, "--filename=-")
        result = self._admitted(lambda: self._ask(*arguments, stdin=stream(targets)))
        if result.rc != 0:
            raise CommandError(["kubectl", *arguments], result, remedy=remedy)

    def existing(self, targets: Sequence[KubeObject]) -> Result:
        """Those of the objects that exist, as JSON."""
        return self._ask("get", "--ignore-not-found", "--output=json", "--filename=-", stdin=stream(targets))

    def labelled(self, resources: Sequence[str], selector: str, namespace: str) -> Result:
        """Objects of some resources that carry a label, as JSON."""
        where = ["--namespace=" + namespace] if namespace else []
        return self._ask("get", ",".join(resources), *where, "--selector=" + selector, "--output=json")

    def delete(self, targets: Sequence[KubeObject], timeout: int) -> None:
        """Delete objects and wait until they are gone; a timeout of 0 does not wait."""
        waiting = ["--wait=true", f"--timeout={timeout}s"] if timeout else ["--wait=false"]
        remedy = "see what holds the objects back: their finalizers, and the controllers that clear these"
        self._do("delete", "--ignore-not-found", *waiting, "--filename=-", stdin=stream(targets), remedy=remedy)

    def patch(self, target: KubeObject, fields: Mapping[str, Any]) -> None:
        """Set fields of an object that exists; what is null is removed."""
        name = f"{target.resource}/{target.name}"
        how = ("--type=merge", "--field-manager=" + FIELD_MANAGER, "--patch-file=/dev/stdin")
        remedy = "run again; a conflict means that somebody else has changed the object in the same moment"
        self._do("patch", name, *in_namespace(target), *how, stdin=json.dumps(fields), remedy=remedy)

    def wait_until_established(self, definitions: Sequence[KubeObject]) -> None:
        """Wait until the API server serves the kinds of CustomResourceDefinitions."""
        names = [f"{definition.resource}/{definition.name}" for definition in definitions]
        remedy = "see the conditions of the CustomResourceDefinition (kubectl describe crd)"
        self._do("wait", "--for=condition=Established", f"--timeout={_ESTABLISHED_TIMEOUT}s", *names, remedy=remedy)

    def rollout_status(self, workload: KubeObject, timeout: int) -> Result:
        """Wait until every pod of a workload has its present form and is available."""
        name = f"{workload.resource}/{workload.name}"
        return self._ask("rollout", "status", name, *in_namespace(workload), f"--timeout={timeout}s")

    def pods(self, workload: KubeObject) -> Result:
        """Pods of a workload, as JSON."""
        selector = ",".join(f"{label}={value}" for label, value in workload.pod_labels.items())
        return self._ask("get", "pods", *in_namespace(workload), "--selector=" + selector, "--output=json")

    def _admitted(self, run: Callable[[], Result]) -> Result:
        """Last result of running something until the admission webhooks it needs answer, or the time for that is over.

        Only the API server knows which webhooks these are, and whether it reaches them, so it is asked again.
        """
        results: list[Result] = []

        def answered() -> bool:
            results.append(run())
            return results[-1].rc == 0 or not _SILENT_WEBHOOK.search(results[-1].stderr)

        wait_until(answered, self._webhook_timeout)
        return results[-1]

    def _local(self, *arguments: str, remedy: str, stdin: str | None = None) -> Result:
        """Run what needs no cluster."""
        return self._run([self._program(), *arguments], stdin, remedy)

    def _do(self, *arguments: str, remedy: str, stdin: str | None = None) -> Result:
        """Run something that has to succeed."""
        return self._run(self._with_kubeconfig(arguments), stdin, remedy)

    def _run(self, argv: Sequence[str], stdin: str | None, remedy: str) -> Result:
        result = self._runner.run(argv, stdin=stdin, check=False)
        if result.rc != 0:
            raise CommandError(argv, result, remedy=remedy)
        return result

    def _ask(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run something whose exit code is an answer."""
        # An own program for differences would not print what is parsed here.
        environment = {"KUBECTL_EXTERNAL_DIFF": ""}
        return self._runner.run(self._with_kubeconfig(arguments), stdin=stdin, check=False, environment=environment)

    def _with_kubeconfig(self, arguments: Sequence[str]) -> list[str]:
        program = self._program()
        if not Path(self._kubeconfig).exists():
            raise NotThereYetError(
                f"There is no kubeconfig {self._kubeconfig}",
                expected="the administrator's kubeconfig of a running cluster",
                remedy="initialise the cluster first (role control_plane), or set the option kubeconfig",
            )
        return [program, "--kubeconfig=" + self._kubeconfig, *arguments]

    def _program(self) -> str:
        path = self._runner.find("kubectl")
        if path is None:
            raise NotThereYetError(
                "kubectl is not installed on this host",
                expected="a control plane node",
                remedy="install it (role kube_packages), or run the module on the first control plane node",
            )
        return path


def in_namespace(target: KubeObject) -> list[str]:
    """Option of kubectl that names the namespace of an object."""
    return ["--namespace=" + target.namespace] if target.namespace else []


def _without_empty_annotations(document: dict[str, object]) -> dict[str, object]:
    """Object without the empty annotations that kubectl annotate leaves behind."""
    metadata = document.get("metadata")
    if isinstance(metadata, dict) and metadata.get("annotations") == {}:
        kept = {key: value for key, value in metadata.items() if key != "annotations"}
        return {**document, "metadata": kept}
    return document
