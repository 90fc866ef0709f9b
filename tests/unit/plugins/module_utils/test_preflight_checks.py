# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One row per defect: what is different from a clean host, and which findings that has to give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_software import (
    ForeignRules,
    Persistence,
    RuntimeConfiguration,
    Software,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_storage import (
    STATE_FOLDERS,
    Disk,
    Mount,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    LOADABLE,
    MISSING,
    PRESENT,
    UNKNOWN,
    KernelSupport,
    proxy_features,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import (
    Address,
    Link,
    Route,
    Source,
    parse_links,
    parse_routes,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_checks import (
    CHECKS,
    facts_of,
    run_checks,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    DEFAULT_THRESHOLDS,
    Wanted,
    thresholds_for,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    FOREIGN,
    MUTE,
    OPEN,
    OURS,
    REFUSED,
    SILENT,
    UNRESOLVABLE,
    UNROUTABLE,
    Answer,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import (
    Cgroups,
    ClusterFiles,
    Inotify,
    Ipv6,
    Listener,
    Network,
    Registry,
    Repository,
    VipHolder,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ssh_session import Session

from tests.unit.preflight_samples import (
    CLEAN,
    DEFAULT_ROUTE,
    DEFAULT_ROUTE_6,
    ETH0,
    ETH1,
    LO,
    host,
    network,
)

WORKER = Wanted(role="worker", thresholds=DEFAULT_THRESHOLDS["worker"])
NFTABLES = Wanted(proxy_mode="nftables")
IPVS = Wanted(proxy_mode="ipvs")
VIP = "192.0.2.100"
HA = Wanted(load_balancer="keepalived", vip=VIP, endpoint="api.kubernetes.internal")
BESIDE = replace(HA, endpoint_port=8443)
EXTERNAL = Wanted(load_balancer="external", endpoint="api.kubernetes.internal", endpoint_address="198.51.100.200")
EXTERNAL_WORKER = replace(WORKER, load_balancer="external", endpoint="api.kubernetes.internal")
API_SERVER = Listener(6443, "kube-apiserver", "::")
HAPROXY = Listener(6443, "haproxy", VIP)
OVN = Link("ovn-k8s-mp0", 1400, "0a:58:0a:f4:00:02", True, (Address("10.244.0.2", 24, "global"),))
HOLDER = ETH0._replace(addresses=(*ETH0.addresses, Address(VIP, 32, "global")))
DUAL = Wanted(pod_cidr="10.244.0.0/16,fd00:1::/56", service_cidr="10.96.0.0/12,fd00:2::/112", network="flannel")
ADVERTISED = Address("2001:db8::11", 64, "global", advertised=True)
BOTH = ETH0._replace(addresses=(*ETH0.addresses, ADVERTISED, Address("fd00:3::11", 64, "global")))
BOTH_ROUTES = (DEFAULT_ROUTE, DEFAULT_ROUTE_6)
LEARNED_ROUTE = DEFAULT_ROUTE_6._replace(protocol="ra", metric=1024)
ON_LINK = Route("2001:db8::/64", ("eth0",), metric=256, ip_version=6, protocol="kernel")
ELSEWHERE = "2001:db8:ff::5"


def kernel(**states):
    return KernelSupport("6.1.0", {**CLEAN.kernel.states, **states})


def proxy_kernel(mode, release="6.1.0", scheduler="rr", **states):
    """A kernel with everything that a mode of kube-proxy uses, but for these."""
    modules = [module for alternatives in proxy_features(mode, scheduler) for module in alternatives]
    return {"kernel": KernelSupport(release, {**CLEAN.kernel.states, **dict.fromkeys(modules, PRESENT), **states})}


def storage(**changes):
    """What is different about the file systems of the clean host."""
    return {"storage": replace(CLEAN.storage, **changes)}


def disk(free_mib, *folders, total_mib=0, **changes):
    return storage(disks=(Disk(folders or STATE_FOLDERS, free_mib, total_mib),)) | changes


def inodes(free, *folders, **changes):
    return storage(disks=(Disk(folders or STATE_FOLDERS, 40960, 0, 1000, free),)) | changes


def mounted(folder, kind="ext4", *options, **changes):
    mount = Mount(folder, kind, frozenset({"rw", *options} - ({"rw"} if "ro" in options else set())))
    return storage(mounts={**CLEAN.storage.mounts, folder: mount}, **changes)


def software(**changes):
    return {"software": Software(**changes)}


def registry(reachable, *failures, **changes):
    return {"registries": (Registry("https://registry.k8s.io", failures, reachable),), **changes}


def release(identifier, version, like=""):
    return {"ID": identifier, "VERSION_ID": version, "ID_LIKE": like, "PRETTY_NAME": f"{identifier} {version}"}


def routes(*more):
    return network(ETH0, routes=(DEFAULT_ROUTE, *more))


def both(*more, interface=BOTH, routes=BOTH_ROUTES, **changes):
    """A host with addresses of both families."""
    return {"network": network(interface, *more, routes=routes), **changes}


def visited(client, *more, heeding=("eth0",), forwarding=False, **changes):
    """A host with a default route from a router, which Ansible's session comes to from a client."""
    given = {"routes": (DEFAULT_ROUTE, ON_LINK, LEARNED_ROUTE, *more), **changes}
    ipv6 = Ipv6(heeding=frozenset(heeding), forwarding=forwarding)
    return both(**given, ipv6=ipv6, session=Session(client, 22) if client else None)


def proxied(no_proxy=""):
    return {"https_proxy": "http://192.0.2.3:3128", **({"no_proxy": no_proxy} if no_proxy else {})}


MACHINE = [
    pytest.param({}, Wanted(), [], id="a clean control plane node"),
    pytest.param({}, WORKER, [], id="a clean worker"),
    pytest.param({"user_id": 1000}, Wanted(), ["root-privileges:error"], id="not root"),
    pytest.param({"os_release": release("ubuntu", "24.04", "debian")}, Wanted(), [], id="Ubuntu 24.04"),
    pytest.param({"os_release": release("rocky", "9.6", "rhel centos fedora")}, Wanted(), [], id="Rocky 9.6"),
    pytest.param(
        {"os_release": release("ol", "9.6", "fedora")}, Wanted(), ["operating-system:warning"], id="Oracle Linux 9.6"
    ),
    pytest.param({"os_release": release("fedora", "42")}, Wanted(), ["operating-system:error"], id="Fedora"),
    pytest.param({"os_release": release("debian", "11")}, Wanted(), ["operating-system:warning"], id="Debian 11"),
    pytest.param({"os_release": release("debian", "")}, Wanted(), ["operating-system:warning"], id="Debian testing"),
    pytest.param(
        {"os_release": release("linuxmint", "22", "ubuntu debian")}, Wanted(), ["operating-system:warning"], id="Mint"
    ),
    pytest.param({"os_release": release("alpine", "3.22")}, Wanted(), ["operating-system:error"], id="Alpine"),
    pytest.param({"os_release": {}}, Wanted(), ["operating-system:error"], id="no os-release"),
    pytest.param({"machine": "aarch64"}, Wanted(), [], id="64-bit Arm"),
    pytest.param({"machine": "s390x"}, Wanted(), ["architecture:warning"], id="s390x"),
    pytest.param({"machine": "armv7l"}, Wanted(), ["architecture:error"], id="32-bit Arm"),
    pytest.param({"systemd_running": False}, Wanted(), ["systemd:error"], id="no systemd"),
    pytest.param({"cpus": 1}, Wanted(), ["cpu-count:error"], id="one CPU on a control plane node"),
    pytest.param({"cpus": 1}, WORKER, [], id="one CPU on a worker"),
    pytest.param({"memory_mib": 1699}, Wanted(), ["memory:error"], id="too little memory for a control plane node"),
    pytest.param({"memory_mib": 1699}, WORKER, [], id="enough memory for a worker"),
    pytest.param({"memory_mib": 899}, WORKER, ["memory:error"], id="too little memory for a worker"),
    pytest.param({"kernel": kernel(overlay=LOADABLE)}, Wanted(), [], id="a loadable module"),
    pytest.param({"kernel": kernel(br_netfilter=MISSING)}, Wanted(), ["kernel-modules:error"], id="a missing module"),
    pytest.param({"kernel": kernel(overlay=UNKNOWN)}, Wanted(), ["kernel-modules:warning"], id="a mute kernel"),
    pytest.param(
        {"kernel": kernel(overlay=UNKNOWN)}, Wanted(kernel_modules=("br_netfilter",)), [], id="a module not wanted"
    ),
    pytest.param({"kernel": kernel(xt_comment=MISSING)}, Wanted(), ["kernel-features:error"], id="no xt_comment"),
    pytest.param({"kernel": kernel(ip_tables=MISSING)}, Wanted(), [], id="iptables on nf_tables only"),
    pytest.param(
        {"kernel": kernel(ip_tables=MISSING, nft_compat=MISSING)}, Wanted(), ["kernel-features:error"], id="no iptables"
    ),
    pytest.param(
        {"namespaces": CLEAN.namespaces - {"pid"}}, Wanted(), ["kernel-features:error"], id="no process namespaces"
    ),
    pytest.param(
        {"cgroups": Cgroups(2, CLEAN.cgroups.controllers - {"memory"})},
        Wanted(),
        ["kernel-features:error"],
        id="memory controller off",
    ),
    pytest.param(
        {"cgroups": Cgroups(1, CLEAN.cgroups.controllers)}, Wanted(), ["cgroup-version:error"], id="cgroup v1"
    ),
    pytest.param(
        {"cgroups": Cgroups(1, CLEAN.cgroups.controllers)},
        Wanted(kubernetes_version="1.34.9"),
        ["cgroup-version:warning"],
        id="cgroup v1 before 1.35",
    ),
    pytest.param(
        {"cgroups": Cgroups(1, CLEAN.cgroups.controllers)},
        Wanted(kubernetes_version="1.35.0", cgroup_v1_allowed=True),
        [],
        id="cgroup v1 allowed",
    ),
    pytest.param(proxy_kernel("nftables"), NFTABLES, [], id="a kernel for nftables"),
    pytest.param(
        proxy_kernel("nftables", nft_numgen=MISSING), NFTABLES, ["proxy-mode:error"], id="nftables without numgen"
    ),
    pytest.param(
        proxy_kernel("nftables", nft_ct=UNKNOWN), NFTABLES, ["proxy-mode:warning"], id="a mute kernel for nftables"
    ),
    pytest.param(
        proxy_kernel("nftables", "5.12.19"), NFTABLES, ["proxy-mode:error"], id="a kernel too old for nftables"
    ),
    pytest.param(proxy_kernel("nftables", "5.13.0-1"), NFTABLES, [], id="the first kernel for nftables"),
    pytest.param(proxy_kernel("nftables", "custom"), NFTABLES, [], id="a kernel without a number"),
    pytest.param(
        proxy_kernel("iptables", ipt_REJECT=MISSING), Wanted(), ["proxy-mode:error"], id="iptables without REJECT"
    ),
    pytest.param(proxy_kernel("iptables", ipt_REJECT=UNKNOWN), Wanted(), [], id="a mute kernel for iptables"),
    pytest.param(proxy_kernel("ipvs"), IPVS, ["proxy-mode:warning"], id="ipvs is deprecated"),
    pytest.param(proxy_kernel("ipvs"), replace(IPVS, kubernetes_version="1.34"), [], id="ipvs before that"),
    pytest.param(
        proxy_kernel("ipvs", ip_vs=MISSING, dummy=MISSING),
        IPVS,
        ["proxy-mode:error", "proxy-mode:warning"],
        id="a kernel without ipvs",
    ),
    pytest.param(
        proxy_kernel("ipvs", ip_vs_sh=MISSING),
        replace(IPVS, kubernetes_version="1.34", proxy_scheduler="sh"),
        ["proxy-mode:error"],
        id="ipvs without the scheduler",
    ),
    pytest.param({"swaps": ("/dev/vda2",)}, Wanted(), ["swap-active:warning"], id="swap on"),
    pytest.param(
        {"swaps": ("/dev/vda2",), "swap_sources": ("/etc/fstab (/dev/vda2)",)},
        Wanted(),
        ["swap-active:warning", "swap-returns:warning"],
        id="swap on now and later",
    ),
    pytest.param(
        {"swaps": ("/dev/vda2",), "swap_sources": ("zram-generator",)},
        Wanted(swap_allowed=True),
        [],
        id="swap allowed",
    ),
    pytest.param({"clock_synchronised": False}, Wanted(), ["clock-unsynchronised:warning"], id="clock adrift"),
    pytest.param(
        {"clock_synchronised": False, "time_services": ()},
        Wanted(),
        ["clock-unsynchronised:warning"],
        id="no time service",
    ),
    pytest.param({"time_services": ()}, Wanted(), [], id="the hypervisor keeps the clock"),
    pytest.param({"clock_synchronised": None}, Wanted(), [], id="a clock that cannot be asked"),
    pytest.param({"hostname": "Master-1.example.com"}, Wanted(), ["hostname-form:warning"], id="capitals"),
    pytest.param({"hostname": "master_1"}, Wanted(), ["hostname-form:error"], id="underscore"),
    pytest.param({"hostname": "-master"}, Wanted(), ["hostname-form:error"], id="leading hyphen"),
    pytest.param({"hostname": "localhost"}, Wanted(), ["hostname-form:error"], id="localhost"),
    pytest.param({"hostname": "m" * 64}, Wanted(), ["hostname-form:error"], id="a name longer than a label"),
    pytest.param({"selinux_enforcing": True}, Wanted(), ["selinux-enforcing:warning"], id="SELinux"),
    pytest.param({"machine_id": ""}, Wanted(), ["machine-id:error"], id="no machine-id"),
    pytest.param({"machine_id": "uninitialized"}, Wanted(), ["machine-id:error"], id="an image before its first boot"),
    pytest.param({"hosts": {}}, Wanted(), [], id="an empty hosts file"),
    pytest.param({"hosts": {"master-1": ("192.0.2.11", "fe80::67:aff:fe4d:70b%eth0")}}, Wanted(), [], id="own address"),
    pytest.param({"hosts": {"master-1": ("192.0.2.99",)}}, Wanted(), ["hosts-file:warning"], id="another's address"),
    pytest.param({"hosts": {"localhost": ("192.0.2.11",)}}, Wanted(), ["hosts-file:error"], id="localhost elsewhere"),
    pytest.param({"hosts": {"localhost": ("nonsense",)}}, Wanted(), [], id="no address"),
    pytest.param({"inotify": Inotify(127, 8192)}, Wanted(), ["inotify-limits:warning"], id="few instances"),
    pytest.param({"inotify": Inotify(128, 8191)}, Wanted(), ["inotify-limits:warning"], id="few watches"),
    pytest.param({"inotify": Inotify()}, Wanted(), [], id="a kernel without inotify"),
    pytest.param({"kernel": kernel(vxlan=MISSING)}, Wanted(), ["kernel-features:error"], id="no vxlan"),
    pytest.param({"kernel": kernel(vxlan=LOADABLE)}, Wanted(), [], id="a loadable vxlan"),
]

PREPARED = ClusterFiles(prepared=True)
ETCD_ONLY = ("/var/lib/etcd",)

STORAGE = [
    pytest.param(disk(4095), Wanted(), ["disk-space:error"], id="a full disk"),
    pytest.param(disk(4096), Wanted(), ["disk-space:warning"], id="a small disk"),
    pytest.param(disk(30720), Wanted(), [], id="a disk of recommended size"),
    pytest.param(disk(22528), WORKER, [], id="a worker's disk of recommended size"),
    pytest.param(disk(22527), WORKER, ["disk-space:warning"], id="a small disk of a worker"),
    pytest.param(disk(8191, *ETCD_ONLY), Wanted(), ["disk-space:warning"], id="a small disk for etcd"),
    pytest.param(disk(8192, *ETCD_ONLY), Wanted(), [], id="a disk for etcd"),
    pytest.param(disk(1, *ETCD_ONLY), WORKER, [], id="a disk for etcd on a worker"),
    pytest.param(disk(20479, "/var/lib/containerd"), WORKER, ["disk-space:warning"], id="a small disk for images"),
    pytest.param(
        disk(1000),
        Wanted(thresholds=thresholds_for("control_plane", {"disk_mib": 1000, "recommended_disk_mib": 1000})),
        [],
        id="thresholds of the operator",
    ),
    pytest.param(
        disk(4095, cluster=PREPARED), Wanted(), ["disk-space:warning"], id="a disk filled by an interrupted run"
    ),
    pytest.param(disk(4096, cluster=PREPARED), Wanted(), [], id="a small disk of a node"),
    pytest.param(disk(40960, total_mib=500000), Wanted(), ["disk-space:warning"], id="a small part of a large disk"),
    pytest.param(
        disk(60000, "/var/lib/kubelet", total_mib=500000), Wanted(), [], id="a smaller part is enough for volumes"
    ),
    pytest.param(disk(40960, *ETCD_ONLY, total_mib=500000), Wanted(), [], id="nothing is evicted for etcd"),
    pytest.param(inodes(49), Wanted(), ["inodes:error"], id="no inodes left"),
    pytest.param(inodes(49, cluster=PREPARED), Wanted(), ["inodes:warning"], id="no inodes left on a node"),
    pytest.param(inodes(49, "/var/log"), Wanted(), ["inodes:warning"], id="no inodes left for logs"),
    pytest.param(inodes(99), Wanted(), ["inodes:warning"], id="few inodes left"),
    pytest.param(inodes(100), Wanted(), [], id="enough inodes"),
    pytest.param(inodes(0, *ETCD_ONLY), WORKER, [], id="inodes that nobody needs"),
    pytest.param(mounted("/etc", "ext4", "ro"), Wanted(), ["read-only:error"], id="read-only"),
    pytest.param(mounted("/opt/cni/bin", "ext4", "noexec"), Wanted(), ["mount-options:error"], id="plugins"),
    pytest.param(mounted("/var/lib/kubelet", "ext4", "noexec"), Wanted(), ["mount-options:warning"], id="volumes"),
    pytest.param(mounted("/var/lib/containerd", "ext4", "noexec", "nodev"), Wanted(), [], id="layers may be noexec"),
    pytest.param(
        mounted("/var/lib/containerd", "nfs4"), Wanted(), ["containerd-file-system:error"], id="images over NFS"
    ),
    pytest.param(
        mounted("/var/lib/containerd", "zfs", zfs_version="2.1.11-1"),
        Wanted(),
        ["containerd-file-system:error"],
        id="an old zfs",
    ),
    pytest.param(mounted("/var/lib/containerd", "zfs", zfs_version="2.2.4-1"), Wanted(), [], id="zfs"),
    pytest.param(mounted("/var/lib/containerd", "zfs"), Wanted(), [], id="a zfs that tells nothing"),
    pytest.param(storage(mounts=None), Wanted(), [], id="no mounts to be read"),
    pytest.param(storage(write_seconds=0.010), Wanted(), [], id="a disk that is fast enough"),
    pytest.param(storage(write_seconds=0.011), Wanted(), ["etcd-latency:warning"], id="a slow disk"),
    pytest.param(storage(write_seconds=0.101), Wanted(), ["etcd-latency:error"], id="a disk too slow for etcd"),
    pytest.param(storage(write_seconds=None), Wanted(), [], id="a disk that was not measured"),
]

KNOWN = ClusterFiles(credentials=("kubelet.conf",))
THEIRS = RuntimeConfiguration(ours=False)
OURS_NOW = RuntimeConfiguration(ours=True, sandbox_image="mirror.example.com/pause:3.10", systemd_cgroup=False)

SOFTWARE = [
    pytest.param(software(runtime=THEIRS), Wanted(), [], id="a configuration of the distribution"),
    pytest.param(software(runtime=OURS_NOW), Wanted(), [], id="a configuration of ours"),
    pytest.param(
        software(runtime=THEIRS._replace(systemd_cgroup=False)), Wanted(), ["cgroup-driver:warning"], id="cgroupfs"
    ),
    pytest.param(software(runtime=THEIRS._replace(systemd_cgroup=True)), Wanted(), [], id="systemd"),
    pytest.param(
        {**software(kubelet_cgroup_driver="cgroupfs"), "cluster": KNOWN},
        Wanted(),
        ["cgroup-driver:error"],
        id="a node whose kubelet uses cgroupfs",
    ),
    pytest.param(
        software(kubelet_cgroup_driver="cgroupfs"), Wanted(), ["cgroup-driver:warning"], id="a former kubelet"
    ),
    pytest.param(
        {**software(kubelet_cgroup_driver="cgroupfs", runtime=OURS_NOW), "cluster": KNOWN},
        Wanted(),
        [],
        id="cgroupfs by choice",
    ),
    pytest.param(software(kubelet_cgroup_driver="systemd"), Wanted(), [], id="a kubelet of ours"),
    pytest.param(
        software(runtime=THEIRS._replace(sandbox_image="registry.k8s.io/pause:3.8")), Wanted(), [], id="kubeadm's image"
    ),
    pytest.param(
        software(runtime=THEIRS._replace(sandbox_image="mirror.example.com/pause:3.8")),
        Wanted(),
        ["sandbox-image:warning"],
        id="another sandbox image",
    ),
    pytest.param(
        software(runtime=THEIRS._replace(sandbox_image="mirror.example.com/pause:3.8")),
        Wanted(sandbox_image="mirror.example.com/pause:3.8"),
        [],
        id="the sandbox image of the operator",
    ),
    pytest.param(
        {"runtime_version": "1.7.24"}, Wanted(kubernetes_version="1.38"), ["runtime-config:error"], id="1.7 for 1.38"
    ),
    pytest.param(
        software(candidate="1.7.24"), Wanted(kubernetes_version="1.38.1"), ["runtime-config:error"], id="1.7 to come"
    ),
    pytest.param({"runtime_version": "1.7.24"}, Wanted(kubernetes_version="1.37"), [], id="1.7 for 1.37"),
    pytest.param(
        {**software(candidate="1.7.24"), "runtime_version": "2.1.9"},
        Wanted(kubernetes_version="1.38"),
        [],
        id="2.1 for 1.38",
    ),
    pytest.param(
        {**software(signals_denied=True), "runtime_version": "1.7.12"},
        Wanted(),
        ["apparmor-runc:warning"],
        id="a confined runc",
    ),
    pytest.param(software(programs=("/usr/local/bin/kubelet",)), Wanted(), ["foreign-programs:warning"], id="by hand"),
    pytest.param(
        software(interrupted_packages=("/var/lib/dpkg/updates/0001",), package_lock="apt-get"),
        Wanted(),
        ["package-manager:error", "package-manager:warning"],
        id="dpkg interrupted and at work",
    ),
    pytest.param(
        software(persistence=(Persistence("nftables", "/etc/nftables.conf"),)),
        Wanted(),
        ["firewall-persistence:warning"],
        id="a ruleset that is flushed",
    ),
    pytest.param(
        software(persistence=(Persistence("netfilter-persistent", "/etc/iptables/rules.v4", ("KUBE-SERVICES",)),)),
        Wanted(),
        ["firewall-persistence:warning"],
        id="a ruleset that is frozen",
    ),
    pytest.param(
        software(foreign_rules=ForeignRules("nft", 3)), Wanted(), ["iptables-mixture:warning"], id="harmless rules"
    ),
    pytest.param(software(foreign_rules=ForeignRules("nft")), Wanted(), [], id="empty tables"),
    pytest.param(
        software(foreign_rules=ForeignRules("legacy", 0, (":FORWARD DROP",))),
        Wanted(),
        ["iptables-mixture:error"],
        id="a policy that drops",
    ),
    pytest.param(
        {**software(foreign_rules=ForeignRules("nft", 1, ("-A INPUT -j DROP",))), "cluster": KNOWN},
        Wanted(),
        ["iptables-mixture:warning"],
        id="a node with rules that drop",
    ),
    pytest.param(registry(True), Wanted(), [], id="a registry that answers"),
    pytest.param(registry(True, "http://m: timed out"), Wanted(), ["registry-unreachable:warning"], id="a dead mirror"),
    pytest.param(registry(False, "http://m: timed out"), Wanted(), ["registry-unreachable:error"], id="no registry"),
    pytest.param(
        registry(False, "http://m: timed out", cluster=PREPARED),
        Wanted(),
        ["registry-unreachable:warning"],
        id="no registry, and images on the host",
    ),
]

NETWORK = [
    pytest.param({}, Wanted(node_ip="192.0.2.99"), ["node-address-absent:error"], id="an absent node address"),
    pytest.param({}, Wanted(node_cidr="198.51.100.0/24"), ["node-address-missing:error"], id="no address inside"),
    pytest.param({}, Wanted(node_ip="127.0.0.1"), ["node-address-unusable:error"], id="a loopback node address"),
    pytest.param({"network": network(HOLDER)}, HA, [], id="a node that holds the virtual address"),
    pytest.param({}, replace(HA, vip="192.0.2.11"), ["vip-is-node-address:error"], id="the host's own address"),
    pytest.param(
        {},
        replace(WORKER, vip="192.0.2.11", load_balancer="keepalived"),
        ["vip-is-node-address:error"],
        id="a worker's",
    ),
    pytest.param({}, replace(HA, node_ip=VIP), ["vip-is-node-address:error"], id="given as the node's"),
    pytest.param({}, replace(HA, vip="192.0.2.100/24"), ["cidr-form:error"], id="a virtual address with a prefix"),
    pytest.param(
        {"network": network(ETH0, routes=())},
        Wanted(),
        ["node-address-missing:error", "service-route:error"],
        id="no route",
    ),
    pytest.param({}, Wanted(pod_cidr="10.244.0.1/16"), ["cidr-form:error"], id="host bits"),
    pytest.param({}, Wanted(service_cidr="10.96.0.0/12,fd00::/xx"), ["cidr-form:error"], id="half of dual stack wrong"),
    pytest.param({}, Wanted(node_ip="192.0.2"), ["cidr-form:error"], id="half an address"),
    pytest.param({}, Wanted(node_cidr="lan"), ["cidr-form:error"], id="a network by name"),
    pytest.param(
        {}, Wanted(node_cidr="192.0.2.0/24,198.51.100.0/24"), ["cidr-form:error"], id="two networks for one address"
    ),
    pytest.param({}, Wanted(service_cidr="10.244.0.0/20"), ["cidr-overlap:error"], id="Services inside pods"),
    pytest.param(
        {"network": network(ETH0._replace(addresses=(Address("10.0.0.5", 8, "global"),)))},
        Wanted(node_cidr="10.0.0.0/8"),
        ["cidr-overlap:error", "cidr-overlap:error"],
        id="pods and Services inside the nodes' network",
    ),
    pytest.param(both(), DUAL, [], id="both families"),
    pytest.param(both(), replace(DUAL, node_cidr="192.0.2.0/24,fd00:3::/64"), [], id="a network of each family"),
    pytest.param(
        {},
        replace(DUAL, node_ip="192.0.2.11,fd00:3::11,fd00:3::12"),
        ["cidr-form:error", "service-route:warning"],
        id="two of one family",
    ),
    pytest.param(both(interface=ETH0), DUAL, ["node-address-family:error"], id="an address of the first family alone"),
    pytest.param(
        both(), replace(DUAL, node_ip="fd00:3::99"), ["node-address-absent:error"], id="an absent second address"
    ),
    pytest.param(
        both(),
        replace(DUAL, node_cidr="fd00:9::/64"),
        ["node-address-missing:error"],
        id="no address inside the second network",
    ),
    pytest.param(
        both(),
        replace(DUAL, node_cidr="10.96.0.0/24,fd00:2::/120"),
        ["node-address-missing:error", "cidr-overlap:error", "cidr-overlap:error"],
        id="Services inside the nodes' networks",
    ),
    pytest.param(
        both(), replace(DUAL, pod_cidr="10.244.0.0/16,fd00:3::/56"), ["cidr-address-overlap:error"], id="IPv6 as pods'"
    ),
    pytest.param(both(routes=(DEFAULT_ROUTE,)), DUAL, ["service-route:warning"], id="no route to the Services of IPv6"),
    pytest.param(
        both(routes=(DEFAULT_ROUTE,)),
        replace(DUAL, pod_cidr="fd00:1::/56,10.244.0.0/16", service_cidr="fd00:2::/112,10.96.0.0/12"),
        ["service-route:error"],
        id="no route to the Services of the first family",
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, Route("fd00::/8", ("eth0",), ip_version=6))),
        DUAL,
        ["cidr-route-overlap:warning"] * 2,
        id="a route around the ranges of IPv6",
    ),
    pytest.param(
        {},
        Wanted(pool_ranges=("192.0.2.5-192.0.2.20", "lan")),
        ["pool-address-overlap:error"],
        id="the node's in a pool",
    ),
    pytest.param({}, Wanted(pool_ranges=("192.0.2.200-192.0.2.220",)), [], id="a pool in the nodes' network"),
    pytest.param({}, Wanted(pod_cidr="192.0.2.0/24"), ["cidr-address-overlap:error"], id="the node's network as pods'"),
    pytest.param(
        {
            "network": network(
                ETH0,
                Link("cni0", 1450, "", True, (Address("10.244.0.1", 24, "global"),)),
                Link("kube-ipvs0", 1500, "", False, (Address("10.96.0.1", 32, "global"),)),
                routes=(
                    DEFAULT_ROUTE,
                    Route("10.244.0.0/24", ("cni0",)),
                    Route("10.244.1.0/24", ("flannel.1",)),
                    Route("10.244.0.7", ("cali123",)),
                ),
            )
        },
        Wanted(),
        ["leftovers:warning"],
        id="devices of the pod network",
    ),
    pytest.param(
        {"network": network(ETH0, OVN), "cluster": ClusterFiles(credentials=("kubelet.conf",))},
        Wanted(),
        [],
        id="a device of a pod network that nobody knows",
    ),
    pytest.param({"network": network(ETH0, OVN)}, Wanted(), ["cidr-address-overlap:error"], id="such a device before"),
    pytest.param(
        {"cluster": ClusterFiles(credentials=("kubelet.conf",))},
        Wanted(pod_cidr="192.0.2.0/24"),
        ["cidr-address-overlap:error"],
        id="a node in the network of its pods",
    ),
    pytest.param(
        {"network": network(ETH0, OVN), "cluster": ClusterFiles(credentials=("kubelet.conf",))},
        Wanted(pod_cidr="10.32.0.0/16", service_cidr="10.244.0.0/16"),
        ["cidr-address-overlap:error"],
        id="another device of a node in the network of Services",
    ),
    pytest.param(
        {"network": routes(Route("10.244.7.0/24", ("eth0",)))}, Wanted(), ["cidr-route-overlap:error"], id="into"
    ),
    pytest.param({"network": routes(Route("10.96.0.0/12", ("eth0",)))}, Wanted(), [], id="to all Services"),
    pytest.param(
        {"network": routes(Route("10.244.0.0/16", ("eth0",)))}, Wanted(), ["cidr-route-overlap:error"], id="to all pods"
    ),
    pytest.param(
        {"network": routes(Route("10.96.0.0/13", ("eth0",)))},
        Wanted(),
        ["cidr-route-overlap:error"],
        id="to half of the Services",
    ),
    pytest.param(
        {"network": routes(Route("10.0.0.0/8", ("tun0",)))}, Wanted(), ["cidr-route-overlap:warning"] * 2, id="around"
    ),
    pytest.param(
        {"network": routes(Route("10.244.7.0/24", ("eth0",))), "cluster": ClusterFiles(credentials=("kubelet.conf",))},
        Wanted(),
        [],
        id="routes of a pod network without overlay",
    ),
    pytest.param(
        {"network": routes(Route("10.96.4.0/24", ("eth0",))), "cluster": ClusterFiles(credentials=("kubelet.conf",))},
        Wanted(),
        ["cidr-route-overlap:error"],
        id="routes into Services are nobody's",
    ),
    pytest.param(
        {
            "network": routes(
                Route("0.0.0.0/1", ("tun0",)), Route("128.0.0.0/1", ("tun0",)), Route("fe80::/64", ("eth0",))
            )
        },
        Wanted(),
        [],
        id="a VPN as default route",
    ),
    pytest.param(
        {"listeners": (Listener(6443, "haproxy", "0.0.0.0"), Listener(6443, "haproxy", "::"))},
        Wanted(),
        ["port-in-use:error"],
        id="API port taken",
    ),
    pytest.param(
        {"listeners": (Listener(10250, "", "::"),)}, WORKER, ["port-in-use:error"], id="taken by whom nobody sees"
    ),
    pytest.param({"listeners": (API_SERVER, HAPROXY)}, HA, [], id="haproxy at the virtual address"),
    pytest.param(
        {
            "listeners": (API_SERVER, HAPROXY._replace(address="fd00:2::100")),
            "network": network(
                ETH0._replace(addresses=(Address("fd00:2::11", 64, "global"),)), routes=(DEFAULT_ROUTE_6,)
            ),
        },
        replace(HA, vip="FD00:2:0::100", pod_cidr="fd00:1::/56", service_cidr="fd00:3::/112"),
        [],
        id="haproxy at a virtual address of IPv6",
    ),
    pytest.param({"listeners": (HAPROXY,)}, Wanted(vip=VIP), ["port-in-use:error"], id="haproxy that is not wanted"),
    pytest.param(
        {"listeners": (Listener(10250, "haproxy", VIP),)}, HA, ["port-in-use:error"], id="haproxy at another port"
    ),
    pytest.param(
        {"listeners": (API_SERVER, HAPROXY._replace(address="0.0.0.0"))},
        HA,
        ["port-in-use:error"],
        id="haproxy at all addresses",
    ),
    pytest.param(
        {"listeners": (HAPROXY._replace(address="127.0.0.1"),)},
        HA,
        ["port-in-use:error"],
        id="haproxy at the loopback address",
    ),
    pytest.param(
        {"listeners": (Listener(6443, "nginx", VIP),)}, HA, ["port-in-use:error"], id="another proxy at the VIP"
    ),
    pytest.param({"listeners": (API_SERVER, Listener(8443, "haproxy", VIP))}, BESIDE, [], id="another endpoint port"),
    pytest.param({"listeners": (HAPROXY,)}, BESIDE, ["port-in-use:error"], id="haproxy at the API server's port"),
    pytest.param(
        {"listeners": (Listener(8443, "nginx", "::"),)}, BESIDE, ["port-in-use:error"], id="endpoint port taken"
    ),
    pytest.param(
        {
            "listeners": (
                Listener(2379, "etcd", "127.0.0.1"),
                Listener(2380, "etcd", "192.0.2.11"),
                API_SERVER,
                Listener(10250, "kubelet", "::"),
                Listener(10257, "kube-controller-manager", "127.0.0.1"),
                Listener(10259, "kube-scheduler", "127.0.0.1"),
            )
        },
        Wanted(),
        [],
        id="Kubernetes itself",
    ),
    pytest.param(
        {"listeners": (Listener(7443, "kube-apiserver", "::"),)}, Wanted(api_port=7443), [], id="another API port"
    ),
    pytest.param({"firewalls": ("ufw",)}, WORKER, ["firewall-active:warning"], id="ufw"),
    pytest.param(
        {
            "network": network(
                LO, ETH0, routes=(Route("192.0.2.0/24", ("eth0",)),), peer_source=Source("192.0.2.11", "eth0")
            )
        },
        Wanted(),
        ["service-route:error"],
        id="no route to Services",
    ),
    pytest.param(
        {
            "network": network(
                LO, ETH0, routes=(Route("10.0.0.0/8", ("eth0",)),), peer_source=Source("192.0.2.11", "eth0")
            )
        },
        Wanted(pod_cidr="172.20.0.0/16"),
        ["cidr-route-overlap:warning"],
        id="a route to Services and no default route",
    ),
    pytest.param({"nameservers": ()}, Wanted(), ["resolv-conf:warning"], id="no name server"),
    pytest.param({"nameservers": ("127.0.0.1",)}, Wanted(), ["resolv-conf:warning"], id="a name server on the node"),
    pytest.param({"nameservers": ("fe80::1%eth0",)}, Wanted(), [], id="a link-local name server"),
    pytest.param({"nameservers": ("dns.example.com",)}, Wanted(), [], id="a name as name server"),
    pytest.param(
        {"nameservers": ("127.0.0.53",), "resolved_nameservers": ("192.0.2.1",)}, Wanted(), [], id="systemd-resolved"
    ),
    pytest.param(
        {"nameservers": ("127.0.0.53",), "resolved_nameservers": ()},
        Wanted(),
        ["resolv-conf:warning"],
        id="systemd-resolved without servers",
    ),
    pytest.param({"proxies": proxied()}, Wanted(), ["proxy-exceptions:warning"], id="a proxy for everything"),
    pytest.param(
        {"proxies": proxied("localhost,10.0.0.0/8")}, Wanted(), ["proxy-exceptions:warning"], id="a proxy for nodes"
    ),
    pytest.param({"proxies": proxied("localhost,10.0.0.0/8,192.0.2.11")}, Wanted(), [], id="a proxy with exceptions"),
    pytest.param({"proxies": proxied("*")}, Wanted(), [], id="a proxy for nothing"),
    pytest.param({"proxies": {"no_proxy": "localhost"}}, Wanted(), [], id="exceptions without a proxy"),
    pytest.param(
        {"proxies": proxied("10.0.0.0/8"), "network": network(ETH0, routes=())},
        Wanted(),
        ["node-address-missing:error", "service-route:error"],
        id="exceptions for a node without address",
    ),
]

UNSHARED = {"advertise-address": "192.0.2.11"}


def api_server(**arguments):
    """A running control plane node whose API server has these arguments."""
    given = {**UNSHARED, **{name.replace("_", "-"): value for name, value in arguments.items()}}
    credentials = ("admin.conf", "kubelet.conf")
    return {"cluster": ClusterFiles(credentials=credentials, api_server=given), "listeners": (API_SERVER,)}


def says(outcome, **changes):
    return {"endpoint": Answer(outcome, "what the system says"), **changes}


SPLIT = (ETH0, ETH1._replace(addresses=(*ETH1.addresses, Address("fd00:3::11", 64, "global"))))
ON_ETH1 = replace(DUAL, node_ip="192.0.2.11,fd00:3::11")
FURTHER_LEARNED_ROUTE = Route(None, ("eth1",), metric=2048, ip_version=6, protocol="ra")
ROUTE_LOST = "router-advertisements:warning"
SESSION_LOST = "router-advertisements-session:error"

IPV6 = [
    pytest.param(both(ipv6=Ipv6(present=False)), Wanted(), [], id="no IPv6 and none wanted"),
    pytest.param(both(ipv6=Ipv6(present=False)), DUAL, ["ipv6-disabled:error"], id="no IPv6 in the kernel"),
    pytest.param(
        both(ipv6=Ipv6(disabled=frozenset({"eth7", "lo"}))), DUAL, [], id="switched off where nobody needs it"
    ),
    pytest.param(
        both(ipv6=Ipv6(disabled=frozenset({"default"}))), DUAL, ["ipv6-disabled:error"], id="off for new interfaces"
    ),
    pytest.param(
        both(interface=ETH0, ipv6=Ipv6(disabled=frozenset({"eth0"}))),
        DUAL,
        ["node-address-family:error", "ipv6-disabled:error"],
        id="off on the node's interface",
    ),
    pytest.param(
        both(interface=ETH0, ipv6=Ipv6(disabled=frozenset({"eth0"}))),
        replace(DUAL, pod_cidr="fd00:1::/56,10.244.0.0/16"),
        ["node-address-missing:error", "ipv6-disabled:error"],
        id="off where it is the first family",
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, LEARNED_ROUTE), ipv6=Ipv6(heeding=frozenset({"eth0"}))),
        Wanted(),
        [],
        id="advertised, and nothing of IPv6 wanted",
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, LEARNED_ROUTE)), DUAL, [], id="advertised to a network manager, or accept_ra 2"
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, LEARNED_ROUTE), ipv6=Ipv6(heeding=frozenset({"eth0"}))),
        DUAL,
        ["router-advertisements:warning"],
        id="a default route from a router",
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, LEARNED_ROUTE), ipv6=Ipv6(heeding=frozenset({"eth0"}))),
        replace(DUAL, sysctls={"net.ipv6.conf.eth0.accept_ra": 2}),
        [],
        id="a default route from a router that will be heeded",
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, LEARNED_ROUTE), ipv6=Ipv6(heeding=frozenset({"eth0"}))),
        replace(DUAL, sysctls={"net/ipv6/conf/eth0/accept_ra": "2", "net.ipv4.ip_forward": 1}),
        [],
        id="in the other spelling",
    ),
    pytest.param(
        both(routes=(DEFAULT_ROUTE, LEARNED_ROUTE), ipv6=Ipv6(heeding=frozenset({"eth0"}))),
        replace(DUAL, sysctls={"net.ipv6.conf.eth1.accept_ra": 2, "net.ipv6.conf.all.accept_ra": 2}),
        ["router-advertisements:warning"],
        id="a setting of another interface",
    ),
    pytest.param(
        both(ipv6=Ipv6(heeding=frozenset({"eth0"}))), DUAL, [], id="an address from a router that is not the node's"
    ),
    pytest.param(
        both(ipv6=Ipv6(heeding=frozenset({"eth0"}))),
        replace(DUAL, node_cidr="2001:db8::/64"),
        ["router-advertisements:warning"],
        id="the node's address from a router",
    ),
    pytest.param(visited(ELSEWHERE), DUAL, [SESSION_LOST], id="a session by a default route from a router"),
    pytest.param(visited(ELSEWHERE), Wanted(), [], id="such a session, and nothing of IPv6 wanted"),
    pytest.param(
        visited(ELSEWHERE),
        replace(DUAL, sysctls={"net.ipv6.conf.eth0.accept_ra": 2}),
        [],
        id="such a session, and a router that will be heeded",
    ),
    pytest.param(
        visited(ELSEWHERE, heeding=()), DUAL, [], id="such a session, advertised to a network manager, or accept_ra 2"
    ),
    pytest.param(
        visited(ELSEWHERE, forwarding=True), DUAL, [ROUTE_LOST], id="such a session, to a host that forwards already"
    ),
    pytest.param(
        visited(ELSEWHERE),
        replace(DUAL, node_cidr="2001:db8::/64"),
        [ROUTE_LOST, SESSION_LOST],
        id="such a session, and the node's address from a router as well",
    ),
    pytest.param(visited(None), DUAL, [ROUTE_LOST], id="no session of SSH"),
    pytest.param(visited("198.51.100.5"), DUAL, [ROUTE_LOST], id="a session of IPv4"),
    pytest.param(visited("2001:db8::5"), DUAL, [ROUTE_LOST], id="a session from the host's network"),
    pytest.param(visited("2001:db8::11"), DUAL, [ROUTE_LOST], id="a session from the host itself"),
    pytest.param(
        visited("fd00:3::11"), DUAL, [ROUTE_LOST], id="a session from the host itself, which no network route covers"
    ),
    pytest.param(visited("::1"), DUAL, [ROUTE_LOST], id="a session over the loopback device"),
    pytest.param(visited("fe80::5"), DUAL, [ROUTE_LOST], id="a session from a link-local address"),
    pytest.param(
        visited(ELSEWHERE, Route("2001:db8:ff::/48", ("eth0",), metric=1024, ip_version=6, protocol="static")),
        DUAL,
        [ROUTE_LOST],
        id="a session by a route of its own",
    ),
    pytest.param(
        visited(ELSEWHERE, Route("2001:db8:ff::/64", ("eth0",), metric=1024, ip_version=6, protocol="ra")),
        DUAL,
        [ROUTE_LOST],
        id="a session by a route of its own from the router",
    ),
    pytest.param(
        visited(ELSEWHERE, Route("2001:db8:fe::/48", ("eth0",), metric=1024, ip_version=6, protocol="static")),
        DUAL,
        [SESSION_LOST],
        id="a route of its own to another network",
    ),
    pytest.param(
        visited(ELSEWHERE, DEFAULT_ROUTE_6._replace(metric=1024)),
        DUAL,
        [ROUTE_LOST],
        id="a default route that was set by hand beside it",
    ),
    pytest.param(
        visited(ELSEWHERE, DEFAULT_ROUTE_6._replace(metric=512)),
        DUAL,
        [ROUTE_LOST],
        id="a default route that was set by hand before it",
    ),
    pytest.param(
        visited(ELSEWHERE, Route(None, ("lo",), metric=4294967295, ip_version=6, protocol="kernel")),
        DUAL,
        [SESSION_LOST],
        id="a default route after it that leads nowhere",
    ),
    pytest.param(
        {
            **visited(ELSEWHERE, heeding=("eth0", "eth1")),
            "network": network(BOTH, ETH1, routes=(DEFAULT_ROUTE, LEARNED_ROUTE, FURTHER_LEARNED_ROUTE)),
        },
        DUAL,
        [ROUTE_LOST, SESSION_LOST],
        id="default routes from two routers, one of them for the session",
    ),
    pytest.param(
        {"network": network(*SPLIT, routes=BOTH_ROUTES)},
        ON_ETH1,
        ["node-address-interfaces:error"],
        id="an interface for each family",
    ),
    pytest.param(
        {"network": network(*SPLIT, routes=BOTH_ROUTES)},
        replace(ON_ETH1, network="none"),
        [],
        id="an interface for each family and a network that can",
    ),
]

