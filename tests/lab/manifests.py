# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers the manifests of flannel's release, made from the sources in its Go module.

A release's kube-flannel.yml is what `kubectl kustomize` prints for a folder of the sources, byte for byte.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab import programs
from tests.lab.process import run
from tests.lab.progress import Report, step
from tests.lab.settings import Paths
from tests.lab.versions import flannel_version

KUSTOMIZATION = Path("Documentation") / "kustomization" / "kube-flannel"


def flannel_manifest(paths: Paths) -> Path:
    """Path of the manifest below the document root, the same as on github.com."""
    release = paths.web / "flannel-io" / "flannel" / "releases" / "download" / flannel_version()
    return release / "kube-flannel.yml"


def ensure_manifests(paths: Paths, report: Report) -> None:
    """Write the manifest, unless it is there."""
    manifest = flannel_manifest(paths)
    if manifest.exists():
        return
    with step(report, f"manifests: flannel {flannel_version()}"):
        kubectl = programs.program(paths, programs.KUBERNETES, "kubectl")
        sources = programs.module_folder(paths, programs.FLANNEL, report)
        text = run([str(kubectl), "kustomize", str(sources / KUSTOMIZATION)])
        manifest.parent.mkdir(parents=True, exist_ok=True)
        unfinished = manifest.with_suffix(".unfinished")
        unfinished.write_text(text)
        unfinished.rename(manifest)


def images_of_manifest(paths: Paths) -> list[str]:
    """Images that the manifest names, each once."""
    return sorted(set(read_images(flannel_manifest(paths).read_text())))


def read_images(manifest: str) -> list[str]:
    """Images in the text of a manifest, in their order."""
    return re.findall(r"^\s*(?:- )?image: (\S+)$", manifest, re.MULTILINE)
