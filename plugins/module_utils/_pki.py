# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discovery hash of a certificate authority, with nothing but the standard library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\s*(?P<body>[A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----",
)

# Tags of X.690 in the only encodings that a certificate uses on the way to its public key.
_INTEGER = 0x02
_SEQUENCE = 0x30
_EXPLICIT_VERSION = 0xA0


class _Element(NamedTuple):
    """One DER element: its tag, its content, and the whole of it as encoded."""

    tag: int
    content: bytes
    encoded: bytes


class _MalformedError(Exception):
    """The bytes are not the DER that a certificate must be."""


def ca_cert_hash(pem: str) -> str:
    """Discovery hash of the first certificate in a PEM text, as kubeadm's caCertHashes wants it."""
    return ca_cert_hashes(pem)[0]


def ca_cert_hashes(pem: str) -> tuple[str, ...]:
    """Discovery hashes of all certificates in a PEM text; a bundle has several while a CA is being replaced."""
    bodies = [match.group("body") for match in _CERTIFICATE.finditer(pem)]
    if not bodies:
        raise GroundplaneError(
            "found no certificate in the text of a certificate authority",
            expected="PEM with a block between BEGIN CERTIFICATE and END CERTIFICATE",
            remedy="pass the content of /etc/kubernetes/pki/ca.crt",
        )
    return tuple("sha256:" + hashlib.sha256(_public_key_of(body)).hexdigest() for body in bodies)


def _public_key_of(body: str) -> bytes:
    """Encoded SubjectPublicKeyInfo of the certificate in the body of one PEM block."""
    try:
        return subject_public_key_info(base64.b64decode("".join(body.split()), validate=True))
    except (_MalformedError, binascii.Error) as error:
        raise GroundplaneError(
            f"a certificate could not be read: {error}",
            expected="an X.509 certificate in DER inside PEM",
            remedy="compare it with what `openssl x509 -in ca.crt -noout -text` says; a cut-off file must be restored",
        ) from error


def subject_public_key_info(certificate: bytes) -> bytes:
    """Encoded SubjectPublicKeyInfo of a certificate in DER (RFC 5280, section 4.1)."""
    outer, _rest = _read_element(certificate)
    signed, _signature = _read_element(_content(outer, _SEQUENCE))
    rest = _content(signed, _SEQUENCE)
    first, after_first = _read_element(rest)
    if first.tag == _EXPLICIT_VERSION:
        rest = after_first
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        # serialNumber, signature, issuer, validity, subject stand before the key.
        element, rest = _read_element(rest)
        _content(element, tag)
    key, _extensions = _read_element(rest)
    _content(key, _SEQUENCE)
    return key.encoded


def _content(element: _Element, tag: int) -> bytes:
    """Content of an element that must have this tag."""
    if element.tag != tag:
        raise _MalformedError(f"found the DER tag 0x{element.tag:02x} where 0x{tag:02x} must stand")
    return element.content


def _read_element(data: bytes) -> tuple[_Element, bytes]:
    """Split the first element off."""
    if len(data) < 2:
        raise _MalformedError("the DER ends in the middle")
    length, start = data[1], 2
    if length == 0x80:
        raise _MalformedError("DER does not know indefinite lengths")
    if length > 0x80:
        start += length - 0x80
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    if len(data) < end:
        raise _MalformedError("the DER ends in the middle")
    return _Element(data[0], data[start:end], data[:end]), data[end:]
