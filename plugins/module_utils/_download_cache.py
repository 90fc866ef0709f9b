# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads of which the checksum is known, kept so that a later run needs no way to where they came from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import (
    Fetcher,
    has_checksum,
    parse_checksum,
    verify_checksum,
)

CACHE_FOLDER = Path("/var/cache/groundplane")


class DownloadCache:
    """Content by its checksum.

    :arg fetch: gets what is not there.
    :arg frozen: nothing is written, as in check mode.
    """

    def __init__(self, fetch: Fetcher, *, frozen: bool, folder: Path = CACHE_FOLDER) -> None:
        self._fetch = fetch
        self._frozen = frozen
        self._folder = folder

    def read(self, url: str, checksum: str | None) -> bytes:
        """Content of an address, fetched where the checksum is not given or nothing kept has it."""
        if not checksum:
            return self._fetch(url)
        file = self._folder / "-".join(parse_checksum(checksum))
        with suppress(OSError):
            kept = file.read_bytes()
            if has_checksum(kept, checksum):
                return kept
        content = self._fetch(url)
        verify_checksum(content, checksum, url)
        if not self._frozen:
            self._keep(file, content)
        return content

    def _keep(self, file: Path, content: bytes) -> None:
        """Write a file that is there either whole or not at all; without it, the next run fetches again."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            unfinished = file.with_suffix(".unfinished")
            unfinished.write_bytes(content)
            unfinished.chmod(0o644)
            unfinished.replace(file)