ENDPOINT = [
    pytest.param({}, HA, [], id="a virtual address in the node's network"),
    pytest.param({}, replace(HA, vip="203.0.113.100"), ["vip-outside-network:error"], id="in another network"),
    pytest.param({}, replace(HA, vip="fd00:2::100"), ["vip-outside-network:error"], id="of another family"),
    pytest.param(
        {"network": network(ETH0, ETH1)},
        replace(HA, vip="198.51.100.100"),
        ["vip-outside-network:error"],
        id="in the network of another interface",
    ),
    pytest.param(
        {"network": network(ETH0, ETH1)},
        replace(HA, vip="198.51.100.100", node_cidr="198.51.100.0/24"),
        [],
        id="in the node's network by choice",
    ),
    pytest.param(
        {}, replace(WORKER, load_balancer="keepalived", vip="203.0.113.100"), [], id="a worker in another network"
    ),
    pytest.param(
        {}, replace(HA, vip="203.0.113.100", node_ip="192.0.2.99"), ["node-address-absent:error"], id="no node address"
    ),
    pytest.param(api_server(), HA, ["api-port-not-shared:error"], id="a port that is not shared"),
    pytest.param(api_server(permit_port_sharing="false"), HA, ["api-port-not-shared:error"], id="expressly"),
    pytest.param(api_server(permit_port_sharing="true"), HA, [], id="a shared port"),
    pytest.param(api_server(bind_address="192.0.2.11"), HA, [], id="an API server at one address"),
    pytest.param(api_server(bind_address="0.0.0.0"), HA, ["api-port-not-shared:error"], id="at all of IPv4"),
    pytest.param(api_server(), BESIDE, [], id="ports that differ"),
    pytest.param(api_server(), Wanted(), [], id="no haproxy"),
    pytest.param(api_server(), EXTERNAL, [], id="no haproxy here"),
    pytest.param({}, HA, [], id="no API server yet"),
    pytest.param(says(OPEN), EXTERNAL, [], id="a load balancer that accepts"),
    pytest.param(says(OURS), EXTERNAL_WORKER, [], id="a load balancer that leads to the cluster"),
    pytest.param(says(REFUSED), EXTERNAL, ["endpoint-unreachable:warning"], id="no backend yet"),
    pytest.param(says(SILENT), EXTERNAL_WORKER, ["endpoint-unreachable:warning"], id="no answer yet"),
    pytest.param(says(REFUSED, **api_server()), EXTERNAL, ["endpoint-unreachable:error"], id="a load balancer that is"),
    pytest.param(says(SILENT, **api_server()), EXTERNAL, ["endpoint-unreachable:error"], id="behind a firewall"),
    pytest.param(says(MUTE, **api_server()), EXTERNAL, ["endpoint-unreachable:error"], id="without backends"),
    pytest.param(
        says(REFUSED, cluster=ClusterFiles(record=True, credentials=("admin.conf",), api_server=UNSHARED)),
        EXTERNAL,
        ["endpoint-unreachable:warning"],
        id="an interrupted init",
    ),
    pytest.param(says(UNROUTABLE), EXTERNAL, ["endpoint-unreachable:error"], id="no route"),
    pytest.param(says(UNRESOLVABLE), EXTERNAL, ["endpoint-unreachable:error"], id="a name as address"),
    pytest.param(says(FOREIGN, **api_server()), EXTERNAL, ["endpoint-elsewhere:error"], id="another cluster"),
    pytest.param(says(FOREIGN), EXTERNAL_WORKER, ["endpoint-elsewhere:warning"], id="a worker of another cluster"),
    pytest.param({"endpoint_resolvable": False}, Wanted(), ["endpoint-unresolvable:error"], id="a name nobody knows"),
    pytest.param(
        says(UNRESOLVABLE, endpoint_resolvable=False),
        EXTERNAL_WORKER,
        ["endpoint-unresolvable:error"],
        id="a load balancer by a name nobody knows",
    ),
]

