# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions in package repositories, read from indexes that apt-ftparchive and createrepo_c wrote."""

from __future__ import annotations

import gzip
import re
from typing import Callable, Mapping

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._package_repository import (
    Package,
    find_version,
    package_architecture,
    parse_deb_index,
    parse_rpm_primary,
    primary_location,
    read_index,
    select,
    version_key,
    wanted_version,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import FetchError

DEB_URL = "https://pkgs.k8s.io/core:/stable:/v1.36/deb/"
RPM_URL = "https://pkgs.k8s.io/core:/stable:/v1.36/rpm/"
RPM_PRIMARY = "repodata/070dab2d9fc196fdb3335b6c57ef8f54c7cbfa090c6daf52f2d1e050106fdb4b-primary.xml.gz"
KUBERNETES = ["kubeadm", "kubelet", "kubectl"]

FixtureText = Callable[[str], str]


class FakeSite:
    """A fetcher over a few addresses that remembers what was asked for."""

    def __init__(self, content: Mapping[str, bytes]) -> None:
        self._content = content
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self._content:
            raise FetchError(url, "HTTP status 404 (Not Found)", status=404)
        return self._content[url]


@pytest.fixture
def deb_site(fixture_text: FixtureText) -> FakeSite:
    return FakeSite({DEB_URL + "Packages.gz": gzip.compress(fixture_text("apt-ftparchive/Packages").encode())})


@pytest.fixture
def rpm_site(fixture_text: FixtureText) -> FakeSite:
    return FakeSite(
        {
            RPM_URL + "repodata/repomd.xml": fixture_text("createrepo_c/repomd.xml").encode(),
            RPM_URL + RPM_PRIMARY: gzip.compress(fixture_text("createrepo_c/primary.xml").encode()),
        }
    )


@pytest.mark.parametrize(
    ("version", "architecture", "found", "package_versions"),
    [
        pytest.param("1.36", "x86_64", "1.36.10", dict.fromkeys(KUBERNETES, "1.36.10-1.1"), id="newest-numerically"),
        pytest.param(
            "1.36",
            "aarch64",
            "1.36.9",
            {"kubeadm": "1.36.9-1.2", "kubelet": "1.36.9-1.2", "kubectl": "1.36.9-1.1"},
            id="newest-that-is-complete-in-newest-revisions",
        ),
        pytest.param("1.36.2", "amd64", "1.36.2", dict.fromkeys(KUBERNETES, "1.36.2-1.1"), id="exact"),
        pytest.param("v1.36.0", "arm64", "1.36.0", dict.fromkeys(KUBERNETES, "1.36.0-1.1"), id="leading-v"),
    ],
)
def test_finds_version_in_deb_repository(
    deb_site: FakeSite, version: str, architecture: str, found: str, package_versions: dict[str, str]
) -> None:
    selection = find_version(deb_site, url=DEB_URL, kind="deb", version=version, architecture=architecture)

    assert selection.version == found
    assert selection.package_versions == package_versions
    assert deb_site.asked == [DEB_URL + "Packages.gz"]


def test_lists_complete_released_versions_newest_first(deb_site: FakeSite) -> None:
    selection = find_version(deb_site, url=DEB_URL, kind="deb", version="1.36", architecture="x86_64")

    assert selection.available == ["1.36.10", "1.36.9", "1.36.2", "1.36.0"]


def test_packages_wanted_decide_what_is_complete(deb_site: FakeSite) -> None:
    selection = find_version(
        deb_site, url=DEB_URL, kind="deb", version="1.36", architecture="arm64", names=["kubeadm", "kubectl"]
    )

    assert selection.version == "1.36.10"
    assert list(selection.package_versions) == ["kubeadm", "kubectl"]


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_finds_version_in_rpm_repository(rpm_site: FakeSite, architecture: str) -> None:
    selection = find_version(rpm_site, url=RPM_URL.rstrip("/"), kind="rpm", version="1.36", architecture=architecture)

    assert selection.version == "1.36.3"
    assert selection.package_versions == dict.fromkeys(KUBERNETES, "1.36.3-150500.1.1")
    assert selection.available == ["1.36.3", "1.36.2"]
    assert rpm_site.asked == [RPM_URL + "repodata/repomd.xml", RPM_URL + RPM_PRIMARY]


def test_plain_deb_index_is_read_when_there_is_no_compressed_one(fixture_text: FixtureText) -> None:
    site = FakeSite({DEB_URL + "Packages": fixture_text("apt-ftparchive/Packages").encode()})

    selection = find_version(site, url=DEB_URL, kind="deb", version="1.36", architecture="x86_64")

    assert selection.version == "1.36.10"
    assert site.asked == [DEB_URL + "Packages.gz", DEB_URL + "Packages"]


def test_index_that_the_web_server_unpacked_on_the_way_is_read(fixture_text: FixtureText) -> None:
    site = FakeSite({DEB_URL + "Packages.gz": fixture_text("apt-ftparchive/Packages").encode()})

    assert find_version(site, url=DEB_URL, kind="deb", version="1.36", architecture="x86_64").version == "1.36.10"


@pytest.mark.parametrize(
    ("version", "architecture", "message"),
    [
        pytest.param(
            "1.35",
            "x86_64",
            "has no complete Kubernetes 1.35; newest there: 1.36.10, 1.36.9, 1.36.2, 1.36.0. "
            "Expected: kubeadm, kubelet, kubectl in version 1.35 for amd64. To do: set cluster_kubernetes_version",
            id="other-minor",
        ),
        pytest.param(
            "1.36.10",
            "aarch64",
            "has no complete Kubernetes 1.36.10; newest there: 1.36.10 (without kubelet), 1.36.9,",
            id="incomplete",
        ),
        pytest.param("1.36.1", "x86_64", "has no complete Kubernetes 1.36.1; newest", id="no-prefix-match"),
        pytest.param(
            "1.36",
            "s390x",
            "has no released version of kubeadm, kubelet, kubectl for s390x; it serves amd64, arm64",
            id="other-architecture",
        ),
    ],
)
def test_version_that_is_not_there(deb_site: FakeSite, version: str, architecture: str, message: str) -> None:
    with pytest.raises(GroundplaneError, match=re.escape(message)):
        find_version(deb_site, url=DEB_URL, kind="deb", version=version, architecture=architecture)


def test_error_lists_only_the_newest_of_many() -> None:
    packages = [Package("kubeadm", f"1.36.{patch}", "1.1", "amd64") for patch in range(12)]

    with pytest.raises(GroundplaneError, match="1.36.11, 1.36.10, .*, 1.36.4, and 4 older"):
        select(packages, url=DEB_URL, wanted="1.37", architecture="amd64", names=["kubeadm"])


@pytest.mark.parametrize(
    "text", ["", "<html>Please sign in</html>", "Package: nginx\nVersion: 1-1\nArchitecture: all\n"]
)
def test_index_without_kubernetes(text: str) -> None:
    site = FakeSite({DEB_URL + "Packages.gz": text.encode()})

    with pytest.raises(GroundplaneError, match="has none of the packages kubeadm.*check kube_packages_repository_url"):
        find_version(site, url=DEB_URL, kind="deb", version="1.36", architecture="x86_64")


@pytest.mark.parametrize("version", ["", "1", "latest", "1.36.3-1.1", "1.36.0-rc.1", "1.36."])
def test_version_that_is_none(version: str) -> None:
    with pytest.raises(GroundplaneError, match='a minor version such as "1.36" or an exact one'):
        wanted_version(version)


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_address_that_holds_no_repository(kind: str) -> None:
    with pytest.raises(
        FetchError, match=r"HTTP status 404 \(Not Found\)\. To do: check kube_packages_repository_url"
    ) as raised:
        read_index(FakeSite({}), DEB_URL, kind)

    assert raised.value.status == 404


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_address_that_does_not_answer(kind: str) -> None:
    def fetch(url: str) -> bytes:
        raise FetchError(url, "timed out")

    with pytest.raises(FetchError, match="cannot be read: timed out. To do: allow this host to reach the address"):
        read_index(fetch, DEB_URL, kind)


def test_rpm_list_in_another_compression_is_named() -> None:
    repomd = (
        b'<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">'
        b'<location href="repodata/primary.xml.zst"/></data></repomd>'
    )
    site = FakeSite({RPM_URL + "repodata/repomd.xml": repomd, RPM_URL + "repodata/primary.xml.zst": b"(\xb5/\xfd"})

    with pytest.raises(GroundplaneError, match=r"primary\.xml\.zst is compressed in a form that is not read here"):
        read_index(site, RPM_URL, "rpm")


def test_damaged_gzip() -> None:
    site = FakeSite({DEB_URL + "Packages.gz": gzip.compress(b"Package: kubeadm\n")[:-10]})

    with pytest.raises(FetchError, match="its gzip data is damaged"):
        read_index(site, DEB_URL, "deb")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(b"<html>", "is not the XML of an rpm repository", id="not-xml"),
        pytest.param(b"<!DOCTYPE x [<!ENTITY a 'b'>]><x/>", "it declares a document type", id="document-type"),
        pytest.param(b"<repomd/>", "names no list of type primary", id="no-primary"),
    ],
)
def test_repomd_that_is_none(document: bytes, message: str) -> None:
    with pytest.raises(GroundplaneError, match=message):
        primary_location(document, RPM_URL)


