# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes in named sets; most are containers that behave like machines, found by their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.lab import ssh
from tests.lab.node_image import INIT_PATH
from tests.lab.podman import Podman
from tests.lab.process import LabError, attempt, wait_until
from tests.lab.progress import Report
from tests.lab.settings import (
    HOST_ADDRESS,
    HOST_ADDRESS_6,
    LABEL,
    NETWORK_NAME,
    SUBNET,
    SUBNET_6,
    Paths,
)

DEFAULT_SET = "lab"
PREFIX = "gplab-"

CONTROL_PLANE = "control_plane"
WORKERS = "workers"
#: Virtual machines; in the inventory a part of the workers.
MACHINES = "machines"

#: Name of a node within its set and its place in the set's addresses, by group.
NODE_NAMES = {CONTROL_PLANE: "master", WORKERS: "worker", MACHINES: "machine"}
FIRST_HOST_OCTETS = {CONTROL_PLANE: 11, WORKERS: 21, MACHINES: 231}
LARGEST_COUNTS = {CONTROL_PLANE: 9, WORKERS: 200, MACHINES: 9}

#: Place of the virtual address of a set's API, which no node has as its own.
VIRTUAL_HOST_OCTET = 10

#: systemd 257 and newer boot on cgroup v1 only when told so; older ones and cgroup v2 take no notice.
INIT_ARGUMENTS = ("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",)

#: podman's own mode for systemd would know this signal, but on cgroup v1 it also hands every node the one systemd
#: hierarchy of the host, in which nodes stop each other's services.
SHUTDOWN_SIGNAL = "SIGRTMIN+3"

BOOT_SECONDS = 120
SHUTDOWN_SECONDS = 60


@dataclass(frozen=True)
class Node:
    """One node as it is to be made."""

    set_name: str
    group: str
    name: str
    address: IPv4Address
    release: str
    containerd: str
    source: str

    @property
    def container(self) -> str:
        """Name of the node's container."""
        return PREFIX + self.name

    @property
    def volume(self) -> str:
        """Name of the volume under /var/lib, where overlay file systems need a plain file system below them."""
        return f"{self.container}-var-lib"

    @property
    def kind(self) -> tuple[str, str, str]:
        """What all nodes of a set have in common."""
        return self.release, f"containerd-{self.containerd}", self.source

    @property
    def mac_address(self) -> str:
        """A locally administered address that stays the same through restarts."""
        return ":".join(f"{octet:02x}" for octet in (0x02, 0x67, *self.address.packed))

    @property
    def address_6(self) -> IPv6Address:
        """Address of a container in IPv6, in the same digits: 10.77.3.21 is fd77::3:21. Virtual machines have none."""
        third, fourth = self.address.packed[2:]
        return IPv6Address(f"{SUBNET_6.network_address}{third}:{fourth}")

    @property
    def virtual_address(self) -> IPv4Address:
        """Address that is reserved for the API of the node's set."""
        return IPv4Network((self.address, 24), strict=False)[VIRTUAL_HOST_OCTET]

    def labels(self) -> dict[str, str]:
        """Labels from which the node can be read back."""
        return {
            LABEL: self.set_name,
            f"{LABEL}.group": self.group,
            f"{LABEL}.address": str(self.address),
            f"{LABEL}.release": self.release,
            f"{LABEL}.containerd": self.containerd,
            f"{LABEL}.source": self.source,
        }


@dataclass(frozen=True)
class FoundNode:
    """A node that exists, with what podman says about its container; a virtual machine has none."""

    node: Node
    container_id: str
    state: str


def found_node(container: dict[str, Any]) -> FoundNode:
    """Read a node back from podman's description of its container."""
    labels = container["Labels"]
    node = Node(
        set_name=labels[LABEL],
        group=labels[f"{LABEL}.group"],
        name=container["Names"][0].removeprefix(PREFIX),
        address=IPv4Address(labels[f"{LABEL}.address"]),
        release=labels[f"{LABEL}.release"],
        containerd=labels[f"{LABEL}.containerd"],
        source=labels.get(f"{LABEL}.source", "unknown"),
    )
    return FoundNode(node, container["Id"], container["State"])


def found_nodes(podman: Podman, set_name: str | None = None) -> list[FoundNode]:
    """Containers of one set or of all sets, ordered by address."""
    nodes = [found_node(container) for container in podman.containers()]
    return sorted(
        (found for found in nodes if set_name in (None, found.node.set_name)), key=lambda found: found.node.address
    )


def check_set_name(name: str) -> str:
    """Accept what fits into a host name and a folder name."""
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", name):
        raise LabError(f"`{name}` is no name for a set: use up to 20 lower-case letters, digits and inner hyphens.")
    return name