REMAINS = ClusterFiles(kubelet_certificates=True, cni_configurations=("10-calico.conflist",))

NODE = ClusterFiles(credentials=("kubelet.conf",))

AWAY = Repository("http://m/", error=GroundplaneError("http://m/ cannot be read: timed out", remedy="open it"))

KUBERNETES = [
    pytest.param({"cluster": REMAINS}, WORKER, ["leftovers:warning"], id="remains of another cluster"),
    pytest.param(
        {"network": network(ETH0, Link("flannel.1", 1450, "", True))},
        WORKER,
        ["leftovers:warning"],
        id="an overlay device",
    ),
    pytest.param(
        {"cluster": ClusterFiles(etcd_data=True)}, Wanted(), ["leftovers:error"], id="etcd data without an owner"
    ),
    pytest.param({"cluster": ClusterFiles(etcd_data=True)}, WORKER, ["leftovers:warning"], id="etcd data on a worker"),
    pytest.param(
        {"cluster": ClusterFiles(etcd_data=True)}, Wanted(local_etcd=False), [], id="data of an external etcd"
    ),
    pytest.param(
        {"cluster": ClusterFiles(etcd_data=True)}, replace(WORKER, local_etcd=False), [], id="of one on a worker"
    ),
    pytest.param(
        {"cluster": ClusterFiles(etcd_data=True, manifests=("etcd.yaml",))},
        Wanted(),
        ["leftovers:error", "leftovers:warning"],
        id="a control plane without kubeconfig",
    ),
    pytest.param(
        {"cluster": replace(REMAINS, record=True, manifests=("etcd.yaml",), etcd_data=True)},
        Wanted(),
        [],
        id="an interrupted init of ours",
    ),
    pytest.param(
        {"cluster": replace(REMAINS, credentials=("admin.conf", "kubelet.conf"), etcd_data=True)},
        Wanted(),
        [],
        id="a control plane node",
    ),
    pytest.param({"cluster": replace(REMAINS, credentials=("kubelet.conf",))}, WORKER, [], id="a worker"),
    pytest.param(
        {"cluster": replace(REMAINS, credentials=("bootstrap-kubelet.conf",))}, WORKER, [], id="an interrupted join"
    ),
    pytest.param({"repository": Repository("http://m/", version="1.36.3")}, Wanted(), [], id="a version that is there"),
    pytest.param(
        {"repository": AWAY},
        Wanted(),
        ["package-version:error"],
        id="a repository out of reach",
    ),
    pytest.param(
        {"repository": AWAY, "kubelet_version": "1.36.3"},
        Wanted(),
        ["package-version:warning"],
        id="out of reach where the packages are installed",
    ),
    pytest.param(
        {"repository": AWAY, "kubelet_version": "1.35.3"},
        Wanted(),
        ["package-version:error"],
        id="out of reach where another version is installed",
    ),
    pytest.param(
        {"repository": Repository("https://m/", unverifiable=True)},
        Wanted(),
        ["package-version:warning"],
        id="no certificate authorities",
    ),
    pytest.param({"kubelet_version": "1.35.4"}, Wanted(), [], id="a kubelet of a machine that is no node"),
    pytest.param({"kubelet_version": "1.36.3", "cluster": NODE}, Wanted(), [], id="a node of the wanted minor"),
    pytest.param(
        {"kubelet_version": "1.36.3", "cluster": NODE},
        Wanted(kubernetes_version="1.36.3"),
        [],
        id="of the wanted version",
    ),
    pytest.param(
        {"kubelet_version": "1.36.3", "cluster": NODE},
        Wanted(kubernetes_version="1.36.30"),
        ["node-version:error"],
        id="a node of another patch",
    ),
    pytest.param(
        {"kubelet_version": "1.35.4", "cluster": NODE}, Wanted(), ["node-version:error"], id="a node of another minor"
    ),
    pytest.param({"runtime_version": "1.7.24"}, Wanted(), [], id="containerd 1.7"),
    pytest.param({"runtime_version": "2.1.9"}, Wanted(kubernetes_version="1.38"), [], id="containerd 2"),
    pytest.param({"runtime_version": "1.6.20"}, Wanted(), ["container-runtime:warning"], id="containerd 1.6"),
    pytest.param({"runtime_version": "1.5.9"}, Wanted(), ["container-runtime:error"], id="containerd 1.5"),
    pytest.param({}, Wanted(cri_socket="/run/containerd/containerd.sock"), [], id="a socket as plain path"),
    pytest.param(
        {}, Wanted(cri_socket="unix:///run/crio/crio.sock"), ["container-runtime:warning"], id="a runtime to come"
    ),
    pytest.param(
        {"cri_socket_exists": True}, Wanted(cri_socket="unix:///run/crio/crio.sock"), [], id="another runtime"
    ),
]


