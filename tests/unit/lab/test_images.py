# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: their names, and what the registry's storage is known to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import images, manifests
from tests.lab.process import LabError
from tests.lab.registry_storage import StoredImages


def test_a_reference_has_a_host_a_repository_and_a_tag() -> None:
    parts = images.split_reference("registry.k8s.io/coredns/coredns:v1.14.2")
    assert parts == ("registry.k8s.io", "coredns/coredns", "v1.14.2")


def test_a_reference_without_a_tag_is_refused() -> None:
    with pytest.raises(LabError, match="has no tag"):
        images.split_reference("registry.k8s.io/pause")


def test_images_of_a_manifest() -> None:
    manifest = "spec:\n  containers:\n  - image: ghcr.io/a/b:v1\n    name: b\n  - name: c\n    image: ghcr.io/a/c:v2\n"
    assert manifests.read_images(manifest) == ["ghcr.io/a/b:v1", "ghcr.io/a/c:v2"]


@pytest.fixture
def link(tmp_path: Path) -> Path:
    folder = tmp_path / "docker/registry/v2/repositories/coredns/coredns/_manifests/tags/v1/current"
    folder.mkdir(parents=True)
    return folder / "link"


def test_an_image_is_known_by_its_recipe(tmp_path: Path, link: Path) -> None:
    link.write_text("sha256:1")
    stored = StoredImages(tmp_path)
    assert not stored.holds("coredns/coredns", "v1", "recipe")
    stored.remember("coredns/coredns", "v1", "recipe", "sha256:1")
    assert stored.holds("coredns/coredns", "v1", "recipe")
    assert not stored.holds("coredns/coredns", "v1", "another recipe")


def test_an_image_that_was_replaced_is_not_known(tmp_path: Path, link: Path) -> None:
    link.write_text("sha256:1")
    stored = StoredImages(tmp_path)
    stored.remember("coredns/coredns", "v1", "recipe", "sha256:1")
    link.write_text("sha256:2")
    assert not stored.holds("coredns/coredns", "v1", "recipe")


def test_an_image_that_did_not_arrive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="holds nothing as pause:3"):
        StoredImages(tmp_path).remember("pause", "3", "recipe", "sha256:1")