def set_octet(set_name: str, existing: Iterable[Node]) -> int:
    """Third octet of a set's addresses: the one it has, else the lowest free one; the set `lab` has 0."""
    if set_name == DEFAULT_SET:
        return 0
    taken = {node.set_name: node.address.packed[2] for node in existing}
    if set_name in taken:
        return taken[set_name]
    free = sorted(set(range(1, 255)) - set(taken.values()))
    if not free:
        raise LabError("All 254 ranges of addresses are in use by sets; `python -m tests.lab down --name` frees some.")
    return free[0]


def plan_set(
    set_name: str, octet: int, counts: Mapping[str, int], release: str, containerd: str, source: str
) -> list[Node]:
    """Nodes that a set shall have at least."""
    for group, count in counts.items():
        if not 0 <= count <= LARGEST_COUNTS[group]:
            raise LabError(f"{count} nodes in {group} were asked for; possible are 0 to {LARGEST_COUNTS[group]}.")
    prefix = "" if set_name == DEFAULT_SET else f"{set_name}-"
    return [
        Node(
            set_name=set_name,
            group=group,
            name=f"{prefix}{NODE_NAMES[group]}-{number}",
            address=SUBNET.network_address + 256 * octet + FIRST_HOST_OCTETS[group] + number - 1,
            release=release,
            containerd=containerd,
            source=source,
        )
        for group, count in counts.items()
        for number in range(1, count + 1)
    ]


def check_same_kind(wanted: Sequence[Node], existing: Iterable[Node]) -> None:
    """Refuse to mix kinds of nodes within a set."""
    set_names = {node.set_name for node in wanted}
    kinds = {node.kind for node in wanted}
    for node in existing:
        if node.set_name in set_names and node.kind not in kinds:
            raise LabError(
                f"{node.name} is of the kind {' '.join(node.kind)}, asked for was {' '.join(*kinds)}. Ask for the same "
                f"with --os and --containerd, or remove the set with `python -m tests.lab down --name {node.set_name}`."
            )


