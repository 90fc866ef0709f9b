# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs the compiled programs as the Debian packages that pkgs.k8s.io offers.

Names, versions, dependencies, file paths and the kubelet's units are those of the official packages, because roles
and users rely on them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import programs
from tests.lab.process import run
from tests.lab.recipes import FIXED_TIME
from tests.lab.settings import Paths
from tests.lab.versions import PACKAGE_REVISION, without_v

PACKAGING_FOLDER = Path(__file__).resolve().parent / "packaging"


@dataclass(frozen=True)
class File:
    """One file of a package: a copy of a file here, or an empty one."""

    source: Path | None = None
    mode: int = 0o644


@dataclass(frozen=True)
class Package:
    """A Debian package before it is packed."""

    name: str
    version: str
    section: str
    summary: str
    files: Mapping[str, File]
    depends: tuple[str, ...] = ()
    conffiles: tuple[str, ...] = ()
    #: Maintainer scripts by name, such as postinst.
    scripts: Mapping[str, Path] = field(default_factory=dict)

    def file_name(self, architecture: str) -> str:
        """Name of the packed file."""
        return f"{self.name}_{self.version}_{architecture}.deb"


def render_control(package: Package, architecture: str, installed_kibibytes: int) -> str:
    """Return the text of a package's control file."""
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": architecture,
        "Maintainer": "groundplane.kubeadm contributors",
        "Installed-Size": str(installed_kibibytes),
        "Depends": ", ".join(package.depends),
        "Section": package.section,
        "Priority": "optional",
        "Homepage": "https://kubernetes.io",
        "Description": package.summary,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def package_version(version: str) -> str:
    """Return a program's version as pkgs.k8s.io writes it: v1.36.3 becomes 1.36.3-1.1."""
    return f"{without_v(version)}-{PACKAGE_REVISION}"


def all_packages(paths: Paths) -> list[Package]:
    """Return the packages of the repository, made of the compiled programs."""
    kubernetes_version = package_version(programs.KUBERNETES.version)

    def kubernetes_program(name: str) -> dict[str, File]:
        return {f"usr/bin/{name}": File(programs.program(paths, programs.KUBERNETES, name), 0o755)}

    def packaging_file(name: str) -> File:
        return File(PACKAGING_FOLDER / name)

    plugins = programs.folder(paths, programs.CNI_PLUGINS)
    return [
        Package(
            name="kubeadm",
            version=kubernetes_version,
            section="admin",
            summary="Command-line utility for administering a Kubernetes cluster",
            files={
                **kubernetes_program("kubeadm"),
                "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": packaging_file("10-kubeadm.conf"),
            },
        ),
        Package(
            name="kubectl",
            version=kubernetes_version,
            section="admin",
            summary="Command-line utility for interacting with a Kubernetes cluster",
            files=kubernetes_program("kubectl"),
        ),
        Package(
            name="kubelet",
            version=kubernetes_version,
            section="net",
            summary="Node agent for Kubernetes clusters",
            depends=("iptables (>= 1.4.21)", "kubernetes-cni (>= 1.2.0)", "mount", "util-linux"),
            files={
                **kubernetes_program("kubelet"),
                "usr/lib/systemd/system/kubelet.service": packaging_file("kubelet.service"),
                "etc/default/kubelet": packaging_file("kubelet.default"),
                "etc/kubernetes/manifests/.kubelet-keep": File(),
                "var/lib/kubelet/.kubelet-keep": File(),
            },
            conffiles=("/etc/default/kubelet",),
            scripts={name: PACKAGING_FOLDER / f"kubelet.{name}" for name in ("postinst", "prerm", "postrm")},
        ),
        Package(
            name="kubernetes-cni",
            version=package_version(programs.CNI_PLUGINS.version),
            section="net",
            summary="Binaries required to provision kubernetes container networking",
            files={
                **{f"opt/cni/bin/{plugin.name}": File(plugin, 0o755) for plugin in sorted(plugins.iterdir())},
                "etc/cni/net.d/.kubernetes-cni-keep": File(),
            },
        ),
        Package(
            name="cri-tools",
            version=package_version(programs.CRI_TOOLS.version),
            section="admin",
            summary="Command-line utility for interacting with a container runtime",
            files={"usr/bin/crictl": File(programs.program(paths, programs.CRI_TOOLS, "crictl"), 0o755)},
        ),
    ]


def debian_architecture() -> str:
    """Architecture of this machine, which is that of the programs."""
    return run(["dpkg", "--print-architecture"]).strip()


def pack(package: Package, architecture: str, workshop: Path, target: Path) -> None:
    """Write a package into the folder target, laying out its files in the empty folder workshop."""
    for path, file in package.files.items():
        _lay_out(workshop / path, file)
    installed_bytes = sum(file.stat().st_size for file in workshop.rglob("*") if file.is_file())
    control = workshop / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(render_control(package, architecture, installed_bytes // 1024 + 1))
    if package.conffiles:
        (control / "conffiles").write_text("".join(f"{path}\n" for path in package.conffiles))
    for name, script in package.scripts.items():
        _lay_out(control / name, File(script, 0o755))
    for folder in (workshop, *(path for path in workshop.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    # The nodes are one bridge away: quick packing and unpacking is worth more than small files.
    compression = ["-Zgzip", "-z1"]
    run(
        [
            *("dpkg-deb", "--root-owner-group", *compression, "--build"),
            *(str(workshop), str(target / package.file_name(architecture))),
        ],
        environment={"SOURCE_DATE_EPOCH": str(FIXED_TIME)},
    )


def _lay_out(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.source:
        shutil.copyfile(file.source, path)
    else:
        path.touch()
    path.chmod(file.mode)
