# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of kube_repository_info."""

from __future__ import annotations

import platform
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _package_repository
from ansible_collections.groundplane.kubeadm.plugins.modules import kube_repository_info

URL = "https://mirror.example.com/v1.36/deb/"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, fixture_text: Callable[[str], str]) -> None:
    """Serve the recorded index instead of a real address."""
    index = fixture_text("apt-ftparchive/Packages").encode()
    monkeypatch.setattr(kube_repository_info, "url_fetcher", lambda timeout: lambda url: index)


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("check", [False, True])
def test_returns_version_and_packages(run_main: Callable[..., dict[str, Any]], check: bool) -> None:
    options = {"url": URL, "kind": "deb", "version": "1.36", "architecture": "x86_64"}

    result = run_main(kube_repository_info, options, check=check)

    assert result["changed"] is False
    assert result["version"] == "1.36.10"
    assert result["package_versions"] == dict.fromkeys(_package_repository.KUBERNETES_PACKAGES, "1.36.10-1.1")
    assert result["available"][0] == "1.36.10"


@pytest.mark.usefixtures("mirror")
def test_architecture_is_that_of_the_host(
    run_main: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    assert run_main(kube_repository_info, {"url": URL, "kind": "deb", "version": "1.36"})["version"] == "1.36.9"


@pytest.mark.usefixtures("mirror")
def test_fails_with_a_remedy(run_main: Callable[..., dict[str, Any]]) -> None:
    result = run_main(kube_repository_info, {"url": URL, "kind": "deb", "version": "1.37", "architecture": "x86_64"})

    assert result["failed"] is True
    assert "newest there: 1.36.10" in result["msg"]
