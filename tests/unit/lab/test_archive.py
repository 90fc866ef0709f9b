# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apt sources of nodes, made from those of the machine."""

from __future__ import annotations

import pytest

from tests.lab import archive
from tests.lab.archive import Archive
from tests.lab.process import LabError

DEB822 = """\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
# http://old.example/security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib
deb [arch=amd64 signed-by=/x.gpg] https://mirror.example/debian stable-security main
deb-src http://mirror.example/debian bookworm main
"""


def test_deb822_sources_are_read():
    assert list(archive.parse_deb822(DEB822)) == [
        Archive("http://mirror.example/debian", "bookworm"),
        Archive("http://mirror.example/debian", "bookworm-updates"),
        Archive("http://mirror.example/security", "bookworm-security"),
    ]


def test_one_line_sources_are_read():
    assert list(archive.parse_one_line(ONE_LINE)) == [
        Archive("http://mirror.example/debian", "bookworm"),
        Archive("https://mirror.example/debian", "stable-security"),
    ]


def test_only_the_release_of_the_machine_counts():
    found = archive.of_release(
        [
            Archive("http://a.example/d", "bookworm"),
            Archive("http://a.example/d", "stable-security"),
            Archive("http://a.example/d", "bookworm"),
            Archive("http://a.example/d", "bookworm-backports"),
            Archive("http://b.example/product", "nodistro"),
        ],
        "bookworm",
    )
    assert found == [Archive("http://a.example/d", "bookworm"), Archive("http://a.example/d", "bookworm-security")]


def test_an_archive_behind_tls_is_asked_for_in_the_way_of_the_proxy():
    assert archive.through_proxy("https://a.example/debian") == "http://HTTPS///a.example/debian"
    assert archive.through_proxy("http://a.example/debian") == "http://a.example/debian"


def test_an_archive_that_the_proxy_cannot_fetch_is_refused():
    with pytest.raises(LabError, match="not served over HTTP"):
        archive.through_proxy("file:/srv/debian")


def test_another_release_gets_the_suites_it_has():
    machine = [Archive("http://a.example/d", f"bookworm{pocket}") for pocket in ("", "-updates", "-security")]
    found = archive.for_release(machine, "forky", lambda wanted: wanted.suite != "forky-security")
    assert [item.suite for item in found] == ["forky", "forky-updates"]


def test_written_sources_can_be_read_back():
    archives = [Archive("http://a.example/d", "trixie"), Archive("http://a.example/d", "trixie-updates")]
    assert list(archive.parse_deb822(archive.sources_file(archives))) == archives


def test_mmdebstrap_fetches_through_the_caching_proxy_with_the_settings_of_the_machine():
    command = archive.mmdebstrap_command('Acquire::Check-Date "false";\n')
    assert [part for part in command if part.startswith("--aptopt")] == [
        '--aptopt=Acquire::http::Proxy "http://127.0.0.1:3142"',
        '--aptopt=Acquire::Check-Date "false"',
    ]
