# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pods of the acceptance tests leave clusters of others as they found them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.acceptance import workload
from tests.acceptance.workload import NAMESPACE, ForeignNamespaceError, Pod, Workload

IMAGE = "registry.example.org/busybox:1"
OURS = workload.namespace()


class Kubectl:
    """Remembers calls; answers `get namespace` and `get pods`, and lets what is told to fail do so."""

    def __init__(self, namespace: Any = None, pods: Sequence[Any] = (), silent: str = "") -> None:
        self.calls: list[tuple[list[str], str]] = []
        self._answers = {"namespace": json.dumps(namespace) if namespace else "", "pods": json.dumps({"items": pods})}
        self._silent = silent

    def __call__(self, arguments: Sequence[str], stdin: str) -> str:
        self.calls.append((list(arguments), stdin))
        if self._silent and self._silent in arguments[-1]:
            raise AssertionError("wget: download timed out")
        return self._answers.get(arguments[1], "") if arguments[0] == "get" else "102400\n"

    @property
    def verbs(self) -> list[str]:
        return [arguments[0] for arguments, _stdin in self.calls]


def pod(name: str, node: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {"podIPs": [{"ip": address} for address in addresses]},
    }


PODS = [pod("web-b", "worker-1", "10.244.1.2", "fd00::2"), pod("web-a", "master-1", "10.244.0.2", "fd00::1")]


def test_a_namespace_of_our_own_is_made_and_waited_for() -> None:
    kubectl = Kubectl()
    Workload(kubectl, IMAGE).create()
    assert kubectl.verbs == ["get", "create", "apply", "rollout"]
    assert json.loads(kubectl.calls[1][1]) == OURS
    daemon_set, service = json.loads(kubectl.calls[2][1])["items"]
    assert daemon_set["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert service["spec"]["selector"] == daemon_set["spec"]["template"]["metadata"]["labels"]


def test_what_a_killed_run_has_left_goes_first() -> None:
    kubectl = Kubectl(namespace=OURS)
    Workload(kubectl, IMAGE).create()
    assert kubectl.verbs == ["get", "delete", "create", "apply", "rollout"]
    assert kubectl.calls[1][0][:3] == ["delete", "namespace", NAMESPACE]


@pytest.mark.parametrize("step", ["create", "remove"])
@pytest.mark.parametrize("labels", [{"team": "shop"}, {workload.OWNER[0]: "somebody-else"}, None])
def test_a_namespace_of_somebody_else_is_refused_and_stays(step: str, labels: Any) -> None:
    kubectl = Kubectl(namespace={"metadata": {"name": NAMESPACE, **({"labels": labels} if labels else {})}})
    with pytest.raises(ForeignNamespaceError, match=f"{NAMESPACE}.*To do: delete or rename it"):
        getattr(Workload(kubectl, IMAGE), step)()
    assert kubectl.verbs == ["get"]


def test_removing_nothing_does_nothing() -> None:
    kubectl = Kubectl()
    Workload(kubectl, IMAGE).remove()
    assert kubectl.verbs == ["get"]


def test_everything_else_stays_in_the_namespace() -> None:
    kubectl = Kubectl(pods=PODS)
    pods = Workload(kubectl, IMAGE)
    pods.apply(workload.deny_all())
    pods.remove_policies()
    pods.ask(pods.pods()[0], "10.244.1.2")
    assert [f"--namespace={NAMESPACE}" in arguments for arguments, _stdin in kubectl.calls] == [True] * 4


def test_every_node_sends_and_is_sent_to() -> None:
    master, worker = Workload(Kubectl(pods=PODS), IMAGE).pods()
    assert (master, worker.node) == (Pod("web-a", "master-1", ("10.244.0.2", "fd00::1")), "worker-1")
    assert Workload(Kubectl(pods=PODS), IMAGE).ways() == [(master, worker), (worker, master)]
    assert Workload(Kubectl(pods=PODS[:1]), IMAGE).ways() == []


def test_ways_without_an_answer_are_named() -> None:
    assert Workload(Kubectl(pods=PODS), IMAGE).unanswered() == []
    assert Workload(Kubectl(pods=PODS, silent="10.244.1.2"), IMAGE).unanswered() == ["master-1 to worker-1"]


def test_addresses_of_both_families_and_names_make_urls() -> None:
    assert workload.url("10.244.1.2", "node") == "http://10.244.1.2:8080/node"
    assert workload.url("fd00::2", "large") == "'http://[fd00::2]:8080/large'"
    assert workload.url("web; reboot", "node") == "'http://web; reboot:8080/node'"


def test_the_bytes_of_the_large_page_are_counted() -> None:
    kubectl = Kubectl(pods=PODS)
    pods = Workload(kubectl, IMAGE)
    assert pods.count(pods.pods()[0], "10.244.1.2") == workload.LARGE_BYTES
    assert kubectl.calls[-1][0][-1].endswith("http://10.244.1.2:8080/large | wc -c")


def test_the_pods_are_allowed_in_the_strictest_namespaces() -> None:
    spec = workload.daemon_set(IMAGE)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert [volume for volume in spec["volumes"] if "emptyDir" not in volume] == []
