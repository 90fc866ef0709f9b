# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking who is at an address: real connections to servers of the test, and errors that no test can bring about."""

from __future__ import annotations

import datetime
import errno
import socket
import ssl
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _preflight_probe
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    FOREIGN,
    MUTE,
    OPEN,
    OURS,
    REFUSED,
    SILENT,
    UNRESOLVABLE,
    UNROUTABLE,
    Answer,
    ask,
    speaks_tls,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime(2026, 1, 1)
HUNDRED_YEARS = datetime.timedelta(days=36500)
# All clusters' CAs have the name that kubeadm gives them, so that only the key tells them apart.
CA_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
SERVER_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kube-apiserver")])


class Authority(NamedTuple):
    """A CA and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate as ca.crt has it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime, issuer: x509.Name = CA_NAME
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - HUNDRED_YEARS / 4)
        .not_valid_after(end)
    )


def new_authority(issuer: x509.Name = CA_NAME, signer: ec.EllipticCurvePrivateKey | None = None) -> Authority:
    """A CA as `kubeadm init phase certs ca` makes it, or one that another authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(CA_NAME, key, NOW + HUNDRED_YEARS, issuer)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return Authority(builder.add_extension(identifier, False).sign(signer or key, hashes.SHA256()), key)


OWN = new_authority()
OTHER = new_authority()


def server_context(folder: Path, authority: Authority, end: datetime.datetime) -> ssl.SSLContext:
    """TLS of an API server that the CA has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = _builder(SERVER_NAME, key, end).add_extension(identifier, False).sign(authority.key, hashes.SHA256())
    path = folder / "apiserver.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture
def serve():
    """Start a server for one connection; returns its port."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def start(handle: Callable[[socket.socket], Any]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            connection, _peer = listener.accept()
            with connection:
                handle(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        servers.append((listener, thread))
        port: int = listener.getsockname()[1]
        return port

    yield start
    for listener, thread in servers:
        thread.join(timeout=10)
        listener.close()


@pytest.fixture
def api_server(serve, tmp_path):
    """Start an API server with a certificate of the given CA."""

    def start(authority: Authority, end: datetime.datetime = NOW + HUNDRED_YEARS) -> int:
        context = server_context(tmp_path, authority, end)

        def handle(connection: socket.socket) -> None:
            # A client that does not trust the certificate breaks the handshake off.
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                return

        port: int = serve(handle)
        return port

    return start


def asked(port: int, authority: str = OWN.pem) -> Answer:
    return ask("127.0.0.1", port, seconds=5, authority=authority, name="api.kubernetes.internal")


def test_a_server_of_the_cluster(api_server):
    assert asked(api_server(OWN)) == Answer(OURS)


def test_a_cluster_whose_ca_is_an_intermediate_one(api_server):
    root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "company")])
    intermediate = new_authority(issuer=root, signer=ec.generate_private_key(ec.SECP256R1()))
    assert asked(api_server(intermediate), intermediate.pem) == Answer(OURS)
    assert asked(api_server(OWN), intermediate.pem).outcome == FOREIGN


def test_a_server_of_another_cluster(api_server):
    answer = asked(api_server(OTHER))
    assert answer.outcome == FOREIGN
    assert "not of the cluster's CA" in answer.reason


def test_a_server_whose_certificate_has_expired_is_still_of_the_cluster(api_server):
    assert asked(api_server(OWN, NOW - datetime.timedelta(days=9000))).outcome == OURS


def test_an_expired_certificate_of_another_cluster(api_server):
    assert asked(api_server(OTHER, NOW - datetime.timedelta(days=9000))).outcome == FOREIGN


def test_a_server_with_tls_whoever_it_is(api_server):
    assert speaks_tls("127.0.0.1", api_server(OTHER), seconds=5, name="api.kubernetes.internal")


def test_a_server_that_closes_or_is_not_there_has_no_tls(serve):
    assert not speaks_tls("127.0.0.1", serve(lambda connection: connection.close()), seconds=5)
    assert not speaks_tls("127.0.0.1", 1, seconds=5)


def test_asks_for_the_name(serve, tmp_path):
    names = []
    context = server_context(tmp_path, OWN, NOW + HUNDRED_YEARS)
    context.sni_callback = lambda connection, name, _context: names.append(name)
    assert asked(serve(lambda connection: context.wrap_socket(connection, server_side=True).close())).outcome == OURS
    assert names == ["api.kubernetes.internal"]


def test_a_server_is_not_asked_who_it_is_without_a_ca(serve):
    assert ask("127.0.0.1", serve(lambda connection: connection.recv(1)), seconds=5) == Answer(OPEN)


def test_a_ca_that_is_none(serve):
    assert asked(serve(lambda connection: connection.recv(1)), "nothing in PEM") == Answer(OPEN)


def test_a_server_without_tls(serve):
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    answer = asked(serve(handle))
    assert answer.outcome == FOREIGN
    assert "TLS" in answer.reason


def test_a_load_balancer_without_backends_that_closes(serve):
    assert asked(serve(lambda connection: connection.recv(4096))).outcome == MUTE


def test_a_load_balancer_without_backends_that_breaks_off(serve):
    # Closing with data unread sends a reset.
    assert asked(serve(lambda connection: connection.recv(1))).outcome == MUTE


def test_a_server_that_never_says_a_word(serve, monkeypatch):
    monkeypatch.setattr(_preflight_probe, "_HANDSHAKE_SECONDS", 0.1)
    done = threading.Event()
    port = serve(lambda connection: done.wait(10))
    assert asked(port).outcome == MUTE
    done.set()


def test_nobody_listens():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    answer = asked(port)
    assert answer == Answer(REFUSED, "Connection refused")
    assert answer.present


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (socket.timeout("timed out"), SILENT),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), SILENT),
        (OSError(errno.EHOSTUNREACH, "No route to host"), SILENT),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), UNROUTABLE),
        (PermissionError(errno.EACCES, "Permission denied"), UNROUTABLE),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UNRESOLVABLE),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), REFUSED),
    ],
)
def test_no_connection(monkeypatch, error, outcome):
    def fail(address, seconds):
        assert (address, seconds) == (("192.0.2.100", 6443), 1)
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    answer = ask("192.0.2.100", 6443, seconds=1)
    assert answer.outcome == outcome
    assert answer.reason
    assert answer.present is (outcome == REFUSED)
