# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of SSH that come to a node from behind a router whose advertisements its kernel heeds.

Router and client are a network namespace inside of the node. This machine gets there over the lab's own network, which
remains when the node loses its route to the client.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.support.lab import LabSet
from tests.e2e.support.waiting import wait_for
from tests.lab import ssh
from tests.lab.settings import HOST_ADDRESS_6, paths

INTERFACE = "uplink"
#: Where Ansible comes from; the node has no other route there than the default one.
CLIENT = "2001:db8:ff::5"

_NODE = "2001:db8:5::11"
_NETWORK = "2001:db8:5::/64"
_NAMESPACE = "elsewhere"
_INSIDE = f"nsenter --net=/run/netns/{_NAMESPACE}"
_ADVERTISED_SECONDS = 30

# The node asks nobody whether an address is free, before whose answer nothing could be sent from it.
_CONNECT = f"""\
set -e
ip netns add {_NAMESPACE}
ip link add {INTERFACE} type veth peer name router netns {_NAMESPACE}
sysctl -qw net.ipv6.conf.{INTERFACE}.disable_ipv6=0 net.ipv6.conf.{INTERFACE}.accept_dad=0 \
    net.ipv6.conf.{INTERFACE}.accept_ra=1
{_INSIDE} sysctl -qw net.ipv6.conf.lo.disable_ipv6=0 net.ipv6.conf.router.disable_ipv6=0 \
    net.ipv6.conf.router.accept_dad=0 net.ipv6.conf.router.accept_ra=0
ip -n {_NAMESPACE} link set lo up
ip -n {_NAMESPACE} link set router up
ip -n {_NAMESPACE} address add {CLIENT}/128 dev lo
ip -n {_NAMESPACE} -6 route add {_NETWORK} dev router
ip link set {INTERFACE} up
ip address add {_NODE}/64 dev {INTERFACE} nodad
ip -6 route delete default
"""

_DISCONNECT = f"""\
ip link delete {INTERFACE}
ip netns delete {_NAMESPACE}
ip -6 route replace default via {HOST_ADDRESS_6}
"""

# An advertisement to all nodes (RFC 4861): 64 hops, no flags, a default router for 1800 s.
_ADVERTISE = f"""\
{_INSIDE} python3 - <<'END'
import socket, struct
router = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
router.sendto(advertisement, ("ff02::1", 0, 0, socket.if_nametoindex("router")))
END
ip -6 route show default proto ra
"""

_RELAY = f"{_INSIDE} bash -c 'exec 3<>/dev/tcp/{_NODE}/22; cat <&3 & cat >&3; kill $!'"


@dataclass(frozen=True)
class Elsewhere:
    """The part of the world from which a node is reached over its router alone."""

    nodes: LabSet
    name: str

    def inventory(self, folder: Path) -> Path:
        """Inventory, to be read after that of the set, with which Ansible comes to the node from there."""
        relay = folder / "relay"
        relay.write_text(f"#!/bin/sh\nexec {shlex.join(self.nodes.command(self.name, _RELAY))}\n")
        relay.chmod(0o755)
        arguments = " ".join([*ssh.options(paths()), "-o", f"ProxyCommand={relay}"])
        inventory = folder / "elsewhere.yml"
        inventory.write_text(json.dumps({"all": {"hosts": {self.name: {"ansible_ssh_common_args": arguments}}}}))
        return inventory

    def has_default_route(self) -> bool:
        """Whether the node still knows the way there."""
        return bool(self.nodes.run(self.name, "ip -6 route show default").strip())


@contextmanager
def elsewhere(nodes: LabSet, name: str) -> Iterator[Elsewhere]:
    """Let the default route of IPv6 of a node be one from a router, as long as the context lasts."""

    def problem() -> str:
        return "" if nodes.run(name, _ADVERTISE).strip() else nodes.run(name, "ip -6 route")

    try:
        nodes.run(name, _CONNECT)
        wait_for(f"{name} has a default route from its router", problem, seconds=_ADVERTISED_SECONDS)
        yield Elsewhere(nodes, name)
    finally:
        nodes.run(name, _DISCONNECT)
