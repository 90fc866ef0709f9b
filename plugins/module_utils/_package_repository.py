# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Kubernetes versions a deb or rpm repository offers, read from its index without a package manager."""

from __future__ import annotations

import gzip
import http.client
import re
import zlib
from typing import Iterable, Iterator, Mapping, NamedTuple, Sequence
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import (
    Fetcher,
    FetchError,
    url_fetcher,
    without_credentials,
)

#: Asking a repository takes a fetcher, so those who ask find it here.
__all__ = [
    "KUBERNETES_PACKAGES",
    "Fetcher",
    "Package",
    "Selection",
    "find_version",
    "package_architecture",
    "parse_deb_index",
    "parse_rpm_primary",
    "primary_location",
    "read_index",
    "select",
    "url_fetcher",
    "version_key",
    "wanted_version",
    "without_credentials",
]

#: The packages that have the version of the Kubernetes release; cri-tools and kubernetes-cni have their own.
KUBERNETES_PACKAGES = ("kubeadm", "kubelet", "kubectl")

#: How many versions an error message lists.
_LISTED = 8

_WANTED_VERSION = re.compile(r"^v?(\d+\.\d+(?:\.\d+)?)$")
_RELEASED_VERSION = re.compile(r"^\d+\.\d+\.\d+$")

_DEB_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el", "armv7l": "armhf"}
_RPM_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "ppc64el": "ppc64le"}
_ANY_ARCHITECTURE = ("all", "noarch")

_RPM_NAMESPACES = {
    "common": "http://linux.duke.edu/metadata/common",
    "repo": "http://linux.duke.edu/metadata/repo",
}
_GZIP_MAGIC = b"\x1f\x8b"

_REMEDY_UNREACHABLE = (
    "allow this host to reach the address, give it a proxy (cluster_http_proxy, cluster_https_proxy), "
    "or point kube_packages_repository_url to a mirror that it can reach"
)
_REMEDY_NOT_A_REPOSITORY = (
    "check kube_packages_repository_url: it must end in the folder that holds the index, "
    "such as https://pkgs.k8s.io/core:/stable:/v1.36/deb/"
)


class Package(NamedTuple):
    """One package of a repository: version is the software's, revision the packager's."""

    name: str
    version: str
    revision: str
    architecture: str

    @property
    def full_version(self) -> str:
        """Version as a package manager wants it, such as 1.36.3-1.1."""
        return f"{self.version}-{self.revision}" if self.revision else self.version


class Selection(NamedTuple):
    """The version that was chosen, and what else could have been."""

    version: str
    package_versions: Mapping[str, str]
    available: Sequence[str]


def find_version(
    fetch: Fetcher,
    *,
    url: str,
    kind: str,
    version: str,
    architecture: str,
    names: Sequence[str] = KUBERNETES_PACKAGES,
) -> Selection:
    """Choose the version to install from the repository at url.

    :arg kind: deb or rpm.
    :arg version: a minor such as 1.36 for its newest patch, or exactly one such as 1.36.3.
    :arg architecture: of the machine, in the words of the kernel or of the package manager.
    :arg names: packages that must all exist in the chosen version.
    """
    wanted = wanted_version(version)
    packages = read_index(fetch, url, kind)
    return select(packages, url=url, wanted=wanted, architecture=package_architecture(kind, architecture), names=names)


def wanted_version(version: str) -> str:
    """Version without its optional leading v, or an error that says what it may look like."""
    match = _WANTED_VERSION.match(version.strip())
    if match is None:
        raise GroundplaneError(
            f'The Kubernetes version is "{version}"',
            expected='a minor version such as "1.36" or an exact one such as "1.36.3"',
            remedy="correct cluster_kubernetes_version, and keep it in quotes: without them YAML reads 1.30 as 1.3",
        )
    return match.group(1)


def package_architecture(kind: str, architecture: str) -> str:
    """Name of a machine architecture in packages of this kind."""
    names = _DEB_ARCHITECTURES if kind == "deb" else _RPM_ARCHITECTURES
    return names.get(architecture, architecture)


