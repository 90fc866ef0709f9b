# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed and available packages, asked of the distribution's own package manager."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Iterable, Mapping, Protocol, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

#: Another package run, such as an unattended upgrade after boot, is waited for instead of failing at once.
_APT_OPTIONS = (
    "--yes",
    "--quiet",
    "--option=DPkg::Lock::Timeout=300",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
)
_UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}


@dataclass(frozen=True)
class Installed:
    """One installed package."""

    version: str
    held: bool = False


@dataclass(frozen=True)
class PackagePlan:
    """What has to be done to bring packages to their wanted versions.

    :arg install: package to version, an empty version when only the name is known.
    :arg versions: package to the version that is installed afterwards.
    """

    install: Mapping[str, str] = field(default_factory=dict)
    hold: Sequence[str] = ()
    remove: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.install or self.hold or self.remove)


class PackageManager(Protocol):
    """What package_set needs of a package manager."""

    can_hold: bool

    def installed(self, names: Sequence[str]) -> dict[str, Installed]:
        """Those of the named packages that are installed."""

    def available(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Full version of every wanted package that the package index offers."""

    def refresh(self, private_directory: str | None = None) -> None:
        """Read the package index again, into a directory of its own when the machine may not be changed."""

    def install(self, versions: Mapping[str, str]) -> None:
        """Install packages at exactly these versions."""

    def hold(self, names: Sequence[str]) -> None:
        """Keep packages out of general upgrades."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove packages with their configuration."""


def version_matches(version: str, wanted: str) -> bool:
    """Whether a package version is the wanted one; without a packaging revision any revision will do."""
    return not wanted or version == wanted or version.startswith((wanted + "-", wanted + "~", wanted + "+"))


def choose_alternatives(requested: Mapping[str, str], installed: Mapping[str, Installed]) -> dict[str, str]:
    """Resolve "a | b" to the alternative that is installed, else to the first one."""
    chosen = {}
    for alternatives, version in requested.items():
        names = split_alternatives(alternatives)
        chosen[next((name for name in names if name in installed), names[0])] = version
    return chosen


def split_alternatives(alternatives: str) -> list[str]:
    """The package names in "a | b"."""
    return [name.strip() for name in alternatives.split("|")]


def outdated_packages(wanted: Mapping[str, str], installed: Mapping[str, Installed]) -> dict[str, str]:
    """Those wanted packages that are missing or have another version."""
    return {
        name: version
        for name, version in wanted.items()
        if name not in installed or not version_matches(installed[name].version, version)
    }


def is_stale_index(error: CommandError) -> bool:
    """Whether an installation failed because the mirror no longer has what the machine's index names."""
    return "404" in error.result.stderr and "Not Found" in error.result.stderr


def refuse_changes(plan: PackagePlan, installed: Mapping[str, Installed], frozen_by: str) -> None:
    """Raise when the plan takes a package away or gives it another version."""
    affected = sorted(name for name in installed if name in plan.install or name in plan.remove)
    if affected:
        raise GroundplaneError(
            f"{frozen_by} exists, so this machine is in use, and it has "
            + ", ".join(f"{name} {installed[name].version}" for name in affected),
            expected=", ".join(f"{name} {plan.install.get(name, '(removed)')}" for name in affected),
            remedy="upgrade the cluster to change its version, take the node out of it before removing packages, "
            "or ask for the installed version",
        )


def plan_presence(
    wanted: Mapping[str, str],
    installed: Mapping[str, Installed],
    available: Mapping[str, str],
    *,
    hold: bool,
) -> PackagePlan:
    """Plan for packages that shall be there.

    :arg available: full versions of those that have to be installed, as far as the index knows them.
    """
    install = {name: available.get(name, version) for name, version in outdated_packages(wanted, installed).items()}
    unheld = [name for name in wanted if name in install or not installed[name].held]
    kept = {name: installed[name].version for name in wanted if name not in install}
    return PackagePlan(install=install, hold=unheld if hold else (), versions={**kept, **install})


def plan_absence(names: Iterable[str], installed: Mapping[str, Installed]) -> PackagePlan:
    """Plan for packages that shall not be there."""
    return PackagePlan(remove=[name for name in names if name in installed])


def describe(packages: Mapping[str, Installed]) -> str:
    """One line per package, for a diff."""
    return "".join(
        f"{name} {package.version}" + (" (held)\n" if package.held else "\n")
        for name, package in sorted(packages.items())
    )


def after_plan(installed: Mapping[str, Installed], plan: PackagePlan) -> dict[str, Installed]:
    """The packages as they are once the plan is carried out."""
    packages = {name: package for name, package in installed.items() if name not in plan.remove}
    for name, version in plan.install.items():
        packages[name] = Installed(version or "(newest)", held=name in packages and packages[name].held)
    for name in plan.hold:
        packages[name] = Installed(packages[name].version, held=True)
    return packages


class Apt:
    """Debian and its relatives."""

    can_hold = True

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._index_options: Sequence[str] = ()

    def installed(self, names: Sequence[str]) -> dict[str, Installed]:
        """Ask dpkg; it exits with 1 when it has never heard of one of the names."""
        listing = self._runner.run(
            ["dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Abbrev}\t${Version}\n", *names],
            check=False,
        ).stdout
        packages = {}
        for line in listing.splitlines():
            name, status, version = line.split("\t")
            if status[1] == "i":
                packages[name] = Installed(version, held=status[0] == "h")
        return packages

    def available(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Ask the index: the candidate by apt's policy, or the newest revision of a wanted version."""
        unversioned = [name for name, version in wanted.items() if not version]
        versioned = [name for name, version in wanted.items() if version]
        found = {}
        if unversioned:
            policy = self._runner.run(["apt-cache", *self._index_options, "policy", *unversioned]).stdout
            candidates = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (\S+)", policy, re.MULTILINE)
            found.update({name: version for name, version in candidates if version != "(none)"})
        if versioned:
            madison = self._runner.run(["apt-cache", *self._index_options, "madison", *versioned], check=False).stdout
            for line in madison.splitlines():
                name, version = (column.strip() for column in line.split("|")[:2])
                if name in wanted and version_matches(version, wanted[name]):
                    found.setdefault(name, version)
        return found

    def refresh(self, private_directory: str | None = None) -> None:
        """Read the package index again; a private one is used by later questions to the index."""
        if private_directory:
            self._index_options = (
                f"--option=Dir::State::Lists={private_directory}",
                "--option=Dir::Cache::PkgCache=",
                "--option=Dir::Cache::SrcPkgCache=",
                "--option=APT::Sandbox::User=root",
            )
        self._runner.run(["apt-get", *_APT_OPTIONS, *self._index_options, "update"], environment=_UNATTENDED)

    def install(self, versions: Mapping[str, str]) -> None:
        """Install exactly these versions; nothing else is replaced, and nothing recommended comes along."""
        self._runner.run(
            [
                "apt-get",
                *_APT_OPTIONS,
                "--no-install-recommends",
                "--allow-downgrades",
                "--allow-change-held-packages",
                "--no-remove",
                "install",
                *(f"{name}={version}" for name, version in versions.items()),
            ],
            environment=_UNATTENDED,
        )

    def hold(self, names: Sequence[str]) -> None:
        """Keep packages out of upgrades."""
        self._runner.run(["apt-mark", "hold", *names])

    def remove(self, names: Sequence[str]) -> None:
        """Remove packages with their configuration."""
        self._runner.run(
            ["apt-get", *_APT_OPTIONS, "--allow-change-held-packages", "purge", *names], environment=_UNATTENDED
        )


class Dnf:
    """Red Hat's family; packages are held there by the exclude list of their repository."""

    can_hold = False

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def installed(self, names: Sequence[str]) -> dict[str, Installed]:
        """Ask rpm; its exit code is the number of packages that are not installed."""
        listing = self._runner.run(
            ["rpm", "--query", "--queryformat=%{NAME}\t%{VERSION}-%{RELEASE}\n", *names], check=False
        ).stdout
        return {name: Installed(version) for name, version in _columns(listing)}

    def available(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Ask the repositories for the newest package of every name or name-version."""
        listing = self._runner.run(
            [
                "dnf",
                "--quiet",
                "repoquery",
                "--available",
                "--disableexcludes=all",
                "--latest-limit=1",
                "--queryformat=%{name}\t%{version}-%{release}",
                *_dnf_specifications(wanted),
            ]
        ).stdout
        return {name: version for name, version in _columns(listing) if name in wanted}

    def refresh(self, private_directory: str | None = None) -> None:
        """Read the metadata of the repositories again; it is a cache, which changes nothing of the machine."""
        self._runner.run(["dnf", "--quiet", "--assumeyes", "makecache"])

    def install(self, versions: Mapping[str, str]) -> None:
        """Install exactly these versions, also those that the repository's exclude list holds."""
        self._runner.run(
            [
                "dnf",
                "--quiet",
                "--assumeyes",
                "--disableexcludes=all",
                "--setopt=install_weak_deps=False",
                "install",
                *_dnf_specifications(versions),
            ]
        )

    def hold(self, names: Sequence[str]) -> None:
        """Nothing to do, see can_hold."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove packages."""
        self._runner.run(["dnf", "--quiet", "--assumeyes", "--disableexcludes=all", "remove", *names])


def _columns(listing: str) -> list[tuple[str, str]]:
    """The lines of two columns; rpm reports missing packages in sentences without a tabulator."""
    pairs = []
    for line in listing.splitlines():
        name, separator, version = line.partition("\t")
        if separator:
            pairs.append((name, version))
    return pairs


def _dnf_specifications(versions: Mapping[str, str]) -> list[str]:
    return [f"{name}-{version}" if version else name for name, version in versions.items()]


def package_manager(runner: Runner) -> PackageManager:
    """The package manager of this machine."""
    if runner.find("apt-get"):
        return Apt(runner)
    if runner.find("dnf"):
        return Dnf(runner)
    raise GroundplaneError(
        "This machine has neither apt-get nor dnf",
        expected="a distribution of the Debian or the Red Hat family",
        remedy="install the packages by other means and leave this role out",
    )
