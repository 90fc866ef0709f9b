# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The etcd member that runs as a static pod on this host."""

from __future__ import annotations

import json

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner

_CERTIFICATES = "/etc/kubernetes/pki/etcd"


def container_argv(cri_socket: str) -> list[str]:
    """Finds the running container of etcd."""
    return ["crictl", "--runtime-endpoint", cri_socket, "ps", "--name", "^etcd$", "--quiet"]


def member_list_argv(cri_socket: str, container: str) -> list[str]:
    """Asks etcd, inside its container, for its members."""
    return [
        *("crictl", "--runtime-endpoint", cri_socket, "exec", container),
        *("etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={_CERTIFICATES}/ca.crt"),
        *(f"--cert={_CERTIFICATES}/healthcheck-client.crt",),
        *(f"--key={_CERTIFICATES}/healthcheck-client.key", "member", "list", "--write-out=json"),
    ]


def count_members(runner: Runner, cri_socket: str) -> int | None:
    """Number of members of the local etcd's cluster, None when no etcd here can answer."""
    if runner.find("crictl") is None:
        return None
    containers = runner.run(container_argv(cri_socket), check=False)
    if containers.rc != 0 or not containers.stdout.split():
        return None
    members = runner.run(member_list_argv(cri_socket, containers.stdout.split()[0]), check=False)
    return len(json.loads(members.stdout)["members"]) if members.rc == 0 else None
