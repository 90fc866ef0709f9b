# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles the programs of a cluster from their published Go modules.

Each group of programs is one Go module of ours in modules/<group>: go.mod pins the module that the programs come
from and lists them as its tools, go.sum fixes every dependency by its digest.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import recipes
from tests.lab.parts import Part
from tests.lab.process import LabError, run
from tests.lab.progress import Counter, Report, step
from tests.lab.recipes import finished_folder
from tests.lab.settings import Paths
from tests.lab.toolchain import ensure_go
from tests.lab.versions import MODULES_FOLDER, calico_version, module_version, without_v

PAUSE_SOURCE = Path(__file__).resolve().parent / "pause" / "pause.c"


@dataclass(frozen=True)
class Group:
    """Programs that are released together, built in one go."""

    name: str
    #: Module whose version is the version of the programs.
    module: str
    #: Variables that the programs learn their version from, with {version} for v1.2.3 and {number} for 1.2.3.
    stamps: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    #: Whether C code is part of the programs; they are linked statically all the same.
    with_c: bool = False
    #: Official names of programs which Go names differently.
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """Folder with go.mod and go.sum."""
        return MODULES_FOLDER / self.name

    @property
    def version(self) -> str:
        """Version of the programs, such as v1.36.3."""
        return module_version(self.name, self.module)

    def linker_flags(self) -> str:
        """Flags for the linker: no debugging symbols, and the version."""
        major, minor = without_v(self.version).split(".")[:2]
        values = {"version": self.version, "number": without_v(self.version), "major": major, "minor": minor}
        stamps = [f"-X {variable}={value.format(**values)}" for variable, value in self.stamps.items()]
        return " ".join(["-s -w", *(["-extldflags -static"] if self.with_c else []), *stamps])

    def build_command(self, go: Path, target: Path) -> list[str]:
        """Command that compiles every program of the group into the folder target."""
        flags = ["-v", "-trimpath", "-buildvcs=false", "-mod=readonly", f"-tags={','.join(self.tags)}"]
        linking = [f"-ldflags={self.linker_flags()}", "-o", f"{target}/"]
        return [str(go), "-C", str(self.source), "build", *flags, *linking, "tool"]

    def recipe(self) -> str:
        """Digest of everything that decides about the result."""
        flags = repr((self.linker_flags(), self.tags, self.with_c, sorted(self.names.items())))
        files = sorted(file for file in self.source.rglob("*") if file.is_file())
        return recipes.digest([*files, flags])[:12]


