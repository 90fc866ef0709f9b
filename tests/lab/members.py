# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of sets by their names, whether they are containers or virtual machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tests.lab.host import only_one_run
from tests.lab.machines import Machines
from tests.lab.nodes import MACHINES, FoundNode, Node, Nodes, find, found_nodes
from tests.lab.podman import Podman
from tests.lab.settings import paths


class Keeper(Protocol):
    """Whoever looks after members of one kind."""

    def kill(self, nodes: Iterable[Node]) -> None:
        """Cut the power."""

    def stop(self, nodes: Iterable[Node]) -> None:
        """Shut down in order."""

    def start(self, nodes: Iterable[Node]) -> None:
        """Switch on."""

    def remove(self, nodes: Iterable[Node]) -> None:
        """Remove with the disks."""

    def wait_ready(self, nodes: Iterable[Node]) -> None:
        """Wait until they answer SSH."""


def found_members(podman: Podman, machines: Machines, set_name: str | None = None) -> list[FoundNode]:
    """Members of one set or of all sets, ordered by address."""
    members = [*found_nodes(podman, set_name), *machines.found(set_name)]
    return sorted(members, key=lambda found: found.node.address)


def members_of(set_name: str) -> list[Node]:
    """Members of a set, ordered by address."""
    return [found.node for found in found_members(Podman(paths()), Machines(paths()), set_name)]


def kill(names: Sequence[str]) -> None:
    """Cut the power of the named members."""
    for keeper, chosen in _by_name(names):
        keeper.kill(chosen)


def stop(names: Sequence[str]) -> None:
    """Shut the named members down in order."""
    for keeper, chosen in _by_name(names):
        keeper.stop(chosen)


def start(names: Sequence[str]) -> None:
    """Switch the named members on and wait until they answer."""
    groups = _by_name(names)
    with only_one_run(paths(), print):
        for keeper, chosen in groups:
            keeper.start(chosen)
    for keeper, chosen in groups:
        keeper.wait_ready(chosen)


def restart(names: Sequence[str]) -> None:
    """Reboot the named members and wait until they answer."""
    stop(names)
    start(names)


def remove(names: Sequence[str]) -> None:
    """Remove the named members with their disks."""
    for keeper, chosen in _by_name(names):
        keeper.remove(chosen)


def wait_ready(names: Sequence[str]) -> None:
    """Wait until the named members have booted and answer SSH."""
    for keeper, chosen in _by_name(names):
        keeper.wait_ready(chosen)


def of_kind(nodes: Iterable[Node], *, machines: bool) -> list[Node]:
    """Only the virtual machines among nodes, or only the containers."""
    return [node for node in nodes if (node.group == MACHINES) is machines]


def _by_name(names: Sequence[str]) -> list[tuple[Keeper, list[Node]]]:
    podman, machines = Podman(paths()), Machines(paths())
    chosen = find(names, (found.node for found in found_members(podman, machines)))
    keepers: list[tuple[Keeper, list[Node]]] = [
        (Nodes(podman, paths()), of_kind(chosen, machines=False)),
        (machines, of_kind(chosen, machines=True)),
    ]
    return [(keeper, nodes) for keeper, nodes in keepers if nodes]
