# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to many ports of many hosts at once and finds out which answer, and how large a packet they get."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from contextlib import suppress
from typing import Iterator, NamedTuple, Sequence, Union

from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_frame import (
    ANSWER,
    DONE,
    FRAME_BYTES,
    PROBE,
    Frame,
    new_nonce,
    seal,
    sender_nonce,
    unseal,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_listener import family_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import TCP, probe_sizes

OK = "ok"
# Somebody on the way, or the host itself, said no.
REFUSED = "refused"
SILENT = "silent"
# The own kernel has no route, so nothing was sent.
UNROUTABLE = "unroutable"
# A connection was accepted by something that is not the listener at this address.
FOREIGN = "foreign"

#: Long enough for the second attempt of the kernel's to connect, one second after the first.
MEASURING_SECONDS = 3.0
_SIGNING_OFF_SECONDS = 0.5
# The kernel gives up looking for a neighbour's MAC address after some seconds and then reports the same error as when
# a firewall or router has said no, which takes it milliseconds.
_LOOKED_FOR_SECONDS = 0.9
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)
_TURN_SECONDS = 0.1
_DATAGRAM_SCHEDULE = (0.0, 0.2, 0.6, 1.2, 2.0)
# A process may have no more than 1024 descriptors where nobody has raised the limit.
_SOCKETS_AT_ONCE = 400
_IP_HEADERS = {socket.AF_INET: 20, socket.AF_INET6: 40}
_UDP_HEADER = 8

# linux/in.h and linux/in6.h; Python does not name them all. "Probe" sets the do-not-fragment bit and ignores what the
# kernel has learned of the path earlier, which may be out of date.
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_IPV6_DONTFRAG = 62
_PMTUDISC_PROBE = 3


class Target(NamedTuple):
    """A port of another host.

    :arg echo: our listener is there and answers; else it is a service, to which a connection is all that is made.
    """

    host: str
    address: str
    protocol: str
    port: int
    purpose: str = ""
    echo: bool = True


class Outcome(NamedTuple):
    """What became of a target.

    :arg reason: what the system said.
    :arg path_mtu: the largest packet that arrived; None where packets of different sizes were not sent.
    """

    result: str
    reason: str = ""
    path_mtu: int | None = None


class Sender(NamedTuple):
    """The host that measures."""

    address: str
    mtu: int
    secret: str