def _kubernetes_stamps() -> dict[str, str]:
    """Kubernetes keeps its version twice: for the programs, and for what its client library says of itself."""
    values = {"gitVersion": "{version}", "gitMajor": "{major}", "gitMinor": "{minor}", "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in values.items()}


_CNI_STAMP = {"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": "{version}"}

KUBERNETES = Group(
    "kubernetes",
    "k8s.io/kubernetes",
    stamps=_kubernetes_stamps(),
    tags=("selinux", "notest", "grpcnotrace"),
)
ETCD = Group("etcd", "go.etcd.io/etcd/server/v3", names={"server": "etcd"})
COREDNS = Group("coredns", "github.com/coredns/coredns", tags=("grpcnotrace",))
FLANNEL = Group(
    "flannel",
    "github.com/flannel-io/flannel",
    stamps={"github.com/flannel-io/flannel/pkg/version.Version": "{version}"},
    tags=("netgo", "osusergo"),
    with_c=True,
    names={"flannel": "flanneld"},
)

#: Before flannel released its CNI plugin by itself, containernetworking/plugins shipped it, up to v0.9.1. The lab
#: builds that one, because the module proxy refuses every version of github.com/flannel-io/cni-plugin. It reads the
#: same subnet.env and the same configuration, and calls the same bridge plugin.
FLANNEL_CNI_PLUGIN = Group("flannel-cni-plugin", "github.com/containernetworking/plugins", stamps=_CNI_STAMP)

#: Without C, felix has no eBPF data plane; it filters with iptables or nftables, as canal's manifest has it.
CALICO = Group(
    "calico",
    "github.com/projectcalico/calico",
    stamps={
        "github.com/projectcalico/calico/pkg/buildinfo.Version": calico_version(),
        "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": calico_version(),
    },
)
METALLB = Group("metallb", "go.universe.tf/metallb")
CRI_TOOLS = Group(
    "cri-tools",
    "sigs.k8s.io/cri-tools",
    stamps={"sigs.k8s.io/cri-tools/pkg/version.Version": "{number}"},
)
CNI_PLUGINS = Group("cni-plugins", "github.com/containernetworking/plugins", stamps=_CNI_STAMP)

GROUPS = {
    Part.BASE: (KUBERNETES, ETCD, COREDNS, FLANNEL, FLANNEL_CNI_PLUGIN, CRI_TOOLS, CNI_PLUGINS),
    Part.CANAL: (CALICO,),
    Part.METALLB: (METALLB,),
}


def folder(paths: Paths, group: Group) -> Path:
    """Folder of a group's compiled programs."""
    return paths.programs / group.name / f"{group.version}-{group.recipe()}"


def program(paths: Paths, group: Group, name: str) -> Path:
    """Path of one compiled program."""
    return folder(paths, group) / name


def pause_program(paths: Paths) -> Path:
    """Path of the compiled pause."""
    return paths.programs / "pause" / recipes.digest([PAUSE_SOURCE])[:12] / "pause"


def ensure_programs(paths: Paths, parts: Collection[Part], report: Report) -> None:
    """Compile whatever of these parts is not there yet."""
    missing = [group for part in parts for group in GROUPS[part] if not folder(paths, group).is_dir()]
    for position, group in enumerate(missing, start=1):
        with step(report, f"programs: {group.name} {group.version} ({position} of {len(missing)})"):
            _compile(paths, group, report)
    if Part.BASE in parts and not pause_program(paths).exists():
        with step(report, "programs: pause"), finished_folder(pause_program(paths).parent) as target:
            run(["gcc", "-Os", "-static", "-Wall", "-Wextra", "-Werror", "-o", f"{target}/pause", str(PAUSE_SOURCE)])


def go_environment(group: Group) -> dict[str, str]:
    """Variables for Go that make a build independent of the user's own settings."""
    return {
        "CGO_ENABLED": "1" if group.with_c else "0",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "auto",
        "GOWORK": "off",
    }


def module_folder(paths: Paths, group: Group, report: Report) -> Path:
    """Unpacked source of a group's main module, fetched if need be."""
    go, environment = str(ensure_go(paths, report)), go_environment(group)
    run([go, "-C", str(group.source), "mod", "download", group.module], environment=environment)
    listing = run([go, "-C", str(group.source), "list", "-m", "-f", "{{.Dir}}", group.module], environment=environment)
    return Path(listing.strip())


def _compile(paths: Paths, group: Group, report: Report) -> None:
    go, environment = ensure_go(paths, report), go_environment(group)
    dependencies = run(
        [str(go), "-C", str(group.source), "list", f"-tags={','.join(group.tags)}", "-deps", "tool"],
        environment=environment,
    )
    counter = Counter(report, f"programs: {group.name}, packages compiled", len(dependencies.splitlines()))
    with finished_folder(folder(paths, group)) as target:
        _run_counted(group.build_command(go, target), environment, counter)
        for built_name, official_name in group.names.items():
            (target / built_name).rename(target / official_name)


def _run_counted(command: list[str], environment: Mapping[str, str], counter: Counter) -> None:
    """Run the compiler, which names each package as it comes to it."""
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as compiler:
        lines = []
        for line in compiler.stderr or ():
            lines.append(line.rstrip())
            counter.count()
    if compiler.returncode != 0:
        last_lines = "\n".join(lines[-15:])
        raise LabError(f"`{' '.join(command)}` ended with {compiler.returncode}:\n{last_lines}")
