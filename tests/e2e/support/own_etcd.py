# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An etcd that belongs to the operator and not to the cluster."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.support.waiting import wait_for
from tests.lab.process import run
from tests.lab.programs import ETCD, program
from tests.lab.settings import HOST_ADDRESS, paths

START_SECONDS = 30


@dataclass(frozen=True)
class OwnEtcd:
    """A running etcd with one member on the lab's bridge; one certificate serves as CA, server's and client's."""

    endpoint: str
    certificate: Path
    key: Path

    def keys(self) -> list[str]:
        """Names of everything it holds."""
        tls = [f"--cacert={self.certificate}", f"--cert={self.certificate}", f"--key={self.key}"]
        listing = ["get", "/", "--prefix", "--keys-only"]
        return run([str(_program("etcdctl")), f"--endpoints={self.endpoint}", *tls, *listing]).split()


@contextmanager
def own_etcd(folder: Path) -> Iterator[OwnEtcd]:
    """Run an etcd that keeps everything in a folder."""
    certificate, key = folder / "etcd.crt", folder / "etcd.key"
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=etcd"),
            *("-addext", f"subjectAltName=IP:{HOST_ADDRESS}", "-out", str(certificate), "-keyout", str(key)),
        ]
    )
    endpoint, peer = (f"https://{HOST_ADDRESS}:{_free_port()}" for _each in range(2))
    argv = [
        *(str(_program("etcd")), f"--data-dir={folder / 'data'}", "--name=own", f"--initial-cluster=own={peer}"),
        *(f"--listen-client-urls={endpoint}", f"--advertise-client-urls={endpoint}", "--client-cert-auth"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        *(f"--trusted-ca-file={certificate}", f"--cert-file={certificate}", f"--key-file={key}"),
        *(f"--peer-trusted-ca-file={certificate}", f"--peer-cert-file={certificate}", f"--peer-key-file={key}"),
    ]
    with (folder / "etcd.log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            wait_for("etcd of the operator", lambda: _silence(endpoint), seconds=START_SECONDS, interval=0.2)
            yield OwnEtcd(endpoint, certificate, key)
        finally:
            process.terminate()


def _program(name: str) -> Path:
    found = program(paths(), ETCD, name)
    if not found.exists():
        pytest.skip(f"This lab downloads its programs and has built no {name} to run beside the nodes")
    return found


def _free_port() -> int:
    with socket.create_server((str(HOST_ADDRESS), 0)) as server:
        return int(server.getsockname()[1])


def _silence(endpoint: str) -> str:
    address, _colon, port = endpoint.removeprefix("https://").rpartition(":")
    try:
        with socket.create_connection((address, int(port)), timeout=1):
            return ""
    except OSError as error:
        return str(error)
