# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renewing the API server's serving certificate, with certificates made by openssl on the spot."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _apiserver_certificate
from ansible_collections.groundplane.kubeadm.plugins.module_utils._apiserver_certificate import (
    CertificatePaths,
    CertificatePlan,
    ServingState,
    bring_up_to_date,
    completed_argv,
    decide,
    issue_argv,
    key_belongs,
    missing_names,
    read_state,
    served_certificate,
    temporary_of,
    wait_until_served,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import SubjectAltNames, certificate_der

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

CONFIGURATION = "kind: InitConfiguration\n---\nkind: ClusterConfiguration\n"
FOUND = SubjectAltNames(("kubernetes", "api.lab.internal"), ("10.96.0.1", "fd00::1"))
COMPLETED = ["timeout", "120", *completed_argv()]
ISSUED = ["timeout", "120", *issue_argv()]


def make_pair(folder: Path, *names: str, key: Sequence[str] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")) -> None:
    """apiserver.crt and apiserver.key of a self-signed certificate with alternative names."""
    files = ("-keyout", str(folder / "apiserver.key"), "-out", str(folder / "apiserver.crt"))
    extension = "subjectAltName=" + ",".join(names)
    command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=kube-apiserver", "-days", "2", "-newkey", *key]
    subprocess.run([*command, *files, "-addext", extension], capture_output=True, check=True)


class Kubeadm(FakeRunner):
    """Replays kubeadm, and makes a certificate in the folder that its configuration names."""

    def __init__(self, completed: str, names: Sequence[str], result: Result | None = None) -> None:
        super().__init__([(COMPLETED, Result(0, completed, "")), (ISSUED, result or Result(0, "", ""))])
        self._names = names
        self.modes: dict[str, int] = {}
        self.copied = b""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Replay, and note what kubeadm finds."""
        result = super().run(argv, stdin=stdin, check=check, environment=environment)
        if list(argv) == ISSUED:
            (folder,) = re.findall("^certificatesDir: (.*)$", stdin or "", re.MULTILINE)
            self.modes = {path.name: path.stat().st_mode & 0o777 for path in [Path(folder), *Path(folder).iterdir()]}
            self.copied = (Path(folder) / "ca.key").read_bytes()
            if result.rc == 0 and self._names:
                make_pair(Path(folder), *self._names)
        return result


@pytest.fixture
def paths(tmp_path: Path) -> CertificatePaths:
    """A control plane node whose certificate is good for a name and an address."""
    found = CertificatePaths(tmp_path / "pki", tmp_path / "run" / "groundplane")
    found.pki.mkdir()
    (found.pki / "ca.crt").write_text("certificate of the CA")
    found.ca_key.write_text("key of the CA")
    make_pair(found.pki, "DNS:kubernetes", "IP:192.0.2.11")
    return found


@pytest.fixture
def completed(fixture_text: FixtureText) -> str:
    """A recorded configuration as kubeadm completes it."""
    return fixture_text("kubeadm/config_migrate.stdout")


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def renew(
    paths: CertificatePaths, runner: FakeRunner, *names: str, check_mode: bool = False
) -> tuple[CertificatePlan, SubjectAltNames]:
    """Bring the certificate up to date."""
    return bring_up_to_date(runner, paths, names, CONFIGURATION, timeout=0, check_mode=check_mode)


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        (["kubernetes", "API.lab.internal", "10.96.0.1", "FD00:0::1"], ()),
        (["vip.lab.internal", "10.96.0.2", "fd00::2", "10.96.0.2"], ("vip.lab.internal", "10.96.0.2", "fd00::2")),
        (["*.lab.internal", "lab.internal"], ("*.lab.internal", "lab.internal")),
        ([], ()),
    ],
    ids=["none", "some", "literally", "no wish"],
)
def test_missing_names(wanted: list[str], missing: tuple[str, ...]) -> None:
    assert missing_names(FOUND, wanted) == missing


def test_an_address_among_the_dns_names_does_not_count() -> None:
    assert missing_names(SubjectAltNames(("192.0.2.1",)), ["192.0.2.1"]) == ("192.0.2.1",)


def test_superfluous_names_are_no_reason(paths: CertificatePaths) -> None:
    assert not decide(ServingState(FOUND, ca_key=True), ["kubernetes"], paths).changed


def test_reasons(paths: CertificatePaths) -> None:
    state = ServingState(FOUND, key_belongs=False, ca_key=True, remains=(paths.private,))
    plan = decide(state, ["a.example.com", "10.0.0.1"], paths)
    assert (plan.renewed, plan.changed) == (True, True)
    assert plan.reasons() == [
        "the certificate lacks a.example.com, 10.0.0.1",
        "the key does not belong to the certificate",
        "an interrupted run has left its files",
    ]
    assert plan.predicted().in_order() == (
        *("a.example.com", "api.lab.internal", "kubernetes"),
        *("10.0.0.1", "10.96.0.1", "fd00::1"),
    )


def test_external_ca(paths: CertificatePaths) -> None:
    with pytest.raises(GroundplaneError, match=r"lacks b\).*no .*ca.key.*external.*also carries b"):
        decide(ServingState(FOUND), ["b"], paths)
    with pytest.raises(GroundplaneError, match="key does not belong.*also carries the names it has"):
        decide(ServingState(FOUND, key_belongs=False), ["kubernetes"], paths)
    assert not decide(ServingState(FOUND), ["kubernetes"], paths).changed


def test_host_without_certificate(tmp_path: Path) -> None:
    paths = CertificatePaths(tmp_path / "pki", tmp_path)
    assert read_state(paths) == ServingState()
    assert renew(paths, FakeRunner(), "a") == (CertificatePlan(), SubjectAltNames())


@pytest.mark.parametrize(
    "other", [("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("rsa:2048",), ("ed25519",)], ids=["EC", "RSA", "Ed25519"]
)
def test_key_of_another_certificate(paths: CertificatePaths, tmp_path: Path, other: Sequence[str]) -> None:
    assert key_belongs(paths.certificate, paths.key)
    (tmp_path / "other").mkdir()
    make_pair(tmp_path / "other", "DNS:a", key=other)
    assert not key_belongs(paths.certificate, tmp_path / "other" / "apiserver.key")
    assert not key_belongs(paths.certificate, tmp_path / "none")


def test_a_key_that_cannot_be_judged_is_no_reason(paths: CertificatePaths) -> None:
    command = ["openssl", "ec", "-in", str(paths.key), "-aes256", "-passout", "pass:secret", "-out", str(paths.key)]
    subprocess.run(command, capture_output=True, check=True)
    assert "ENCRYPTED" in paths.key.read_text()
    assert key_belongs(paths.certificate, paths.key)


def test_renewal(paths: CertificatePaths, completed: str) -> None:
    old = contents(paths.pki)
    paths.certificate.chmod(0o600)
    runner = Kubeadm(completed, ["DNS:kubernetes", "DNS:vip.lab.internal", "IP:192.0.2.11", "IP:192.0.2.10"])
    plan, names = renew(paths, runner, "vip.lab.internal", "192.0.2.10", "192.0.2.11")
    runner.assert_finished()
    assert plan.missing == ("vip.lab.internal", "192.0.2.10")
    assert names.in_order() == ("kubernetes", "vip.lab.internal", "192.0.2.10", "192.0.2.11")
    assert read_state(paths) == ServingState(names, ca_key=True)

    new = contents(paths.pki)
    assert {name for name in new if new[name] != old.get(name)} == {"apiserver.crt", "apiserver.key"}
    assert [path.stat().st_mode & 0o777 for path in (paths.key, paths.certificate)] == [0o600, 0o644]
    assert [path.name for path in paths.run.iterdir()] == ["apiserver-certificate.lock"]

    assert runner.modes == {"apiserver-certificate": 0o700, "ca.crt": 0o600, "ca.key": 0o600}
    assert runner.copied == b"key of the CA"
    assert runner.stdin[0] == CONFIGURATION
    assert runner.stdin[1] == completed.replace("/etc/kubernetes/pki", str(paths.private))


def test_second_run(paths: CertificatePaths) -> None:
    before = contents(paths.pki)
    plan, names = renew(paths, FakeRunner(), "kubernetes", "192.0.2.11")
    assert not plan.changed
    assert names == SubjectAltNames(("kubernetes",), ("192.0.2.11",))
    assert contents(paths.pki) == before


def test_check_mode_writes_nothing(paths: CertificatePaths) -> None:
    before = contents(paths.pki)
    plan, names = renew(paths, FakeRunner(), "vip.lab.internal", check_mode=True)
    assert plan.changed
    assert names.in_order() == ("kubernetes", "vip.lab.internal", "192.0.2.11")
    assert contents(paths.pki) == before
    assert not paths.run.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_the_owner_stays(paths: CertificatePaths, completed: str) -> None:
    os.chown(str(paths.certificate), 1234, 1235)
    paths.key.unlink()
    renew(paths, Kubeadm(completed, ["DNS:a"]), "a")
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (paths.certificate, paths.key)}
    assert owners == {(1234, 1235)}


def test_remains_of_a_killed_run(paths: CertificatePaths) -> None:
    paths.private.mkdir(parents=True)
    (paths.private / "ca.key").write_text("key of the CA")
    temporary_of(paths.key).write_text("new key")
    predicted, _names = renew(paths, FakeRunner(), "kubernetes", check_mode=True)
    assert paths.private.exists()
    plan, _names = renew(paths, FakeRunner(), "kubernetes")
    assert (plan, plan.changed, plan.renewed) == (predicted, True, False)
    assert not any(path.exists() for path in paths.remains)
    assert not renew(paths, FakeRunner(), "kubernetes")[0].changed


def test_run_that_was_killed_between_the_two_files(paths: CertificatePaths, tmp_path: Path, completed: str) -> None:
    (tmp_path / "killed").mkdir()
    make_pair(tmp_path / "killed", "DNS:kubernetes")
    (tmp_path / "killed" / "apiserver.key").replace(paths.key)
    paths.private.mkdir(parents=True)
    plan, _names = renew(paths, Kubeadm(completed, ["DNS:kubernetes"]), "kubernetes")
    assert plan.broken
    assert key_belongs(paths.certificate, paths.key)


def test_certificate_that_lacks_a_name_is_not_used(paths: CertificatePaths, completed: str) -> None:
    before = contents(paths.pki)
    with pytest.raises(GroundplaneError, match="kubeadm has made lacks b.example.com; it was thrown away"):
        renew(paths, Kubeadm(completed, ["DNS:a.example.com"]), "a.example.com", "b.example.com")
    assert contents(paths.pki) == before
    assert not paths.private.exists()


def test_kubeadm_that_makes_nothing(paths: CertificatePaths, completed: str) -> None:
    with pytest.raises(GroundplaneError, match="kubeadm has made no certificate.*skipPhases"):
        renew(paths, Kubeadm(completed, []), "a")
    assert not paths.private.exists()


def test_kubeadm_that_fails(paths: CertificatePaths, completed: str) -> None:
    before = contents(paths.pki)
    said = Result(1, "", "error: invalid or incomplete external CA: failure loading key\nTo see the stack trace\n")
    with pytest.raises(GroundplaneError, match="kubeadm init phase certs apiserver .* exit code 1: error: invalid or"):
        renew(paths, Kubeadm(completed, [], said), "a")
    assert contents(paths.pki) == before
    assert not paths.private.exists()


@pytest.mark.parametrize("clusters", [0, 2])
def test_configuration_of_another_kind(paths: CertificatePaths, clusters: int) -> None:
    runner = FakeRunner([(COMPLETED, Result(0, "certificatesDir: /etc/kubernetes/pki\n---\n" * clusters, ""))])
    with pytest.raises(GroundplaneError, match=f"has {clusters} fields certificatesDir"):
        renew(paths, runner, "a")
    assert not paths.private.exists()


def test_a_crash_while_files_are_replaced(
    paths: CertificatePaths, completed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError("no space left on device")

    before = contents(paths.pki)
    runner = Kubeadm(completed, ["DNS:a"])
    monkeypatch.setattr(_apiserver_certificate.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        renew(paths, runner, "a")
    assert contents(paths.pki) == before
    assert not any(path.exists() for path in paths.remains)


def test_waiting_until_the_certificate_is_served(paths: CertificatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    own = certificate_der(paths.certificate.read_text())
    asked: list[Any] = []
    answers = iter([None, b"another", own])

    def served(*where: Any) -> bytes | None:
        asked.append(where)
        return next(answers)

    wait_until_served(paths, served, "192.0.2.11", 6443, 60)
    assert asked == [("192.0.2.11", 6443)] * 3


@pytest.mark.parametrize(
    ("answer", "said"), [(None, "there is no answer"), (b"another", "another certificate is shown")]
)
def test_certificate_that_is_never_served(paths: CertificatePaths, answer: bytes | None, said: str) -> None:
    with pytest.raises(GroundplaneError, match=f"after 0 seconds {said} at 192.0.2.11, port 6443"):
        wait_until_served(paths, lambda _address, _port: answer, "192.0.2.11", 6443, 0)


@pytest.fixture
def tls_server(paths: CertificatePaths) -> Iterator[tuple[str, int]]:
    """A TLS server with the certificate, for one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(paths.certificate), str(paths.key))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _client = listener.accept()
        with connection, context.wrap_socket(connection, server_side=True) as session:
            session.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()
    thread.join()
    listener.close()


def test_served_certificate(paths: CertificatePaths, tls_server: tuple[str, int]) -> None:
    assert served_certificate(*tls_server) == certificate_der(paths.certificate.read_text())


def test_nothing_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert served_certificate("127.0.0.1", port) is None
