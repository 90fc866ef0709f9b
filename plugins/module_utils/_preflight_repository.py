# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the package repository on behalf of the preflight."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._operating_system import operating_system
from ansible_collections.groundplane.kubeadm.plugins.module_utils._package_repository import (
    Fetcher,
    find_version,
    without_credentials,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Wanted
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Repository, Snapshot
from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import FetchError

_CERTIFICATE_AUTHORITIES = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt")


def ask_repository(
    snapshot: Snapshot,
    wanted: Wanted,
    *,
    url: str,
    key_url: str = "",
    kind: str | None,
    fetch: Fetcher,
    root: Path = Path("/"),
) -> Repository:
    """Look the wanted version up in the index of the repository.

    :arg key_url: the key that signs it, which has to be there as well; nothing is asked when it is empty.
    :arg kind: deb or rpm; None stands for what the distribution of the host uses.
    """
    # A node keeps the version that it has, so that a repository which is away stops no run on a healthy cluster.
    if not url or (snapshot.cluster.known and snapshot.has_version(wanted.kubernetes_version)):
        return Repository()
    shown = without_credentials(url)
    # A minimal installation has no certificate authorities until role prereqs installs them.
    if url.startswith("https:") and not has_certificate_authorities(root):
        return Repository(url=shown, unverifiable=True)
    try:
        selection = find_version(
            fetch,
            url=url,
            kind=kind or _kind_of(snapshot),
            version=wanted.kubernetes_version,
            architecture=snapshot.machine,
        )
    except GroundplaneError as error:
        return Repository(url=shown, error=error)
    try:
        if key_url:
            fetch(key_url)
    except FetchError as error:
        return Repository(url=shown, error=_missing_key(error))
    return Repository(url=shown, version=selection.version)


def has_certificate_authorities(root: Path) -> bool:
    """Whether the host can verify the certificate of any server."""
    return any((root / path).exists() for path in _CERTIFICATE_AUTHORITIES)


def _missing_key(error: FetchError) -> GroundplaneError:
    return GroundplaneError(
        error.found,
        expected="the key that signs the package repository",
        remedy="correct kube_packages_repository_key_url, or kube_packages_repository_url from which it follows",
    )


def _kind_of(snapshot: Snapshot) -> str:
    return "rpm" if operating_system(snapshot.os_release).family == "RedHat" else "deb"