TABLES = [*MACHINE, *STORAGE, *SOFTWARE, *NETWORK, *IPV6, *ENDPOINT, *KUBERNETES]


@pytest.mark.parametrize(("changes", "wanted", "expected"), TABLES)
def test_finds(changes, wanted, expected):
    findings = run_checks(host(**changes), wanted)
    assert [f"{finding.id}:{finding.severity}" for finding in findings] == expected
    for finding in findings:
        assert finding.found
        assert finding.expected
        assert finding.remedy.endswith(".")


def test_every_check_finds_something_in_these_tables():
    tested = {entry.split(":")[0] for row in TABLES for entry in row.values[2]}
    assert tested == {check.description.id for check in CHECKS}


def test_ids_are_unique():
    identifiers = [check.description.id for check in CHECKS]
    assert len(identifiers) == len(set(identifiers))


def test_a_running_control_plane_node_with_flannel(fixture_text):
    links = parse_links(fixture_text("iproute2/flannel-address.json"))
    routes = parse_routes(fixture_text("iproute2/flannel-route-4.json"))
    assert {"cni0", "flannel.1"} <= {link.name for link in links}
    node = host(network=Network(links, routes), cluster=ClusterFiles(credentials=("admin.conf", "kubelet.conf")))
    assert run_checks(node, Wanted()) == []
    assert facts_of(node, Wanted())["addresses"] == ["10.77.2.11"]
    assert facts_of(node, Wanted())["macs"] == ["02:67:0a:4d:02:0b"]


