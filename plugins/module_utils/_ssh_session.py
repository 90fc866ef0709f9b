# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session of SSH by which Ansible comes to a host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._socket_address import unmapped

_VARIABLE = "SSH_CONNECTION="
_PARENT = re.compile(r"^PPid:\s+(\d+)$", re.MULTILINE)
# The first process of the machine, and what the kernel calls a parent that it does not show.
_NO_SESSION = (0, 1)


class Session(NamedTuple):
    """Ansible's SSH session as the node sees it: behind NAT, a bastion and forwarded ports."""

    client: str
    port: int


def parse_session(ssh_connection: str) -> Session | None:
    """The session that SSH_CONNECTION describes; None where there is no such variable."""
    fields = ssh_connection.split()
    if len(fields) != 4 or not fields[3].isdigit():
        return None
    # The client of a link-local connection is followed by the interface.
    client = fields[0].partition("%")[0]
    try:
        return Session(client=unmapped(client), port=int(fields[3]))
    except ValueError:
        return None


def read_session(root: Path) -> Session | None:
    """The session that has led to this process, None where none did or a process on the way may not be read.

    sudo takes the variable away from what it starts, but the kernel shows with which environment each program was
    started itself: sudo, and the shell that sshd has opened.
    """
    process = root / "proc/self"
    while True:
        try:
            environment = _text(process / "environ")
            parent = _PARENT.search(_text(process / "status"))
        except OSError:
            return None
        for entry in environment.split("\0"):
            if entry.startswith(_VARIABLE):
                return parse_session(entry[len(_VARIABLE) :])
        if parent is None or int(parent.group(1)) in _NO_SESSION:
            return None
        process = root / "proc" / parent.group(1)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
