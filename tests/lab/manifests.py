# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers the manifests of flannel and MetalLB, made from the sources in their Go modules.

A release's kube-flannel.yml is what `kubectl kustomize` prints for a folder of the sources, byte for byte. That of
MetalLB is a file of the sources.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab import programs
from tests.lab.process import run
from tests.lab.progress import Report, step
from tests.lab.settings import Paths
from tests.lab.versions import flannel_version, metallb_version

KUSTOMIZATION = Path("Documentation") / "kustomization" / "kube-flannel"
METALLB_MANIFEST = Path("config") / "manifests" / "metallb-native.yaml"


def flannel_manifest(paths: Paths) -> Path:
    """Path of the manifest below the document root, the same as on github.com."""
    release = paths.web / "flannel-io" / "flannel" / "releases" / "download" / flannel_version()
    return release / "kube-flannel.yml"


def metallb_manifest(paths: Paths) -> Path:
    """Path of the manifest below the document root, the same as on raw.githubusercontent.com."""
    return paths.web / "metallb" / "metallb" / metallb_version() / METALLB_MANIFEST


def ensure_manifests(paths: Paths, report: Report) -> None:
    """Write the manifests that are not there."""
    flannel, metallb = flannel_manifest(paths), metallb_manifest(paths)
    if not flannel.exists():
        with step(report, f"manifests: flannel {flannel_version()}"):
            kubectl = programs.program(paths, programs.KUBERNETES, "kubectl")
            sources = programs.module_folder(paths, programs.FLANNEL, report)
            _write(flannel, run([str(kubectl), "kustomize", str(sources / KUSTOMIZATION)]))
    if not metallb.exists():
        with step(report, f"manifests: MetalLB {metallb_version()}"):
            sources = programs.module_folder(paths, programs.METALLB, report)
            _write(metallb, (sources / METALLB_MANIFEST).read_text())


def _write(manifest: Path, text: str) -> None:
    """Write a manifest that is there either whole or not at all."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    unfinished = manifest.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.rename(manifest)


def images_of_manifest(manifest: Path) -> list[str]:
    """Images that a manifest names, each once."""
    return sorted(set(read_images(manifest.read_text())))


def read_images(manifest: str) -> list[str]:
    """Images in the text of a manifest, in their order."""
    return re.findall(r"^\s*(?:- )?image: (\S+)$", manifest, re.MULTILINE)