def test_rpm_package_without_version_is_left_out() -> None:
    primary = (
        b'<metadata xmlns="http://linux.duke.edu/metadata/common"><package type="rpm"><name>kubeadm</name></package>'
        b"</metadata>"
    )

    assert list(parse_rpm_primary(primary, RPM_URL)) == []


def test_deb_version_without_revision() -> None:
    index = "Package: tool\nVersion: 1.2.3\nArchitecture: all\n\n\nPackage: incomplete\n"

    (package,) = parse_deb_index(index)

    assert package == Package("tool", "1.2.3", "", "all")
    assert package.full_version == "1.2.3"


@pytest.mark.parametrize(
    ("kind", "architecture", "name"),
    [
        ("deb", "x86_64", "amd64"),
        ("deb", "arm64", "arm64"),
        ("deb", "s390x", "s390x"),
        ("rpm", "x86_64", "x86_64"),
        ("rpm", "amd64", "x86_64"),
    ],
)
def test_package_architecture(kind: str, architecture: str, name: str) -> None:
    assert package_architecture(kind, architecture) == name


def test_versions_are_ordered_as_numbers() -> None:
    assert sorted(["1.36.10", "1.9.0", "1.36.9"], key=version_key) == ["1.9.0", "1.36.9", "1.36.10"]