class Nodes:
    """Makes, starts, stops and removes nodes that are containers."""

    def __init__(self, podman: Podman, lab_paths: Paths) -> None:
        """Work with the given podman and keep notes below the given folders."""
        self._podman = podman
        self._paths = lab_paths

    def ensure(self, wanted: Sequence[Node], image: str, report: Report) -> None:
        """Bring every wanted node up: make missing and half-made ones, start stopped ones, leave running ones."""
        found = {item.node.name: item for item in found_nodes(self._podman)}
        public_key = ssh.ensure_key_pair(self._paths)

        def ensure_one(node: Node) -> None:
            existing = found.get(node.name)
            if existing and self._was_ready(existing):
                if existing.state != "running":
                    report(f"Starting {node.name}, which is {existing.state}")
                    self._podman("start", node.container)
                return
            report(f"Making {node.name} ({node.address})" + (" anew, as it was never finished" if existing else ""))
            self._remove_one(node)
            self._create(node, image, public_key)
            self._podman("start", node.container)

        for_each(ensure_one, wanted)

    def wait_ready(self, nodes: Iterable[Node]) -> None:
        """Wait until every node has booted and answers SSH, and note its host keys."""
        waiting = list(nodes)
        for_each(self._wait_booted, waiting)
        keys = {node.address: self._host_keys(node) for node in waiting}
        ssh.write_known_hosts(self._paths, keys)
        for_each(self._wait_ssh, waiting)
        for found in found_nodes(self._podman):
            if found.node in waiting:
                self._ready_mark(found).touch()

    def require_healthy(self, nodes: Iterable[Node]) -> None:
        """Fail with the failed units of any node that did not boot cleanly."""
        for node in nodes:
            if self._system_state(node) == "degraded":
                units = self._in_node(node, "systemctl", "--failed", "--no-legend", "--plain").stdout
                raise LabError(f"systemd of {node.name} is degraded. Failed units:\n{units}")

    def kill(self, nodes: Iterable[Node]) -> None:
        """Cut the power: every process of a running node dies at once."""
        running = [found.node for found in found_nodes(self._podman) if found.state == "running"]
        for_each(
            lambda node: self._podman("kill", "--signal", "KILL", node.container),
            [node for node in nodes if node in running],
        )

    def stop(self, nodes: Iterable[Node]) -> None:
        """Shut nodes down in order."""
        for_each(lambda node: self._podman("stop", "--time", str(SHUTDOWN_SECONDS), node.container), nodes)

    def start(self, nodes: Iterable[Node]) -> None:
        """Switch nodes on; they keep disk and address."""
        for_each(lambda node: self._podman("start", node.container), nodes)

    def remove(self, nodes: Iterable[Node]) -> None:
        """Remove nodes with their disks."""
        for_each(self._remove_one, nodes)
        self._forget_removed()

    def remove_set(self, set_name: str | None) -> None:
        """Remove everything of one set, or of all sets, also what a killed run left behind."""
        for container in self._podman.containers():
            if set_name in (None, container["Labels"][LABEL]):
                self._podman.remove_container(container["Id"])
        for volume in self._podman.volumes(set_name):
            self._podman.remove_volume(volume)
        self._forget_removed()

    def _create(self, node: Node, image: str, public_key: str) -> None:
        labels = [f"--label={key}={value}" for key, value in node.labels().items()]
        self._podman("volume", "create", *labels, node.volume)
        self._podman(
            "create",
            f"--name={node.container}",
            f"--hostname={node.name}",
            *labels,
            f"--network={NETWORK_NAME}",
            f"--mac-address={node.mac_address}",
            "--no-hosts",
            "--dns=none",
            "--privileged",
            "--systemd=false",
            f"--stop-signal={SHUTDOWN_SIGNAL}",
            "--cgroupns=private",
            "--pids-limit=-1",
            "--tmpfs=/run",
            "--tmpfs=/tmp",
            f"--volume={node.volume}:/var/lib:suid,exec,dev",
            f"--env=LAB_ADDRESS={node.address}/{SUBNET.prefixlen}",
            f"--env=LAB_GATEWAY={HOST_ADDRESS}",
            f"--env=LAB_ADDRESS_6={node.address_6}/{SUBNET_6.prefixlen}",
            f"--env=LAB_GATEWAY_6={HOST_ADDRESS_6}",
            f"--env=LAB_AUTHORIZED_KEY={public_key}",
            image,
            INIT_PATH,
            *INIT_ARGUMENTS,
        )

    def _remove_one(self, node: Node) -> None:
        self._podman.remove_container(node.container)
        self._podman.remove_volume(node.volume)

    def _wait_booted(self, node: Node) -> None:
        if not wait_until(lambda: self._system_state(node) in ("running", "degraded"), seconds=BOOT_SECONDS):
            log = self._podman("logs", "--tail", "15", node.container)
            jobs = self._in_node(node, "systemctl", "list-jobs", "--no-legend").stdout
            raise LabError(
                f"{node.name} has not booted within {BOOT_SECONDS} s, systemd says `{self._system_state(node)}`.\n"
                f"Waiting jobs:\n{jobs}Console:\n{log}"
            )

    def _system_state(self, node: Node) -> str:
        return self._in_node(node, "systemctl", "is-system-running").stdout.strip()

    def _wait_ssh(self, node: Node) -> None:
        command = ssh.command(self._paths, node.address, ["true"])
        if not wait_until(lambda: attempt(command, timeout=10).returncode == 0, seconds=BOOT_SECONDS):
            raise LabError(f"{node.name} does not answer SSH at {node.address}: {attempt(command, timeout=10).stderr}")

    def _host_keys(self, node: Node) -> list[str]:
        keys = self._podman("exec", node.container, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub")
        return [" ".join(line.split()[:2]) for line in keys.splitlines()]

    def _in_node(self, node: Node, *argv: str) -> CompletedProcess[str]:
        return attempt(
            ["podman", "exec", node.container, *argv], environment=self._podman.environment, timeout=BOOT_SECONDS
        )

    def _was_ready(self, found: FoundNode) -> bool:
        """Tell whether a node was ever finished; one killed in the making or at its first boot cannot be trusted."""
        return self._ready_mark(found).exists()

    def _ready_mark(self, found: FoundNode) -> Path:
        return self._ready_marks() / found.container_id

    def _ready_marks(self) -> Path:
        folder = self._paths.state / "ready"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _forget_removed(self) -> None:
        existing = {found.container_id for found in found_nodes(self._podman)}
        for mark in self._ready_marks().iterdir():
            if mark.name not in existing:
                mark.unlink(missing_ok=True)


def find(names: Sequence[str], existing: Iterable[Node]) -> list[Node]:
    """Nodes by their names."""
    by_name = {node.name: node for node in existing}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise LabError(f"There is no node {', '.join(unknown)}; existing nodes: {', '.join(by_name) or 'none'}.")
    return [by_name[name] for name in names]


def for_each(action: Callable[[Node], object], nodes: Iterable[Node]) -> None:
    """Do something to all nodes at the same time, and raise the first error when all have ended."""
    with ThreadPoolExecutor() as pool:
        for result in [pool.submit(action, node) for node in nodes]:
            result.result()
