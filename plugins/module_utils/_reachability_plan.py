# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports nodes need of each other, and who measures whom."""

from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE

TCP = "tcp"
UDP = "udp"
# Who calls a port: every node, or the control plane nodes only.
EVERY_NODE = "node"
API_SERVER = "kube-apiserver"

# An outer Ethernet, IP, UDP and VXLAN header.
_OVERHEAD = 50
# Sizes of packets that networks of clouds and tunnels are known to carry; IPv6 demands the smallest everywhere.
_USUAL_SIZES = (1500, 1450, 1400, 1280)
# The length field of an IPv4 packet holds no more; the loopback interface has a larger MTU.
_LARGEST_PACKET = 65535


class Port(NamedTuple):
    """A port of a node that others need.

    :arg purpose: the program that listens there in the end.
    :arg callers: EVERY_NODE or CONTROL_PLANE.
    """

    protocol: str
    number: int
    purpose: str
    callers: str


def needed_ports(role: str, *, api_port: int, stacked_etcd: bool, overlay_port: int) -> tuple[Port, ...]:
    """Ports that other nodes need of a host with this role.

    Not those of the scheduler and the controller manager, which listen at the loopback address.

    :arg stacked_etcd: etcd runs on the control plane nodes.
    :arg overlay_port: UDP port of the pod network, 0 where it has none.
    """
    ports = [Port(TCP, 10250, "kubelet", CONTROL_PLANE)]
    if role == CONTROL_PLANE:
        ports.append(Port(TCP, api_port, API_SERVER, EVERY_NODE))
        if stacked_etcd:
            ports += [Port(TCP, 2379, "etcd", CONTROL_PLANE), Port(TCP, 2380, "etcd", CONTROL_PLANE)]
    if overlay_port:
        ports.append(Port(UDP, overlay_port, "pod network", EVERY_NODE))
    return tuple(ports)


def peers(hosts: Iterable[str], control_plane: Iterable[str], host: str) -> list[str]:
    """The hosts that a host measures, which are also the hosts that measure it.

    Control plane hosts measure everybody. Workers measure them and their two neighbours in the ring of all workers in
    alphabetical order. With M control plane hosts and W workers that is M (M - 1 + W) + W (M + 2) directions: it grows
    with the number of hosts, not with its square.
    """
    everybody = sorted(set(hosts))
    masters = set(control_plane)
    if host in masters:
        return [name for name in everybody if name != host]
    ring = [name for name in everybody if name not in masters]
    position = ring.index(host)
    neighbours = {ring[position - 1], ring[(position + 1) % len(ring)]} - {host}
    return [name for name in everybody if name in masters or name in neighbours]


def probe_sizes(mtu: int) -> tuple[int, ...]:
    """Sizes of whole IP packets to try, largest first: that of the interface, then what smaller paths may carry."""
    largest = min(mtu, _LARGEST_PACKET)
    smaller = {size for size in (largest - _OVERHEAD, *_USUAL_SIZES) if size < largest}
    return (largest, *sorted(smaller, reverse=True))


def needed_mtu(mtu: int, overlay_mtu: int) -> int:
    """Largest packet that the pod network sends to another node.

    :arg overlay_mtu: what it is told to send at most; 0 stands for what the interface carries.
    """
    return min(mtu, overlay_mtu) if overlay_mtu else mtu


def allows(callers: str, role: str) -> bool:
    """Whether a host of this role has to reach a port with these callers."""
    return callers in (EVERY_NODE, role)


def label(ports: Sequence[Mapping[str, object]]) -> str:
    """Ports as findings name them."""
    return ", ".join(
        dict.fromkeys(f"{str(port['protocol']).upper()} {port['port']} ({port['purpose']})" for port in ports)
    )
