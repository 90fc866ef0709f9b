# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes objects as manifests hold them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Iterable, Mapping

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

#: Kinds whose objects others of the same manifest stand on: applied first, deleted last.
_FOUNDATIONS = ("Namespace", "CustomResourceDefinition")
_WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")


@dataclass(frozen=True)
class KubeObject:
    """One object of a manifest."""

    definition: Mapping[str, Any]

    @property
    def api_version(self) -> str:
        """Group and version, such as apps/v1."""
        return str(self.definition.get("apiVersion") or "")

    @property
    def kind(self) -> str:
        """Kind, such as Deployment."""
        return str(self.definition.get("kind") or "")

    @property
    def name(self) -> str:
        """Name, unique among the objects of its kind in its namespace."""
        return str(self._metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """Namespace, empty where the manifest names none."""
        return str(self._metadata.get("namespace") or "")

    @property
    def group(self) -> str:
        """Group of the API, such as apps; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Kind and group as kubectl takes them, such as Deployment.apps."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def title(self) -> str:
        """How an operator knows it."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @property
    def is_foundation(self) -> bool:
        """Whether other objects of the same manifest may need it first."""
        return self.kind in _FOUNDATIONS

    @property
    def is_custom_kind(self) -> bool:
        """Whether it teaches the API server a new kind."""
        return self.kind == "CustomResourceDefinition"

    @property
    def is_workload(self) -> bool:
        """Whether it has pods that are rolled out."""
        return self.kind in _WORKLOADS

    @property
    def is_secret(self) -> bool:
        """Whether its content must never be shown."""
        return self.kind == "Secret"

    @property
    def pod_labels(self) -> Mapping[str, Any]:
        """Labels by which a workload knows its pods."""
        labels: Mapping[str, Any] = self.definition.get("spec", {}).get("selector", {}).get("matchLabels", {})
        return labels

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = self.definition.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


def objects(definitions: Iterable[Any]) -> list[KubeObject]:
    """Objects from their definitions, with lists of objects resolved; each must say what it is."""
    found: list[KubeObject] = []
    for definition in definitions:
        if isinstance(definition, Mapping) and definition.get("kind") == "List":
            found.extend(objects(definition.get("items") or []))
        else:
            found.append(_checked(KubeObject(definition if isinstance(definition, Mapping) else {})))
    return found


def _checked(target: KubeObject) -> KubeObject:
    parts = {"apiVersion": target.api_version, "kind": target.kind, "metadata.name": target.name}
    missing = ", ".join(part for part, value in parts.items() if not value)
    if missing:
        known = f" ({target.title})" if target.title else ""
        raise GroundplaneError(
            f"The manifest has an object without {missing}{known}",
            expected="Kubernetes objects",
            remedy="complete the object",
        )
    return target


def parse_json_stream(text: str) -> list[Any]:
    """JSON documents that follow each other, as kubectl prints several objects."""
    decoder = json.JSONDecoder()
    documents = []
    rest = text.lstrip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].lstrip()
    return documents


def stream(targets: Iterable[KubeObject]) -> str:
    """Objects as kubectl reads several of them."""
    return "".join("---\n" + json.dumps(target.definition) + "\n" for target in targets)


def foundations_first(targets: Iterable[KubeObject]) -> list[KubeObject]:
    """Objects in an order in which each finds what it stands on."""
    return sorted(targets, key=lambda target: not target.is_foundation)
