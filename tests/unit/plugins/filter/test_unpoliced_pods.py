# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods know no policy, and what restarts them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.filter.unpoliced_pods import FilterModule

unpoliced = FilterModule().filters()["unpoliced_pods"]

OF_CALICO = {"cni.projectcalico.org/podIP": "10.244.1.7/32"}


def pod(owner: tuple[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A pod in namespace shop as flannel has connected it."""
    metadata: dict[str, Any] = {"namespace": "shop", "name": "cart-1", **changes.get("metadata", {})}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1]}]
    return {
        "metadata": metadata,
        "spec": changes.get("spec", {}),
        "status": {"podIP": "10.244.1.5", "phase": "Running", **changes.get("status", {})},
    }


@pytest.mark.parametrize(
    "known",
    [
        pod(metadata={"annotations": OF_CALICO}),
        pod(spec={"hostNetwork": True}),
        pod(status={"podIP": ""}),
        pod(status={"phase": "Succeeded"}),
        pod(status={"phase": "Failed"}),
    ],
    ids=["connected by Calico", "in the host's network", "without an address", "done", "failed"],
)
def test_pods_that_are_left_out(known: dict[str, Any]) -> None:
    assert unpoliced([known]) == []


@pytest.mark.parametrize("annotations", [None, {}, {"kubectl.kubernetes.io/restartedAt": "now"}])
def test_pods_that_flannel_has_connected(annotations: Any) -> None:
    assert unpoliced([pod(metadata={"annotations": annotations})]) == [{"pod": "shop/cart-1", "workload": {}}]


@pytest.mark.parametrize(
    ("owner", "labels", "name"),
    [
        (("ReplicaSet", "cart-6f6b679f8f"), {"pod-template-hash": "6f6b679f8f"}, "deployment/cart"),
        (("ReplicaSet", "cart-of-its-own"), {"pod-template-hash": "6f6b679f8f"}, ""),
        (("ReplicaSet", "cart"), None, ""),
        (("StatefulSet", "db"), {}, "statefulset/db"),
        (("DaemonSet", "agent"), {}, "daemonset/agent"),
        (("Job", "backup-29"), {}, ""),
    ],
    ids=["a Deployment", "a ReplicaSet of its own", "without labels", "a StatefulSet", "a DaemonSet", "a Job"],
)
def test_what_restarts_a_pod(owner: tuple[str, str], labels: Any, name: str) -> None:
    (found,) = unpoliced([pod(owner, metadata={"labels": labels})])
    assert found["workload"] == ({"namespace": "shop", "name": name} if name else {})
