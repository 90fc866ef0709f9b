# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Kubernetes and its pod networks leave in a host's network, told from what is somebody else's.

Two kinds of things are looked for. Some prove by their name that Kubernetes, flannel or Calico made them. Others, such
as the bridge cni0, could be of any user of CNI plugins; they count only beside something of the first kind.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_filters import (
    Programs,
    ipsets,
    iptables_saves,
    link_names,
    nft_tables,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._iptables_remains import (
    Containers,
    SavedTable,
    TableRemains,
    own_part,
    tables_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ipvs import (
    VirtualServer,
    removable,
    servers_of_kube_proxy,
)

_FLANNEL_LINK = re.compile(r"flannel(?:-v6)?\.(?:\d+|ipip)$|flannel-wg(?:-v6)?$")
_CALICO_LINK = re.compile(r"cali[0-9a-f]{11}$|vxlan(?:-v6)?\.calico$|(?:wireguard|wg-v6|bpfin|bpfout)\.cali$")
_KUBERNETES_LINK = re.compile(r"(?:kube-ipvs0|nodelocaldns)$")
_BRIDGE = "cni0"
_TUNNEL = "tunl0"
_NFT_TABLE = re.compile(r"ip6? (?:kube-proxy|calico)$|ip flannel-ipv4$|ip6 flannel-ipv6$")
# Tables that the CNI plugins bridge and portmap keep for all containers, also those of nerdctl or podman.
_SHARED_NFT_TABLE = re.compile(r"ip6? cni_hostport$|inet cni_plugins_masquerade$")
_IPSET = re.compile(r"(?:inet6:)?KUBE-|cali[46]0")
_NETWORKS = ("cbr0", "k8s-pod-network")
_CNI_CONFIGURATION = "/etc/cni/net.d"
_FLANNEL_FILES = (
    _CNI_CONFIGURATION + "/10-flannel.conflist",
    _CNI_CONFIGURATION + "/10-flannel.conf",
    "/run/flannel",
    "/var/lib/cni/flannel",
    "/var/lib/cni/networks/cbr0",
)
_CNI_FOLDERS = ("/var/lib/cni/results", "/var/lib/cni/networks", "/var/lib/cni")
_CALICO_FILES = (
    _CNI_CONFIGURATION + "/10-calico.conflist",
    _CNI_CONFIGURATION + "/10-canal.conflist",
    _CNI_CONFIGURATION + "/calico-kubeconfig",
    "/var/lib/cni/networks/k8s-pod-network",
    "/var/lib/calico",
    "/var/log/calico",
    "/run/calico",
    "/run/nodeagent",
)
# calico-node mounts the host's control groups there, for a data plane that this host may never use.
_CALICO_MOUNTS = "/run/calico/"
_NAMESPACE = re.compile(r"cni-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_MASQUERADED = re.compile(r", net: (?P<network>[^,]*), if: ")
_SETTING = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)
_CONTAINER_ID = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class NetworkRemains:
    """What a removal takes away; what it leaves alone but an operator should know of is in notes.

    :arg addresses: addresses that Calico has given to the tunnel that the kernel makes by itself.
    :arg routes: routes to pods of other nodes, as flannel sets them where packets need no tunnel.
    :arg mounts: what Calico has mounted below folders that are removed.
    :arg files: files and folders, below the root that was read.
    :arg folders: folders that go as well when nothing is left in them, the inner ones first.
    """

    namespaces: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tables: tuple[TableRemains, ...] = ()
    nft_tables: tuple[str, ...] = ()
    ipsets: tuple[str, ...] = ()
    virtual_servers: tuple[VirtualServer, ...] = ()
    mounts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to remove."""
        return any(self.describe())

    def describe(self) -> Iterator[str]:
        """Lines for operators, one for each thing to remove."""
        yield from (f"network namespace {name}" for name in self.namespaces)
        yield from (f"link {name}" for name in self.links)
        yield from (f"address {address} of {_TUNNEL}" for address in self.addresses)
        yield from (f"route {route}" for route in self.routes)
        for table in self.tables:
            yield from table.describe()
        yield from (f"nftables table {name}" for name in self.nft_tables)
        yield from (f"ipset {name}" for name in self.ipsets)
        yield from (f"virtual server {server}" for server in self.virtual_servers)
        yield from (f"mount {path}" for path in self.mounts)
        yield from self.files


class _Attachments(NamedTuple):
    """What libcni remembers of containers: the files of pods, their networks, and the ids of other containers."""

    files: tuple[str, ...]
    networks: frozenset[str]
    foreign: frozenset[str]


def read_network_remains(runner: Runner, root: Path = Path("/")) -> NetworkRemains:
    """Read the host without changing it; programs that are not installed are not asked.

    :arg root: below which everything lies; only tests set it.
    """
    programs = Programs(runner)
    attachments = _attachments(root)
    containers = Containers(attachments.networks.union(_NETWORKS), attachments.foreign)
    links = link_names(root)
    flannel_links = tuple(filter(_FLANNEL_LINK.match, links))
    calico_links = tuple(filter(_CALICO_LINK.match, links))
    flannel_files, calico_files = _existing(root, _FLANNEL_FILES), _existing(root, _CALICO_FILES)
    tables = tables_of(iptables_saves(programs, root))
    all_nft_tables = nft_tables(programs)
    servers = servers_of_kube_proxy(programs, root)
    remains = NetworkRemains(
        links=calico_links + flannel_links + tuple(filter(_KUBERNETES_LINK.match, links)),
        tables=_own_parts(tables, containers, evidence=False),
        nft_tables=tuple(filter(_NFT_TABLE.match, all_nft_tables)),
        ipsets=tuple(filter(_IPSET.match, ipsets(programs, root))),
        virtual_servers=removable(servers, programs)[0],
        mounts=_calico_mounts(root),
        files=flannel_files + calico_files + attachments.files,
    )
    if not remains:
        return replace(remains, notes=(*_notes(programs, root, servers), *programs.notes))
    bridge = _bridge(root) if flannel_links or flannel_files or attachments.files else ()
    remains = replace(
        remains,
        namespaces=_namespaces_without_processes(root),
        links=bridge + remains.links,
        addresses=_tunnel_addresses(programs, links) if calico_links or calico_files else (),
        routes=_flannel_routes(programs, root),
        folders=_existing(root, _CNI_FOLDERS),
        tables=_own_parts(tables, containers, evidence=True),
        nft_tables=remains.nft_tables
        + tuple(name for name in all_nft_tables if _is_of_pods(programs, name, containers)),
    )
    return replace(remains, notes=(*_notes(programs, root, servers), *programs.notes))


def remove_network_remains(runner: Runner, remains: NetworkRemains) -> None:
    """Remove what was read, and nothing else.

    What proves least goes first, so that a removal which was cut short can be repeated.
    """
    for namespace in remains.namespaces:
        runner.run(["ip", "netns", "delete", namespace])
    for route in remains.routes:
        runner.run(["ip", "route", "delete", *route.split()])
    for address in remains.addresses:
        runner.run(["ip", "address", "delete", address, "dev", _TUNNEL])
    bridge = [name for name in remains.links if not _proves(name)]
    _delete_links(runner, bridge)
    for table in remains.tables:
        runner.run(table.restore_argv, stdin=table.script)
    if remains.nft_tables:
        runner.run(["nft", "-f", "-"], stdin="".join(f"delete table {name}\n" for name in remains.nft_tables))
    if remains.ipsets:
        # A set may be a member of another one, until that is empty.
        commands = [f"{command} {name}\n" for command in ("flush", "destroy") for name in remains.ipsets]
        runner.run(["ipset", "restore"], stdin="".join(commands))
    for server in remains.virtual_servers:
        runner.run(server.deletion)
    _delete_links(runner, [name for name in remains.links if _proves(name)])
    for mount in remains.mounts:
        runner.run(["umount", mount])
    for file in map(Path, remains.files):
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(str(file))
        else:
            file.unlink()
    for folder in map(Path, remains.folders):
        if not _entries(folder):
            folder.rmdir()


def _proves(link: str) -> bool:
    """Whether the name of a link tells by itself that Kubernetes or its pod network made it."""
    return any(pattern.match(link) for pattern in (_FLANNEL_LINK, _CALICO_LINK, _KUBERNETES_LINK))


def _delete_links(runner: Runner, names: Iterable[str]) -> None:
    """Delete links; one end of a pair may have gone with the other, or with its namespace."""
    for name in names:
        argv = ["ip", "link", "delete", name]
        result = runner.run(argv, check=False)
        if result.rc != 0 and "Cannot find device" not in result.stderr:
            raise CommandError(argv, result)


def _bridge(root: Path) -> tuple[str, ...]:
    """The bridge of the pods, after the host's ends of their links."""
    folder = root / "sys/class/net" / _BRIDGE
    if not folder.exists():
        return ()
    return (*(port.name for port in _entries(folder / "brif") if port.name.startswith("veth")), _BRIDGE)


def _existing(root: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the paths that exist."""
    return tuple(
        str(file) for file in (root / path.lstrip("/") for path in paths) if file.exists() or file.is_symlink()
    )


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in a stable order; nothing when there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _calico_mounts(root: Path) -> tuple[str, ...]:
    """Mount points below a folder of Calico's, the inner ones first."""
    points = [line.split(" ")[1] for line in (read_text(root / "proc/self/mounts") or "").splitlines()]
    return tuple(sorted({point for point in points if point.startswith(_CALICO_MOUNTS)}, reverse=True))


def _attachments(root: Path) -> _Attachments:
    """Read libcni's cache, which names the pod of every container that a kubelet has asked for."""
    files, networks, foreign = [], set(), set()
    for file in _entries(root / "var/lib/cni/results"):
        try:
            cached = json.loads(read_text(file) or "")
            names = {argument[0] for argument in cached.get("cniArgs") or ()}
            container, network = str(cached["containerId"]), str(cached["networkName"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if "K8S_POD_NAME" in names:
            files.append(str(file))
            networks.add(network)
        else:
            foreign.add(container)
    return _Attachments(tuple(files), frozenset(networks), frozenset(foreign))


def _own_parts(tables: Iterable[SavedTable], containers: Containers, *, evidence: bool) -> tuple[TableRemains, ...]:
    """What of the tables is Kubernetes'."""
    parts = (own_part(table, containers, evidence=evidence) for table in tables)
    return tuple(part for part in parts if part)


def _is_of_pods(programs: Programs, nft_table: str, containers: Containers) -> bool:
    """Whether a table in which CNI plugins keep the rules of all containers holds none but those of pods."""
    if not _SHARED_NFT_TABLE.match(nft_table):
        return False
    text = programs.output("nft", "list", "table", *nft_table.split())
    networks = {match.group("network") for match in _MASQUERADED.finditer(text)}
    return bool(text) and networks <= containers.networks and containers.foreign.isdisjoint(_CONTAINER_ID.findall(text))


def _namespaces_without_processes(root: Path) -> tuple[str, ...]:
    """Network namespaces as container runtimes name those of pods, in which nothing runs any more."""
    candidates = [entry for entry in _entries(root / "run/netns") if _NAMESPACE.match(entry.name)]
    if not candidates:
        return ()
    in_use = {_identity(process / "ns/net") for process in (root / "proc").glob("[0-9]*")}
    return tuple(entry.name for entry in candidates if _identity(entry) not in in_use - {None})


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a namespace from another, None when it has gone meanwhile."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _tunnel_addresses(programs: Programs, links: Iterable[str]) -> tuple[str, ...]:
    """Addresses of the tunnel that the kernel makes by itself and that cannot be deleted."""
    if _TUNNEL not in links:
        return ()
    shown = programs.output("ip", "-oneline", "-4", "address", "show", "dev", _TUNNEL)
    return tuple(re.findall(r"\binet (\S+)", shown))


def _flannel_routes(programs: Programs, root: Path) -> tuple[str, ...]:
    """Routes inside flannel's network that lead over a link of the host; flannel marks them in no way."""
    found = []
    settings = dict(_SETTING.findall(read_text(root / "run/flannel/subnet.env") or ""))
    for family, name in (("-4", "FLANNEL_NETWORK"), ("-6", "FLANNEL_IPV6_NETWORK")):
        networks = [network for network in map(_network, settings.get(name, "").split(",")) if network]
        routes = json.loads(programs.output("ip", "-json", family, "route") or "[]") if networks else []
        # What the kernel, a routing daemon or a network manager has set carries a protocol.
        for route in (route for route in routes if "gateway" in route and "protocol" not in route):
            if not _FLANNEL_LINK.match(route["dev"]) and any(_is_inside(route["dst"], whole) for whole in networks):
                found.append(f"{route['dst']} via {route['gateway']} dev {route['dev']}")
    return tuple(found)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """A network, None for anything else, such as the word that stands for all destinations."""
    try:
        return ip_network(text.strip())
    except ValueError:
        return None


def _is_inside(destination: str, whole: IPv4Network | IPv6Network) -> bool:
    """Whether a destination is a part of a network, and not all of it."""
    part = _network(destination)
    return part is not None and part.prefixlen > whole.prefixlen and part.network_address in whole


def _notes(programs: Programs, root: Path, servers: tuple[VirtualServer, ...]) -> tuple[str, ...]:
    """What stays though a new cluster may stumble over it, because it may be anybody's or cannot be seen."""
    notes = []
    known = {path.rsplit("/", 1)[-1] for path in _FLANNEL_FILES + _CALICO_FILES}
    for file in _entries(root / _CNI_CONFIGURATION.lstrip("/")):
        if file.suffix in (".conf", ".conflist", ".json") and file.name not in known:
            notes.append(f"{file} is neither flannel's nor Calico's and stays; kubelet uses the first file by name")
    lines = (read_text(root / "proc/net/ip_vs") or "").splitlines()
    others = sum(line.startswith(("TCP", "UDP", "SCTP", "FWM")) for line in lines) - len(servers)
    if others:
        notes.append(f"{others} virtual servers of IPVS stay, whose origin cannot be told; see `ipvsadm -L -n`")
    notes += removable(servers, programs)[1]
    for program, kernel_module in (("nft", "nf_tables"), ("ipset", "ip_set")):
        users = (read_text(root / "sys/module" / kernel_module / "refcnt") or "0").strip()
        if users != "0" and not programs.find(program):
            notes.append(
                f"what {kernel_module} holds cannot be seen without the program {program}; a restart empties it"
            )
    return tuple(notes)