def test_says_which_port_whose_and_for_whom():
    listeners = (Listener(6443, "k3s-server", "0.0.0.0"), Listener(6443, "k3s-server", "::"))
    (finding,) = run_checks(host(listeners=listeners), Wanted())
    assert finding.found == "k3s-server listens on port 6443 of 0.0.0.0, ::"
    assert finding.expected == "6443 free for kube-apiserver"


def test_says_for_whom_the_endpoint_port_is():
    (finding,) = run_checks(host(listeners=(Listener(8443, "", "::"),)), BESIDE)
    assert finding.expected == "8443 free for haproxy"


def test_names_the_network_in_which_the_virtual_address_has_to_be():
    (finding,) = run_checks(host(), replace(HA, vip="203.0.113.100"))
    assert finding.found == ("cluster_vip 203.0.113.100 lies outside of 192.0.2.0/24, the network of 192.0.2.11 (eth0)")
    assert finding.expected == "an address of 192.0.2.0/24"


def test_says_what_the_load_balancer_did():
    (finding,) = run_checks(host(endpoint=Answer(REFUSED, "Connection refused")), EXTERNAL)
    assert finding.found == "198.51.100.200, port 6443: Connection refused"
    (finding,) = run_checks(host(endpoint=Answer(UNROUTABLE, "Network is unreachable")), EXTERNAL_WORKER)
    assert finding.found == "api.kubernetes.internal, port 6443: Network is unreachable"


