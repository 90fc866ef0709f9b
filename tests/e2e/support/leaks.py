# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding secrets where nobody but root may see them, or nobody at all."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.support.lab import LabSet

#: Shapes of secrets. Digests and ids of containers, also 64 hexadecimal digits, stand behind what they are.
SHAPES = {
    "bootstrap token": r"(?<![a-z0-9./_-])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9./_-])",
    "certificate key": r"(?<!sha256:)(?<!cri-containerd-)(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "private key in base64": r"LS0tLS1CRUdJTi(?:BSU0EgUFJJVkFURS|BFQyBQUklWQVRF|BQUklWQVRF)",
    "key of a kubeconfig": r"client-key-data: *[A-Za-z0-9+/]{40}",
    "bearer token": r"[Bb]earer +[A-Za-z0-9._-]{16,}|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}",
}

#: What an unprivileged user may look into, less programs, packages and images, which everybody can download, and the
#: units of containers, whose names are as long as certificate keys.
NODE_FOLDERS = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
NODE_PRUNED = (
    "/opt/cni/bin /run/containerd/io.containerd.runtime.v2.task /run/systemd/transient "
    "/var/cache /var/lib/apt /var/lib/containerd"
)


def secrets_in(text: str) -> list[str]:
    """Kind and surroundings of every secret in a text, the secret itself cut short."""
    return [
        f"{kind}: {text[max(found.start() - 60, 0) : found.start() + 8]!r}..."
        for kind, shape in SHAPES.items()
        for found in re.finditer(shape, text)
    ]


def files_with(values: Iterable[str], folder: Path) -> list[str]:
    """Files below a folder that hold one of the values."""
    wanted = [value.encode() for value in values]
    return [
        str(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(value in path.read_bytes() for value in wanted)
    ]


def files_open_to_others(folder: Path) -> list[str]:
    """Files below a folder that hold a secret and that group or others may read."""
    return [
        str(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_mode & 0o077 and secrets_in(path.read_text(errors="replace"))
    ]


def readable_by_nobody(nodes: LabSet, name: str) -> list[str]:
    """Lines `file: kind` for each file of a node in which the user nobody can read a secret."""
    pruned = " -o ".join(f"-path {path}" for path in NODE_PRUNED.split())
    find = f"find {NODE_FOLDERS} \\( {pruned} \\) -prune -o -type f -readable -size -4096k -print0 2>/dev/null"
    searches = "\n".join(
        f"xargs -0r grep --files-with-matches --text --no-messages -P -e {shlex.quote(shape)} "
        f"</root/readable-by-nobody | sed 's/$/: {kind}/'"
        for kind, shape in SHAPES.items()
    )
    script = (
        f"umask 077\nrunuser -u nobody -- {find} >/root/readable-by-nobody\n{searches}\nrm /root/readable-by-nobody"
    )
    return nodes.run(name, script).splitlines()
