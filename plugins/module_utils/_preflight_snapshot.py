# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the preflight knows about a host, read once and without changing anything."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator, Mapping, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_software import Software, read_software
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_storage import Storage, read_storage
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    NEEDED_FEATURES,
    KernelSupport,
    proxy_features,
    read_kernel_support,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig import parse_kubeconfig
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import (
    IPAddress,
    Link,
    Route,
    Source,
    given_for_first,
    parse_links,
    parse_neighbour,
    parse_route_source,
    parse_routes,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE
from ansible_collections.groundplane.kubeadm.plugins.module_utils._operating_system import OS_RELEASE, parse_os_release
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hash
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    EXTERNAL,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import OURS, Answer, ask
from ansible_collections.groundplane.kubeadm.plugins.module_utils._socket_address import unmapped
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ssh_session import Session, read_session
from ansible_collections.groundplane.kubeadm.plugins.module_utils._swap import read_state as read_swap_state

# Where role firewall keeps the rules that are in force.
_FIREWALL_FOLDER = "etc/groundplane/firewall"
_UNIT_FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_TIME_SERVICES = ("chrony", "chronyd", "ntp", "ntpd", "ntpsec", "openntpd", "systemd-timesyncd")
_CREDENTIALS = (
    "admin.conf",
    "bootstrap-kubelet.conf",
    "controller-manager.conf",
    "kubelet.conf",
    "scheduler.conf",
    "super-admin.conf",
)
_PROXY_ASSIGNMENT = re.compile(
    r"""^\s*(?:export\s+)?(https?_proxy|no_proxy)=["']?(.*?)["']?\s*$""", re.MULTILINE | re.I
)
_ARGUMENT = re.compile(r"""^\s*-\s+["']?--([a-z0-9-]+)(?:=(.*?))?["']?\s*$""", re.MULTILINE)
_TCP_LISTEN = "0A"
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_EVERY_ADDRESS = ("0.0.0.0", "::")
CONTAINERD_SOCKETS = ("/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock")
#: Kubernetes 1.38 takes the cgroup driver from the runtime only.
DRIVER_FROM_RUNTIME_SINCE = (1, 38)
# A machine on the same network answers in milliseconds, a load balancer perhaps over a router.
_NEIGHBOUR_SECONDS = 1.0
_ENDPOINT_SECONDS = 3.0
_ADJTIMEX_UNSYNCHRONISED = 5


class Listener(NamedTuple):
    """A TCP port that a program listens on; the program is empty when it cannot be seen."""

    port: int
    program: str
    address: str


class Network(NamedTuple):
    """Interfaces, the main routing tables, and the address that faces the first control plane node."""

    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    peer_source: Source | None = None


class VipHolder(NamedTuple):
    """Who has the virtual address of the API, as this host sees it.

    :arg mac: MAC address of the interface that has it, empty when nobody answers.
    :arg local: the host itself has it.
    :arg keepalived: keepalived runs here or is configured with the address.
    :arg ours: it is a control plane node of the cluster, by its certificate or by its own address.
    """

    address: str
    mac: str = ""
    local: bool = False
    keepalived: bool = False
    ours: bool = False


@dataclass(frozen=True)
class Cgroups:
    """Version of the control groups and the controllers that the kernel offers."""

    version: int = 2
    controllers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClusterFiles:
    """What an earlier cluster, or an earlier run, has left on the host.

    :arg record: kubeadm_node has begun to initialise a cluster here.
    :arg credentials: files in /etc/kubernetes with which a component speaks to the API.
    :arg server: the API that kubelet.conf or admin.conf names.
    :arg ca_hash: hash of the CA in the same file, in the form of caCertHashes.
    :arg prepared: images or state of Kubernetes already take up disk space.
    :arg authority: PEM of the cluster's CA.
    :arg api_server: arguments of the API server in its static pod, None without one.
    """

    record: bool = False
    credentials: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    etcd_data: bool = False
    kubelet_certificates: bool = False
    cni_configurations: tuple[str, ...] = ()
    server: str = ""
    ca_hash: str = ""
    prepared: bool = False
    authority: str = ""
    api_server: Mapping[str, str] | None = None

    @property
    def known(self) -> bool:
        """Whether kubeadm_node can tell what this is: a node of a cluster, or a run of ours that was interrupted."""
        return self.record or "kubelet.conf" in self.credentials or "admin.conf" in self.credentials

    @property
    def half_joined(self) -> bool:
        """Whether a join was interrupted before kubelet had its own credentials; kubeadm_node repairs that."""
        return "bootstrap-kubelet.conf" in self.credentials

    @property
    def begun(self) -> bool:
        """Whether kubelet may be starting programs of a cluster here."""
        return self.known or self.half_joined or bool(self.manifests)


@dataclass(frozen=True)
class Repository:
    """What the package repository answered.

    :arg version: the version that will be installed.
    :arg error: why there is none.
    :arg unverifiable: the host has no certificate authorities yet to ask an https address.
    """

    url: str = ""
    version: str = ""
    error: GroundplaneError | None = None
    unverifiable: bool = False


class Registry(NamedTuple):
    """What the registry of Kubernetes' images and its mirrors answered.

    :arg name: the last one that was asked.
    :arg failures: what those said that were asked before one answered.
    """

    name: str
    failures: tuple[str, ...]
    reachable: bool


@dataclass(frozen=True)
class Inotify:
    """How many files the programs of one user may watch; None when the kernel does not tell."""

    instances: int | None = None
    watches: int | None = None


@dataclass(frozen=True)
class Ipv6:
    """IPv6 as the kernel of the host has it, by the entries of net.ipv6.conf: interfaces, default and all.

    :arg present: the kernel has IPv6, and was not told at boot to do without.
    :arg disabled: entries in which it is switched off.
    :arg heeding: entries that heed routers as long as nothing is forwarded (accept_ra 1).
    :arg forwarding: packets are forwarded already, as role prereqs wants it.
    """

    present: bool = True
    disabled: frozenset[str] = frozenset()
    heeding: frozenset[str] = frozenset()
    forwarding: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A host at one moment.

    :arg own_rules: rules of role firewall are in force.
    :arg session: by which Ansible comes, None for one that is none of SSH, and where the cluster has no IPv6.
    """

    user_id: int
    hostname: str
    machine: str
    machine_id: str
    product_uuid: str
    os_release: Mapping[str, str]
    kernel: KernelSupport
    cpus: int
    memory_mib: int
    systemd_running: bool
    namespaces: frozenset[str]
    cgroups: Cgroups
    swaps: tuple[str, ...]
    swap_sources: tuple[str, ...]
    listeners: tuple[Listener, ...]
    clock_synchronised: bool | None
    time_services: tuple[str, ...]
    network: Network
    nameservers: tuple[str, ...]
    resolved_nameservers: tuple[str, ...] | None
    firewalls: tuple[str, ...]
    selinux_enforcing: bool
    proxies: Mapping[str, str]
    cluster: ClusterFiles
    runtime_version: str
    kubelet_version: str
    cri_socket_exists: bool
    repository: Repository = Repository()
    vip_holder: VipHolder | None = None
    endpoint: Answer | None = None
    endpoint_resolvable: bool = True
    storage: Storage = Storage()
    software: Software = Software()
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inotify: Inotify = Inotify()
    registries: tuple[Registry, ...] = ()
    own_rules: bool = False
    ipv6: Ipv6 = Ipv6()
    session: Session | None = None

    def services_at(self, address: str) -> list[int]:
        """Ports on which something listens that is reached at an address."""
        return [entry.port for entry in self.listeners if entry.address in (address, *_EVERY_ADDRESS)]

    def has_version(self, version: str) -> bool:
        """Whether the installed kubelet is of a version, which is a minor or an exact one."""
        return bool(self.kubelet_version) and f"{self.kubelet_version}.".startswith(f"{version}.")


def read_snapshot(runner: Runner, wanted: Wanted, *, root: Path = Path("/")) -> Snapshot:
    """Read the host.

    :arg root: where the host's files begin; a recorded tree in tests.
    """
    uname = os.uname()
    cluster = _read_cluster_files(root, wanted.etcd_folder)
    network = _read_network(runner, wanted)
    runtime_version = _read_version(runner, "containerd")
    return Snapshot(
        user_id=os.geteuid(),
        hostname=uname.nodename,
        machine=uname.machine,
        machine_id=_text(root / "etc/machine-id").strip(),
        product_uuid=_text(root / "sys/class/dmi/id/product_uuid").strip().lower(),
        os_release=parse_os_release(_text(root / OS_RELEASE.lstrip("/"))),
        kernel=_read_kernel(root, uname.release, wanted),
        cpus=len(os.sched_getaffinity(0)),
        memory_mib=parse_memory_mib(_text(root / "proc/meminfo")),
        systemd_running=(root / "run/systemd/system").is_dir(),
        namespaces=frozenset(_names(root / "proc/self/ns")),
        cgroups=_read_cgroups(root),
        swaps=parse_swaps(_text(root / "proc/swaps")),
        swap_sources=_read_swap_sources(root),
        listeners=_read_listeners(root, wanted.ports),
        clock_synchronised=clock_synchronised(),
        time_services=tuple(name for name in _TIME_SERVICES if _unit_exists(root, name + ".service")),
        nameservers=parse_nameservers(_text(root / "etc/resolv.conf")),
        resolved_nameservers=_read_resolved_nameservers(root),
        firewalls=_read_firewalls(runner, root),
        selinux_enforcing=_text(root / "sys/fs/selinux/enforce").strip() == "1",
        proxies=parse_proxies(_text(root / "etc/environment")),
        cluster=cluster,
        runtime_version=runtime_version,
        kubelet_version=_read_version(runner, "kubelet"),
        cri_socket_exists=(root / socket_path(wanted.cri_socket).lstrip("/")).exists(),
        network=network,
        vip_holder=_read_vip_holder(runner, root, wanted, network.links, cluster.authority),
        endpoint=_read_endpoint(wanted, cluster.authority),
        endpoint_resolvable=not wanted.endpoint_by_dns or bool(resolve(wanted.endpoint)),
        storage=read_storage(root, measure=_shall_get_etcd(cluster, wanted), etcd_folder=wanted.etcd_folder),
        software=read_software(runner, root, ask_candidate=_shall_get_containerd(runtime_version, wanted)),
        hosts=parse_hosts(_text(root / "etc/hosts")),
        own_rules=any((root / _FIREWALL_FOLDER / name).exists() for name in ("rules.v4", "rules.v6")),
        inotify=Inotify(
            *(_number(root / "proc/sys/fs/inotify" / name) for name in ("max_user_instances", "max_user_watches"))
        ),
        ipv6=_read_ipv6(root) if 6 in wanted.ip_versions else Ipv6(),
        session=read_session(root) if 6 in wanted.ip_versions else None,
    )


def _shall_get_etcd(cluster: ClusterFiles, wanted: Wanted) -> bool:
    """Whether a member of etcd is to run here that does not yet; writing beside one at work would slow it down."""
    return wanted.role == CONTROL_PLANE and wanted.local_etcd and not cluster.known and not cluster.etcd_data


def _shall_get_containerd(installed: str, wanted: Wanted) -> bool:
    """Whether the distribution's containerd is going to be installed, and its version matters."""
    return (
        wanted.kubernetes_minor >= DRIVER_FROM_RUNTIME_SINCE
        and not installed
        and wanted.containerd_source != "docker"
        and socket_path(wanted.cri_socket) in CONTAINERD_SOCKETS
    )


def parse_memory_mib(meminfo: str) -> int:
    """Physical memory from /proc/meminfo."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(match.group(1)) // 1024 if match else 0


def parse_swaps(text: str) -> tuple[str, ...]:
    """Devices and files from /proc/swaps."""
    return tuple(line.split()[0] for line in text.splitlines()[1:])


def parse_nameservers(text: str) -> tuple[str, ...]:
    """Addresses of the name servers in a resolv.conf."""
    return tuple(re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE))


def parse_proxies(text: str) -> dict[str, str]:
    """Proxy variables of every session, from /etc/environment; kubeadm would copy them into the static pods.

    The module's own environment tells less: the task that runs it may have a proxy for its downloads.
    """
    return {name.lower(): value for name, value in _PROXY_ASSIGNMENT.findall(text) if value}


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by name from /etc/hosts."""
    addresses: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            addresses[name.lower()] = (*addresses.get(name.lower(), ()), address)
    return addresses


def parse_fstab_swaps(text: str) -> list[str]:
    """What fstab turns on as swap at boot."""
    entries = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [
        entry[0]
        for entry in entries
        if len(entry) > 2 and entry[2] == "swap" and "noauto" not in ",".join(entry[3:4]).split(",")
    ]


def parse_listening_sockets(text: str) -> dict[str, tuple[str, int]]:
    """Address and port of every listener in /proc/net/tcp or tcp6, by the inode of its socket."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[9]: _parse_socket_address(row[1]) for row in rows if row[3] == _TCP_LISTEN}


def _parse_socket_address(text: str) -> tuple[str, int]:
    """Address and port as the kernel writes them: words of 32 bits in the machine's byte order, in hexadecimal."""
    digits, _colon, port = text.partition(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    ip = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return unmapped(str(ip)), int(port, 16)


def parse_arguments(manifest: str) -> dict[str, str]:
    """Arguments of the program in a static pod's manifest, which kubeadm writes on lines of their own."""
    return {name: value or "true" for name, value in _ARGUMENT.findall(manifest)}


def parse_version(text: str) -> str:
    """Version of three numbers from what a program says with --version."""
    match = re.search(r"\sv?(\d+\.\d+\.\d+)", text)
    return match.group(1) if match else ""


def socket_path(cri_socket: str) -> str:
    """Path of a CRI socket given as an address."""
    return cri_socket[len("unix://") :] if cri_socket.startswith("unix://") else cri_socket


def clock_synchronised() -> bool | None:
    """Whether the kernel holds its clock for synchronised; None when it cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError):
        return None
    # A zeroed struct timex (208 bytes on 64-bit machines) asks and sets nothing.
    state: int = adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else state != _ADJTIMEX_UNSYNCHRONISED


def resolve(name: str, ip_version: int = 0) -> str:
    """First address of a name, the name itself when it is an address, empty when nothing knows it.

    :arg ip_version: 4 or 6 for an address of that family alone.
    """
    family = _FAMILIES.get(ip_version, socket.AF_UNSPEC)
    try:
        return str(socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return ""


def _text(path: Path) -> str:
    """Content of a file, empty when there is none or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """The number in a file of the kernel, None without one."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _read_ipv6(root: Path) -> Ipv6:
    folder = root / "proc/sys/net/ipv6/conf"
    entries = _names(folder)
    return Ipv6(
        present=bool(entries),
        disabled=frozenset(entry for entry in entries if _number(folder / entry / "disable_ipv6")),
        heeding=frozenset(entry for entry in entries if _number(folder / entry / "accept_ra") == 1),
        forwarding=_number(folder / "all/forwarding") == 1,
    )


def _names(folder: Path) -> list[str]:
    """Sorted names in a folder, none when there is no such folder."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _unit_exists(root: Path, unit: str) -> bool:
    return any((root / folder / unit).is_file() for folder in _UNIT_FOLDERS)


def _read_kernel(root: Path, release: str, wanted: Wanted) -> KernelSupport:
    features = (*NEEDED_FEATURES, *proxy_features(wanted.proxy_mode, wanted.proxy_scheduler))
    modules = [*wanted.kernel_modules, *(module for alternatives in features for module in alternatives)]
    return read_kernel_support(root, release, modules)


def _read_cgroups(root: Path) -> Cgroups:
    """Version by what is mounted at /sys/fs/cgroup; in hybrid mode the controllers are version 1."""
    mounts = (line.split() for line in _text(root / "proc/self/mounts").splitlines())
    if any(mount[1] == "/sys/fs/cgroup" and mount[2] == "cgroup2" for mount in mounts):
        return Cgroups(2, frozenset(_text(root / "sys/fs/cgroup/cgroup.controllers").split()))
    rows = (line.split() for line in _text(root / "proc/cgroups").splitlines()[1:])
    return Cgroups(1, frozenset(row[0] for row in rows if row[3] == "1"))


def _read_swap_sources(root: Path) -> tuple[str, ...]:
    """What would turn swap on at the next boot."""
    sources = [f"/etc/fstab ({device})" for device in parse_fstab_swaps(_text(root / "etc/fstab"))]
    units = (unit.name for unit in read_swap_state(root).units)
    sources += [f"unit {name}" for name in units]
    return tuple(sources)


def _read_listeners(root: Path, ports: Iterable[int]) -> tuple[Listener, ...]:
    """Listeners on the given ports, each with its program."""
    tables = (_text(root / "proc/net" / name) for name in ("tcp", "tcp6"))
    sockets = {
        inode: (address, port)
        for table in tables
        for inode, (address, port) in parse_listening_sockets(table).items()
        if port in set(ports)
    }
    programs = _programs_of_sockets(root, set(sockets)) if sockets else {}
    return tuple(
        sorted({Listener(port, programs.get(inode, ""), address) for inode, (address, port) in sockets.items()})
    )


def _programs_of_sockets(root: Path, inodes: set[str]) -> dict[str, str]:
    """Program by socket inode, for the given inodes that some process holds."""
    programs = {}
    for process in _names(root / "proc"):
        if not process.isdigit():
            continue
        descriptors = root / "proc" / process / "fd"
        for descriptor in _names(descriptors):
            inode = _socket_inode(descriptors / descriptor)
            if inode in inodes:
                programs[inode] = _program(root / "proc" / process)
    return programs


def _socket_inode(descriptor: Path) -> str:
    """Inode of the socket that a file descriptor is, empty for anything else or one closed meanwhile."""
    try:
        match = re.match(r"socket:\[(\d+)\]$", os.readlink(descriptor))
    except OSError:
        return ""
    return match.group(1) if match else ""


def _program(process: Path) -> str:
    command = _text(process / "cmdline").split("\0")[0]
    return command.rpartition("/")[2]


def _read_resolved_nameservers(root: Path) -> tuple[str, ...] | None:
    """Name servers behind systemd-resolved, None when it does not run; kubeadm points kubelet to this file."""
    path = root / "run/systemd/resolve/resolv.conf"
    return parse_nameservers(_text(path)) if path.exists() else None


def _read_firewalls(runner: Runner, root: Path) -> tuple[str, ...]:
    """Firewalls of the distribution that are switched on."""
    active = []
    if re.search(r"^ENABLED=yes", _text(root / "etc/ufw/ufw.conf"), re.MULTILINE):
        active.append("ufw")
    if _unit_exists(root, "firewalld.service"):
        answer = runner.run(["systemctl", "is-active", "firewalld.service"], check=False)
        if answer.stdout.strip() == "active":
            active.append("firewalld")
    return tuple(active)


def _read_cluster_files(root: Path, etcd_folder: str) -> ClusterFiles:
    """What kubeadm, kubelet, etcd and a pod network have left."""
    kubernetes = root / "etc/kubernetes"
    credentials = tuple(name for name in _CREDENTIALS if (kubernetes / name).exists())
    server, ca_hash = _read_membership(kubernetes)
    etcd_data = (root / etcd_folder.lstrip("/") / "member").is_dir()
    api_server = _text(kubernetes / "manifests/kube-apiserver.yaml")
    return ClusterFiles(
        record=HostPaths(root).init_record.exists(),
        credentials=credentials,
        manifests=tuple(name for name in _names(kubernetes / "manifests") if name.endswith(".yaml")),
        etcd_data=etcd_data,
        kubelet_certificates=bool(_names(root / "var/lib/kubelet/pki")),
        cni_configurations=tuple(
            name for name in _names(root / "etc/cni/net.d") if name.endswith((".conf", ".conflist", ".json"))
        ),
        server=server,
        ca_hash=ca_hash,
        prepared=etcd_data
        or bool(credentials)
        or bool(_names(root / "var/lib/containerd/io.containerd.content.v1.content/blobs")),
        authority=_text(kubernetes / "pki/ca.crt"),
        api_server=parse_arguments(api_server) if api_server else None,
    )


def _read_membership(kubernetes: Path) -> tuple[str, str]:
    """API and CA of the cluster in the kubeconfig of the kubelet, or of the administrator while there is no kubelet.

    Empty as far as they cannot be read: repairing the files is not the business of a host's preflight.
    """
    text = _text(kubernetes / "kubelet.conf") or _text(kubernetes / "admin.conf")
    try:
        kubeconfig = parse_kubeconfig(text, "the kubeconfig")
    except GroundplaneError:
        return "", ""
    try:
        return kubeconfig.server, ca_cert_hash(kubeconfig.ca_pem)
    except GroundplaneError:
        return kubeconfig.server, ""


def _read_version(runner: Runner, program: str) -> str:
    """Version of a program, empty when it is not installed yet."""
    path = runner.find(program)
    return parse_version(runner.run([path, "--version"]).stdout) if path else ""


def _read_network(runner: Runner, wanted: Wanted) -> Network:
    """Interfaces and routes by iproute2; a minimal host has no other tool, and Python none."""
    if runner.find("ip") is None:
        raise GroundplaneError(
            "The program ip is not installed",
            expected="iproute2, by which Ansible and the preflight read interfaces and routes",
            remedy="install the package iproute2 (Debian, Ubuntu) or iproute (RHEL and its relatives)",
        )
    return Network(
        links=parse_links(runner.run(["ip", "-json", "address"]).stdout),
        routes=parse_routes(runner.run(["ip", "-json", "-4", "route"]).stdout)
        + parse_routes(runner.run(["ip", "-json", "-6", "route"], check=False).stdout, 6),
        peer_source=_read_peer_source(runner, wanted),
    )


def _read_peer_source(runner: Runner, wanted: Wanted) -> Source | None:
    """Address that faces the peer; not asked when the inventory decides without it.

    A name may have addresses of both families, and only a route of the cluster's first one leads to the node's address.
    """
    given = any(given_for_first(text, wanted.ip_versions) for text in (wanted.node_ip, wanted.node_cidr))
    if given or not wanted.peer_address:
        return None
    destination = resolve(wanted.peer_address, wanted.ip_version) or resolve(wanted.peer_address)
    if not destination:
        return None
    answer = runner.run(["ip", "-json", "route", "get", destination], check=False)
    return parse_route_source(answer.stdout) if answer.rc == 0 else None


def _read_vip_holder(
    runner: Runner, root: Path, wanted: Wanted, links: Iterable[Link], authority: str
) -> VipHolder | None:
    """Who has the virtual address; only a host that may come to hold it asks."""
    virtual = wanted.virtual_address
    if virtual is None or not wanted.may_hold_vip:
        return None
    holder = VipHolder(str(virtual), keepalived=_keepalived_is_here(root, wanted.vip))
    for link in links:
        if any(address.ip == virtual for address in link.addresses):
            return holder._replace(mac=link.mac, local=True)
    answer = ask(holder.address, wanted.endpoint_port, seconds=_NEIGHBOUR_SECONDS, authority=authority)
    mac = _read_mac(runner, virtual, answer)
    ours = bool(mac) and (answer.outcome == OURS or mac in _read_control_plane_macs(runner, wanted))
    return holder._replace(mac=mac, ours=ours)


def _keepalived_is_here(root: Path, vip: str) -> bool:
    """Whether keepalived runs, or would hold the address: one that was killed leaves the address on the interface."""
    folders = (root / "etc/keepalived", root / "etc/groundplane")
    files = (folder / name for folder in folders for name in _names(folder))
    words = (word.partition("/")[0] for file in files for word in _text(file).split())
    processes = (root / "proc" / name for name in _names(root / "proc") if name.isdigit())
    return vip in words or any(_program(process) == "keepalived" for process in processes)


def _read_mac(runner: Runner, ip: IPAddress, answer: Answer) -> str:
    """MAC of the machine that answers at an address, empty when none does.

    The attempt to connect has made the kernel ask for it. An entry that is neither confirmed nor backed by an answer
    may be of a machine that has long given the address up.
    """
    reply = runner.run(["ip", "-json", f"-{ip.version}", "neigh", "show", "to", str(ip)], check=False)
    neighbour = parse_neighbour(reply.stdout) if reply.rc == 0 else None
    return neighbour.mac if neighbour and (neighbour.confirmed or answer.present) else ""


def _read_control_plane_macs(runner: Runner, wanted: Wanted) -> Iterator[str]:
    """MACs of the control plane hosts on this network, also of those that this run leaves out."""
    for host in wanted.control_plane_addresses:
        address = resolve(host)
        if address:
            answer = ask(address, wanted.api_port, seconds=_NEIGHBOUR_SECONDS)
            yield _read_mac(runner, ipaddress.ip_address(address.partition("%")[0]), answer)


def _read_endpoint(wanted: Wanted, authority: str) -> Answer | None:
    """What the operator's load balancer says."""
    destination = wanted.endpoint_address or wanted.endpoint
    if wanted.load_balancer != EXTERNAL or not destination:
        return None
    return ask(destination, wanted.endpoint_port, seconds=_ENDPOINT_SECONDS, authority=authority, name=wanted.endpoint)
