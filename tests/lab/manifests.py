# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers the manifests of the releases of flannel, Calico and MetalLB, out of the sources in their Go modules.

A release's kube-flannel.yml is what `kubectl kustomize` prints for a folder of the sources, byte for byte. The
manifests of canal and MetalLB lie in the sources as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from pathlib import Path

from tests.lab import programs
from tests.lab.parts import Part
from tests.lab.process import LabError, run
from tests.lab.progress import Report, step
from tests.lab.settings import Paths
from tests.lab.versions import calico_version, flannel_version, metallb_version

KUSTOMIZATION = Path("Documentation") / "kustomization" / "kube-flannel"
CANAL_SOURCE = Path("manifests") / "canal.yaml"
METALLB_SOURCE = Path("config") / "manifests" / "metallb-native.yaml"

#: Digest of canal.yaml at the tag of Calico's release that modules/calico pins.
CANAL_DIGEST = "6b8fc10cd5735c44b6ba8ecab4dd7981134ad85fd1ec310def2735bde81e7f53"

#: flannel as canal's manifest names it; role cni_canal puts its own in the place.
REPLACED_IMAGE = "docker.io/flannel/flannel"


def flannel_manifest(paths: Paths) -> Path:
    """Path of the manifest below the document root, the same as on github.com."""
    release = paths.web / "flannel-io" / "flannel" / "releases" / "download" / flannel_version()
    return release / "kube-flannel.yml"


def canal_manifest(paths: Paths) -> Path:
    """Path of the manifest below the document root, the same as on raw.githubusercontent.com."""
    return paths.web / "projectcalico" / "calico" / calico_version() / CANAL_SOURCE


def metallb_manifest(paths: Paths) -> Path:
    """Path of the manifest below the document root, the same as on raw.githubusercontent.com."""
    return paths.web / "metallb" / "metallb" / metallb_version() / METALLB_SOURCE


def ensure_manifests(paths: Paths, parts: Collection[Part], report: Report) -> None:
    """Write the manifests of these parts that are not there."""
    for part, manifest, title, read in (
        (Part.BASE, flannel_manifest(paths), f"flannel {flannel_version()}", _flannel),
        (Part.CANAL, canal_manifest(paths), f"canal of Calico {calico_version()}", _canal),
        (Part.METALLB, metallb_manifest(paths), f"MetalLB {metallb_version()}", _metallb),
    ):
        if part in parts and not manifest.exists():
            with step(report, f"manifests: {title}"):
                _write(manifest, read(paths, report))


def _flannel(paths: Paths, report: Report) -> bytes:
    kubectl = programs.program(paths, programs.KUBERNETES, "kubectl")
    sources = programs.module_folder(paths, programs.FLANNEL, report)
    return run([str(kubectl), "kustomize", str(sources / KUSTOMIZATION)]).encode()


def _canal(paths: Paths, report: Report) -> bytes:
    content = (programs.module_folder(paths, programs.CALICO, report) / CANAL_SOURCE).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != CANAL_DIGEST:
        raise LabError(
            f"canal.yaml of Calico {calico_version()} has the digest {digest}; expected {CANAL_DIGEST}. Another "
            "release needs another CANAL_DIGEST in manifests.py."
        )
    return content


def _metallb(paths: Paths, report: Report) -> bytes:
    return (programs.module_folder(paths, programs.METALLB, report) / METALLB_SOURCE).read_bytes()


def _write(manifest: Path, content: bytes) -> None:
    """Write a manifest that is there either whole or not at all."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    unfinished = manifest.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.rename(manifest)


def images_of(manifest: Path) -> list[str]:
    """Images that a manifest names, each once; those that a role replaces are left out."""
    images = set(read_images(manifest.read_text()))
    return sorted(image for image in images if not image.startswith(f"{REPLACED_IMAGE}:"))


def read_images(manifest: str) -> list[str]:
    """Images in the text of a manifest, in their order."""
    return re.findall(r"^\s*(?:- )?image: (\S+)$", manifest, re.MULTILINE)
