# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines: nodes with a kernel of their own, by emulation, on the same bridge as the containers.

Each has a folder with its disks, its console and who it is. Its emulator carries the machine's set and name in an
environment variable, by which it is found in /proc, also when the folder is gone. Its network device exists as long as
the emulator does, so a killed one leaves nothing behind.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import signal
import socket
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from subprocess import CompletedProcess

from tests.lab import network, ssh
from tests.lab.machine_image import CREDENTIAL, END_OF_HOST_KEYS, ROOT_UUID, SWAP_MEBIBYTES, SWAP_UUID, MachineImage
from tests.lab.nodes import FoundNode, Node, for_each
from tests.lab.process import LabError, attempt, has_ended, marked_processes, run, send_signal, wait_until
from tests.lab.progress import Report
from tests.lab.settings import HOST_ADDRESS, SUBNET, Paths

#: Debian packages whose programs machines need of the host.
REQUIRED_PACKAGES = ("e2fsprogs", "qemu-system-x86", "util-linux")

MARK = "GROUNDPLANE_LAB_MACHINE"
EMULATOR = "qemu-system-x86_64"

PROCESSORS = 2
MEMORY_MEBIBYTES = 1024

#: An emulated processor is slow, and the host may have other things to do: a boot of 40 s took 215 s on a busy one.
BOOT_SECONDS = 600
SHUTDOWN_SECONDS = 120
COMMAND_SECONDS = 60
KILL_SECONDS = 20

RUNNING = "running"
OFF = "off"


@dataclass(frozen=True)
class Files:
    """Files of one machine."""

    folder: Path

    @property
    def node(self) -> Path:
        """Who the machine is."""
        return self.folder / "node.json"

    @property
    def ready(self) -> Path:
        """Mark of a machine that was finished once."""
        return self.folder / "ready"

    @property
    def disk(self) -> Path:
        """File system of the root."""
        return self.folder / "root.ext4"

    @property
    def swap(self) -> Path:
        """Space for swap, which the machine uses until it is told not to."""
        return self.folder / "swap"

    @property
    def kernel(self) -> Path:
        """The machine's kernel."""
        return self.folder / "vmlinuz"

    @property
    def initial_file_system(self) -> Path:
        """What the kernel starts with."""
        return self.folder / "initrd.img"

    @property
    def console(self) -> Path:
        """What the machine has said since it was switched on."""
        return self.folder / "console.log"

    @property
    def host_keys(self) -> Path:
        """What the machine has sent through its second serial port since it was switched on."""
        return self.folder / "host-keys"

    @property
    def monitor(self) -> Path:
        """Socket on which the emulator takes commands."""
        return self.folder / "monitor"


def device(node: Node) -> str:
    """Name of the host's end of a machine's network; the kernel allows 15 characters."""
    return f"gplab-{node.address.packed[2]}-{node.address.packed[3]}"


def mark(node: Node) -> str:
    """Value of the environment variable by which the emulator of a machine is found."""
    return f"{node.set_name} {node.name}"