def select(
    packages: Iterable[Package],
    *,
    url: str,
    wanted: str,
    architecture: str,
    names: Sequence[str],
) -> Selection:
    """Choose the newest version that is wanted and has all named packages, each in its newest revision."""
    offered = list(packages)
    usable = [package for package in offered if package.architecture in (architecture, *_ANY_ARCHITECTURE)]
    newest = _newest_revisions(package for package in usable if package.name in names)
    complete = [version for version in newest if all(name in newest[version] for name in names)]
    available = sorted(complete, key=version_key, reverse=True)
    for version in available:
        if _is_wanted(version, wanted):
            chosen = newest[version]
            return Selection(version, {name: chosen[name].full_version for name in names}, available)
    raise _not_found(offered, newest, url=url, wanted=wanted, architecture=architecture, names=names)


def version_key(version: str) -> tuple[int, ...]:
    """Sort key that orders 1.36.10 after 1.36.9."""
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


def _is_wanted(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(wanted + ".")


def _newest_revisions(packages: Iterable[Package]) -> dict[str, dict[str, Package]]:
    """Newest package by version and name; pre-releases are left out."""
    newest: dict[str, dict[str, Package]] = {}
    for package in packages:
        if not _RELEASED_VERSION.match(package.version):
            continue
        known = newest.setdefault(package.version, {})
        if package.name not in known or version_key(package.revision) > version_key(known[package.name].revision):
            known[package.name] = package
    return newest


def _not_found(
    offered: Sequence[Package],
    newest: Mapping[str, Mapping[str, Package]],
    *,
    url: str,
    wanted: str,
    architecture: str,
    names: Sequence[str],
) -> GroundplaneError:
    """Error that says how far the search came."""
    place = without_credentials(url)
    wanted_names = ", ".join(names)
    expected = f"{wanted_names} in version {wanted} for {architecture}"
    if not any(package.name in names for package in offered):
        return GroundplaneError(
            f"{place} has none of the packages {wanted_names}",
            expected=expected,
            remedy=_REMEDY_NOT_A_REPOSITORY,
        )
    if not newest:
        served = ", ".join(sorted({package.architecture for package in offered if package.name in names}))
        return GroundplaneError(
            f"{place} has no released version of {wanted_names} for {architecture}; it serves {served}",
            expected=expected,
            remedy=f"use a mirror that serves {architecture} (kube_packages_repository_url)",
        )
    versions = sorted(newest, key=version_key, reverse=True)
    listed = [_describe(version, newest[version], names) for version in versions[:_LISTED]]
    if len(versions) > _LISTED:
        listed.append(f"and {len(versions) - _LISTED} older")
    newest_there = ", ".join(listed)
    return GroundplaneError(
        f"{place} has no complete Kubernetes {wanted}; newest there: {newest_there}",
        expected=expected,
        remedy=(
            "set cluster_kubernetes_version to a version that is there, "
            "or kube_packages_repository_url to a repository that has it (there is one for every minor version)"
        ),
    )


def _describe(version: str, packages: Mapping[str, Package], names: Sequence[str]) -> str:
    """Version with the packages that it lacks."""
    missing = ", ".join(name for name in names if name not in packages)
    return f"{version} (without {missing})" if missing else version


def read_index(fetch: Fetcher, url: str, kind: str) -> list[Package]:
    """All packages that the repository at url lists."""
    folder = url.rstrip("/") + "/"
    return list(_read_deb(fetch, folder) if kind == "deb" else _read_rpm(fetch, folder))


def _read_deb(fetch: Fetcher, folder: str) -> Iterator[Package]:
    """Packages of a flat apt repository, from its compressed index or, where that is missing, the plain one."""
    address = urljoin(folder, "Packages.gz")
    try:
        data = fetch(address)
    except FetchError as error:
        if error.status != http.client.NOT_FOUND:
            raise _not_readable(address, error) from error
        address = urljoin(folder, "Packages")
        data = _fetch_index(fetch, address)
    return parse_deb_index(_unpack(data, address).decode("utf-8", "replace"))


def _read_rpm(fetch: Fetcher, folder: str) -> Iterator[Package]:
    """Packages of an rpm-md repository, from the primary list that its repomd.xml names."""
    address = urljoin(folder, "repodata/repomd.xml")
    primary = primary_location(_fetch_index(fetch, address), address)
    # A colon in a relative reference looks like a scheme, hence no urljoin with what a repository says.
    address = folder + primary
    return parse_rpm_primary(_unpack(_fetch_index(fetch, address), address), address)


def _fetch_index(fetch: Fetcher, address: str) -> bytes:
    try:
        return fetch(address)
    except FetchError as error:
        raise _not_readable(address, error) from error


def _not_readable(address: str, error: FetchError) -> FetchError:
    """The same error with what to do about a repository."""
    remedy = _REMEDY_NOT_A_REPOSITORY if error.status == http.client.NOT_FOUND else _REMEDY_UNREACHABLE
    return FetchError(address, error.reason, status=error.status, remedy=remedy)


def parse_deb_index(text: str) -> Iterator[Package]:
    """Packages of a Debian package index, one paragraph each."""
    for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields = dict(re.findall(r"^(Package|Version|Architecture):[ \t]*(\S+)[ \t]*$", paragraph, re.MULTILINE))
        if len(fields) == len(("Package", "Version", "Architecture")):
            version, _dash, revision = fields["Version"].rpartition("-")
            yield Package(
                name=fields["Package"],
                version=version or fields["Version"],
                revision=revision if version else "",
                architecture=fields["Architecture"],
            )


def primary_location(repomd: bytes, address: str) -> str:
    """Path of the primary package list, relative to the repository, from its repomd.xml."""
    for location in _parse_xml(repomd, address).iterfind("repo:data[@type='primary']/repo:location", _RPM_NAMESPACES):
        return location.get("href", "")
    raise GroundplaneError(
        f"{without_credentials(address)} names no list of type primary",
        expected="the index of an rpm repository",
        remedy=_REMEDY_NOT_A_REPOSITORY,
    )


def parse_rpm_primary(primary: bytes, address: str) -> Iterator[Package]:
    """Packages of an rpm repository's primary list."""
    for package in _parse_xml(primary, address).iterfind("common:package[@type='rpm']", _RPM_NAMESPACES):
        version = package.find("common:version", _RPM_NAMESPACES)
        if version is not None:
            yield Package(
                name=package.findtext("common:name", "", _RPM_NAMESPACES),
                version=version.get("ver", ""),
                revision=version.get("rel", ""),
                architecture=package.findtext("common:arch", "", _RPM_NAMESPACES),
            )


def _parse_xml(data: bytes, address: str) -> ElementTree.Element:
    """Root of an XML document.

    A document type is refused: no repository has one, and it is the way to make a parser expand entities without end.
    """
    try:
        if b"<!DOCTYPE" in data:
            raise ElementTree.ParseError("it declares a document type")
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise GroundplaneError(
            f"{without_credentials(address)} is not the XML of an rpm repository: {error}",
            expected="rpm repository metadata",
            remedy=_REMEDY_NOT_A_REPOSITORY,
        ) from error


def _unpack(data: bytes, address: str) -> bytes:
    """Content of an index, told by its first bytes: web servers may unpack on the way what the name calls gzip."""
    if data.startswith(_GZIP_MAGIC):
        try:
            return gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            reason = f"its gzip data is damaged ({error})"
            raise FetchError(address, reason, remedy=_REMEDY_UNREACHABLE) from error
    if re.search(r"\.(zst|xz|bz2|zck)$", urlsplit(address).path):
        raise GroundplaneError(
            f"{without_credentials(address)} is compressed in a form that is not read here",
            expected="a package list that is plain or compressed with gzip, as pkgs.k8s.io has it",
            remedy="let the mirror write gzip metadata (createrepo_c --general-compress-type=gz)",
        )
    return data
