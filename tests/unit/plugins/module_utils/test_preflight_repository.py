# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository is asked once, and its answers become findings instead of failures."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._package_repository import FetchError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Wanted
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_repository import ask_repository
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import ClusterFiles, Repository

from tests.unit.conftest import FIXTURES
from tests.unit.preflight_samples import CLEAN, host

INDEXES = {
    "Packages.gz": "apt-ftparchive/Packages",
    "repodata/repomd.xml": "createrepo_c/repomd.xml",
    "repodata/primary.xml.gz": "createrepo_c/primary.xml",
}


def serve(address):
    """The recorded index that an address ends in, whatever digest its name carries."""
    for end, name in INDEXES.items():
        if address.endswith(end):
            return (FIXTURES / name).read_bytes()
    raise FetchError(address, "HTTP status 404 (Not Found)", status=404)


def unreachable(address):
    raise FetchError(address, "timed out")


def ask(snapshot=CLEAN, url="http://192.0.2.3/deb/", kind=None, fetch=serve, root=None, wanted=None):
    options = {"root": root} if root else {}
    return ask_repository(snapshot, wanted or Wanted(), url=url, kind=kind, fetch=fetch, **options)


def test_no_repository_no_question():
    assert ask(url="", fetch=unreachable) == Repository()


@pytest.mark.parametrize(
    ("wanted", "credentials", "asked"),
    [
        ("1.36", ("kubelet.conf",), False),
        ("1.36.3", ("kubelet.conf",), False),
        ("1.36.30", ("kubelet.conf",), True),
        ("1.36", (), True),
    ],
    ids=["of the minor", "of the version", "of another version", "no node"],
)
def test_a_node_that_has_the_version_needs_no_repository(wanted, credentials, asked):
    node = host(kubelet_version="1.36.3", cluster=ClusterFiles(credentials=credentials))
    repository = ask(node, fetch=unreachable, wanted=Wanted(kubernetes_version=wanted))
    assert bool(repository.error) is asked


@pytest.mark.parametrize("kind", [None, "deb"])
def test_finds_the_newest_patch(kind):
    repository = ask(kind=kind)
    assert repository.version.startswith("1.36.")
    assert repository.error is None


def test_asks_as_the_distribution_would(tmp_path):
    asked = []

    def record(address):
        asked.append(address)
        raise FetchError(address, "timed out")

    ask(snapshot=host(os_release={"ID": "rocky", "ID_LIKE": "rhel centos fedora"}), fetch=record)
    ask(fetch=record)
    assert asked == ["http://192.0.2.3/deb/repodata/repomd.xml", "http://192.0.2.3/deb/Packages.gz"]


def test_keeps_the_error():
    repository = ask(fetch=unreachable)
    assert repository.version == ""
    assert "timed out" in repository.error.found
    assert "cluster_http_proxy" in repository.error.remedy


def test_a_key_that_is_not_there_is_named():
    def serve_no_key(address):
        if address.endswith("Release.key"):
            raise FetchError(address, "Not Found", status=404)
        return serve(address)

    url, key_url = "http://192.0.2.3/deb/", "http://192.0.2.3/deb/Release.key"
    options = {"url": url, "key_url": key_url, "kind": "deb"}
    repository = ask_repository(CLEAN, Wanted(), fetch=serve_no_key, **options)
    assert repository.version == ""
    assert key_url in repository.error.found
    assert "kube_packages_repository_key_url" in repository.error.remedy


def test_does_not_blame_the_repository_for_missing_authorities(tmp_path):
    url = "https://user:secret@192.0.2.3/deb/"
    assert ask(url=url, fetch=unreachable, root=tmp_path) == Repository("https://192.0.2.3/deb/", unverifiable=True)
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    (tmp_path / "etc/ssl/certs/ca-certificates.crt").touch()
    assert ask(url=url, root=tmp_path).version.startswith("1.36.")
