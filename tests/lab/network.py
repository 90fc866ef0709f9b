# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own network: one bridge, and rules that keep its packets on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from tests.lab.podman import Podman
from tests.lab.process import LabError, attempt, run
from tests.lab.settings import (
    BRIDGE_NAME,
    CLUSTER_RANGES,
    CLUSTER_RANGES_6,
    HOST_ADDRESS,
    HOST_ADDRESS_6,
    LABEL,
    NETWORK_NAME,
    SUBNET,
    SUBNET_6,
)

#: The bridge keeps one port that belongs to no node. Without it the last stopped node would take the bridge,
#: and the address the services listen on, with it.
ANCHOR_PORT = f"{BRIDGE_NAME}-a"
ANCHOR_PEER = f"{BRIDGE_NAME}-b"

#: A bridge without an address of its own takes over the lowest one of its ports, which changes with every node.
BRIDGE_MAC = "02:67:0a:4d:00:01"

#: The kernel's parameters of IPv6; a kernel without IPv6 has none, and the lab is then one of IPv4.
IPV6_PARAMETERS = Path("/proc/sys/net/ipv6/conf")


def network_definition() -> dict[str, object]:
    """Definition of the network in the form in which podman's netavark backend keeps it.

    It connects nodes to the bridge and does no more: nodes give themselves their addresses, since podman never frees an
    address again when it is killed at the wrong moment. `podman network create` of Debian 12 can neither leave that
    out nor name the bridge.
    """
    return {
        "name": NETWORK_NAME,
        "id": hashlib.sha256(NETWORK_NAME.encode()).hexdigest(),
        "driver": "bridge",
        "network_interface": BRIDGE_NAME,
        "created": "2026-01-01T00:00:00Z",
        "ipv6_enabled": False,
        "internal": True,
        "dns_enabled": False,
        "labels": {LABEL: "network"},
        "ipam_options": {"driver": "none"},
    }


@dataclass(frozen=True)
class Chain:
    """A chain of the lab's own in the host's firewall, and the built-in chains that call it."""

    table: str
    name: str
    callers: tuple[str, ...]
    program: str = "iptables"

    def ensure(self, rules: Iterable[str]) -> None:
        """Put exactly these rules into the chain, all at once, and have it called first."""
        lines = [f"*{self.table}", f":{self.name} - [0:0]", *(f"-A {self.name} {rule}" for rule in rules), "COMMIT"]
        run([f"{self.program}-restore", "--wait", "--noflush"], stdin="\n".join(lines) + "\n")
        for caller in self.callers:
            if not self._is_called_from(caller):
                run([*self._iptables(), "-I", caller, "1", *self._jump()])

    def remove(self) -> None:
        """Remove the chain and every call of it."""
        for caller in self.callers:
            while self._is_called_from(caller):
                run([*self._iptables(), "-D", caller, *self._jump()])
        if attempt([*self._iptables(), "-S", self.name]).returncode == 0:
            run([*self._iptables(), "-F", self.name])
            run([*self._iptables(), "-X", self.name])

    def _iptables(self) -> list[str]:
        return [self.program, "--wait", "--table", self.table]

    def _is_called_from(self, caller: str) -> bool:
        return attempt([*self._iptables(), "-C", caller, *self._jump()]).returncode == 0

    def _jump(self) -> list[str]:
        return ["-m", "comment", "--comment", LABEL, "-j", self.name]


GUARD = Chain("filter", "GPLAB-GUARD", ("OUTPUT", "FORWARD"))
GUARD_6 = Chain("filter", "GPLAB-GUARD", ("OUTPUT", "FORWARD"), "ip6tables")
TRANSLATION = Chain("nat", "GPLAB-NAT", ("POSTROUTING",))


def guard_rules(way_out: bool) -> list[str]:
    """Rules of the guard: between nodes everything, to pods, services and nodes nothing beyond the bridge."""
    return _guard_rules(way_out, (*CLUSTER_RANGES, SUBNET))


def guard_rules_6() -> list[str]:
    """The same for IPv6, by which nodes never have a way out: nobody would translate their addresses."""
    return _guard_rules(False, (*CLUSTER_RANGES_6, SUBNET_6))


