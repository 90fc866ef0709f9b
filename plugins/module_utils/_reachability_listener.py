# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short-lived listeners at the node address, by which other hosts find out whether they get through."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Union

from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_frame import (
    ANSWER,
    DONE,
    FRAME_BYTES,
    Frame,
    proof,
    seal,
    sender_nonce,
    unseal,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import TCP, Port

# A port has our listener, or somebody else's: then there is a service to connect to, or nothing to measure.
LISTENING = "listening"
OCCUPIED = "occupied"
# A port of a program that may come at any moment: it must find its port free.
UNMEASURED = "unmeasured"

#: The kernel cuts names of processes at 15 characters; ss and ps show this one.
PROCESS_NAME = "gp-reachability"

#: Where the host speaks to its own listener. Names of this kind have no file, and end with the process.
CONTROL_NAME = "\0groundplane.kubeadm reachability"

_PRIORITY = -10
# Far above what one batch of forks makes; whoever comes beyond that is turned away.
_MOST_CONNECTIONS = 512
_IDLE_SECONDS = 4.0
_CONTROL_SECONDS = 2.0
_PEER_CREDENTIALS = struct.Struct("3i")

Address = Union[str, bytes]


class Opened(NamedTuple):
    """Sockets of one host, bound by the module before it leaves them to the listener."""

    states: Mapping[Port, str]
    streams: tuple[socket.socket, ...]
    datagrams: tuple[socket.socket, ...]

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """All of them."""
        return self.streams + self.datagrams


def family_of(address: str) -> socket.AddressFamily:
    """Family of an address in its text form."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def open_ports(address: str, ports: Iterable[Port]) -> Opened:
    """Listen on the ports that are free; OSError when the address itself cannot be used."""
    states: dict[Port, str] = {}
    streams: list[socket.socket] = []
    datagrams: list[socket.socket] = []
    with contextlib.ExitStack() as opened:
        for port in ports:
            kind = socket.SOCK_STREAM if port.protocol == TCP else socket.SOCK_DGRAM
            endpoint = opened.enter_context(socket.socket(family_of(address), kind))
            endpoint.setblocking(False)
            if port.protocol == TCP:
                # For connections of an earlier measurement that the kernel still remembers.
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                endpoint.bind((address, port.number))
                if port.protocol == TCP:
                    endpoint.listen(_MOST_CONNECTIONS)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                endpoint.close()
                states[port] = OCCUPIED
            else:
                (streams if port.protocol == TCP else datagrams).append(endpoint)
                states[port] = LISTENING
        opened.pop_all()
    return Opened(states, tuple(streams), tuple(datagrams))


class Listener:
    """Answers who knows the secret, until it is told to stop, has served everybody or has lived long enough."""

    def __init__(self, opened: Opened, control: socket.socket, *, address: str, secret: str, seconds: float) -> None:
        self._opened = opened
        self._control = control
        self._address = address
        self._secret = secret
        self._deadline = time.monotonic() + seconds
        # Made before the process is detached, so it must not be one that is a descriptor itself.
        self._selector = selectors.PollSelector()
        self._connections: dict[socket.socket, tuple[float, bytes]] = {}
        self._expected: set[bytes] | None = None
        self._done: set[bytes] = set()
        self._dismissal: socket.socket | None = None

    def serve(self) -> None:
        """Serve, and close everything in the end."""
        for endpoint in self._opened.streams:
            self._register(endpoint, self._accept)
        for endpoint in self._opened.datagrams:
            self._register(endpoint, self._answer_datagram)
        self._register(self._control, self._obey)
        while not self._finished():
            timeout = min(1.0, max(0.0, self._deadline - time.monotonic()))
            for key, _events in self._selector.select(timeout):
                # Also a network that breaks down must not end the process before the others have been served.
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)
            self._drop_idle()
        for endpoint in (*self._connections, *self._opened.sockets, self._control):
            endpoint.close()
        self._selector.close()
        if self._dismissal is not None:
            # Last of all: who reads the end of this connection knows that the ports are free.
            self._dismissal.close()

    def _finished(self) -> bool:
        served = self._expected is not None and self._expected <= self._done
        return served or self._dismissal is not None or time.monotonic() >= self._deadline

    def _register(self, endpoint: socket.socket, action: Callable[[socket.socket], None]) -> None:
        self._selector.register(endpoint, selectors.EVENT_READ, action)

    def _accept(self, endpoint: socket.socket) -> None:
        connection, _peer = endpoint.accept()
        connection.setblocking(False)
        if len(self._connections) >= _MOST_CONNECTIONS:
            connection.close()
            return
        self._connections[connection] = (time.monotonic(), b"")
        self._register(connection, self._answer_stream)

    def _answer_stream(self, connection: socket.socket) -> None:
        """Answer the one frame of a connection; the other side closes it, so that no port stays in use here."""
        since, received = self._connections[connection]
        data = _received(connection)
        received += data
        reply = self._reply(received) if len(received) == FRAME_BYTES else b""
        if reply:
            connection.send(reply)
        elif not data or len(received) >= FRAME_BYTES:
            self._drop(connection)
            return
        self._connections[connection] = (since, received)

    def _answer_datagram(self, endpoint: socket.socket) -> None:
        data, peer = endpoint.recvfrom(65535)
        reply = self._reply(data)
        if reply:
            endpoint.sendto(reply, peer)

    def _reply(self, data: bytes) -> bytes:
        frame = unseal(self._secret, data, self._address)
        if frame is None or frame.kind == ANSWER:
            return b""
        if frame.kind == DONE:
            self._done.add(frame.nonce)
        return seal(self._secret, Frame(ANSWER, frame.nonce), self._address)

    def _obey(self, control: socket.socket) -> None:
        """Do what a process of the same user on the same host says."""
        connection, _peer = control.accept()
        connection.settimeout(_CONTROL_SECONDS)
        try:
            if _user_of(connection) not in (0, os.geteuid()):
                connection.close()
                return
            command = json.loads(_everything(connection))
            connection.sendall(json.dumps({"proof": self._identity()}).encode())
        except (OSError, ValueError):
            connection.close()
            return
        if command.get("stop"):
            self._dismissal = connection
            return
        connection.close()
        self._expected = {sender_nonce(address) for address in command["expect"]}

    def _identity(self) -> str:
        return identity(self._secret, self._address)

    def _drop_idle(self) -> None:
        now = time.monotonic()
        for connection, (since, _received_bytes) in list(self._connections.items()):
            if now - since > _IDLE_SECONDS:
                self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._selector.unregister(connection)
        connection.close()


def identity(secret: str, address: str) -> str:
    """By what a host recognises its own listener, of its own run."""
    return proof(secret, b"listener", address).hex()


def _received(connection: socket.socket) -> bytes:
    """What has arrived, nothing at the end of a connection however it ended."""
    try:
        return connection.recv(FRAME_BYTES + 1)
    except OSError:
        return b""


def _user_of(connection: socket.socket) -> int:
    """User of the process at the other end of a local connection."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    user: int = _PEER_CREDENTIALS.unpack(credentials)[1]
    return user


def _everything(connection: socket.socket) -> bytes:
    """What the other side says until it has said everything."""
    parts: list[bytes] = []
    while True:
        data = connection.recv(65536)
        if not data:
            return b"".join(parts)
        parts.append(data)


def open_control(name: Address = CONTROL_NAME) -> socket.socket:
    """The place where the host speaks to its listener; OSError when another one has it."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.bind(name)
        control.listen(4)
    except OSError:
        control.close()
        raise
    return control


def tell_listener(command: Mapping[str, Any], name: Address = CONTROL_NAME) -> str:
    """Give a command to this host's listener; its identity, empty when there is none or it does not obey."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONTROL_SECONDS)
        try:
            connection.connect(name)
            if _user_of(connection) not in (0, os.geteuid()):
                return ""
            connection.sendall(json.dumps(dict(command)).encode())
            connection.shutdown(socket.SHUT_WR)
            return str(json.loads(_everything(connection))["proof"])
        except (OSError, ValueError):
            return ""


def dismiss_listener(name: Address = CONTROL_NAME) -> None:
    """End a listener that an earlier run has left; its ports are free afterwards."""
    tell_listener({"stop": True}, name)


def start_listener(
    ports: Iterable[Port],
    *,
    address: str,
    secret: str,
    seconds: float,
    name: Address = CONTROL_NAME,
) -> dict[str, Any]:
    """Listen at the node address and say where; the process goes on after the module has ended."""
    wanted = list(ports)
    try:
        with contextlib.ExitStack() as opened:
            control = opened.enter_context(open_control(name))
            endpoints = open_ports(address, wanted)
            for endpoint in endpoints.sockets:
                opened.enter_context(endpoint)
            listener = Listener(endpoints, control, address=address, secret=secret, seconds=seconds)
            descriptors = [endpoint.fileno() for endpoint in (control, *endpoints.sockets)]
            detach_process(listener.serve, descriptors)
    except OSError as error:
        return {"ports": [], "problem": f"no listener could be started at {address} ({error.strerror or error})"}
    return {
        "ports": [{**_described(port), "state": endpoints.states[port]} for port in wanted],
        "problem": "",
    }


def leave_ports(ports: Iterable[Port], *, services: Iterable[int]) -> dict[str, Any]:
    """What others have to know of a host on which nobody may listen but the cluster's own programs.

    :arg services: TCP ports that are in use at the node address.
    """
    used = set(services)
    states = {port: OCCUPIED if port.protocol == TCP and port.number in used else UNMEASURED for port in ports}
    return {"ports": [{**_described(port), "state": state} for port, state in states.items()], "problem": ""}


def _described(port: Port) -> dict[str, Any]:
    return {"protocol": port.protocol, "port": port.number, "purpose": port.purpose, "callers": port.callers}


def detach_process(serve: Callable[[], None], keep: Iterable[int]) -> None:
    """Run a function in a process that nobody waits for, with nothing open but the given descriptors."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Hardly ever does it want a turn, but then at once: a late answer looks like none.
        with contextlib.suppress(OSError):
            os.nice(_PRIORITY)
        _let_go(set(keep))
        serve()
    finally:
        # Never back into the module: its result has been, or is being, printed by the parent.
        os._exit(0)


def _let_go(keep: set[int]) -> None:
    """Let go of the connection to the controller, which ends only when nobody has it open."""
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor not in keep:
            # The one by which the folder was read is gone already.
            with contextlib.suppress(OSError):
                os.close(descriptor)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(PROCESS_NAME, encoding="ascii")
