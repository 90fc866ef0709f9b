# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions the lab builds: read from the pinned modules, which are the only place that states them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

MODULES_FOLDER = Path(__file__).resolve().parent / "modules"

#: Revision that the packages of pkgs.k8s.io carry behind the version of the program.
PACKAGE_REVISION = "1.1"

#: Release of Debian whose user space the images with a shell are made of.
DEBIAN_SUITE = "trixie"

_RELEASE = re.compile(r"^\s*(?P<module>\S+) v0\.0\.0-\d{14}-[0-9a-f]{12} // (?:indirect; )?(?P<release>v\d\S*)$", re.M)
_REQUIREMENT = re.compile(r"^(?:require)?\s*(?P<module>[\w.\-/~]+\.[\w.\-/~]+) (?P<version>v\d\S*)", re.MULTILINE)


def read_requirements(go_mod: str) -> dict[str, str]:
    """Return the modules that the text of a go.mod requires, with their versions."""
    return {found["module"]: found["version"] for found in _REQUIREMENT.finditer(go_mod)}


@cache
def module_version(group: str, module: str) -> str:
    """Return the version of a module pinned by modules/<group>/go.mod, such as v1.36.3."""
    go_mod = MODULES_FOLDER / group / "go.mod"
    requirements = read_requirements(go_mod.read_text())
    if module not in requirements:
        raise LookupError(f"{go_mod} requires no {module}; expected it there because the version is read from it.")
    return requirements[module]


@cache
def module_release(group: str, module: str) -> str:
    """Return the release that modules/<group>/go.mod notes beside the commit of a module, such as v3.31.0."""
    go_mod = MODULES_FOLDER / group / "go.mod"
    releases = {found["module"]: found["release"] for found in _RELEASE.finditer(go_mod.read_text())}
    if module not in releases:
        raise LookupError(f"{go_mod} notes no release of {module}; expected it behind the commit, as in `// v3.31.0`.")
    return releases[module]


def without_v(version: str) -> str:
    """Return a Go version as packages write it: v1.36.3 becomes 1.36.3."""
    return version.lstrip("v")


def minor(version: str) -> str:
    """Return the minor release that a version belongs to: v1.36.3 becomes v1.36."""
    return ".".join(version.split(".")[:2])


def kubernetes_version() -> str:
    """Version of Kubernetes that the lab builds."""
    return module_version("kubernetes", "k8s.io/kubernetes")


def flannel_version() -> str:
    """Version of flannel that the lab builds."""
    return module_version("flannel", "github.com/flannel-io/flannel")


def calico_version() -> str:
    """Release of Calico that the lab builds."""
    return module_release("calico", "github.com/projectcalico/calico")


def metallb_version() -> str:
    """Version of MetalLB that the lab builds."""
    return module_version("metallb", "go.universe.tf/metallb")
