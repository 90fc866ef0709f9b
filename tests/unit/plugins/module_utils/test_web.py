# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading from a real web server, and from where there is none."""

from __future__ import annotations

import http.server
import re
import threading
from contextlib import closing
from pathlib import Path
from socket import socket
from typing import Iterator

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import (
    FetchError,
    url_fetcher,
    verify_checksum,
    without_credentials,
)

CONTENT_SHA256 = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"


def test_credentials_are_never_shown() -> None:
    url = "https://user:secret@mirror.example.com:8443/deb/"

    assert without_credentials(url) == "https://mirror.example.com:8443/deb/"
    assert "secret" not in str(FetchError(url, "timed out"))


@pytest.fixture
def web_server() -> Iterator[str]:
    """Address of a real web server that answers one path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 200 if self.path == "/index" else 503
            self.send_response(status)
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"content")

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_real_fetcher_reads(web_server: str) -> None:
    assert url_fetcher(5)(web_server + "/index") == b"content"


def test_real_fetcher_reports_status(web_server: str) -> None:
    with pytest.raises(FetchError, match=r"HTTP status 503 \(Service Unavailable\)") as raised:
        url_fetcher(5)(web_server + "/other")

    assert raised.value.status == 503


def test_real_fetcher_reports_refused_connection() -> None:
    with closing(socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"

        with pytest.raises(FetchError, match="Connection refused") as raised:
            url_fetcher(5)(url)

    assert raised.value.status is None


def test_real_fetcher_reports_address_that_is_none() -> None:
    with pytest.raises(FetchError, match="unknown url type"):
        url_fetcher(5)("pkgs.k8s.io/deb/Packages")


def test_real_fetcher_reads_local_files(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("content")

    assert url_fetcher(5)(f"file://{tmp_path}/manifest.yaml") == b"content"

    with pytest.raises(FetchError, match="No such file"):
        url_fetcher(5)(f"file://{tmp_path}/other.yaml")


@pytest.mark.parametrize("checksum", [CONTENT_SHA256, CONTENT_SHA256.upper().replace("SHA256", "sha256")])
def test_checksum_that_is_right(checksum: str) -> None:
    verify_checksum(b"content", checksum, "https://example.com/x")


def test_checksum_that_is_wrong() -> None:
    with pytest.raises(GroundplaneError, match=f"has the checksum {CONTENT_SHA256}. Expected: sha256:00. To do: find"):
        verify_checksum(b"content", "sha256:00", "https://example.com/x")


@pytest.mark.parametrize("checksum", ["", "md5:00", "sha256:", "ed7002b4"])
def test_checksum_that_is_none(checksum: str) -> None:
    with pytest.raises(GroundplaneError, match=re.escape(f"The checksum is {checksum!r}")):
        verify_checksum(b"content", checksum, "https://example.com/x")
