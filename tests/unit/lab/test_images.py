# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: their names, and what the registry's storage is known to hold."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab import images, manifests
from tests.lab.parts import Part
from tests.lab.process import LabError
from tests.lab.registry_storage import StoredImages
from tests.lab.settings import Paths
from tests.lab.versions import calico_version


def test_a_reference_has_a_host_a_repository_and_a_tag() -> None:
    parts = images.split_reference("registry.k8s.io/coredns/coredns:v1.14.2")
    assert parts == ("registry.k8s.io", "coredns/coredns", "v1.14.2")


def test_a_reference_without_a_tag_is_refused() -> None:
    with pytest.raises(LabError, match="has no tag"):
        images.split_reference("registry.k8s.io/pause")


def test_images_of_a_manifest() -> None:
    manifest = "spec:\n  containers:\n  - image: ghcr.io/a/b:v1\n    name: b\n  - name: c\n    image: ghcr.io/a/c:v2\n"
    assert manifests.read_images(manifest) == ["ghcr.io/a/b:v1", "ghcr.io/a/c:v2"]


CANAL = """
          image: quay.io/calico/cni:v3.31.0
          image: quay.io/calico/node:v3.31.0
          image: quay.io/calico/node:v3.31.0
          image: docker.io/flannel/flannel:v0.24.4
          image: quay.io/calico/kube-controllers:v3.31.0
"""


def test_images_of_calico_without_the_flannel_that_the_role_replaces(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    manifest = manifests.canal_manifest(paths)
    assert manifest.relative_to(paths.web) == Path("projectcalico/calico") / calico_version() / "manifests/canal.yaml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(CANAL)
    made = {image.repository: image for image in images.calico_images(paths)}
    assert set(made) == {"calico/cni", "calico/node", "calico/kube-controllers"}
    assert made["calico/kube-controllers"].configuration.user.isdigit()
    assert made["calico/node"].configuration.command == ("start_runit",)
    plugins = {Path(entry.path).name for entry in made["calico/cni"].entries if entry.path.startswith("opt/cni/bin/")}
    assert {"install", "calico", "calico-ipam", "host-local", "portmap", "loopback"} <= plugins


CALICO_NODE = """#!/bin/sh
echo "$* $NODENAME $FELIX_FELIXHOSTNAME $FELIX_DATASTORETYPE $FELIX_DebugSkipCTLBCleanup" >> calls
case $1 in
-startup) exit 0 ;;
-complete-startup)
    until grep -q monitor-token calls && grep -q felix calls; do sleep 0.05; done
    kill -TERM $PPID
    exit 0 ;;
esac
exec sleep 60
"""


def test_felix_of_calico_runs_beside_its_helper_and_looks_for_no_leftovers_of_ebpf(tmp_path: Path) -> None:
    program = tmp_path / "calico-node"
    program.write_text(CALICO_NODE)
    program.chmod(0o755)
    (tmp_path / "nodename").write_text("worker-1\n")
    script = images.START_RUNIT.read_text().replace("/var/lib/calico/", "./")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DATASTORE_TYPE": "kubernetes"}
    subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, start_new_session=True, timeout=30, check=False)
    startup, *further = (tmp_path / "calls").read_text().splitlines()
    assert startup.split() == ["-startup"]
    assert sorted(line.split() for line in further) == [
        [command, "worker-1", "worker-1", "kubernetes", "true"]
        for command in ("-complete-startup", "-felix", "-monitor-token")
    ]


def test_an_unknown_image_of_calico_is_refused(tmp_path: Path) -> None:
    manifest = manifests.canal_manifest(Paths(tmp_path))
    manifest.parent.mkdir(parents=True)
    manifest.write_text("  image: quay.io/calico/typha:v3.31.0\n")
    with pytest.raises(LabError, match="calico/typha"):
        images.calico_images(Paths(tmp_path))


def test_what_calicos_node_starts_with_makes_another_image_of_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifests.canal_manifest(Paths(tmp_path))
    manifest.parent.mkdir(parents=True)
    manifest.write_text(CANAL)
    script = tmp_path / "start_runit"
    monkeypatch.setattr(images, "START_RUNIT", script)
    monkeypatch.setattr(images, "debian_architecture", lambda: "amd64")

    def recipes(content: str) -> dict[str, str]:
        script.write_text(content)
        return {image.repository: images.recipe_of(image) for image in images.calico_images(Paths(tmp_path))}

    before, after = recipes("#!/bin/sh\n"), recipes("#!/bin/sh\n:\n")
    assert [name for name in before if before[name] != after[name]] == ["calico/node"]
    assert images.START_RUNIT not in images.RECIPE_SOURCES


def test_a_canal_manifest_of_another_release_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/canal.yaml").write_text("kind: List\n")
    monkeypatch.setattr(manifests.programs, "module_folder", lambda paths, group, report: tmp_path)
    with pytest.raises(LabError, match="CANAL_DIGEST"):
        manifests.ensure_manifests(Paths(tmp_path), [Part.CANAL], lambda message: None)


def test_manifests_of_other_parts_are_neither_written_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, source = Paths(tmp_path / "cache"), tmp_path / manifests.METALLB_SOURCE
    source.parent.mkdir(parents=True)
    source.write_text("kind: List\n")
    monkeypatch.setattr(manifests.programs, "module_folder", lambda paths, group, report: tmp_path)
    there = manifests.flannel_manifest(paths)
    there.parent.mkdir(parents=True)
    there.touch()
    manifests.ensure_manifests(paths, [Part.METALLB], lambda message: None)
    assert {path for path in paths.web.rglob("*") if path.is_file()} == {there, manifests.metallb_manifest(paths)}


def test_images_of_other_parts_are_not_even_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifests.canal_manifest(Paths(tmp_path))
    manifest.parent.mkdir(parents=True)
    manifest.write_text(CANAL)
    looked_at = set()
    monkeypatch.setattr(images, "debian_architecture", lambda: "amd64")
    monkeypatch.setattr(StoredImages, "holds", lambda stored, repository, *_: looked_at.add(repository) or True)
    images.ensure_images(Paths(tmp_path), [Part.CANAL], lambda message: None)
    assert looked_at == {"calico/cni", "calico/node", "calico/kube-controllers"}


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
