# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's key pair, the host keys of its nodes, and the ssh command that uses both."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from tests.lab.process import run
from tests.lab.settings import Paths


def known_hosts_file(paths: Paths) -> Path:
    """File with the host keys of every node of every set; addresses are never shared."""
    return paths.state / "ssh" / "known_hosts"


def ensure_key_pair(paths: Paths) -> str:
    """Make the key pair once and return its public half."""
    public_key = Path(f"{paths.ssh_key}.pub")
    if not (paths.ssh_key.exists() and public_key.exists()):
        paths.ssh_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.ssh_key.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "groundplane-lab", "-f", str(paths.ssh_key)])
    return public_key.read_text().strip()


def options(paths: Paths) -> list[str]:
    """Options with which ssh trusts the lab's own list of host keys and nothing else."""
    settings = (
        f"UserKnownHostsFile={known_hosts_file(paths)}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
    )
    return [part for setting in settings for part in ("-o", setting)]


def command(paths: Paths, address: IPv4Address, argv: Sequence[str], *, interactive: bool = False) -> list[str]:
    """Command that runs something on a node, or opens a shell there."""
    batch = [] if interactive else ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    return ["ssh", "-i", str(paths.ssh_key), *options(paths), *batch, f"root@{address}", *argv]


def write_known_hosts(paths: Paths, keys: Mapping[IPv4Address, Sequence[str]]) -> None:
    """Replace the host keys of the given addresses and keep those of others."""
    file = known_hosts_file(paths)
    with (file.parent / "known_hosts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = file.read_text() if file.exists() else ""
        new_file = file.with_suffix(".new")
        new_file.write_text(merge_known_hosts(text, keys))
        new_file.replace(file)


def merge_known_hosts(text: str, keys: Mapping[IPv4Address, Sequence[str]]) -> str:
    """Text of a known_hosts file with the lines of the given addresses replaced."""
    replaced = {str(address) for address in keys}
    kept = [line for line in text.splitlines() if line.split(" ")[0] not in replaced]
    added = [f"{address} {key}" for address, host_keys in keys.items() for key in host_keys]
    return "".join(f"{line}\n" for line in [*kept, *added])