def _guard_rules(way_out: bool, ranges: Iterable[IPv4Network | IPv6Network]) -> list[str]:
    answers = [f"-o {BRIDGE_NAME} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]
    return [
        f"-i {BRIDGE_NAME} -o {BRIDGE_NAME} -j ACCEPT",
        *(answers if way_out else []),
        f"-o {BRIDGE_NAME} -j RETURN",
        "-o lo -j RETURN",
        *(f"-d {cidr} -j DROP" for cidr in ranges),
        f"-i {BRIDGE_NAME} -j {'ACCEPT' if way_out else 'DROP'}",
    ]


def translation_rules(way_out: bool) -> list[str]:
    """Rules that translate the addresses of nodes with a way out; others have none."""
    return [f"-s {SUBNET} ! -o {BRIDGE_NAME} -j MASQUERADE"] if way_out else []


def ensure_network(podman: Podman, way_out: bool) -> None:
    """Make the network known to podman, the bridge known to the kernel, and the guard known to the firewall."""
    _definition_file(podman).write_text(json.dumps(network_definition(), indent=2) + "\n")
    GUARD.ensure(guard_rules(way_out))
    if has_ipv6():
        GUARD_6.ensure(guard_rules_6())
    TRANSLATION.ensure(translation_rules(way_out))
    if way_out:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _ensure_bridge()


def remove_stale_ports(podman: Podman, devices_of_machines: Collection[str]) -> None:
    """Unplug what a killed podman left on the bridge: its MAC address is that of a node made since.

    Nobody may start a node meanwhile.

    :arg devices_of_machines: ports of running virtual machines, which end by themselves.
    """
    if not device_exists(BRIDGE_NAME):
        return
    ports = json.loads(run(["ip", "-json", "link", "show", "master", BRIDGE_NAME]) or "[]")
    ends = [Path(f"/proc/{container['Pid']}/root/sys/class/net/eth0/iflink") for container in podman.containers()]
    in_use = [int(end.read_text()) for end in ends if end.exists()]
    names = {item["id"]: item["name"] for item in json.loads(run(["ip", "-json", "netns"]) or "[]") if "id" in item}
    for port in stale_ports(ports, in_use, devices_of_machines):
        # That of a machine that has just ended vanishes by itself.
        if attempt(["ip", "link", "delete", port["ifname"]]).returncode != 0 and device_exists(port["ifname"]):
            raise LabError(f"The device {port['ifname']} belongs to no node, and it cannot be deleted.")
        if port.get("link_netnsid") in names:
            run(["ip", "netns", "delete", names[port["link_netnsid"]]])


def stale_ports(
    ports: Iterable[dict[str, Any]], in_use: Collection[int], kept_names: Collection[str]
) -> list[dict[str, Any]]:
    """Ports of the bridge that lead to no running node."""
    kept = (ANCHOR_PORT, *kept_names)
    return [port for port in ports if port["ifname"] not in kept and port["ifindex"] not in in_use]


def plug_in(device: str) -> None:
    """Make a device a port of the bridge."""
    run(["ip", "link", "set", device, "master", BRIDGE_NAME, "up"])


def remove_network(podman: Podman) -> None:
    """Remove everything ensure_network made, in whatever state it is."""
    _definition_file(podman).unlink(missing_ok=True)
    for device in (ANCHOR_PORT, BRIDGE_NAME):
        if device_exists(device):
            run(["ip", "link", "delete", device])
    for chain in (GUARD, GUARD_6, TRANSLATION):
        chain.remove()


def bridge_is_up() -> bool:
    """Tell whether the bridge is there with the host's address."""
    return device_exists(BRIDGE_NAME) and str(HOST_ADDRESS) in run(["ip", "-4", "address", "show", BRIDGE_NAME])


def _definition_file(podman: Podman) -> Path:
    return podman.network_folder / f"{NETWORK_NAME}.json"


def _ensure_bridge() -> None:
    if not device_exists(BRIDGE_NAME):
        run(["ip", "link", "add", BRIDGE_NAME, "address", BRIDGE_MAC, "type", "bridge"])
    if not device_exists(ANCHOR_PORT):
        run(["ip", "link", "add", ANCHOR_PORT, "type", "veth", "peer", "name", ANCHOR_PEER])
    run(["ip", "link", "set", ANCHOR_PORT, "master", BRIDGE_NAME])
    run(["ip", "link", "set", BRIDGE_NAME, "address", BRIDGE_MAC, "up"])
    run(["ip", "address", "replace", f"{HOST_ADDRESS}/{SUBNET.prefixlen}", "dev", BRIDGE_NAME])
    if has_ipv6():
        # Machines whose own interfaces shall have no IPv6 often switch it off for new ones, too.
        (IPV6_PARAMETERS / BRIDGE_NAME / "disable_ipv6").write_text("0")
        run(["ip", "address", "replace", f"{HOST_ADDRESS_6}/{SUBNET_6.prefixlen}", "dev", BRIDGE_NAME, "nodad"])


def has_ipv6() -> bool:
    """Tell whether the kernel, which nodes share, has IPv6."""
    return IPV6_PARAMETERS.is_dir()


def device_exists(name: str) -> bool:
    """Tell whether the machine has a network device of this name."""
    return Path("/sys/class/net", name).exists()
