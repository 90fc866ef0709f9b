# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener and the measurement, with real sockets on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import (
    _reachability_listener as listening,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils import (
    _reachability_probe as probing,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_frame import (
    ANSWER,
    FRAME_BYTES,
    PROBE,
    Frame,
    new_nonce,
    seal,
    unseal,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_listener import (
    LISTENING,
    OCCUPIED,
    Listener,
    dismiss_listener,
    identity,
    open_control,
    open_ports,
    start_listener,
    tell_listener,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import TCP, UDP, Port
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_probe import (
    FOREIGN,
    OK,
    REFUSED,
    SILENT,
    UNROUTABLE,
    Outcome,
    Sender,
    Target,
    measure,
    sign_off,
)

HERE = "127.0.0.1"
SECRET = "between the two of us"
SENDER = Sender("127.0.0.2", 1500, SECRET)


@pytest.fixture
def name() -> str:
    """A control socket of this test alone."""
    return f"\0groundplane test {os.getpid()} {time.monotonic_ns()}"


def free_port(kind=socket.SOCK_STREAM, address=HERE) -> int:
    with socket.socket(listening.family_of(address), kind) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def tcp(number=0) -> Port:
    return Port(TCP, number or free_port(), "kubelet", "node")


def udp(number=0) -> Port:
    return Port(UDP, number or free_port(socket.SOCK_DGRAM), "pod network", "node")


def target(port: Port, address=HERE, echo=True) -> Target:
    return Target("other", address, port.protocol, port.number, port.purpose, echo)


@contextlib.contextmanager
def listener(name, *ports, address=HERE, seconds=20.0) -> Iterator[threading.Thread]:
    """Serve in a thread, and see that it ends."""
    served = Listener(open_ports(address, ports), open_control(name), address=address, secret=SECRET, seconds=seconds)
    thread = threading.Thread(target=served.serve)
    thread.start()
    try:
        yield thread
    finally:
        dismiss_listener(name)
        thread.join(10)
        assert not thread.is_alive()


def raw_exchange(port: Port, data: bytes) -> bytes:
    with socket.create_connection((HERE, port.number), 5) as connection:
        try:
            connection.sendall(data)
            return connection.recv(4096)
        except ConnectionError:
            # What had not been read when the other side closed.
            return b""


@contextlib.contextmanager
def service(answer=b"") -> Iterator[Port]:
    """Something else that accepts connections, and answers one or closes it."""
    with socket.create_server((HERE, 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                connection, _peer = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Port(TCP, server.getsockname()[1], "something", "node")
        # Wake it where the test has made no connection.
        with contextlib.suppress(OSError):
            socket.create_connection(server.getsockname(), 1).close()
        thread.join(5)


def test_a_frame_is_worth_something_with_its_secret_and_for_its_address_only():
    frame = Frame(PROBE, new_nonce())
    data = seal(SECRET, frame, HERE)
    assert len(data) == FRAME_BYTES
    assert unseal(SECRET, data + b"padding", HERE) == frame
    assert unseal("another", data, HERE) is None
    assert unseal(SECRET, data, "127.0.0.2") is None
    assert unseal(SECRET, data[:-1], HERE) is None
    assert unseal(SECRET, b"", HERE) is None


def test_everything_answers(name):
    ports = [tcp(), tcp(), udp()]
    with listener(name, *ports):
        assert measure([target(port) for port in ports], SENDER) == [Outcome(OK), Outcome(OK), Outcome(OK, "", 1500)]


def test_the_whole_mtu_of_the_loopback_interface(name):
    port = udp()
    with listener(name, port):
        (outcome,) = measure([target(port)], SENDER._replace(mtu=65536))
    # 127.0.0.1 carries an IPv4 packet of any size there is.
    assert outcome.path_mtu == 65535


def test_ipv6(name):
    try:
        ports = [
            Port(TCP, free_port(address="::1"), "kubelet", "node"),
            Port(UDP, free_port(socket.SOCK_DGRAM, "::1"), "pod network", "node"),
        ]
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener(name, *ports, address="::1"):
        outcomes = measure([target(port, "::1") for port in ports], Sender("::1", 1500, SECRET))
    assert outcomes == [Outcome(OK), Outcome(OK, "", 1500)]


def test_nobody_there():
    outcomes = measure([target(tcp()), target(udp())], SENDER)
    assert outcomes == [Outcome(REFUSED, "Connection refused")] * 2


def test_no_route():
    # A class that is reserved; Linux has no route to it.
    outcomes = measure([target(tcp(), "0.255.255.255"), target(udp(), "255.255.255.255")], SENDER, seconds=0.3)
    assert [outcome.result for outcome in outcomes][0] in (UNROUTABLE, REFUSED)
    assert outcomes[1].result in (UNROUTABLE, REFUSED)


def test_an_own_address_that_is_gone():
    (outcome,) = measure([target(udp())], SENDER._replace(address="192.0.2.1"))
    assert outcome == Outcome(UNROUTABLE, "Cannot assign requested address")


def test_silence_takes_no_longer_than_it_may():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((HERE, 0))
        begin = time.monotonic()
        (outcome,) = measure([target(udp(mute.getsockname()[1]))], SENDER, seconds=0.5)
        assert outcome == Outcome(SILENT, "no answer")
        # Twice, and each of them half a second.
        assert 0.9 < time.monotonic() - begin < 4.0
        mute.settimeout(1)
        sizes = {len(mute.recv(65535)) + 28 for _number in range(5)}
    # First the largest and the smallest, then all of them.
    assert sizes >= {1500, FRAME_BYTES + 28}


def test_a_connection_without_an_answer_in_time_has_been_let_in():
    with socket.create_server((HERE, 0)) as busy:
        (outcome,) = measure([target(tcp(busy.getsockname()[1]))], SENDER, seconds=0.3)
    assert outcome == Outcome(OK)


def test_a_full_queue_is_silence():
    with socket.create_server((HERE, 0), backlog=0) as full:
        waiting = [socket.socket() for _number in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
        time.sleep(0.2)
        (outcome,) = measure([target(tcp(full.getsockname()[1]), echo=False)], SENDER, seconds=0.3)
        for connection in waiting:
            connection.close()
    assert outcome == Outcome(SILENT, "no answer")


def test_a_service_is_connected_to_and_not_spoken_to():
    with service() as port:
        assert measure([target(port, echo=False)], SENDER) == [Outcome(OK)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"", "the connection is accepted and broken off"), (b"x" * FRAME_BYTES, "another program answers")],
)
def test_something_else_answers(answer, reason):
    with service(answer) as port:
        assert measure([target(port)], SENDER) == [Outcome(FOREIGN, reason)]


def test_only_small_packets_arrive(name, monkeypatch):
    port = udp()
    received = Listener._reply
    monkeypatch.setattr(Listener, "_reply", lambda self, data: b"" if len(data) + 28 > 1420 else received(self, data))
    with listener(name, port):
        (outcome,) = measure([target(port)], SENDER, seconds=0.6)
    assert outcome == Outcome(OK, "", 1400)


def test_a_host_that_was_busy_is_asked_again(name, monkeypatch):
    rounds = []

    def answer(targets, sender, kind, seconds):
        rounds.append([item.port for item in targets])
        if len(rounds) == 1:
            yield from (Outcome(OK), Outcome(SILENT), Outcome(OK, "", 81), Outcome(REFUSED), Outcome(OK, "", 1400))
        else:
            yield from (Outcome(OK), Outcome(OK, "", 1500), Outcome(SILENT))

    monkeypatch.setattr(probing, "_in_groups", answer)
    targets = [Target("other", HERE, TCP, number) for number in range(5)]
    assert measure(targets, SENDER) == [
        Outcome(OK),
        Outcome(OK),
        Outcome(OK, "", 1500),
        Outcome(REFUSED),
        Outcome(OK, "", 1400),
    ]
    assert rounds == [[0, 1, 2, 3, 4], [1, 2, 4]]


def test_time_without_a_turn_is_no_waiting(name, monkeypatch):
    port = udp()
    late = []
    select = probing.selectors.DefaultSelector.select

    def suspended(self, timeout=None):
        if not late and isinstance(self, probing.selectors.DefaultSelector):
            late.append(time.sleep(0.6))
        return select(self, timeout)

    with listener(name, port):
        monkeypatch.setattr(probing.selectors.DefaultSelector, "select", suspended)
        (outcome,) = measure([target(port)], SENDER, seconds=0.4)
        monkeypatch.undo()
    assert outcome == Outcome(OK, "", 1500)


def test_answers_that_are_none_are_passed_over(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.bind((HERE, 0))

        def lie():
            data, peer = liar.recvfrom(65535)
            liar.sendto(data, peer)
            liar.sendto(b"hello", peer)

        thread = threading.Thread(target=lie)
        thread.start()
        (outcome,) = measure([target(udp(liar.getsockname()[1]))], SENDER, seconds=0.4)
        thread.join(5)
    assert outcome.result == SILENT


@pytest.mark.parametrize(
    ("code", "elapsed", "at_once", "result"),
    [
        (probing.errno.ENETUNREACH, 0.0, True, UNROUTABLE),
        (probing.errno.EHOSTUNREACH, 0.01, False, REFUSED),
        (probing.errno.EHOSTUNREACH, 2.9, False, SILENT),
        (probing.errno.ETIMEDOUT, 3.0, False, SILENT),
        (probing.errno.ECONNREFUSED, 2.0, False, REFUSED),
        (probing.errno.EPERM, 0.0, True, REFUSED),
    ],
)
def test_what_an_error_means(code, elapsed, at_once, result):
    assert probing._failure(code, elapsed, at_once=at_once).result == result


def test_many_targets_are_measured_in_groups(name, monkeypatch):
    monkeypatch.setattr(probing, "_SOCKETS_AT_ONCE", 2)
    ports = [tcp(), tcp(), tcp()]
    with listener(name, *ports):
        assert measure([target(port) for port in ports], SENDER) == [Outcome(OK)] * 3


def test_strangers_get_no_answer(name):
    stream, datagram = tcp(), udp()
    with listener(name, stream, datagram):
        assert raw_exchange(stream, seal("guessed", Frame(PROBE, new_nonce()), HERE)) == b""
        assert raw_exchange(stream, seal(SECRET, Frame(ANSWER, new_nonce()), HERE)) == b""
        assert raw_exchange(stream, b"G" * 1000) == b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(0.2)
            stranger.sendto(b"\xff" * 100, (HERE, datagram.number))
            with pytest.raises(socket.timeout):
                stranger.recv(100)


def test_a_frame_in_two_parts(name):
    port = tcp()
    data = seal(SECRET, Frame(PROBE, new_nonce()), HERE)
    with listener(name, port), socket.create_connection((HERE, port.number), 5) as connection:
        connection.sendall(data[:10])
        time.sleep(0.05)
        connection.sendall(data[10:])
        assert len(connection.recv(100)) == FRAME_BYTES


def test_whoever_says_nothing_is_put_out(name, monkeypatch):
    monkeypatch.setattr(listening, "_IDLE_SECONDS", 0.1)
    port = tcp()
    with listener(name, port), socket.create_connection((HERE, port.number), 5) as connection:
        assert connection.recv(1) == b""


def test_no_more_connections_than_allowed(name, monkeypatch):
    monkeypatch.setattr(listening, "_MOST_CONNECTIONS", 1)
    port = tcp()
    with listener(name, port), socket.create_connection((HERE, port.number), 5):
        time.sleep(0.1)
        with socket.create_connection((HERE, port.number), 5) as second:
            assert second.recv(1) == b""


def test_the_listener_ends_when_all_are_done_with_it(name):
    ports = [tcp(), udp()]
    with listener(name, *ports) as thread:
        proof = tell_listener({"expect": ["127.0.0.2", "127.0.0.3"]}, name)
        assert proof == identity(SECRET, HERE)
        sign_off([target(ports[0])], SENDER)
        thread.join(0.3)
        assert thread.is_alive()
        sign_off([target(ports[1])], SENDER._replace(address="127.0.0.3"))
        thread.join(5)
        assert not thread.is_alive()


def test_the_listener_ends_after_its_time(name):
    with listener(name, tcp(), seconds=0.2) as thread:
        thread.join(5)
        assert not thread.is_alive()


def test_a_dismissed_listener_has_given_its_ports_back(name):
    ports = [tcp(), udp()]
    with listener(name, *ports):
        dismiss_listener(name)
        again = open_ports(HERE, ports)
        assert set(again.states.values()) == {LISTENING}
        for endpoint in again.sockets:
            endpoint.close()
        open_control(name).close()


def test_commands_that_are_none(name):
    with listener(name, tcp()) as thread:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as muddler:
            muddler.connect(name)
            muddler.sendall(b"what?")
            muddler.shutdown(socket.SHUT_WR)
            assert muddler.recv(10) == b""
        assert thread.is_alive()


def test_other_users_are_not_obeyed(name, monkeypatch):
    with listener(name, tcp()) as thread:
        monkeypatch.setattr(listening, "_user_of", lambda connection: 4711)
        assert tell_listener({"stop": True}, name) == ""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.settimeout(5)
            other.connect(name)
            assert other.recv(10) == b""
        assert thread.is_alive()
        monkeypatch.undo()


def test_nobody_to_tell(name):
    assert tell_listener({"stop": True}, name) == ""


def test_ports_in_use_are_left_alone():
    with service() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as overlay:
        overlay.bind(("0.0.0.0", 0))
        taken = [port, udp(overlay.getsockname()[1])]
        opened = open_ports(HERE, taken)
    assert opened.sockets == ()
    assert opened.states == dict.fromkeys(taken, OCCUPIED)


def test_a_process_is_left_and_ends(name):
    ports = [tcp(), udp()]
    left = start_listener(ports, address=HERE, secret=SECRET, seconds=20, name=name)
    try:
        assert left["problem"] == ""
        assert [port["state"] for port in left["ports"]] == [LISTENING, LISTENING]
        assert left["ports"][0] == {
            "protocol": TCP,
            "port": ports[0].number,
            "purpose": "kubelet",
            "callers": "node",
            "state": LISTENING,
        }
        assert measure([target(port) for port in ports], SENDER) == [Outcome(OK), Outcome(OK, "", 1500)]
    finally:
        dismiss_listener(name)
    assert measure([target(ports[0])], SENDER) == [Outcome(REFUSED, "Connection refused")]


def test_the_process_never_goes_back_into_the_module(monkeypatch):
    done = []
    forks = iter([0, 0])

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(listening.os, "fork", lambda: next(forks))
    monkeypatch.setattr(listening.os, "setsid", lambda: done.append("own session"))
    monkeypatch.setattr(listening.os, "_exit", leave)
    monkeypatch.setattr(listening.os, "nice", done.append)
    monkeypatch.setattr(listening.signal, "signal", lambda number, action: None)
    monkeypatch.setattr(listening, "_let_go", done.append)
    with pytest.raises(SystemExit):
        listening.detach_process(lambda: 1 // 0, [7])
    assert done == ["own session", -10, {7}]


def test_the_process_has_nothing_of_the_module(tmp_path):
    """What a process sees that has been left alone, written by itself."""
    report = tmp_path / "report"
    with report.open("w", encoding="utf-8") as output:
        descriptor = output.fileno()

        def look():
            folder = Path("/proc/self/fd")
            links = [str((folder / number).resolve()) for number in "012"]
            others = [entry for entry in folder.iterdir() if int(entry.name) > 2]
            own = [str(Path.cwd()), Path("/proc/self/comm").read_text(encoding="ascii").strip(), str(len(others))]
            os.write(descriptor, " ".join([*links, *own]).encode())

        listening.detach_process(look, [descriptor])
    for _attempt in range(100):
        if report.read_text(encoding="utf-8"):
            break
        time.sleep(0.05)
    # The third and fourth descriptor are the report and the folder that is being read.
    assert report.read_text(encoding="utf-8") == "/dev/null /dev/null /dev/null / gp-reachability 2"


def test_an_address_that_the_host_does_not_have(name):
    left = start_listener([tcp()], address="192.0.2.1", secret=SECRET, seconds=20, name=name)
    assert left["ports"] == []
    assert left["problem"] == "no listener could be started at 192.0.2.1 (Cannot assign requested address)"
    # Nothing is left behind.
    open_control(name).close()


def test_somebody_else_has_the_control_socket(name):
    squatter = open_control(name)
    left = start_listener([tcp()], address=HERE, secret=SECRET, seconds=20, name=name)
    squatter.close()
    assert left["problem"] == f"no listener could be started at {HERE} (Address already in use)"
