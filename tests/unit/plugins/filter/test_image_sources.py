# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places from which images are pulled, without what is secret about them."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.filter.image_sources import FilterModule

image_sources = FilterModule().filters()["image_sources"]


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("registry.k8s.io", "https://registry.k8s.io"),
        ("registry.example.com:5000/kubernetes", "https://registry.example.com:5000"),
        ("localhost/kubernetes", "https://localhost"),
        ("kubernetes", "https://registry-1.docker.io"),
        ("docker.io/kubernetes", "https://registry-1.docker.io"),
    ],
)
def test_registries_without_mirrors(repository, expected):
    assert image_sources(repository, {"quay.io": [{"url": "http://m"}]}) == [{"url": expected}]


def test_mirrors_come_first_and_keys_stay_here():
    mirror = {
        "url": "https://m",
        "ca": "PEM",
        "skip_verify": False,
        "override_path": True,
        "capabilities": ["pull"],
        "client_certificate": "CERTIFICATE",
        "client_key": "KEY",
    }
    assert image_sources("registry.k8s.io", {"registry.k8s.io": [mirror, {"url": "http://n"}]}) == [
        {"url": "https://m", "ca": "PEM", "override_path": True, "client_certificate": True},
        {"url": "http://n"},
        {"url": "https://registry.k8s.io"},
    ]


def test_mirrors_for_everything():
    assert image_sources("kubernetes", {"_default": [{"url": "http://m"}]})[0] == {"url": "http://m"}
    own = {"_default": [{"url": "http://m"}], "docker.io": []}
    assert image_sources("kubernetes", own) == [{"url": "https://registry-1.docker.io"}]
