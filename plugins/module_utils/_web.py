# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what lies at an address."""

from __future__ import annotations

import hashlib
import http.client
from typing import Callable
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import open_url
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

#: Takes an address and returns what lies there; raises FetchError.
Fetcher = Callable[[str], bytes]

_ALGORITHMS = ("sha256", "sha384", "sha512")
_REMEDY_UNREACHABLE = (
    "allow this host to reach the address, give it a proxy (cluster_http_proxy, cluster_https_proxy), "
    "or use the address of a mirror that it can reach"
)


class FetchError(GroundplaneError):
    """An address could not be read.

    :arg status: the HTTP status, None when there was no answer at all.
    """

    def __init__(self, url: str, reason: str, *, status: int | None = None, remedy: str = _REMEDY_UNREACHABLE) -> None:
        self.reason = reason
        self.status = status
        super().__init__(f"{without_credentials(url)} cannot be read: {reason}", remedy=remedy)


def without_credentials(url: str) -> str:
    """Address as it may be shown: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def url_fetcher(timeout: int) -> Fetcher:
    """Fetcher for real addresses; proxies come from the environment as for any program.

    :arg timeout: seconds without an answer after which an address counts as unreachable.
    """

    def fetch(url: str) -> bytes:
        try:
            with open_url(url, timeout=timeout, http_agent="groundplane.kubeadm") as response:
                content: bytes = response.read()
                return content
        except HTTPError as error:
            reason = f"HTTP status {error.code} ({error.reason})"
            raise FetchError(url, reason, status=error.code) from error
        except (OSError, ValueError, http.client.HTTPException, AnsibleConnectionError) as error:
            cause = getattr(error, "reason", None) or error
            raise FetchError(url, str(cause) or type(cause).__name__) from error

    return fetch


def verify_checksum(content: bytes, checksum: str, url: str) -> None:
    """Make sure that content is what a checksum such as sha256:<hex> was made of."""
    algorithm, expected = parse_checksum(checksum)
    found = hashlib.new(algorithm, content).hexdigest()
    if found != expected:
        raise GroundplaneError(
            f"The content of {without_credentials(url)} has the checksum {algorithm}:{found}",
            expected=f"{algorithm}:{expected}",
            remedy="find out whether the version or the content changed; set the new checksum only if you trust it",
        )


def has_checksum(content: bytes, checksum: str) -> bool:
    """Whether content is what a checksum was made of."""
    algorithm, expected = parse_checksum(checksum)
    return hashlib.new(algorithm, content).hexdigest() == expected


def parse_checksum(checksum: str) -> tuple[str, str]:
    """Algorithm and digest, the latter in lower case."""
    algorithm, _colon, expected = checksum.strip().partition(":")
    if algorithm not in _ALGORITHMS or not expected:
        raise GroundplaneError(
            f"The checksum is {checksum!r}",
            expected="an algorithm and a digest in hexadecimal, such as sha256:9f86d0...",
            remedy="write it with one of the algorithms " + ", ".join(_ALGORITHMS),
        )
    return algorithm, expected.lower()
