# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery hashes and alternative names, compared with what openssl says of certificates made on the spot."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import (
    SubjectAltNames,
    ca_cert_hash,
    ca_cert_hashes,
    certificate_der,
    not_after,
    subject_alt_names,
    subject_public_key_info,
)

KEYS = {
    "rsa-2048": ["rsa:2048"],
    "rsa-4096": ["rsa:4096"],
    "ecdsa-p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ecdsa-p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "ed25519": ["ed25519"],
}


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    """Output of openssl."""
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def make_certificate(folder: Path, key: list[str], *options: str) -> str:
    """A self-signed certificate with a new key."""
    files = ("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"))
    openssl("req", "-x509", "-nodes", "-subj", "/CN=kubernetes", "-days", "2", "-newkey", *key, *files, *options)
    return (folder / "ca.crt").read_text()


def hash_by_openssl(pem: str) -> str:
    """The hash by the commands of kubeadm's documentation."""
    public_key = openssl("x509", "-pubkey", "-noout", stdin=pem.encode())
    return "sha256:" + hashlib.sha256(openssl("pkey", "-pubin", "-outform", "der", stdin=public_key)).hexdigest()


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_hash_is_openssls(tmp_path: Path, key: list[str]) -> None:
    pem = make_certificate(tmp_path, key)
    assert ca_cert_hash(pem) == hash_by_openssl(pem)


def test_hash_of_a_certificate_without_a_version(tmp_path: Path) -> None:
    make_certificate(tmp_path, KEYS["ecdsa-p256"])
    request = openssl("req", "-new", "-key", str(tmp_path / "ca.key"), "-subj", "/CN=kubernetes")
    pem = openssl("x509", "-req", "-signkey", str(tmp_path / "ca.key"), stdin=request).decode()
    assert "Version: 1 " in openssl("x509", "-noout", "-text", stdin=pem.encode()).decode()
    assert ca_cert_hash(pem) == hash_by_openssl(pem)


def test_every_certificate_of_a_bundle_counts(tmp_path: Path) -> None:
    pems = [make_certificate(tmp_path, KEYS[name]) for name in ("ecdsa-p256", "ed25519")]
    bundle = "a comment\n" + "\n".join(pems)
    assert ca_cert_hashes(bundle) == tuple(hash_by_openssl(pem) for pem in pems)


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n"], ids=["empty", "text", "cut"])
def test_text_without_certificate(text: str) -> None:
    with pytest.raises(GroundplaneError, match="found no certificate"):
        ca_cert_hash(text)


