# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of apiserver_certificate."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._apiserver_certificate import (
    CertificatePaths,
    completed_argv,
    issue_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import certificate_der
from ansible_collections.groundplane.kubeadm.plugins.modules import apiserver_certificate

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Any]


def make_pair(folder: Path, names: str) -> None:
    """A self-signed certificate with alternative names, and its key."""
    files = ("-keyout", str(folder / "apiserver.key"), "-out", str(folder / "apiserver.crt"))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=kube-apiserver", "-days", "2", *key, *files]
    subprocess.run([*command, "-addext", "subjectAltName=" + names], capture_output=True, check=True)


class Kubeadm(FakeRunner):
    """Replays kubeadm, and makes a certificate in the private folder."""

    def __init__(self, folder: Path, names: str) -> None:
        completed = Result(0, "kind: ClusterConfiguration\ncertificatesDir: /etc/kubernetes/pki\n", "")
        commands = (completed_argv(), completed), (issue_argv(), Result(0, "", ""))
        super().__init__([(["timeout", "120", *argv], result) for argv, result in commands])
        self._folder, self._names = folder, names

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Replay, the last command with its effect."""
        result = super().run(argv, stdin=stdin, check=check, environment=environment)
        if "certs" in argv:
            make_pair(self._folder, self._names)
        return result


@pytest.fixture
def paths(tmp_path: Path) -> CertificatePaths:
    """A control plane node whose certificate carries one name."""
    (tmp_path / "ca.crt").write_text("certificate of the CA")
    (tmp_path / "ca.key").write_text("key of the CA")
    make_pair(tmp_path, "DNS:kubernetes")
    return CertificatePaths(tmp_path, tmp_path / "run")


@pytest.fixture
def run(
    paths: CertificatePaths, monkeypatch: pytest.MonkeyPatch, run_main: RunMain
) -> Callable[..., tuple[dict[str, Any], list[Any]]]:
    """Run the module where kubeadm makes a certificate with these names; returns what the API server was asked, too."""

    def start(*names: str, made: str = "", check: bool = False) -> tuple[dict[str, Any], list[Any]]:
        asked: list[Any] = []

        def served(*where: Any) -> bytes:
            asked.append(where)
            return certificate_der(paths.certificate.read_text())

        monkeypatch.setattr(apiserver_certificate, "CertificatePaths", lambda pki: CertificatePaths(pki, paths.run))
        monkeypatch.setattr(apiserver_certificate, "ModuleRunner", lambda module: Kubeadm(paths.private, made))
        monkeypatch.setattr(apiserver_certificate, "served_certificate", served)
        options = {
            "names": names,
            "configuration": "kind: ClusterConfiguration\n",
            "pki": str(paths.pki),
            "address": "192.0.2.11",
            "port": 8443,
        }
        return run_main(apiserver_certificate, options, check=check, diff=True), asked

    return start


def test_prediction_and_run_agree(run: Callable[..., tuple[dict[str, Any], list[Any]]]) -> None:
    predicted, asked = run("api.example.com", "192.0.2.10", check=True)
    assert not asked
    done, asked = run("api.example.com", "192.0.2.10", made="DNS:kubernetes,DNS:api.example.com,IP:192.0.2.10")
    assert asked == [("192.0.2.11", 8443)]
    assert done == {**predicted, "invocation": done["invocation"]}
    assert (done["changed"], done["names"]) == (True, ["api.example.com", "kubernetes", "192.0.2.10"])
    assert done["reasons"] == ["the certificate lacks api.example.com, 192.0.2.10"]
    assert (done["diff"]["before"], done["diff"]["after"]) == (
        "kubernetes\n",
        "api.example.com\nkubernetes\n192.0.2.10\n",
    )

    again, asked = run("api.example.com", "192.0.2.10")
    assert (again["changed"], again["reasons"], asked) == (False, [], [])


def test_diff_tells_what_a_renewal_drops(run: Callable[..., tuple[dict[str, Any], list[Any]]]) -> None:
    done, _asked = run("api.example.com", made="DNS:api.example.com")
    assert (done["diff"]["before"], done["diff"]["after"]) == ("kubernetes\n", "api.example.com\n")


def test_external_ca(run: Callable[..., tuple[dict[str, Any], list[Any]]], paths: CertificatePaths) -> None:
    paths.ca_key.unlink()
    result, _asked = run("api.example.com")
    assert result["failed"] is True
    assert "also carries api.example.com" in result["msg"]
