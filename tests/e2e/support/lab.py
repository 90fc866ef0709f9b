# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of nodes of the lab as the tests see them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.lab import members, ssh
from tests.lab import nodes as lab_nodes
from tests.lab.process import attempt
from tests.lab.settings import REPOSITORY_ROOT, paths

LAB_SECONDS = 900
COMMAND_SECONDS = 300


@dataclass(frozen=True)
class LabSet:
    """One named set of nodes."""

    name: str
    release: str = "trixie"
    containerd: str = "1.7"

    def up(self, *, masters: int = 1, workers: int = 0, machines: int = 0, add_ons: Iterable[str] = ()) -> None:
        """Have at least this many nodes, all running, these add-ons, and an inventory with every node of the set."""
        with _other_nodes():
            _lab(
                "up",
                f"--name={self.name}",
                f"--masters={masters}",
                f"--workers={workers}",
                f"--machines={machines}",
                f"--os={self.release}",
                f"--containerd={self.containerd}",
                *(f"--with={add_on}" for add_on in add_ons),
            )

    def down(self) -> None:
        """Remove the set, also what a killed run left of it."""
        with _other_nodes():
            _lab("down", f"--name={self.name}")

    @property
    def inventory(self) -> Path:
        """Folder of the inventory that the lab wrote for the set."""
        return paths().inventory(self.name)

    @property
    def nodes(self) -> list[lab_nodes.Node]:
        """Nodes of the set, by address."""
        return list(_nodes(self.name))

    @property
    def names(self) -> list[str]:
        """Names of all nodes."""
        return [node.name for node in self.nodes]

    @property
    def masters(self) -> list[str]:
        """Names of the control plane nodes."""
        return [node.name for node in self.nodes if node.group == lab_nodes.CONTROL_PLANE]

    @property
    def workers(self) -> list[str]:
        """Names of the workers."""
        return [node.name for node in self.nodes if node.group == lab_nodes.WORKERS]

    @property
    def machines(self) -> list[str]:
        """Names of the virtual machines."""
        return [node.name for node in self.nodes if node.group == lab_nodes.MACHINES]

    @property
    def vip(self) -> str:
        """Virtual address that is reserved for the API of the set."""
        return str(self.nodes[0].virtual_address)

    def address(self, name: str) -> str:
        """Address of a node."""
        return str(self._node(name).address)

    def address_6(self, name: str) -> str:
        """Address of a node in IPv6."""
        return str(self._node(name).address_6)

    def kill(self, names: Iterable[str]) -> None:
        """Cut the power of nodes."""
        members.kill(list(names))

    def stop(self, names: Iterable[str]) -> None:
        """Shut nodes down in order."""
        members.stop(list(names))

    def start(self, names: Iterable[str]) -> None:
        """Switch nodes on and wait until they answer."""
        members.start(list(names))

    def remove(self, names: Iterable[str]) -> None:
        """Remove nodes with their disks."""
        with _other_nodes():
            members.remove(list(names))

    def command(self, name: str, script: str) -> list[str]:
        """Command that runs a shell script on a node."""
        return ssh.command(paths(), self._node(name).address, [script])

    def attempt(self, name: str, script: str, *, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a shell script on a node; its failure is an answer."""
        return attempt(self.command(name, script), timeout=seconds)

    def run(self, name: str, script: str, *, seconds: float = COMMAND_SECONDS) -> str:
        """Run a shell script on a node and return its output."""
        result = self.attempt(name, script, seconds=seconds)
        assert result.returncode == 0, (
            f"{name}: `{script}` ended with {result.returncode}: {result.stderr}{result.stdout}"
        )
        return result.stdout

    def run_on(self, names: Iterable[str], script: str) -> dict[str, str]:
        """Run a shell script on several nodes at once and return the output of each."""
        chosen = list(names)
        with ThreadPoolExecutor(max_workers=max(len(chosen), 1)) as pool:
            return dict(zip(chosen, pool.map(lambda name: self.run(name, script), chosen), strict=True))

    def _node(self, name: str) -> lab_nodes.Node:
        return lab_nodes.find([name], self.nodes)[0]


@cache
def _nodes(set_name: str) -> tuple[lab_nodes.Node, ...]:
    """Nodes of a set, which podman is not asked for again with each command on one of them."""
    return tuple(members.members_of(set_name))


@contextmanager
def _other_nodes() -> Iterator[None]:
    """Something after which the nodes are others, even where it fails."""
    try:
        yield
    finally:
        _nodes.cache_clear()


def _lab(*arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.lab", *arguments],
        cwd=REPOSITORY_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LAB_SECONDS,
        check=False,
    )
    assert result.returncode == 0, f"`python -m tests.lab {' '.join(arguments)}` failed:\n{result.stdout}"
