# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading kubeconfig files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig import Kubeconfig, parse_kubeconfig


def test_kubelet_conf_of_a_worker(fixture_text: Callable[[str], str]) -> None:
    assert parse_kubeconfig(fixture_text("kubeadm/worker_kubelet.conf"), "kubelet.conf") == Kubeconfig(
        server="https://10.77.5.11:6443",
        ca_pem=fixture_text("kubeadm/ca.crt"),
        client_certificate="/var/lib/kubelet/pki/kubelet-client-current.pem",
    )


def test_json() -> None:
    ca = base64.b64encode(b"PEM").decode()
    text = (
        '{"clusters": [{"cluster":\n {"server": "https://[2001:db8::1]:6443",\n"certificate-authority-data": "%s"}}]}'
    )
    assert parse_kubeconfig(text % ca, "f") == Kubeconfig("https://[2001:db8::1]:6443", "PEM", "")


def test_certificate_authority_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("PEM")
    text = f"clusters:\n- cluster:\n    certificate-authority: {tmp_path}/ca.crt\n    server: https://a:6443\n"
    assert parse_kubeconfig(text, "f").ca_pem == "PEM"


def test_no_certificate_authority() -> None:
    assert parse_kubeconfig("server: https://a:6443\n", "f").ca_pem == ""


@pytest.mark.parametrize("authority", ["certificate-authority-data: '!'", "certificate-authority: /nowhere/ca.crt"])
def test_unreadable_certificate_authority(authority: str) -> None:
    with pytest.raises(GroundplaneError, match="certificate authority of f could not be read"):
        parse_kubeconfig(f"server: https://a:6443\n{authority}\n", "f")


@pytest.mark.parametrize(("text", "count"), [("", 0), ("- server: a\n- server: b\n", 2)], ids=["none", "two"])
def test_exactly_one_cluster(text: str, count: int) -> None:
    with pytest.raises(GroundplaneError, match=f"f describes {count} clusters"):
        parse_kubeconfig(text, "f")
