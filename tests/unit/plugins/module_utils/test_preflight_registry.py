# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries and mirrors are asked in containerd's order, by a server of the test's own."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_registry import (
    Source,
    ask_registry,
    proxies_for,
    registry_prober,
    sources_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Registry
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

REGISTRY = Source("https://registry.k8s.io")
MIRROR = Source("http://user:secret@192.0.2.3:5000")


@pytest.fixture
def authorities(tmp_path):
    """A host that can verify certificates."""
    bundle = tmp_path / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("PEM")
    return tmp_path


def probe(answers):
    asked = []

    def asking(source):
        asked.append(source)
        return answers[source]

    return asking, asked


def test_nothing_to_ask(tmp_path):
    assert ask_registry([], probe({})[0], root=tmp_path) is None


def test_the_first_that_answers_ends_it(authorities):
    asking, asked = probe({MIRROR: ""})
    assert ask_registry([MIRROR, REGISTRY], asking, root=authorities) == Registry(
        "http://192.0.2.3:5000", (), reachable=True
    )
    assert asked == [MIRROR]


def test_a_mirror_that_fails_is_told(authorities):
    asking, _asked = probe({MIRROR: "timed out", REGISTRY: ""})
    assert ask_registry([MIRROR, REGISTRY], asking, root=authorities) == Registry(
        "https://registry.k8s.io", ("http://192.0.2.3:5000: timed out",), reachable=True
    )


def test_nobody_answers(authorities):
    asking, _asked = probe({MIRROR: "timed out", REGISTRY: "refused"})
    answer = ask_registry([MIRROR, REGISTRY], asking, root=authorities)
    assert answer is not None
    assert not answer.reachable
    assert answer.failures == ("http://192.0.2.3:5000: timed out", "https://registry.k8s.io: refused")


def test_a_host_without_authorities_does_not_verify(tmp_path):
    asking, asked = probe({REGISTRY._replace(skip_verify=True): "refused", REGISTRY._replace(ca="PEM"): ""})
    ask_registry([REGISTRY, REGISTRY._replace(ca="PEM")], asking, root=tmp_path)
    assert [source.skip_verify for source in asked] == [True, False]


def test_a_mirror_that_wants_a_certificate_is_not_asked(tmp_path):
    source = MIRROR._replace(client_certificate=True)
    answer = ask_registry([source], probe({})[0], root=tmp_path)
    assert answer is not None
    assert answer.reachable


def test_sources_from_the_option():
    given = {"url": "http://m", "ca": None, "skip_verify": True, "override_path": None, "client_certificate": None}
    assert sources_of([given]) == [Source("http://m", skip_verify=True)]


@pytest.fixture
def server():
    """A server that answers every question with the status of its path's last number, and remembers the paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *arguments):
            """Keep the tests' output clean."""

    paths: list[str] = []
    status = [200]
    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", paths, status
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("status", "override", "expected"),
    [
        (200, False, ""),
        (401, False, ""),
        (403, False, ""),
        (404, False, "HTTP status 404 at /v2/"),
        (404, True, ""),
        (407, False, "HTTP status 407 at /v2/"),
        (503, True, "HTTP status 503 at /"),
    ],
)
def test_answers(server, status, override, expected):
    address, paths, answer = server
    answer[0] = status
    assert registry_prober(5, {})(Source(address, override_path=override)) == expected
    assert paths == ["/" if override else "/v2/"]


def test_a_login_in_the_address_is_not_sent(server):
    address, paths, answer = server
    answer[0] = 401
    assert registry_prober(5, {})(Source(address.replace("//", "//user:secret@") + "/")) == ""
    assert paths == ["/v2/"]


def test_no_answer_at_all(server):
    address, _paths, _status = server
    assert "refused" in registry_prober(5, {"http_proxy": "", "no_proxy": "*"})(Source("http://127.0.0.1:1"))
    assert registry_prober(5, {})(Source("no address"))
    assert registry_prober(5, {})(Source(address.replace("http:", "https:"), ca="no PEM", skip_verify=True))


def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def certificate(subject, issuer, key, signer, extension):
    """A certificate with one extension, and without those that many private authorities leave out."""
    now = datetime.datetime(2026, 1, 1)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9000))
        .not_valid_after(now + datetime.timedelta(days=9000))
        .add_extension(extension, False)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


@pytest.fixture
def tls_server(tmp_path):
    """A registry with TLS; returns its address and its authority, which is signed by another one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            """Keep the tests' output clean."""

    root, authority, key = (ec.generate_private_key(ec.SECP256R1()) for _number in range(3))
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    path = tmp_path / "registry.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        + certificate("registry", "intermediate", key, authority, alternatives)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    running = HTTPServer(("127.0.0.1", 0), Handler)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    constraints = x509.BasicConstraints(True, None)
    yield (
        f"https://127.0.0.1:{running.server_port}",
        certificate("intermediate", "root", authority, root, constraints).decode(),
        certificate("intermediate", "root", root, root, constraints).decode(),
    )
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("strict", [False, True], ids=["Python 3.8", "Python 3.13"])
def test_trusts_what_containerd_trusts(tls_server, monkeypatch, strict):
    create = ssl.create_default_context

    def create_context(**options):
        context = create(**options)
        if strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create_context)
    address, authority, other = tls_server
    assert registry_prober(5, {})(Source(address, ca=authority)) == ""
    assert "certificate" in registry_prober(5, {})(Source(address, ca=other))


def test_asks_through_the_proxy(server):
    address, paths, _status = server
    assert registry_prober(5, {"HTTP_PROXY": address})(Source("http://registry.example.com")) == ""
    assert paths == ["http://registry.example.com/v2/"]


@pytest.mark.parametrize(
    ("no_proxy", "proxied"),
    [
        ("", True),
        ("*", False),
        ("10.0.0.0/8,192.0.2.0/24", False),
        ("198.51.100.0/24", True),
        ("192.0.2.3", False),
    ],
)
def test_exceptions_by_address(no_proxy, proxied):
    variables = {"http_proxy": "http://proxy:3128", "no_proxy": no_proxy}
    assert bool(proxies_for("http://192.0.2.3:5000", variables)) is proxied


@pytest.mark.parametrize(
    ("no_proxy", "proxied"),
    [("example.com", False), (".example.com", False), ("ample.com", True), ("10.0.0.0/8", True)],
)
def test_exceptions_by_name(no_proxy, proxied):
    variables = {"https_proxy": "http://proxy:3128", "no_proxy": no_proxy}
    assert bool(proxies_for("https://m.example.com", variables)) is proxied
    assert proxies_for("http://m.example.com", variables) == {}
