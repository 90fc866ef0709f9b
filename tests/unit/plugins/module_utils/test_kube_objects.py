# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of manifests."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import (
    KubeObject,
    foundations_first,
    objects,
    parse_json_stream,
    stream,
)

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "server", "namespace": "web"},
    "spec": {"selector": {"matchLabels": {"app": "server"}}},
}


def test_object_says_what_it_is() -> None:
    deployment = KubeObject(DEPLOYMENT)

    assert (deployment.api_version, deployment.group, deployment.kind) == ("apps/v1", "apps", "Deployment")
    assert deployment.resource == "Deployment.apps"
    assert deployment.title == "Deployment/web/server"
    assert deployment.pod_labels == {"app": "server"}
    assert deployment.is_workload
    assert not deployment.is_secret


def test_object_of_the_core_group() -> None:
    namespace = KubeObject(NAMESPACE)

    assert (namespace.group, namespace.resource, namespace.title) == ("", "Namespace", "Namespace/web")
    assert namespace.pod_labels == {}
    assert namespace.is_foundation
    assert not namespace.is_custom_kind


def test_lists_are_resolved() -> None:
    definitions = [{"kind": "List", "items": [NAMESPACE, {"kind": "List", "items": None}]}, DEPLOYMENT]

    assert objects(definitions) == [KubeObject(NAMESPACE), KubeObject(DEPLOYMENT)]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        pytest.param({}, "without apiVersion, kind, metadata.name. Expected", id="nothing"),
        pytest.param("text", "without apiVersion, kind, metadata.name. Expected", id="no-mapping"),
        pytest.param({**NAMESPACE, "metadata": None}, "without metadata.name (Namespace)", id="no-name"),
        pytest.param({"kind": "Pod", "metadata": {"name": "x"}}, "without apiVersion (Pod/x)", id="no-version"),
    ],
)
def test_object_that_is_incomplete(definition: Any, message: str) -> None:
    with pytest.raises(GroundplaneError) as raised:
        objects([definition])

    assert message in str(raised.value)


def test_json_stream(fixture_text: Callable[[str], str]) -> None:
    documents = parse_json_stream(fixture_text("kubectl/annotate-local.stdout"))

    assert [document["kind"] for document in documents] == ["Namespace", "Secret", "ConfigMap", "Deployment", "Site"]
    assert parse_json_stream(" \n") == []


def test_stream_is_what_kubectl_reads() -> None:
    assert stream(objects([NAMESPACE, DEPLOYMENT])) == f"---\n{json.dumps(NAMESPACE)}\n---\n{json.dumps(DEPLOYMENT)}\n"


def test_foundations_come_first_in_their_order() -> None:
    kind = {**NAMESPACE, "kind": "CustomResourceDefinition"}

    ordered = foundations_first(objects([DEPLOYMENT, kind, NAMESPACE]))

    assert [target.kind for target in ordered] == ["CustomResourceDefinition", "Namespace", "Deployment"]
