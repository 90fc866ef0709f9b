# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual servers of IPVS, and which of them are kube-proxy's."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_filters import Programs, link_names
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import parse_links

#: Without it the kernel can be asked and told nothing but by netlink.
PROGRAM = "ipvsadm"
#: The link that has the address of every Service, which kube-proxy alone makes.
LINK = "kube-ipvs0"

_OPTIONS = {"TCP": "--tcp-service", "UDP": "--udp-service", "SCTP": "--sctp-service"}
_SERVER = re.compile(
    r"^(?P<protocol>TCP|UDP|SCTP) +(?:\[(?P<ipv6>[0-9a-f:]+)\]|(?P<ipv4>[0-9A-F]{8})):(?P<port>[0-9A-F]{4}) ",
    re.MULTILINE,
)
# What an API server takes NodePorts from unless it is told otherwise.
_NODE_PORTS = range(30000, 32768)


class VirtualServer(NamedTuple):
    """An address and a port that the kernel answers for others."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} {self._endpoint}"

    @property
    def deletion(self) -> list[str]:
        """The command that takes this one server away."""
        return [PROGRAM, "--delete-service", _OPTIONS[self.protocol], self._endpoint]

    @property
    def _endpoint(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def read_virtual_servers(root: Path) -> tuple[VirtualServer, ...]:
    """All virtual servers but those that a firewall mark stands for, from the kernel's own list."""
    return tuple(
        VirtualServer(
            match.group("protocol"),
            str(ipaddress.ip_address(match.group("ipv6") or int(match.group("ipv4"), 16))),
            int(match.group("port"), 16),
        )
        for match in _SERVER.finditer(read_text(root / "proc/net/ip_vs") or "")
    )


def servers_of_kube_proxy(programs: Programs, root: Path) -> tuple[VirtualServer, ...]:
    """Those at the addresses of its link, which are Services, and beside it those on NodePorts of the host."""
    servers = read_virtual_servers(root)
    if not servers or LINK not in link_names(root):
        return ()
    links = parse_links(programs.output("ip", "-json", "address") or "[]")
    of_services = {address.address for link in links if link.name == LINK for address in link.addresses}
    of_host = {address.address for link in links for address in link.addresses}
    return tuple(
        server
        for server in servers
        if server.address in of_services or (server.address in of_host and server.port in _NODE_PORTS)
    )


def removable(
    servers: tuple[VirtualServer, ...], programs: Programs
) -> tuple[tuple[VirtualServer, ...], tuple[str, ...]]:
    """Those that can be taken away, and a note on those that cannot."""
    if not servers or programs.find(PROGRAM):
        return servers, ()
    return (), (f"{len(servers)} virtual servers of kube-proxy stay without the program {PROGRAM}",)
