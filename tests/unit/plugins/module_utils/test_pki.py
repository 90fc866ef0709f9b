# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discovery hash, compared with what openssl computes for certificates made on the spot."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import (
    ca_cert_hash,
    ca_cert_hashes,
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


def make_certificate(folder: Path, key: list[str]) -> str:
    """A self-signed certificate with a new key."""
    files = ("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"))
    openssl("req", "-x509", "-nodes", "-subj", "/CN=kubernetes", "-days", "2", "-newkey", *key, *files)
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
