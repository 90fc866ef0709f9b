# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the preflight: what is wanted, what a check observes, and the finding made of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_storage import ETCD_FOLDER
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPTABLES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import IPAddress
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE, WORKER

if TYPE_CHECKING:
    from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot

ERROR = "error"
WARNING = "warning"
# What stands behind the endpoint: keepalived and haproxy on the control plane nodes, or a machine of the operator's.
KEEPALIVED = "keepalived"
EXTERNAL = "external"
NO_LOAD_BALANCER = "none"
HAPROXY = "haproxy"

_LISTED_HOSTS = 6

#: Facts of preflight_info by host.
HostFacts = Mapping[str, Mapping[str, Any]]


class Thresholds(NamedTuple):
    """Figures below which a host is refused or, for the recommended ones, warned about."""

    cpus: int
    memory_mib: int
    disk_mib: int
    recommended_disk_mib: int
    etcd_latency_ms: int = 100
    recommended_etcd_latency_ms: int = 10


# CPUs and memory of a control plane node are the figures at which kubeadm itself refuses; it checks neither on
# workers and never the disk. Recommended are 20 GiB for images and containers and 8 GiB for etcd; the rest is kubelet's
# and the logs'. etcd's own documentation asks for writes within 10 ms, and leaders change when they take 100 ms, the
# interval of its heartbeat.
DEFAULT_THRESHOLDS = {
    CONTROL_PLANE: Thresholds(cpus=2, memory_mib=1700, disk_mib=4096, recommended_disk_mib=30720),
    WORKER: Thresholds(cpus=1, memory_mib=900, disk_mib=4096, recommended_disk_mib=22528),
}


@dataclass(frozen=True)
class Wanted:
    """What the host is to become.

    :arg endpoint_in_hosts: the roles write the endpoint's name into /etc/hosts.
    :arg control_plane_addresses: where the control plane hosts are reached, also those outside of this run.
    :arg pool_ranges: addresses that MetalLB gives away, as its pools write them.
    :arg local_etcd: a control plane node runs a member of etcd.
    :arg etcd_folder: where that has its data.
    :arg node_ip: address of the node, or one of each family.
    :arg node_cidr: network of the nodes, or one of each family.
    :arg network: the pod network to come, empty where that is not known.
    :arg sysctls: kernel parameters that are going to be set.
    :arg sandbox_image: image of the pods' sandbox, empty for kubeadm's in image_repository.
    :arg proxy_scheduler: how kube-proxy in mode ipvs chooses among the pods of a Service.
    :arg containerd_source: distribution or docker, empty for the default of the distribution.
    """

    role: str = CONTROL_PLANE
    kubernetes_version: str = "1.36"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    node_ip: str = ""
    node_cidr: str = ""
    peer_address: str = ""
    api_port: int = 6443
    load_balancer: str = NO_LOAD_BALANCER
    vip: str = ""
    endpoint: str = ""
    endpoint_address: str = ""
    endpoint_port: int = 6443
    endpoint_in_hosts: bool = True
    control_plane_addresses: tuple[str, ...] = ()
    pool_ranges: tuple[str, ...] = ()
    cri_socket: str = "unix:///run/containerd/containerd.sock"
    swap_allowed: bool = False
    cgroup_v1_allowed: bool = False
    kernel_modules: tuple[str, ...] = ("overlay", "br_netfilter")
    proxy_mode: str = IPTABLES
    proxy_scheduler: str = "rr"
    local_etcd: bool = True
    etcd_folder: str = ETCD_FOLDER
    image_repository: str = "registry.k8s.io"
    sandbox_image: str = ""
    containerd_source: str = ""
    network: str = ""
    sysctls: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Thresholds = DEFAULT_THRESHOLDS[CONTROL_PLANE]

    @property
    def kubernetes_minor(self) -> tuple[int, int]:
        """Major and minor number of the Kubernetes version."""
        major, minor = self.kubernetes_version.lstrip("v").split(".")[:2]
        return int(major), int(minor)

    @property
    def ip_versions(self) -> tuple[int, ...]:
        """The cluster's families, 4, 6 or both, in the order of its ranges."""
        return tuple(dict.fromkeys(6 if ":" in part else 4 for part in self.pod_cidr.split(",")))

    @property
    def ip_version(self) -> int:
        """The cluster's first family: 4 or 6."""
        return self.ip_versions[0]

    @property
    def virtual_address(self) -> IPAddress | None:
        """The virtual address of the API as far as one is given that can be read."""
        try:
            return ipaddress.ip_address(self.vip)
        except ValueError:
            return None

    @property
    def may_hold_vip(self) -> bool:
        """Whether the host is to take part in holding the virtual address."""
        return self.role == CONTROL_PLANE and self.load_balancer == KEEPALIVED and self.virtual_address is not None

    @property
    def shares_api_port(self) -> bool:
        """Whether haproxy takes the virtual address out of the API server's port."""
        return self.may_hold_vip and self.endpoint_port == self.api_port

    @property
    def endpoint_by_dns(self) -> bool:
        """Whether nobody but the operator makes the endpoint's name known to the host."""
        unknown_to_us = self.load_balancer == EXTERNAL and not self.endpoint_address
        return bool(self.endpoint) and (unknown_to_us or not self.endpoint_in_hosts)

    @property
    def ports(self) -> dict[int, str]:
        """TCP ports that have to be free, each with the program that takes it; haproxy shares the API server's."""
        ports = {10250: "kubelet"}
        if self.role == CONTROL_PLANE:
            ports.update(
                {
                    self.api_port: "kube-apiserver",
                    2379: "etcd",
                    2380: "etcd",
                    10257: "kube-controller-manager",
                    10259: "kube-scheduler",
                }
            )
        if self.may_hold_vip:
            ports.setdefault(self.endpoint_port, HAPROXY)
        return ports


