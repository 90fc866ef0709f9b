# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubeadm's command line and what it prints."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._duration import format_duration

# kubeadm reads its configuration exactly once, so a pipe can carry it: a token in it never reaches a file system
# or an argument list, and nothing is left behind when kubeadm or this module is killed.
CONFIGURATION_FROM_STDIN = ("--config", "/dev/stdin")

STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

_FIXED_PORTS = (2379, 2380, 10250, 10257, 10259)
_TOKEN = re.compile(r"(?<![a-z0-9])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9])")
# A hash of a public key is no secret and has its algorithm in front; a certificate key has not.
_CERTIFICATE_KEY = re.compile(r"(?<![0-9A-Za-z:])[0-9a-f]{64}(?![0-9A-Za-z])")
_LAST_LINES = 10


class Token(NamedTuple):
    """A bootstrap token; value is secret."""

    value: str
    description: str
    expires: datetime | None
    usages: tuple[str, ...]

    @property
    def token_id(self) -> str:
        """The public part."""
        return self.value.partition(".")[0]


def config_validate_argv() -> list[str]:
    """Checks the configuration on standard input."""
    return ["kubeadm", "config", "validate", *CONFIGURATION_FROM_STDIN]


def init_argv(ignored_checks: Sequence[str] = ()) -> list[str]:
    """Initialises a control plane from the configuration on standard input.

    :arg ignored_checks: preflight checks that the remains of an own interrupted run would fail.
    """
    argv = ["kubeadm", "init", *CONFIGURATION_FROM_STDIN, "--skip-token-print", "--skip-certificate-key-print"]
    # Unlike --skip-phases, this flag is united with the configuration's own list instead of replacing it.
    return argv + (["--ignore-preflight-errors=" + ",".join(ignored_checks)] if ignored_checks else [])


def join_argv() -> list[str]:
    """Joins a cluster with the configuration on standard input."""
    return ["kubeadm", "join", *CONFIGURATION_FROM_STDIN]


def mark_argv() -> list[str]:
    """Marks a joined node as one of the control plane, with the configuration of its join on standard input."""
    return ["kubeadm", "join", "phase", "control-plane-join", "mark-control-plane", *CONFIGURATION_FROM_STDIN]


def reset_argv(cri_socket: str, certificates: str = "", kubeconfig: str = "") -> list[str]:
    """Undoes init or join on this host.

    :arg certificates: folder to empty instead of /etc/kubernetes/pki.
    :arg kubeconfig: file to use instead of the administrator's; one that does not exist leaves the cluster alone.
    """
    argv = ["kubeadm", "reset", "--force", "--cri-socket", cri_socket]
    argv += ["--cert-dir", certificates] if certificates else []
    return argv + (["--kubeconfig", kubeconfig] if kubeconfig else [])


def limited(argv: Sequence[str], seconds: int) -> list[str]:
    """The same command with an end, also when whoever started it has died."""
    return ["timeout", str(seconds), *argv]


def token_list_argv(kubeconfig: str) -> list[str]:
    """Lists bootstrap tokens."""
    return ["kubeadm", "token", "list", "--kubeconfig", kubeconfig, "--output", "json"]


def token_create_argv(kubeconfig: str, ttl: timedelta, description: str) -> list[str]:
    """Creates a bootstrap token and prints it."""
    return [
        *("kubeadm", "token", "create", "--kubeconfig", kubeconfig),
        *("--ttl", format_duration(ttl), "--description", description),
    ]


def token_delete_argv(kubeconfig: str, token_ids: Sequence[str]) -> list[str]:
    """Deletes bootstrap tokens by their public part."""
    return ["kubeadm", "token", "delete", "--kubeconfig", kubeconfig, *token_ids]


def parse_tokens(output: str) -> list[Token]:
    """Tokens in the output of kubeadm token list, which is one JSON document after the other."""
    decoder = json.JSONDecoder()
    tokens = []
    rest = output.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
        expires = document.get("expires")
        tokens.append(
            Token(
                value=document["token"],
                description=document.get("description", ""),
                expires=parse_time(expires) if expires else None,
                usages=tuple(document.get("usages", ())),
            )
        )
    return tokens


def parse_time(text: str) -> datetime:
    """A moment as Kubernetes prints it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def format_time(moment: datetime) -> str:
    """A moment as Kubernetes prints it."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def configured_value(configuration: str, key: str, default: str) -> str:
    """Plain value of a key that occurs once in a kubeadm configuration, in whatever style of YAML it is written."""
    match = re.search(rf"""(?:^|[\s{{,])["']?{re.escape(key)}["']?\s*:\s*["']?([^\s"',}}]+)""", configuration)
    return match.group(1) if match else default


def own_remains_checks(configuration: str) -> list[str]:
    """Preflight checks of kubeadm init that fail over what an earlier part of the same init has made."""
    ports = sorted({int(configured_value(configuration, "bindPort", "6443")), *_FIXED_PORTS})
    data = configured_value(configuration, "dataDir", "/var/lib/etcd")
    return [
        *(f"FileAvailable--etc-kubernetes-manifests-{pod}.yaml" for pod in STATIC_PODS),
        *(f"Port-{port}" for port in ports),
        "DirAvailable-" + data.replace("/", "-"),
    ]


def redact(text: str) -> str:
    """The text without what looks like a bootstrap token or a certificate key."""
    return _CERTIFICATE_KEY.sub("<certificate key removed>", _TOKEN.sub("<token removed>", text))


def error_lines(result: Result) -> list[str]:
    """The lines in which kubeadm says why it failed, without secrets."""
    lines = [line.strip() for line in (result.stdout + "\n" + result.stderr).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("[ERROR ", "error:", "error execution phase"))]
    return [redact(line) for line in told or lines[-_LAST_LINES:]]