class _Stream:
    """A connection, and over it one frame and its answer."""

    def __init__(self, target: Target, sender: Sender, kind: bytes) -> None:
        self.outcome: Outcome | None = None
        self.events = selectors.EVENT_WRITE
        self.socket = socket.socket(family_of(target.address), socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self._target = target
        self._secret = sender.secret
        nonce = sender_nonce(sender.address) if kind == DONE else new_nonce()
        self._frame = Frame(kind, nonce)
        self._received = b""
        self._begin = time.monotonic()
        self._connected = False

    def start(self) -> None:
        self._judge(self.socket.connect_ex((self._target.address, self._target.port)), at_once=True)

    def _judge(self, code: int, *, at_once: bool = False) -> None:
        if code not in (0, errno.EINPROGRESS):
            self.outcome = _failure(code, time.monotonic() - self._begin, at_once=at_once)

    def ready(self) -> None:
        if not self._connected:
            self._judge(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            if self.outcome is None:
                self._greet()
            return
        try:
            data = self.socket.recv(FRAME_BYTES)
        except OSError:
            data = b""
        self._received += data
        if not data:
            self.outcome = Outcome(FOREIGN, "the connection is accepted and broken off")
        elif len(self._received) >= FRAME_BYTES:
            expected = Frame(ANSWER, self._frame.nonce)
            ours = unseal(self._secret, self._received, self._target.address) == expected
            self.outcome = Outcome(OK) if ours else Outcome(FOREIGN, "another program answers")

    def _greet(self) -> None:
        self._connected = True
        if not self._target.echo:
            self.outcome = Outcome(OK)
            return
        self.events = selectors.EVENT_READ
        try:
            self.socket.send(seal(self._secret, self._frame, self._target.address))
        except OSError as error:
            self.outcome = Outcome(FOREIGN, error.strerror or str(error))

    def tick(self, elapsed: float) -> None:
        """Nothing: the kernel itself repeats what gets lost."""

    def conclude(self) -> Outcome:
        # A host so busy that its listener has had no turn has still let the connection in.
        return self.outcome or (Outcome(OK) if self._connected else Outcome(SILENT, "no answer"))


class _Datagrams:
    """Datagrams of several sizes, repeated until they are answered; the smallest tells whether the port is reached."""

    def __init__(self, target: Target, sender: Sender, kind: bytes) -> None:
        self.outcome: Outcome | None = None
        self.events = selectors.EVENT_READ
        family = family_of(target.address)
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self._target = target
        self._sender = sender
        self._headers = _IP_HEADERS[family] + _UDP_HEADER
        self._sizes = probe_sizes(sender.mtu) if kind == PROBE else ()
        smallest = self._headers + FRAME_BYTES
        signing_off = Frame(DONE, sender_nonce(sender.address))
        self._frames = {
            size: signing_off if kind == DONE else Frame(PROBE, new_nonce()) for size in (*self._sizes, smallest)
        }
        self._answered: set[int] = set()
        self._schedule = list(_DATAGRAM_SCHEDULE)
        self._begin = time.monotonic()

    def start(self) -> None:
        try:
            _forbid_fragments(self.socket)
            # From the node address, as the packets of the pod network.
            self.socket.bind((self._sender.address, 0))
            self.socket.connect((self._target.address, self._target.port))
        except OSError as error:
            self.outcome = _failure(error.errno or errno.EINVAL, 0.0, at_once=True)
            return
        self.tick(0.0)

    def tick(self, elapsed: float) -> None:
        """Send what is due: at first the largest and the smallest size, then every size without an answer."""
        if self.outcome or not self._schedule or elapsed < self._schedule[0]:
            return
        first = self._schedule.pop(0) == _DATAGRAM_SCHEDULE[0]
        sizes = [size for size in self._frames if size not in self._answered]
        for size in {sizes[0], sizes[-1]} if first else sizes:
            frame = seal(self._sender.secret, self._frames[size], self._target.address)
            try:
                self.socket.send(frame.ljust(size - self._headers, b"\0"))
            except OSError as error:
                self._note(error)

    def _note(self, error: OSError) -> None:
        """An error of a single size says nothing about the port."""
        if error.errno not in (errno.EMSGSIZE, errno.EAGAIN, errno.ENOBUFS):
            elapsed = time.monotonic() - self._begin
            self.outcome = self.outcome or _failure(error.errno or errno.EINVAL, elapsed)

    def ready(self) -> None:
        try:
            data = self.socket.recv(65535)
        except OSError as error:
            self._note(error)
            return
        frame = unseal(self._sender.secret, data, self._target.address)
        if frame is None or frame.kind != ANSWER:
            return
        self._answered |= {size for size, sent in self._frames.items() if sent.nonce == frame.nonce}
        if max(self._frames) in self._answered:
            self.outcome = self._answer()

    def _answer(self) -> Outcome:
        return Outcome(OK, path_mtu=max(self._answered) if self._sizes else None)

    def conclude(self) -> Outcome:
        if self._answered:
            return self._answer()
        return self.outcome or Outcome(SILENT, "no answer")


_Attempt = Union[_Stream, _Datagrams]


def measure(targets: Sequence[Target], sender: Sender, *, seconds: float = MEASURING_SECONDS) -> list[Outcome]:
    """Try all targets, in groups that stay below the limit of descriptors; every group takes at most so many seconds.

    As soon as everything has been answered a group is done: on a healthy network that is a matter of milliseconds. What
    has not been answered in full is tried once more, since the other host may only have been busy.
    """
    outcomes = list(_in_groups(targets, sender, PROBE, seconds))
    doubtful = [number for number, outcome in enumerate(outcomes) if _may_change(outcome, sender)]
    again = _in_groups([targets[number] for number in doubtful], sender, PROBE, seconds)
    for number, outcome in zip(doubtful, again):
        outcomes[number] = max(outcomes[number], outcome, key=_better)
    return outcomes


def _may_change(outcome: Outcome, sender: Sender) -> bool:
    partly = outcome.path_mtu is not None and outcome.path_mtu < probe_sizes(sender.mtu)[0]
    return outcome.result == SILENT or partly


def _better(outcome: Outcome) -> tuple[bool, int]:
    return outcome.result == OK, outcome.path_mtu or 0


def sign_off(targets: Sequence[Target], sender: Sender) -> None:
    """Tell listeners that this host needs them no longer; one that does not hear it ends by itself."""
    list(_in_groups(targets, sender, DONE, _SIGNING_OFF_SECONDS))


def _in_groups(targets: Sequence[Target], sender: Sender, kind: bytes, seconds: float) -> Iterator[Outcome]:
    for start in range(0, len(targets), _SOCKETS_AT_ONCE):
        attempts = [_attempt(target, sender, kind) for target in targets[start : start + _SOCKETS_AT_ONCE]]
        _run(attempts, seconds)
        for attempt in attempts:
            attempt.socket.close()
            yield attempt.conclude()


def _attempt(target: Target, sender: Sender, kind: bytes) -> _Attempt:
    return _Stream(target, sender, kind) if target.protocol == TCP else _Datagrams(target, sender, kind)


def _run(attempts: Sequence[_Attempt], seconds: float) -> None:
    """Wait for answers.

    Time in which this process had no turn does not count as waiting: on a machine under heavy load answers lie unread
    in the meantime.
    """
    elapsed = 0.0
    with selectors.DefaultSelector() as selector:
        for attempt in attempts:
            attempt.start()
            if attempt.outcome is None:
                selector.register(attempt.socket, attempt.events, attempt)
        while selector.get_map() and elapsed < seconds:
            begin = time.monotonic()
            for key, _events in selector.select(_TURN_SECONDS):
                key.data.ready()
            elapsed += min(time.monotonic() - begin, 2 * _TURN_SECONDS)
            for key in list(selector.get_map().values()):
                key.data.tick(elapsed)
                if key.data.outcome is not None:
                    selector.unregister(key.fileobj)
                elif key.events != key.data.events:
                    selector.modify(key.fileobj, key.data.events, key.data)


def _failure(code: int, elapsed: float, *, at_once: bool = False) -> Outcome:
    reason = os.strerror(code)
    if code in _NO_ROUTE and at_once:
        return Outcome(UNROUTABLE, reason)
    if code in (errno.EHOSTUNREACH, errno.ETIMEDOUT) and elapsed > _LOOKED_FOR_SECONDS:
        return Outcome(SILENT, "no answer")
    if code in _NO_ROUTE:
        return Outcome(REFUSED, f"a firewall or router says: {reason}")
    return Outcome(REFUSED, reason)


def _forbid_fragments(datagrams: socket.socket) -> None:
    if datagrams.family == socket.AF_INET6:
        datagrams.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        with suppress(OSError):
            datagrams.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    else:
        datagrams.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