class Observation(NamedTuple):
    """What a check saw; severity and remedy replace those of the check where one case differs."""

    found: str
    expected: str
    severity: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """A defect of a host, in the words of the report."""

    id: str
    severity: str
    found: str
    expected: str
    remedy: str

    def as_dict(self) -> dict[str, Any]:
        """The finding as modules return it."""
        return {
            "id": self.id,
            "severity": self.severity,
            "found": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Description:
    """What an operator can read about a check before it ever finds anything.

    :arg severity: the severity of an observation that names none.
    :arg purpose: what is compared and why, one or two sentences.
    :arg variables: role variables that move a threshold or switch the check.
    """

    id: str
    severity: str
    purpose: str
    remedy: str
    variables: tuple[str, ...] = ()

    def finding(self, observation: Observation) -> Finding:
        """An observation in the words of this check."""
        return Finding(
            id=self.id,
            severity=observation.severity or self.severity,
            found=observation.found,
            expected=observation.expected,
            remedy=observation.remedy or self.remedy,
        )


class Check(NamedTuple):
    """One entry of the registry of checks that look at a single host."""

    description: Description
    observe: Callable[[Snapshot, Wanted], Iterator[Observation]]

    def findings(self, snapshot: Snapshot, wanted: Wanted) -> list[Finding]:
        """Everything this check finds on a host."""
        return [self.description.finding(observation) for observation in self.observe(snapshot, wanted)]


class Comparison(NamedTuple):
    """What was seen on some hosts together."""

    hosts: tuple[str, ...]
    observation: Observation


class CrossCheck(NamedTuple):
    """One entry of the registry of checks that compare hosts."""

    description: Description
    compare: Callable[[HostFacts, float], Iterator[Comparison]]


def shorten_hosts(hosts: Sequence[str]) -> str:
    """Names of hosts, the first few when there are many."""
    if len(hosts) <= _LISTED_HOSTS:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: _LISTED_HOSTS - 1])} and {len(hosts) - _LISTED_HOSTS + 1} more"


def thresholds_for(role: str, given: Mapping[str, int | None]) -> Thresholds:
    """The defaults of a role with the given figures over them."""
    chosen = {name: value for name, value in given.items() if value}
    return DEFAULT_THRESHOLDS[role]._replace(**chosen)