def test_a_firewall_has_to_let_vrrp_through():
    (finding,) = run_checks(host(firewalls=("ufw",)), BESIDE)
    assert "8443" in finding.expected
    assert "VRRP" in finding.expected
    (finding,) = run_checks(host(firewalls=("ufw",)), Wanted())
    assert "VRRP" not in finding.expected


def test_tells_what_the_repository_has():
    error = GroundplaneError(
        "newest there: 1.36.3", expected="1.35.9 for amd64", remedy="set cluster_kubernetes_version"
    )
    (finding,) = run_checks(host(repository=Repository("http://m/", error=error)), Wanted(kubernetes_version="1.35.9"))
    assert finding.as_dict() == {
        "id": "package-version",
        "severity": "error",
        "found": "newest there: 1.36.3",
        "expected": "1.35.9 for amd64",
        "remedy": "Set cluster_kubernetes_version.",
    }


def test_each_file_system_is_asked_for_its_part():
    disks = (Disk(("/var/lib/containerd",), 100), Disk(("/var/lib/etcd", "/var/log"), 100))
    images, state = run_checks(host(**storage(disks=disks)), Wanted())
    assert images.expected == "at least 2730 MiB"
    assert (state.found, state.expected) == ("100 MiB free for /var/lib/etcd, /var/log", "at least 1194 MiB")


