# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking an address and a port who is there, within seconds and without any program."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import NamedTuple

# A server was there and was not asked who it is, or proved to be of the cluster, or not to be.
OPEN = "open"
OURS = "ours"
FOREIGN = "foreign"
# The connection was accepted, and then closed or left without a word: a load balancer that has no backend.
MUTE = "mute"
REFUSED = "refused"
SILENT = "silent"
UNROUTABLE = "unroutable"
UNRESOLVABLE = "unresolvable"

_PRESENT = (OPEN, OURS, FOREIGN, MUTE, REFUSED)
_HANDSHAKE_SECONDS = 3.0
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED: OpenSSL looks at the time after it has found the CA.
_TIME_ERRORS = (9, 10)
# X509_V_FLAG_PARTIAL_CHAIN, for which Python has a name since 3.10.
_PARTIAL_CHAIN = 0x80000


class Answer(NamedTuple):
    """What became of a connection.

    :arg reason: what the system or TLS said, for findings.
    """

    outcome: str
    reason: str = ""

    @property
    def present(self) -> bool:
        """Whether some machine has answered."""
        return self.outcome in _PRESENT


def ask(address: str, port: int, *, seconds: float, authority: str = "", name: str = "") -> Answer:
    """Connect and, where the CA is known, ask for a certificate of it; nothing is sent beyond that.

    :arg seconds: for the connection to each address that the name has.
    :arg authority: PEM of the cluster's CA.
    :arg name: what the TLS handshake asks for, for load balancers that sort connections by it.
    """
    try:
        connection = socket.create_connection((address, port), seconds)
    except socket.gaierror as error:
        return Answer(UNRESOLVABLE, error.strerror or str(error))
    except socket.timeout:
        return Answer(SILENT, f"no answer within {seconds:g} s")
    except ConnectionError as error:
        return Answer(REFUSED, error.strerror or str(error))
    except OSError as error:
        # On the own network this means that nobody has the address; the same silence, only noticed by the kernel.
        silent = error.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
        return Answer(SILENT if silent else UNROUTABLE, error.strerror or str(error))
    with connection:
        return _identify(connection, authority, name or address) if authority else Answer(OPEN)


def speaks_tls(address: str, port: int, *, seconds: float, name: str = "") -> bool:
    """Whether a server makes a TLS connection, whoever it is; a load balancer without backends does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), seconds) as connection:
            context.wrap_socket(connection, server_hostname=name or address).close()
    except OSError:
        return False
    return True


def verify_as_go(context: ssl.SSLContext) -> None:
    """Accept the certificates that Kubernetes and containerd accept.

    An authority that is given may be an intermediate one, and neither it nor a server has to carry the extensions that
    Python asks for since 3.13.
    """
    flags = (int(context.verify_flags) & ~int(ssl.VERIFY_X509_STRICT)) | _PARTIAL_CHAIN
    context.verify_flags = ssl.VerifyFlags(flags)


def _identify(connection: socket.socket, authority: str, name: str) -> Answer:
    """Whether the server has a certificate of the CA, whatever names stand in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    verify_as_go(context)
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError):
        return Answer(OPEN)
    connection.settimeout(_HANDSHAKE_SECONDS)
    try:
        context.wrap_socket(connection, server_hostname=name).close()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _TIME_ERRORS:
            return Answer(OURS, error.verify_message)
        return Answer(FOREIGN, f"its certificate is not of the cluster's CA ({error.verify_message})")
    except socket.timeout:
        return Answer(MUTE, f"connections are accepted, and then nothing is said for {_HANDSHAKE_SECONDS:g} s")
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
        return Answer(MUTE, "connections are accepted and closed at once")
    except ssl.SSLError as error:
        return Answer(FOREIGN, f"it does not speak TLS as an API server does ({error.reason})")
    except OSError as error:
        return Answer(MUTE, f"connections are accepted and broken off ({error.strerror or error})")
    return Answer(OURS)
