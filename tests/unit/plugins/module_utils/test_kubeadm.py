# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubeadm's command line and output."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    Token,
    config_validate_argv,
    configured_value,
    error_lines,
    format_time,
    init_argv,
    join_argv,
    limited,
    own_remains_checks,
    parse_time,
    parse_tokens,
    redact,
    reset_argv,
    token_create_argv,
    token_delete_argv,
    token_list_argv,
)

STDIN = ["--config", "/dev/stdin"]
QUIET = ["--skip-token-print", "--skip-certificate-key-print"]


def test_argument_lists() -> None:
    assert config_validate_argv() == ["kubeadm", "config", "validate", *STDIN]
    assert init_argv() == ["kubeadm", "init", *STDIN, *QUIET]
    assert init_argv(["Port-6443", "X"]) == [
        *("kubeadm", "init", *STDIN, *QUIET),
        "--ignore-preflight-errors=Port-6443,X",
    ]
    assert join_argv() == ["kubeadm", "join", *STDIN]
    assert reset_argv("unix:///s") == ["kubeadm", "reset", "--force", "--cri-socket", "unix:///s"]
    assert reset_argv("unix:///s", "/no") == [*reset_argv("unix:///s"), "--cert-dir", "/no"]
    assert reset_argv("unix:///s", "", "/no") == [*reset_argv("unix:///s"), "--kubeconfig", "/no"]
    assert limited(["a", "b"], 5) == ["timeout", "5", "a", "b"]
    assert token_list_argv("K") == ["kubeadm", "token", "list", "--kubeconfig", "K", "--output", "json"]
    assert token_create_argv("K", timedelta(minutes=30), "for me") == [
        *("kubeadm", "token", "create", "--kubeconfig", "K", "--ttl", "30m0s", "--description", "for me"),
    ]
    assert token_delete_argv("K", ["aaaaaa", "bbbbbb"]) == [
        *("kubeadm", "token", "delete", "--kubeconfig", "K", "aaaaaa", "bbbbbb"),
    ]


def test_tokens(fixture_text: Callable[[str], str]) -> None:
    forever, long, short = parse_tokens(fixture_text("kubeadm/token_list.json"))
    usages = ("authentication", "signing")
    assert forever == Token("n27wh1.hbeqzh7lphuzfrii", "forever", None, usages)
    assert (long.token_id, long.description) == ("rjnkkl", "groundplane.kubeadm join")
    assert long.expires == datetime(2026, 11, 20, 12, 34, 26, tzinfo=timezone.utc)
    assert short.expires is not None
    assert long.expires - short.expires == timedelta(minutes=25)


def test_no_tokens() -> None:
    assert parse_tokens("\n") == []


def test_times() -> None:
    text = "2026-11-20T12:34:26Z"
    assert format_time(parse_time(text)) == text


CONFIGURATIONS = {
    "none": ("", "default"),
    "block": ("etcd:\n  local:\n    dataDir: /data/etcd\n", "/data/etcd"),
    "quoted": ("etcd:\n  local:\n    dataDir: '/data/etcd'\n", "/data/etcd"),
    "flow": ("etcd: {local: {dataDir: /data/etcd}}\n", "/data/etcd"),
    "json": ('{"etcd":{"local":{"dataDir":"/data/etcd"}}}', "/data/etcd"),
    "another key": ("etcd:\n  otherdataDir: /data/etcd\n", "default"),
}


@pytest.mark.parametrize(("configuration", "value"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_configured_value(configuration: str, value: str) -> None:
    assert configured_value(configuration, "dataDir", "default") == value


def test_checks_that_own_remains_fail() -> None:
    assert own_remains_checks("kind: InitConfiguration\n") == [
        "FileAvailable--etc-kubernetes-manifests-etcd.yaml",
        "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
        "FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml",
        "FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml",
        *("Port-2379", "Port-2380", "Port-6443", "Port-10250", "Port-10257", "Port-10259"),
        "DirAvailable--var-lib-etcd",
    ]


def test_checks_follow_the_configuration() -> None:
    checks = own_remains_checks("localAPIEndpoint:\n  bindPort: 8443\n---\ndataDir: /data/etcd\n")
    assert "Port-8443" in checks
    assert "Port-6443" not in checks
    assert checks[-1] == "DirAvailable--data-etcd"


CERTIFICATE_KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("--token abcdef.0123456789abcdef \\", "--token <token removed> \\"),
        ('"abcdef.0123456789abcdef"', '"<token removed>"'),
        (f"--certificate-key {CERTIFICATE_KEY}\n", "--certificate-key <certificate key removed>\n"),
        (f"sha256:{CERTIFICATE_KEY}", f"sha256:{CERTIFICATE_KEY}"),
        ("kube-system.svc.cluster.local", "kube-system.svc.cluster.local"),
    ],
    ids=["token", "quoted token", "certificate key", "hash of a CA", "name"],
)
def test_redaction(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_error_lines_of_preflight(fixture_text: Callable[[str], str]) -> None:
    stderr = fixture_text("kubeadm/join_preflight.stderr")
    lines = error_lines(Result(1, fixture_text("kubeadm/join_preflight.stdout"), stderr))
    assert lines[0] == (
        "[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf already exists"
    )
    assert lines[-1] == "error: error execution phase preflight: preflight checks failed"
    assert len(lines) == 5


def test_without_error_lines_the_end_counts() -> None:
    stdout = "\n".join(f"line {number}" for number in range(20))
    assert error_lines(Result(1, stdout, "token abcdef.0123456789abcdef")) == [
        *(f"line {number}" for number in range(11, 20)),
        "token <token removed>",
    ]