def test_names_what_lies_on_a_read_only_file_system_once():
    root = Mount("/", "ext4", frozenset({"ro"}))
    (finding,) = run_checks(host(**storage(mounts=dict.fromkeys(("/etc", "/var/log"), root))), Wanted())
    assert finding.found == "/ is mounted read-only (/etc, /var/log)"


def test_says_how_slow_the_disk_is():
    (finding,) = run_checks(host(**storage(write_seconds=0.2504)), Wanted())
    assert finding.found == "one in ten writes to the file system of /var/lib/etcd takes 250 ms or longer"
    assert finding.expected == "at most 100 ms"


def test_etcd_may_have_its_data_elsewhere():
    wanted = Wanted(etcd_folder="/data/etcd")
    small = host(**storage(disks=(Disk(("/data/etcd",), 100),)))
    assert run_checks(small, wanted)[0].expected == "at least 1092 MiB"
    assert run_checks(small, replace(WORKER, etcd_folder="/data/etcd")) == []
    mounts = {"/data/etcd": Mount("/data", "ext4", frozenset({"ro"}))}
    findings = run_checks(host(**storage(mounts=mounts, write_seconds=0.25)), wanted)
    assert [finding.found for finding in findings] == [
        "/data is mounted read-only (/data/etcd)",
        "one in ten writes to the file system of /data/etcd takes 250 ms or longer",
    ]
    (finding,) = run_checks(host(cluster=ClusterFiles(etcd_data=True)), wanted)
    assert finding.expected == "an empty /data/etcd"
    assert "remove /data/etcd/member." in finding.remedy


