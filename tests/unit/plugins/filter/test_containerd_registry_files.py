# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter containerd_registry_files."""

from __future__ import annotations

from typing import Any

import tomllib
from ansible_collections.groundplane.kubeadm.plugins.filter.containerd_registry_files import (
    FilterModule,
    containerd_registry_files,
)


def files(mirrors: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in containerd_registry_files(mirrors, "/certs.d", header="Ours")}


def test_no_mirrors_no_files() -> None:
    assert files({}) == {}


def test_mirrors_keep_their_order_and_pull() -> None:
    entry = files({"docker.io": [{"url": "http://10.0.0.1:5000"}, {"url": "https://a.example.com/v2/proxy"}]})[
        "/certs.d/docker.io/hosts.toml"
    ]
    assert entry["content"].startswith("# Ours\n")
    assert entry["mode"] == "0644"
    hosts = tomllib.loads(entry["content"])["host"]
    assert list(hosts) == ["http://10.0.0.1:5000", "https://a.example.com/v2/proxy"]
    assert hosts["http://10.0.0.1:5000"] == {"capabilities": ["pull", "resolve"]}


def test_options_of_a_mirror() -> None:
    mirror = {"url": "https://m", "capabilities": ["pull"], "skip_verify": True, "override_path": True}
    text = files({"registry.example.com:5000": [mirror]})["/certs.d/registry.example.com:5000/hosts.toml"]["content"]
    assert tomllib.loads(text)["host"]["https://m"] == {
        "capabilities": ["pull"],
        "skip_verify": True,
        "override_path": True,
    }


def test_certificates_are_private_files_beside_and_the_key_is_secret() -> None:
    mirror = {"url": "https://m", "ca": "CA PEM\n", "client_certificate": "CERTIFICATE PEM", "client_key": "KEY PEM"}
    made = files({"_default": [{"url": "https://first"}, mirror]})
    host = tomllib.loads(made["/certs.d/_default/hosts.toml"]["content"])["host"]["https://m"]

    assert host["ca"] == "/certs.d/_default/mirror-1-ca.crt"
    assert host["client"] == [["/certs.d/_default/mirror-1-client.crt", "/certs.d/_default/mirror-1-client.key"]]
    assert made[host["ca"]] == {"path": host["ca"], "mode": "0600", "content": "# Ours\nCA PEM\n"}
    key = made[host["client"][0][1]]
    assert key["secret_content"] == "# Ours\nKEY PEM\n"
    assert "content" not in key


def test_a_certificate_may_contain_its_key() -> None:
    made = files({"_default": [{"url": "https://m", "client_certificate": "BOTH"}]})
    host = tomllib.loads(made["/certs.d/_default/hosts.toml"]["content"])["host"]["https://m"]
    assert host["client"] == [["/certs.d/_default/mirror-0-client.crt"]]


def test_filter_is_registered() -> None:
    assert FilterModule().filters() == {"containerd_registry_files": containerd_registry_files}
