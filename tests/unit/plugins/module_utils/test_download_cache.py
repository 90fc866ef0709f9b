# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is downloaded once is not downloaded again, and nothing is trusted that lacks its checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._download_cache import DownloadCache
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

URL = "https://example.com/manifest.yml"
CONTENT = b"kind: List\n"
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Counts how often it is asked."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked = 0

    def fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        return self.content


def read(server: Server, folder: Path, checksum: str | None = CHECKSUM, *, frozen: bool = False) -> bytes:
    return DownloadCache(server.fetch, frozen=frozen, folder=folder).read(URL, checksum)


def test_is_fetched_once(tmp_path: Path) -> None:
    server, folder = Server(), tmp_path / "cache"
    assert [read(server, folder), read(server, folder)] == [CONTENT, CONTENT]
    assert server.asked == 1
    (kept,) = folder.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o644


def test_the_case_of_a_digest_does_not_matter(tmp_path: Path) -> None:
    server = Server()
    read(server, tmp_path)
    read(server, tmp_path, CHECKSUM.upper().replace("SHA256", "sha256"))
    assert server.asked == 1


def test_without_a_checksum_it_is_fetched_every_time_and_not_kept(tmp_path: Path) -> None:
    server = Server()
    read(server, tmp_path, None)
    read(server, tmp_path, None)
    assert server.asked == 2
    assert not list(tmp_path.iterdir())


def test_what_was_damaged_is_fetched_again(tmp_path: Path) -> None:
    server = Server()
    read(server, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"kind: Li")
    assert read(server, tmp_path) == CONTENT
    assert kept.read_bytes() == CONTENT


def test_another_content_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(GroundplaneError, match="has the checksum"):
        read(Server(b"kind: Pod\n"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_check_mode_uses_what_is_there_and_writes_nothing(tmp_path: Path) -> None:
    server = Server()
    read(server, tmp_path, frozen=True)
    assert not list(tmp_path.iterdir())
    read(server, tmp_path)
    read(server, tmp_path, frozen=True)
    assert server.asked == 2


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    occupied = tmp_path / "cache"
    occupied.write_text("a file in the place of the folder", encoding="utf-8")
    assert read(Server(), occupied) == CONTENT


@pytest.mark.parametrize("checksum", ["0123", "md4:0123", "sha256:"])
def test_a_checksum_that_is_none_is_refused(tmp_path: Path, checksum: str) -> None:
    with pytest.raises(GroundplaneError, match="an algorithm and a digest"):
        read(Server(), tmp_path, checksum)