def test_many_programs_are_shortened():
    (finding,) = run_checks(host(**software(programs=tuple("abcdef"))), Wanted())
    assert finding.found == "a, b, c, d and 2 more"


def test_thresholds_given_and_left():
    assert thresholds_for("worker", {"cpus": 4, "memory_mib": None, "disk_mib": 0}) == DEFAULT_THRESHOLDS[
        "worker"
    ]._replace(cpus=4)


def test_facts_of_a_fresh_host():
    docker = Link("docker0", 1500, "02:42:00:00:00:01", True, (Address("172.17.0.1", 16, "global"),))
    idle = Link("eth9", 1500, "02:00:00:00:00:09", True)
    vrrp = Link("vrrp.51", 1500, "00:00:5e:00:01:33", True, (Address("192.0.2.100", 32, "global"),))
    down = ETH1._replace(name="eth2", up=False)
    facts = facts_of(host(network=network(ETH0, docker, idle, vrrp, down)), Wanted())
    assert facts["node"] == {"address": "192.0.2.11", "interface": "eth0", "mtu": 1500, "secondary": ""}
    assert facts["macs"] == [ETH0.mac]
    assert facts["addresses"] == ["192.0.2.11", "172.17.0.1", "192.0.2.100", "198.51.100.11"]
    assert facts["cluster"] == {"known": False, "server": "", "ca_hash": ""}
    assert facts["firewall"] is False
    assert facts_of(host(own_rules=True), Wanted())["firewall"] is True


def test_facts_of_a_host_of_both_families():
    assert facts_of(host(**both()), DUAL)["node"] == {
        "address": "192.0.2.11",
        "interface": "eth0",
        "mtu": 1500,
        "secondary": "fd00:3::11",
    }
    private = BOTH._replace(addresses=(*BOTH.addresses, Address("fd00:3::dead", 64, "global", short_lived=True)))
    assert "fd00:3::dead" not in facts_of(host(**both(interface=private)), DUAL)["addresses"]
    first = replace(DUAL, pod_cidr="fd00:1::/56,10.244.0.0/16")
    node = facts_of(host(**both()), first)["node"]
    assert (node["address"], node["secondary"]) == ("fd00:3::11", "192.0.2.11")


def test_names_what_depends_on_a_router():
    heeding = both(
        interface=BOTH._replace(name="eth0.10"),
        routes=(DEFAULT_ROUTE._replace(devices=("eth0.10",)), LEARNED_ROUTE._replace(devices=("eth0.10",))),
        ipv6=Ipv6(heeding=frozenset({"eth0.10"})),
    )
    (finding,) = run_checks(host(**heeding), replace(DUAL, node_ip="2001:db8::11"))
    assert finding.found == (
        "the kernel has 2001:db8::11 and the default route of IPv6 from a router, with "
        "net.ipv6.conf.eth0/10.accept_ra = 1"
    )


def test_names_the_session_that_depends_on_a_router(fixture_text):
    links = parse_links(fixture_text("iproute2/slaac-address.json"))
    learned = parse_routes(fixture_text("iproute2/slaac-route-6.json"), 6)
    slaac = {
        "network": network(*links, routes=(DEFAULT_ROUTE, *learned)),
        "ipv6": Ipv6(heeding=frozenset({"eth0"})),
    }
    wanted = replace(DUAL, pod_cidr="10.244.0.0/16,fd00:a::/56")
    (finding,) = run_checks(host(**slaac, session=Session(ELSEWHERE, 22)), wanted)
    assert finding.found == (
        "this session comes from 2001:db8:ff::5 by the default route of IPv6, which the kernel has from a router, with "
        "net.ipv6.conf.eth0.accept_ra = 1"
    )
    assert "net.ipv6.conf.eth0.accept_ra = 2" in finding.expected
    (warning,) = run_checks(host(**slaac, session=Session("2001:db8:5::7", 22)), wanted)
    assert (warning.id, warning.severity) == ("router-advertisements", "warning")
    assert warning.remedy == finding.remedy


def test_what_one_check_says_of_the_route_the_other_does_not():
    changes = visited(ELSEWHERE, heeding=("eth0", "eth1"))
    changes["network"] = network(BOTH, ETH1, routes=(DEFAULT_ROUTE, LEARNED_ROUTE, FURTHER_LEARNED_ROUTE))
    other, session = run_checks(host(**changes), replace(DUAL, node_ip="192.0.2.11,2001:db8::11"))[-2:]
    assert "net.ipv6.conf.eth1" in other.found
    assert "net.ipv6.conf.eth0" in session.found
    (address, _session) = run_checks(host(**visited(ELSEWHERE)), replace(DUAL, node_cidr="2001:db8::/64"))
    assert address.found == "the kernel has 2001:db8::11 from a router, with net.ipv6.conf.eth0.accept_ra = 1"


def test_tells_how_to_add_a_route_of_the_family():
    (finding,) = run_checks(host(**both(routes=(DEFAULT_ROUTE,))), DUAL)
    assert finding.found == "no default route of IPv6, and no route to cluster_service_cidr fd00:2::/112"
    assert "ip -6 route add default dev dummy0" in finding.remedy


def test_facts_of_the_holder_of_the_virtual_address():
    holder = VipHolder(VIP, ETH0.mac, local=True, keepalived=True)
    facts = facts_of(host(network=network(HOLDER), vip_holder=holder), HA)
    assert facts["node"]["address"] == "192.0.2.11"
    assert facts["addresses"] == ["192.0.2.11"]
    assert facts["vip_holder"] == {
        "address": VIP,
        "mac": ETH0.mac,
        "local": True,
        "keepalived": True,
        "ours": False,
    }
    assert facts_of(host(), HA)["vip_holder"] is None


def test_facts_without_a_node_address():
    assert facts_of(host(), Wanted(node_ip="192.0.2.99"))["node"] is None
