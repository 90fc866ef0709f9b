# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API as a program outside of the cluster uses it: one connection, and a new one after an error."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import yaml


class NoAnswerError(OSError):
    """An answer that does not say what was asked for."""


class ApiClient:
    """Requests with the certificate of a kubeconfig to one address."""

    def __init__(self, kubeconfig: Path, address: str, port: int = 6443, *, timeout: float) -> None:
        """Take CA and certificate from the kubeconfig, but the address as it is given."""
        self._context = _context(kubeconfig)
        self._address = address
        self._port = port
        self._timeout = timeout
        self._connection: http.client.HTTPSConnection | None = None

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """Status and object of an answer; after an error the next request opens a new connection."""
        connection = self._connection or http.client.HTTPSConnection(
            self._address, self._port, timeout=self._timeout, context=self._context
        )
        self._connection = connection
        try:
            headers = {"Content-Type": kind, "Accept": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.status >= 500 or answer.status == 429:
            self.close()
            raise NoAnswerError(f"{answer.status} {text[:200]!r}")
        return answer.status, json.loads(text)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_served_under(name: str, kubeconfig: Path, address: str, port: int = 6443) -> str:
    """Why a client that trusts the cluster's CA would not accept the server at an address under a name, if so."""
    try:
        with (
            socket.create_connection((address, port), timeout=10) as connection,
            _context(kubeconfig).wrap_socket(connection, server_hostname=name),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return str(error)


def _context(kubeconfig: Path) -> ssl.SSLContext:
    """Trust and identity of a kubeconfig; the standard library reads a key from a file only."""
    content = yaml.safe_load(kubeconfig.read_text())
    (cluster,) = content["clusters"]
    (user,) = content["users"]
    authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    identity = kubeconfig.with_suffix(".pem")
    identity.touch(mode=0o600)
    identity.write_bytes(
        base64.b64decode(user["user"]["client-certificate-data"]) + base64.b64decode(user["user"]["client-key-data"])
    )
    context = ssl.create_default_context(cadata=authority)
    context.load_cert_chain(identity)
    return context
