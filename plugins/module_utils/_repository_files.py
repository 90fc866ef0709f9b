# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that make a package repository known to apt and dnf."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError


class Repository(NamedTuple):
    """A package repository as the module's options describe it."""

    name: str
    url: str = ""
    key_url: str = ""
    suite: str = "/"
    components: Sequence[str] = ()
    exclude: Sequence[str] = ()


class RepositoryFormat(Protocol):
    """How one package manager keeps its repositories."""

    def source_path(self, name: str) -> str:
        """File that declares the repository."""

    def key_path(self, name: str) -> str | None:
        """File for the signing key, None when the package manager fetches keys itself."""

    def render(self, repository: Repository) -> str:
        """Content of the file at source_path."""

    def refresh_command(self, name: str) -> list[str]:
        """Command that reads the index of this repository alone."""


class AptSources:
    """deb822 sources; the key is trusted for this repository only (signed-by)."""

    def source_path(self, name: str) -> str:
        """File that declares the repository."""
        return f"/etc/apt/sources.list.d/{name}.sources"

    def key_path(self, name: str) -> str:
        """ASCII-armoured key; apt reads this form by its suffix, so that nothing has to be converted."""
        return f"/etc/apt/keyrings/{name}.asc"

    def render(self, repository: Repository) -> str:
        """Content of the sources file; components exist only for suites that are not a path."""
        lines = ["Types: deb", "URIs: " + repository.url, "Suites: " + repository.suite]
        if repository.components:
            lines.append("Components: " + " ".join(repository.components))
        lines.append(f"Signed-By: {self.key_path(repository.name)}")
        return "\n".join(lines) + "\n"

    def refresh_command(self, name: str) -> list[str]:
        """The other repositories stay as they are, which makes this fast and independent of them."""
        return [
            "apt-get",
            "--quiet",
            f"--option=Dir::Etc::SourceList={self.source_path(name)}",
            "--option=Dir::Etc::SourceParts=-",
            "--option=APT::Get::List-Cleanup=false",
            "--option=APT::Update::Error-Mode=any",
            "update",
        ]


class DnfRepositories:
    """Repository files of dnf, which fetches the key named in them itself."""

    def source_path(self, name: str) -> str:
        """File that declares the repository."""
        return f"/etc/yum.repos.d/{name}.repo"

    def key_path(self, name: str) -> None:
        """dnf keeps keys in the rpm database."""

    def render(self, repository: Repository) -> str:
        """Content of the repository file."""
        lines = [
            f"[{repository.name}]",
            f"name={repository.name}",
            f"baseurl={repository.url}",
            "enabled=1",
            "gpgcheck=1",
            f"gpgkey={repository.key_url}",
        ]
        if repository.exclude:
            lines.append("exclude=" + " ".join(repository.exclude))
        return "\n".join(lines) + "\n"

    def refresh_command(self, name: str) -> list[str]:
        """Read the metadata of this repository alone."""
        return ["dnf", "--quiet", "--assumeyes", "--disablerepo=*", f"--enablerepo={name}", "makecache"]


def repository_format(runner: Runner) -> RepositoryFormat:
    """The format of this machine's package manager."""
    if runner.find("apt-get"):
        return AptSources()
    if runner.find("dnf"):
        return DnfRepositories()
    raise GroundplaneError(
        "This machine has neither apt-get nor dnf",
        expected="a distribution of the Debian or the Red Hat family",
        remedy="install the packages by other means and leave this role out",
    )


def require_armoured_key(text: str, url: str) -> str:
    """The downloaded key; an error page or a binary keyring would make apt distrust the repository later."""
    if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in text:
        raise GroundplaneError(
            f"{url} is not an ASCII-armoured OpenPGP key",
            expected="a file with the line -----BEGIN PGP PUBLIC KEY BLOCK-----",
            remedy="check the address of the repository's signing key and the proxy between",
        )
    return text
