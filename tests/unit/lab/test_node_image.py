# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of node images."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tests.lab import node_image
from tests.lab.archive import Archive
from tests.lab.node_image import CONTAINERD_CHOICES, CONTAINERD_VERSIONS, RELEASES, Recipe

RECIPE = Recipe(
    release="trixie",
    containerd="1.7",
    archives=[Archive("http://a.example/d", "trixie")],
    further_archives=[Archive("http://a.example/d", "forky")],
    apt_settings="",
    nameservers=["10.77.0.1"],
)


def test_every_release_offers_every_containerd():
    assert set(CONTAINERD_CHOICES) == set(itertools.product(RELEASES, CONTAINERD_VERSIONS))


def test_containerd_of_the_release_itself_needs_no_pin():
    assert not [path for path in RECIPE.files() if path.endswith(("preferences.d/containerd", "containerd.sources"))]


def test_another_containerd_comes_from_a_pinned_release_and_nothing_else_does():
    files = replace(RECIPE, containerd="2.x").files()
    assert "Suites: forky" in files["/etc/apt/sources.list.d/containerd.sources"]
    assert files["/etc/apt/preferences.d/containerd"] == (
        "Package: *\nPin: release n=forky*\nPin-Priority: -1\n\n"
        "Package: containerd runc\nPin: release n=forky*\nPin-Priority: 990\n"
    )


def test_the_repository_of_the_lab_is_reached_without_the_proxy():
    assert RECIPE.files()["/etc/apt/apt.conf.d/90lab"] == (
        'Acquire::http::Proxy "http://10.77.0.1:3142";\nAcquire::http::Proxy::10.77.0.1 "DIRECT";\n'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"containerd": "2.x"},
        {"nameservers": ["192.0.2.1"]},
        {"archives": [Archive("http://b.example/d", "trixie")]},
        {"apt_settings": 'Acquire::Check-Date "false";\n'},
    ],
)
def test_a_changed_recipe_is_another_image(change):
    assert replace(RECIPE, **change).reference != RECIPE.reference


def test_files_alone_do_not_make_another_base():
    assert replace(RECIPE, nameservers=["192.0.2.1"]).base_reference == RECIPE.base_reference


def test_nodes_have_nothing_of_kubernetes():
    assert not {"containerd", "runc", "iptables", "conntrack", "socat", "curl", "gpg"} & set(node_image.PACKAGES)


def test_only_images_of_the_same_kind_become_outdated():
    older = "localhost/groundplane-lab-node:trixie-containerd-1.7-000000000000"
    older_base = "localhost/groundplane-lab-base:trixie-000000000000"
    others = [
        "localhost/groundplane-lab-node:trixie-containerd-2.x-000000000000",
        "localhost/groundplane-lab-base:bookworm-000000000000",
        RECIPE.reference,
        RECIPE.base_reference,
    ]
    assert node_image.outdated(RECIPE, [older, older_base, *others]) == [older, older_base]
