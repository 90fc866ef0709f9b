# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kube-proxy of a node says of itself, and whether its Services answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _kube_proxy_proof, _waiting
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_proof import (
    first_service,
    metrics_endpoints,
    prove_service,
    running_mode,
    wait_for_mode,
    wait_for_rules,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    FOREIGN,
    OPEN,
    OURS,
    SILENT,
    Answer,
)

from tests.unit.fake_runner import FakeRunner


class Metrics(BaseHTTPRequestHandler):
    """The one page that is asked for."""

    mode = "nftables"

    def do_GET(self) -> None:
        """Answer as kube-proxy does."""
        self.send_response(200 if self.path == "/proxyMode" else 404)
        self.end_headers()
        self.wfile.write(self.mode.encode() if self.path == "/proxyMode" else b"nothing")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def metrics() -> Iterator[str]:
    """Address and port of a server of the test."""
    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nowhere(metrics: str) -> str:
    """An address at which nobody listens."""
    return "127.0.0.1:1"


@pytest.mark.parametrize(
    ("address", "endpoints"),
    [
        ("", [("127.0.0.1", 10249), ("::1", 10249)]),
        ("0.0.0.0:10249", [("127.0.0.1", 10249)]),
        ("[::]:9000", [("::1", 9000)]),
        ("192.0.2.11:10249", [("192.0.2.11", 10249)]),
        ("0.0.0.0", [("127.0.0.1", 10249)]),
        ("::", [("::1", 10249)]),
    ],
)
def test_where_it_is_asked(address: str, endpoints: list[tuple[str, int]]) -> None:
    assert list(metrics_endpoints(address)) == endpoints


def test_the_mode_that_it_says(metrics: str, nowhere: str) -> None:
    assert running_mode(metrics) == "nftables"
    assert running_mode(nowhere) == ""


def test_waits_for_the_mode(metrics: str) -> None:
    wait_for_mode("nftables", metrics, 5)


@pytest.mark.parametrize("silent", [False, True], ids=["another mode", "silent"])
def test_a_mode_that_does_not_come(metrics: str, nowhere: str, silent: bool) -> None:
    said, remedy = ("it does not answer", "look at its log") if silent else ("it says nftables", "rollout restart")
    with pytest.raises(GroundplaneError, match=f"does not run in mode ipvs after 0 s: {said}.*{remedy}"):
        wait_for_mode("ipvs", nowhere if silent else metrics, 0)


def test_rules_that_do_not_come(tmp_path: Path) -> None:
    with pytest.raises(GroundplaneError, match="no rules of mode ipvs within 0 s"):
        wait_for_rules(FakeRunner(), "ipvs", 0, tmp_path)
    wait_for_rules(FakeRunner(), "nftables", 0, tmp_path)


@pytest.mark.parametrize(
    ("service_cidr", "address"),
    [("10.96.0.0/12", "10.96.0.1"), ("10.96.0.0/16, fd00:96::/108", "10.96.0.1"), ("fd00:96::/108", "fd00:96::1")],
)
def test_the_service_of_the_api(service_cidr: str, address: str) -> None:
    assert first_service(service_cidr) == address


@pytest.mark.parametrize("outcome", [OURS, OPEN])
def test_a_service_that_answers_after_a_while(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    answers = [Answer(SILENT), Answer(outcome)]
    asked: list[Any] = []

    def ask(*where: Any, **how: Any) -> Answer:
        asked.append((where, how["authority"]))
        return answers.pop(0)

    monkeypatch.setattr(_kube_proxy_proof, "ask", ask)
    monkeypatch.setattr(_waiting.time, "sleep", lambda seconds: None)
    prove_service("10.96.0.0/12", "PEM", 5)
    assert asked == [(("10.96.0.1", 443), "PEM")] * 2


def test_a_service_that_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kube_proxy_proof, "ask", lambda *where, **how: Answer(FOREIGN, "not of the cluster's CA"))
    with pytest.raises(GroundplaneError, match="10.96.0.1:443, after 0 s: not of the cluster's CA"):
        prove_service("10.96.0.0/12", "PEM", 0)
