# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without any defect; tests of the preflight change one thing at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_storage import (
    CNI_FOLDER,
    STATE_FOLDERS,
    WRITTEN_FOLDERS,
    Disk,
    Mount,
    Storage,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    NEEDED_FEATURES,
    PRESENT,
    KernelSupport,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import Address, Link, Route, Source
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import (
    Cgroups,
    ClusterFiles,
    Inotify,
    Network,
    Snapshot,
)

MODULES = ("overlay", "br_netfilter", *(module for alternatives in NEEDED_FEATURES for module in alternatives))

LO = Link("lo", 65536, "", True, (Address("127.0.0.1", 8, "host"), Address("::1", 128, "host")))
ETH0 = Link(
    "eth0",
    1500,
    "02:67:0a:4d:07:0b",
    True,
    (Address("192.0.2.11", 24, "global"), Address("fe80::67:aff:fe4d:70b", 64, "link")),
)
ETH1 = Link("eth1", 9000, "02:67:0a:4d:08:0b", True, (Address("198.51.100.11", 24, "global"),))
DEFAULT_ROUTE = Route(None, ("eth0",))
DEFAULT_ROUTE_6 = Route(None, ("eth0",), ip_version=6)

ROOT = Mount("/", "ext4", frozenset({"rw", "relatime"}))
STORAGE = Storage(
    disks=(Disk(STATE_FOLDERS, 40960, 102400, 6553600, 6000000),),
    mounts=dict.fromkeys((*WRITTEN_FOLDERS, CNI_FOLDER), ROOT),
    write_seconds=0.002,
)

CLEAN = Snapshot(
    user_id=0,
    hostname="master-1",
    machine="x86_64",
    machine_id="94a37824339a5c126c14829789ca9622",
    product_uuid="5f2b8a52-7b5e-4d8e-9e0f-1d2c3b4a5f60",
    os_release={
        "ID": "debian",
        "VERSION_ID": "13",
        "VERSION_CODENAME": "trixie",
        "NAME": "Debian GNU/Linux",
        "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)",
    },
    kernel=KernelSupport("6.12.48+deb13-amd64", dict.fromkeys(MODULES, PRESENT)),
    cpus=2,
    memory_mib=1967,
    systemd_running=True,
    namespaces=frozenset({"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}),
    cgroups=Cgroups(2, frozenset({"cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"})),
    swaps=(),
    swap_sources=(),
    listeners=(),
    clock_synchronised=True,
    time_services=("systemd-timesyncd",),
    network=Network((LO, ETH0), (DEFAULT_ROUTE, Route("192.0.2.0/24", ("eth0",), "192.0.2.11")), None),
    nameservers=("192.0.2.1",),
    resolved_nameservers=None,
    firewalls=(),
    selinux_enforcing=False,
    proxies={},
    cluster=ClusterFiles(),
    runtime_version="",
    kubelet_version="",
    cri_socket_exists=False,
    storage=STORAGE,
    hosts={"localhost": ("127.0.0.1", "::1"), "master-1": ("127.0.1.1",)},
    inotify=Inotify(128, 524288),
)


def host(**changes: Any) -> Snapshot:
    """The clean host with changes."""
    return replace(CLEAN, **changes)


def network(*links: Link, routes: tuple[Route, ...] = (DEFAULT_ROUTE,), peer_source: Source | None = None) -> Network:
    """A network with the loopback device and the given links."""
    return Network((LO, *links), routes, peer_source)
