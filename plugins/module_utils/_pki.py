# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What certificates say: discovery hashes and alternative names, with nothing but the standard library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from datetime import datetime
from typing import Callable, NamedTuple, TypeVar

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\s*(?P<body>[A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----",
)

_Value = TypeVar("_Value")

# Tags of X.690 in the only encodings that a certificate uses on the way to its public key and its extensions.
_INTEGER = 0x02
_OCTET_STRING = 0x04
_OBJECT_IDENTIFIER = 0x06
_SEQUENCE = 0x30
# UTCTime and GeneralizedTime, which certificates may only have in these forms.
_TIME_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
_EXPLICIT_VERSION = 0xA0
_EXPLICIT_EXTENSIONS = 0xA3

# 2.5.29.17, and the two of its kinds of names that TLS clients look at (RFC 5280, section 4.2.1.6).
_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))
_DNS_NAME = 0x82
_IP_ADDRESS = 0x87


class SubjectAltNames(NamedTuple):
    """Names and addresses that a certificate is good for, in its own order; addresses in their usual form."""

    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def in_order(self) -> tuple[str, ...]:
        """All of them, sorted, names first."""
        return (*sorted(self.dns), *sorted(self.addresses))


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
    keys = [_read_body(body, subject_public_key_info) for body in bodies]
    return tuple("sha256:" + hashlib.sha256(key).hexdigest() for key in keys)


def certificate_der(pem: str) -> bytes:
    """The first certificate in a PEM text, which is the server's own in a file with a chain."""
    return _read_body(_first_body(pem), lambda der: der)


def subject_alt_names(pem: str) -> SubjectAltNames:
    """Names and addresses of the first certificate in a PEM text."""
    return _read_body(_first_body(pem), _alt_names)


def not_after(pem: str) -> datetime:
    """End of the life of the first certificate in a PEM text."""
    return _read_body(_first_body(pem), _not_after)


def _first_body(pem: str) -> str:
    """Body of the first PEM block with a certificate."""
    match = _CERTIFICATE.search(pem)
    if match is None:
        raise GroundplaneError(
            "found no certificate in the text of a certificate file",
            expected="PEM with a block between BEGIN CERTIFICATE and END CERTIFICATE",
            remedy="restore the file",
        )
    return match.group("body")


def _read_body(body: str, read: Callable[[bytes], _Value]) -> _Value:
    """What a reader of DER finds in the body of one PEM block."""
    try:
        return read(base64.b64decode("".join(body.split()), validate=True))
    except (_MalformedError, binascii.Error) as error:
        raise GroundplaneError(
            f"a certificate could not be read: {error}",
            expected="an X.509 certificate in DER inside PEM",
            remedy="compare it with what `openssl x509 -in FILE -noout -text` says; a cut-off file must be restored",
        ) from error


def subject_public_key_info(certificate: bytes) -> bytes:
    """Encoded SubjectPublicKeyInfo of a certificate in DER (RFC 5280, section 4.1)."""
    key, _after = _key_and_after(certificate)
    return key.encoded


def _key_and_after(certificate: bytes) -> tuple[_Element, bytes]:
    """The public key of a certificate, and what stands behind it."""
    _before, rest = _before_key(certificate)
    key, after = _read_element(rest)
    _content(key, _SEQUENCE)
    return key, after


def _before_key(certificate: bytes) -> tuple[list[_Element], bytes]:
    """serialNumber, signature, issuer, validity and subject of a certificate, and what stands behind them."""
    outer, _rest = _read_element(certificate)
    signed, _signature = _read_element(_content(outer, _SEQUENCE))
    rest = _content(signed, _SEQUENCE)
    first, after_first = _read_element(rest)
    if first.tag == _EXPLICIT_VERSION:
        rest = after_first
    before = []
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        element, rest = _read_element(rest)
        _content(element, tag)
        before.append(element)
    return before, rest


def _not_after(certificate: bytes) -> datetime:
    """End of the validity of a certificate in DER (RFC 5280, section 4.1.2.5)."""
    before, _rest = _before_key(certificate)
    times = _elements(before[3].content)
    if len(times) != 2 or times[1].tag not in _TIME_FORMATS:
        raise _MalformedError("the validity is not two times")
    try:
        return datetime.strptime(times[1].content.decode("ascii"), _TIME_FORMATS[times[1].tag])
    except ValueError as error:
        raise _MalformedError(f"the validity cannot be read: {error}") from error


def _alt_names(certificate: bytes) -> SubjectAltNames:
    """Names and addresses in a certificate in DER."""
    _key, after = _key_and_after(certificate)
    dns: list[str] = []
    addresses: list[str] = []
    for name in _elements(_alt_name_extension(after)):
        if name.tag == _DNS_NAME:
            dns.append(name.content.decode("ascii", "backslashreplace"))
        elif name.tag == _IP_ADDRESS:
            addresses.append(_address(name.content))
    return SubjectAltNames(tuple(dns), tuple(addresses))


def _alt_name_extension(after_key: bytes) -> bytes:
    """Content of the extension subjectAltName; empty when the certificate has none."""
    for field in _elements(after_key):
        # Unique identifiers may stand before the extensions.
        if field.tag != _EXPLICIT_EXTENSIONS:
            continue
        extensions, _rest = _read_element(field.content)
        for extension in _elements(_content(extensions, _SEQUENCE)):
            # Between the two may stand whether the extension is critical.
            identifier, *others = _elements(_content(extension, _SEQUENCE)) or [extension]
            if others and _content(identifier, _OBJECT_IDENTIFIER) == _SUBJECT_ALT_NAME:
                names, _rest = _read_element(_content(others[-1], _OCTET_STRING))
                return _content(names, _SEQUENCE)
    return b""


def _address(content: bytes) -> str:
    """The IP address in an iPAddress name."""
    try:
        return str(ipaddress.ip_address(content))
    except ValueError as error:
        raise _MalformedError(f"an IP address has {len(content)} bytes") from error


def _elements(data: bytes) -> list[_Element]:
    """All elements of a content."""
    found = []
    while data:
        element, data = _read_element(data)
        found.append(element)
    return found


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
