# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs of the kernel's packet filters tell of a host: iptables, nftables, ipset, ip."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text

_IPSET_MODULE = "sys/module/ip_set"
# iptables-nft-save says so of a table that somebody has put rules of nftables into.
_UNREADABLE = "is incompatible, use 'nft' tool"


class Programs:
    """Programs that are asked; one that fails is noted, because nothing but a removal depends on its answer."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.notes: list[str] = []

    def find(self, program: str) -> str | None:
        """Path of a program, None when it is not installed."""
        return self._runner.find(program)

    def output(self, *argv: str) -> str:
        """What a program prints, nothing when it is not installed or fails."""
        if not self.find(argv[0].rsplit("/", 1)[-1]):
            return ""
        result = self._runner.run(argv, check=False)
        if result.rc == 0:
            return result.stdout
        self.notes.append(f"`{' '.join(argv)}` failed, so its part was not looked at: {result.stderr.strip()}")
        return ""


def iptables_saves(programs: Programs, root: Path) -> Iterator[tuple[str, str]]:
    """Outputs of every iptables-save of the host: both families and, where they can be told apart, both backends."""
    for family, names in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
        nft, legacy = programs.find(f"{family}-nft-save"), programs.find(f"{family}-legacy-save")
        # Asking the legacy program makes the kernel load its modules; it has no tables that this file does not name.
        saves = [nft, legacy if (read_text(root / "proc/net" / names) or "").strip() else None]
        if not (nft or legacy):
            saves = [programs.find(f"{family}-save")]
        for save in filter(None, saves):
            text = programs.output(save)
            programs.notes += [f"`{save}` cannot show it: {line}" for line in text.splitlines() if _UNREADABLE in line]
            yield save, text


def nft_tables(programs: Programs) -> tuple[str, ...]:
    """Families and names of all tables of nftables."""
    lines = programs.output("nft", "list", "tables").splitlines()
    return tuple(line.split(" ", 1)[1].strip() for line in lines if line.startswith("table "))


def ipsets(programs: Programs, root: Path) -> list[str]:
    """Names of all sets; asking for them would make the kernel load what it has had no use for so far."""
    return programs.output("ipset", "list", "-name").splitlines() if (root / _IPSET_MODULE).exists() else []


def link_names(root: Path) -> tuple[str, ...]:
    """Names of all links; a bonding driver keeps a file beside them."""
    try:
        return tuple(sorted(entry.name for entry in (root / "sys/class/net").iterdir()))
    except FileNotFoundError:
        return ()