def identity(node: Node, public_key: str) -> str:
    """Assignments for a shell that tell a machine who it is."""
    values = {
        "name": node.name,
        "address": f"{node.address}/{SUBNET.prefixlen}",
        "gateway": str(HOST_ADDRESS),
        "authorized_key": public_key,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def emulator_command(node: Node, files: Files, public_key: str) -> list[str]:
    """Command that switches a machine on and returns when it runs."""
    credential = base64.b64encode(identity(node, public_key).encode()).decode()
    kernel_arguments = (
        f"root=UUID={ROOT_UUID}",
        "ro",
        "console=ttyS0",
        "quiet",
        f"systemd.set_credential_binary={CREDENTIAL}:{credential}",
    )
    return [
        EMULATOR,
        *("-daemonize", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-name", node.name),
        *("-uuid", str(uuid.uuid5(uuid.NAMESPACE_DNS, node.name))),
        *("-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "qemu64"),
        *("-smp", str(PROCESSORS), "-m", str(MEMORY_MEBIBYTES)),
        *("-kernel", str(files.kernel), "-initrd", str(files.initial_file_system)),
        *("-append", " ".join(kernel_arguments)),
        *_disk("root", files.disk),
        *_disk("swap", files.swap),
        *("-netdev", f"tap,id=lab,ifname={device(node)},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=lab,mac={node.mac_address},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-serial", f"file:{files.console}", "-serial", f"file:{files.host_keys}"),
        *("-monitor", f"unix:{files.monitor},server=on,wait=off"),
    ]


def host_keys(text: str) -> list[str]:
    """Host keys that a machine has sent, each once; none before the last one has arrived."""
    lines = text.split()
    if END_OF_HOST_KEYS not in lines:
        return []
    pairs = [
        f"{kind} {key}" for kind, key in zip(lines, lines[1:], strict=False) if kind.startswith(("ssh-", "ecdsa-"))
    ]
    return list(dict.fromkeys(pairs))


class Machines:
    """Makes, starts, stops and removes virtual machines."""

    def __init__(self, lab_paths: Paths) -> None:
        """Keep machines below the given folders."""
        self._paths = lab_paths

    def found(self, set_name: str | None = None) -> list[FoundNode]:
        """Machines of one set or of all sets, ordered by address."""
        running = marked_processes(MARK)
        machines = [_found(file, running) for file in self._paths.machines.glob("*/node.json")]
        chosen = (machine for machine in machines if set_name in (None, machine.node.set_name))
        return sorted(chosen, key=lambda machine: machine.node.address)

    def devices(self) -> list[str]:
        """Ports of the bridge that lead to running machines."""
        return [device(machine.node) for machine in self.found() if machine.state == RUNNING]

    def ensure(self, wanted: Sequence[Node], image: MachineImage, report: Report) -> None:
        """Bring every wanted machine up: make missing and half-made ones, start stopped ones, leave running ones."""

        def ensure_one(node: Node) -> None:
            files = self._files(node)
            if not files.ready.exists():
                again = " anew, as it was never finished" if files.folder.exists() else ""
                report(f"Making {node.name} ({node.address}){again}")
                self._remove_one(node)
                self._create(node, image)
            elif not _processes(node):
                report(f"Starting {node.name}, which is {OFF}")
            self._start_one(node)

        for_each(ensure_one, wanted)

    def wait_ready(self, nodes: Iterable[Node]) -> None:
        """Wait until every machine has booted and answers SSH, and note its host keys."""
        waiting = list(nodes)
        for_each(self._wait_host_keys, waiting)
        ssh.write_known_hosts(self._paths, {node.address: self._host_keys(node) for node in waiting})
        for_each(self._wait_booted, waiting)
        for node in waiting:
            self._files(node).ready.touch()

    def require_healthy(self, nodes: Iterable[Node]) -> None:
        """Fail with the failed units of any machine that did not boot cleanly."""
        for node in nodes:
            if self._system_state(node) == "degraded":
                units = self._in_machine(node, "systemctl", "--failed", "--no-legend", "--plain").stdout
                raise LabError(f"systemd of {node.name} is degraded. Failed units:\n{units}")

    def kill(self, nodes: Iterable[Node]) -> None:
        """Cut the power."""
        for_each(lambda node: _kill(_processes(node)), nodes)

    def stop(self, nodes: Iterable[Node]) -> None:
        """Shut machines down in order, as their power button does; cut the power of one that takes no notice."""
        for_each(self._stop_one, nodes)

    def start(self, nodes: Iterable[Node]) -> None:
        """Switch machines on; they keep disk and address."""
        for_each(self._start_one, nodes)

    def remove(self, nodes: Iterable[Node]) -> None:
        """Remove machines with their disks."""
        for_each(self._remove_one, nodes)

    def remove_set(self, set_name: str | None) -> None:
        """Remove everything of one set, or of all sets, also what a killed run left behind."""
        _kill([process for process, value in marked_processes(MARK).items() if set_name in (None, value.split(" ")[0])])
        for folder in sorted(self._paths.machines.glob("*")):
            if set_name in (None, _set_of(folder)):
                shutil.rmtree(folder)

    def _files(self, node: Node) -> Files:
        return Files(self._paths.machines / node.name)

    def _create(self, node: Node, image: MachineImage) -> None:
        files = self._files(node)
        files.folder.mkdir(parents=True)
        # Whoever looks for machines, or for the remains of one, shall find this one from the first moment on.
        unfinished = files.node.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({**asdict(node), "address": str(node.address)}, indent=2) + "\n")
        unfinished.rename(files.node)
        os.link(image.kernel, files.kernel)
        os.link(image.initial_file_system, files.initial_file_system)
        run(["cp", "--sparse=always", str(image.disk), str(files.disk)])
        with files.swap.open("wb") as swap:
            swap.truncate(SWAP_MEBIBYTES * 1024 * 1024)
        files.swap.chmod(0o600)
        run(["mkswap", "--uuid", SWAP_UUID, str(files.swap)])

    def _start_one(self, node: Node) -> None:
        """Switch a machine on unless it runs; one whose network device was taken away has to be started again."""
        if _processes(node) and network.device_exists(device(node)):
            network.plug_in(device(node))
            return
        _kill(_processes(node))
        files = self._files(node)
        files.host_keys.unlink(missing_ok=True)
        command = emulator_command(node, files, ssh.ensure_key_pair(self._paths))
        run(command, environment={MARK: mark(node)})
        network.plug_in(device(node))

    def _stop_one(self, node: Node) -> None:
        processes = _processes(node)
        if not processes:
            return
        with socket.socket(socket.AF_UNIX) as monitor, suppress(OSError):
            monitor.connect(str(self._files(node).monitor))
            monitor.sendall(b"system_powerdown\n")
            wait_until(lambda: all(map(has_ended, processes)), seconds=SHUTDOWN_SECONDS)
        _kill([process for process in processes if not has_ended(process)])

    def _remove_one(self, node: Node) -> None:
        _kill(_processes(node))
        folder = self._files(node).folder
        if folder.exists():
            shutil.rmtree(folder)

    def _wait_host_keys(self, node: Node) -> None:
        self._wait(node, lambda: bool(self._host_keys(node)), "has not told its host keys")

    def _wait_booted(self, node: Node) -> None:
        self._wait(node, lambda: self._system_state(node) in ("running", "degraded"), "has not booted")

    def _wait(self, node: Node, condition: Callable[[], bool], problem: str) -> None:
        wait_until(lambda: condition() or not _processes(node), seconds=BOOT_SECONDS)
        if not condition():
            state = RUNNING if _processes(node) else OFF
            console = self._files(node).console
            last_words = "\n".join(console.read_text(errors="replace").splitlines()[-15:]) if console.exists() else ""
            raise LabError(
                f"{node.name} {problem} within {BOOT_SECONDS} s; it is {state}, systemd says "
                f"`{self._system_state(node)}`.\nConsole:\n{last_words}"
            )

    def _host_keys(self, node: Node) -> list[str]:
        file = self._files(node).host_keys
        return host_keys(file.read_text(errors="replace")) if file.exists() else []

    def _system_state(self, node: Node) -> str:
        return self._in_machine(node, "systemctl", "is-system-running").stdout.strip()

    def _in_machine(self, node: Node, *argv: str) -> CompletedProcess[str]:
        return attempt(ssh.command(self._paths, node.address, argv), timeout=COMMAND_SECONDS)


def _disk(name: str, file: Path) -> tuple[str, ...]:
    """A disk whose content the host keeps when the emulator is killed; only a power cut of the host could harm it."""
    drive = f"file={file},if=none,id={name},format=raw,cache=unsafe,discard=unmap"
    return "-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"


def _found(file: Path, running: Mapping[int, str]) -> FoundNode:
    values = json.loads(file.read_text())
    node = Node(**{**values, "address": IPv4Address(values["address"])})
    return FoundNode(node, "", RUNNING if mark(node) in running.values() else OFF)


def _set_of(folder: Path) -> str | None:
    """Set of the machine in a folder; a folder without a machine is of no set and goes with any."""
    file = Files(folder).node
    return json.loads(file.read_text())["set_name"] if file.exists() else None


def _processes(node: Node) -> list[int]:
    return [process for process, value in marked_processes(MARK).items() if value == mark(node)]


def _kill(processes: Collection[int]) -> None:
    for process in processes:
        send_signal(process, signal.SIGKILL)
    if not wait_until(lambda: all(map(has_ended, processes)), seconds=KILL_SECONDS):
        raise LabError(f"The emulators {sorted(processes)} are still there {KILL_SECONDS} s after SIGKILL.")