@pytest.mark.parametrize(
    ("der", "reason"),
    [
        (b"\x30", "ends in the middle"),
        (b"\x30\x82\x10\x00\x30", "ends in the middle"),
        (b"\x30\x80\x00\x00", "indefinite"),
        (b"\x02\x01\x00", "0x02 where 0x30"),
        (b"\x30\x04\x30\x02\x04\x00", "0x04 where 0x02"),
    ],
    ids=["no length", "cut off", "indefinite", "no sequence", "no serial number"],
)
def test_malformed_certificate(der: bytes, reason: str) -> None:
    body = base64.b64encode(der).decode()
    with pytest.raises(GroundplaneError, match=reason):
        ca_cert_hash(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")


def test_malformed_base64() -> None:
    with pytest.raises(GroundplaneError, match="could not be read"):
        ca_cert_hash("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")


def test_public_key_is_the_whole_element(tmp_path: Path) -> None:
    pem = make_certificate(tmp_path, KEYS["ed25519"])
    public_key = openssl("x509", "-pubkey", "-noout", stdin=pem.encode())
    der = openssl("x509", "-outform", "der", stdin=pem.encode())
    assert subject_public_key_info(der) == openssl("pkey", "-pubin", "-outform", "der", stdin=public_key)


@pytest.mark.parametrize(
    ("extension", "names"),
    [
        ("DNS:api.example.com", SubjectAltNames(("api.example.com",))),
        ("IP:192.0.2.10", SubjectAltNames((), ("192.0.2.10",))),
        ("IP:2001:DB8:0:0:0:0:0:10", SubjectAltNames((), ("2001:db8::10",))),
        (
            "critical,IP:192.0.2.10,DNS:b.example.com,email:a@example.com,URI:https://c.example.com,DNS:*.example.com,"
            "IP:fd00::1",
            SubjectAltNames(("b.example.com", "*.example.com"), ("192.0.2.10", "fd00::1")),
        ),
        ("dirName:directory,DNS:a", SubjectAltNames(("a",))),
    ],
    ids=["a name", "IPv4", "IPv6", "several, critical", "of other kinds"],
)
def test_alt_names(tmp_path: Path, extension: str, names: SubjectAltNames) -> None:
    configuration = tmp_path / "openssl.cnf"
    configuration.write_text("[req]\ndistinguished_name = directory\n[directory]\nCN = other\n")
    options = ("-config", str(configuration), "-addext", f"subjectAltName={extension}")
    assert subject_alt_names(make_certificate(tmp_path, KEYS["ecdsa-p256"], *options)) == names


def test_more_names_than_a_short_length_can_tell(tmp_path: Path) -> None:
    wanted = tuple(f"name-{number}.example.com" for number in range(40))
    extension = "subjectAltName=" + ",".join(f"DNS:{name}" for name in wanted)
    assert subject_alt_names(make_certificate(tmp_path, KEYS["ecdsa-p256"], "-addext", extension)).dns == wanted


def test_no_alt_names(tmp_path: Path, fixture_text: Callable[[str], str]) -> None:
    assert subject_alt_names(make_certificate(tmp_path, KEYS["ecdsa-p256"])) == SubjectAltNames()
    assert subject_alt_names(fixture_text("kubeadm/ca.crt")) == SubjectAltNames(("kubernetes",))
    request = openssl("req", "-new", "-key", str(tmp_path / "ca.key"), "-subj", "/CN=kubernetes")
    without_extensions = openssl("x509", "-req", "-signkey", str(tmp_path / "ca.key"), stdin=request).decode()
    assert subject_alt_names(without_extensions) == SubjectAltNames()


def test_order() -> None:
    names = SubjectAltNames(("b", "a"), ("192.0.2.2", "192.0.2.1"))
    assert names.in_order() == ("a", "b", "192.0.2.1", "192.0.2.2")


def test_the_first_certificate_of_a_chain_counts(tmp_path: Path) -> None:
    own, other = (
        make_certificate(tmp_path, KEYS["ecdsa-p256"], "-addext", f"subjectAltName=DNS:{name}")
        for name in ("own", "ca")
    )
    assert subject_alt_names(own + other) == SubjectAltNames(("own",))
    assert certificate_der(own + other) == openssl("x509", "-outform", "der", stdin=own.encode())


@pytest.mark.parametrize("read", [subject_alt_names, certificate_der])
def test_file_without_certificate(read: Callable[[str], object]) -> None:
    with pytest.raises(GroundplaneError, match="found no certificate.*To do: restore"):
        read("")


@pytest.mark.parametrize(
    ("name", "replacement", "reason"),
    [
        (b"\x82\x05abcde", b"\x87\x05abcde", "an IP address has 5 bytes"),
        (b"\x82\x05abcde", b"\x82\x06abcde", "ends in the middle"),
        (b"\x06\x03\x55\x1d\x11\x04", b"\x06\x03\x55\x1d\x11\x05", "0x05 where 0x04"),
    ],
    ids=["address", "length", "value"],
)
def test_malformed_alt_names(tmp_path: Path, name: bytes, replacement: bytes, reason: str) -> None:
    der = certificate_der(make_certificate(tmp_path, KEYS["ecdsa-p256"], "-addext", "subjectAltName=DNS:abcde"))
    assert name in der
    body = base64.b64encode(der.replace(name, replacement)).decode()
    with pytest.raises(GroundplaneError, match=reason):
        subject_alt_names(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("days", ["2", "36500"], ids=["UTCTime", "GeneralizedTime"])
def test_end_of_life(tmp_path: Path, days: str) -> None:
    certificate = make_certificate(tmp_path, KEYS["ecdsa-p256"], "-days", days)
    said = openssl("x509", "-noout", "-enddate", stdin=certificate.encode()).decode().strip()

    assert not_after(certificate).strftime("notAfter=%b %e %H:%M:%S %Y GMT") == said
