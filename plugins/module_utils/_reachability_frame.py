# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the two sides of a measurement say to each other: a number, and the proof to know the secret of the run."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import NamedTuple

PROBE = b"P"
DONE = b"D"
ANSWER = b"A"

_MAGIC = b"GPR1"
_NONCE_BYTES = 16
_PROOF_BYTES = 32

#: Bytes of a frame; a probe may have padding behind it, an answer never has, so nothing is ever amplified.
FRAME_BYTES = len(_MAGIC) + len(PROBE) + _NONCE_BYTES + _PROOF_BYTES


class Frame(NamedTuple):
    """A message that has proved to come from somebody who knows the secret."""

    kind: bytes
    nonce: bytes


def new_nonce() -> bytes:
    """A number that nobody can foresee."""
    return os.urandom(_NONCE_BYTES)


def sender_nonce(address: str) -> bytes:
    """The number by which a host signs off; its address in the frame's form."""
    return hashlib.sha256(address.encode()).digest()[:_NONCE_BYTES]


def seal(secret: str, frame: Frame, address: str) -> bytes:
    """A frame as it travels.

    :arg address: the listener's, so that what was meant for one host is worth nothing to another.
    """
    return _MAGIC + frame.kind + frame.nonce + proof(secret, frame.kind + frame.nonce, address)


def unseal(secret: str, data: bytes, address: str) -> Frame | None:
    """The frame at the beginning of what arrived, None for anything that was not made with the secret."""
    body, given = data[len(_MAGIC) : FRAME_BYTES - _PROOF_BYTES], data[FRAME_BYTES - _PROOF_BYTES : FRAME_BYTES]
    if not data.startswith(_MAGIC) or not hmac.compare_digest(given, proof(secret, body, address)):
        return None
    return Frame(body[:1], body[1:])


def proof(secret: str, body: bytes, address: str) -> bytes:
    """What only those can make who know the secret."""
    return hmac.new(secret.encode(), body + address.encode(), hashlib.sha256).digest()
