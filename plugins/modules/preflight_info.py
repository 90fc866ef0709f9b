#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module preflight_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
short_description: Look for what would keep a host from becoming a node
version_added: 1.0.0
description:
  - Reads a host and reports what would stop or harm kubeadm, kubelet or the pods there, each finding with what was
    found, what was expected and what to do. The page C(docs/preflight_checks.md) lists all checks.
  - Never changes anything and never fails because of a finding; M(groundplane.kubeadm.preflight_report) decides over
    all hosts.
  - A node of a running cluster and a host on which an earlier run was interrupted are recognised. What Kubernetes
    itself occupies there, such as its ports, is no finding.
  - The action plugin of the same name adds how far the clock of the host is from the controller's.
author:
  - groundplane.kubeadm contributors (@groundplane)
extends_documentation_fragment:
  - groundplane.kubeadm._attributes.info_module
requirements:
  - iproute2 on the host
options:
  role:
    description: What the host is to become.
    type: str
    choices: [control_plane, worker]
    required: true
  kubernetes_version:
    description: Minor or exact version of Kubernetes, such as V(1.36) or V(1.36.3).
    type: str
    required: true
  pod_cidr:
    description:
      - Range of the pods; two of them, separated by a comma, for dual stack.
      - The first one decides the family of the node's address. With two of them the node has a second address, of the
        other family.
    type: str
    required: true
  service_cidr:
    description: Range of the Services, in the same form.
    type: str
    required: true
  node_ip:
    description:
      - Address of the node, where it is given.
      - For dual stack, two of them separated by a comma; one alone leaves the other family to O(node_cidr).
    type: str
    default: ""
  node_cidr:
    description:
      - Network in which the node has its address, where it is given, or one of each family. Has no effect on a family
        for which O(node_ip) gives an address.
      - The second address of a dual-stack node for which neither of the two says anything is the one on the interface
        of the first that has been set by hand, or else that a router advertises; of several of IPv6 the lowest. It is
        never one that is temporary, deprecated or another machine's as well.
    type: str
    default: ""
  network:
    description:
      - Pod network to come. With V(flannel) and V(canal) both addresses of a dual-stack node have to be on one
        interface.
    type: str
    default: ""
  peer_address:
    description:
      - Address or name of the API endpoint or the first control plane node. The address from which the host would speak
        to it is the node's address, unless O(node_ip) or O(node_cidr) decides.
      - When it cannot be resolved or reached by a route, the address of the default route is the node's address.
    type: str
    default: ""
  api_port:
    description: Port of the API server.
    type: int
    default: 6443
  load_balancer:
    description:
      - What stands behind the endpoint of the API.
      - With V(keepalived) the control plane nodes hold O(vip), and a control plane host finds out by a connection
        whether another machine has that address.
      - With V(external) a load balancer of the operator's is at O(endpoint_address), and every host tries to connect to
        it.
    type: str
    choices: [keepalived, external, none]
    default: none
  vip:
    description:
      - Virtual address of the API, which moves between the control plane nodes.
      - It is never taken for the address of a node, whichever host has it at the moment.
    type: str
    default: ""
  pool_ranges:
    description:
      - Addresses that MetalLB gives away, as ranges such as V(192.0.2.200-192.0.2.220) and networks.
    type: list
    elements: str
    default: []
  endpoint:
    description:
      - Name of the endpoint.
      - Looked up when O(endpoint_in_hosts) is V(false), or when O(load_balancer) is V(external) and
        O(endpoint_address) is empty.
    type: str
    default: ""
  endpoint_address:
    description: Address of the operator's load balancer; O(endpoint) is used when it is empty.
    type: str
    default: ""
  endpoint_port:
    description: Port of the endpoint; O(api_port) unless given.
    type: int
  endpoint_in_hosts:
    description: Whether the roles write O(endpoint) into /etc/hosts.
    type: bool
    default: true
  control_plane_addresses:
    description:
      - Addresses or names of all control plane hosts, those outside of the play among them.
      - Used to recognise one of them as the machine that has O(vip).
    type: list
    elements: str
    default: []
  local_etcd:
    description:
      - Whether control plane nodes run a member of etcd each.
      - Before the member of a control plane host is there, the time that writes to the disk take is measured.
      - With V(false), data of etcd on the host are those of an etcd of its own, and are left alone.
    type: bool
    default: true
  etcd_folder:
    description: Folder in which such a member has its data, as in kubeadm's C(etcd.local.dataDir).
    type: str
    default: /var/lib/etcd
  image_repository:
    description: Repository of Kubernetes' images.
    type: str
    default: registry.k8s.io
  image_sources:
    description:
      - Places from which containerd pulls these images, in its order, as the filter
        P(groundplane.kubeadm.image_sources#filter) makes them.
      - Nothing is asked when it is empty, and on a node of a cluster.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: Address of a registry or of a mirror.
        type: str
        required: true
      ca:
        description: Certificate of the authority that has signed its certificate.
        type: str
      skip_verify:
        description: Whether its certificate is not verified.
        type: bool
      override_path:
        description: Whether O(image_sources[].url) contains the path of the registry's interface.
        type: bool
      client_certificate:
        description: Whether it wants a certificate of its clients; it is not asked then.
        type: bool
  sandbox_image:
    description: Image of the pods' sandbox; kubeadm's image in O(image_repository) when it is empty.
    type: str
    default: ""
  containerd_source:
    description:
      - Where containerd will come from, V(distribution) or V(docker); the default of role containerd when it is empty.
    type: str
    default: ""
  cri_socket:
    description: Socket of the container runtime.
    type: str
    default: unix:///run/containerd/containerd.sock
  swap_allowed:
    description: Whether swap may stay on.
    type: bool
    default: false
  cgroup_v1_allowed:
    description: Whether control groups of version 1 are accepted.
    type: bool
    default: false
  kernel_modules:
    description: Modules that have to be in the kernel or loadable.
    type: list
    elements: str
    default: [overlay, br_netfilter]
  sysctls:
    description: Kernel parameters that are going to be set; what they mend is no finding.
    type: dict
    default: {}
  proxy_mode:
    description: Mode of kube-proxy, for which the kernel has to have what it uses.
    type: str
    choices: [iptables, nftables, ipvs]
    default: iptables
  proxy_scheduler:
    description: How it chooses among the pods of a Service with O(proxy_mode=ipvs), which is a module of the kernel.
    type: str
    default: rr
  repository_url:
    description:
      - Repository of the Kubernetes packages that has to be reachable from the host.
      - Nothing is asked when it is empty, and on a node whose kubelet is of O(kubernetes_version).
    type: str
    default: ""
  repository_key_url:
    description:
      - Address of the key that signs O(repository_url), which has to be reachable from the host as well.
      - Nothing is asked when it is empty.
    type: str
    default: ""
  repository_kind:
    description: Kind of the repository; by default the one that the host's distribution uses.
    type: str
    choices: [deb, rpm]
  repository_timeout:
    description: Seconds without an answer after which the repository counts as unreachable.
    type: int
    default: 15
  thresholds:
    description: Figures in place of the defaults of the role.
    type: dict
    default: {}
    suboptions:
      cpus:
        description: Fewest CPUs; 2 for a control plane node and 1 for a worker by default.
        type: int
      memory_mib:
        description: Least memory in MiB; 1700 for a control plane node and 900 for a worker by default.
        type: int
      disk_mib:
        description: Least free space in MiB for the state of Kubernetes as a whole; 4096 by default.
        type: int
      recommended_disk_mib:
        description:
          - Free space in MiB below which there is a warning; 30720 for a control plane node and 22528 for a worker by
            default.
        type: int
      etcd_latency_ms:
        description: Most milliseconds for a write to the disk of etcd; 100 by default.
        type: int
      recommended_etcd_latency_ms:
        description: Milliseconds for such a write above which there is a warning; 10 by default.
        type: int
  listen:
    description:
      - Leave a process on the host that listens on the ports that other nodes will need, as far as they are free, so
        that M(groundplane.kubeadm.reachability_info) on the other hosts can measure the way.
      - A node, and a host on which an earlier run was interrupted, gets no such process, so that no program of the
        cluster that is just starting finds its port taken.
      - Where a cluster answers already behind a load balancer of the operator's, it does not listen on O(api_port),
        because the balancer could take it for an API server.
      - It listens at the node's address only, answers only who knows O(listen.secret), with no more bytes than it was
        sent, and ends by itself. The kernel shows it as C(gp-reachability).
      - A process that an earlier run has left is ended, with or without this option.
    type: dict
    suboptions:
      seconds:
        description: How long it lives, unless it is told to end earlier.
        type: int
        required: true
      secret:
        description: A random text, the same on all hosts and another one in every run.
        type: str
        required: true
      stacked_etcd:
        description: Whether etcd runs on the control plane nodes and needs its ports.
        type: bool
        default: true
      overlay_port:
        description: UDP port of the pod network; V(0) where it has none.
        type: int
        default: 0
seealso:
  - module: groundplane.kubeadm.preflight_report
  - module: groundplane.kubeadm.reachability_info
"""

EXAMPLES = r"""
- name: Read every host
  groundplane.kubeadm.preflight_info:
    role: "{{ 'control_plane' if inventory_hostname in groups['control_plane'] else 'worker' }}"
    kubernetes_version: "1.36"
    pod_cidr: 10.244.0.0/16
    service_cidr: 10.96.0.0/12
    load_balancer: keepalived
    vip: 192.0.2.100
    endpoint: api.kubernetes.internal
    peer_address: 192.0.2.11
    repository_url: https://pkgs.k8s.io/core:/stable:/v1.36/deb/
  register: preflight
"""

RETURN = r"""
findings:
  description: What was found on the host; empty when nothing was.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Name of the check.
      type: str
      sample: cpu-count
    severity:
      description: V(error) for what stops kubeadm, the cluster or its pods, V(warning) for what may.
      type: str
      sample: error
    found:
      description: What is there.
      type: str
      sample: 1 CPU
    expected:
      description: What should be there.
      type: str
      sample: at least 2
    remedy:
      description: What to do.
      type: str
      sample: Give the machine more CPUs.
facts:
  description: What the comparison across hosts and the roles need to know.
  returned: always
  type: dict
  contains:
    hostname:
      description: Name of the host as its kernel has it.
      type: str
    machine_id:
      description: Content of /etc/machine-id.
      type: str
    product_uuid:
      description: Number of the machine in its firmware, empty where there is none.
      type: str
    macs:
      description: MAC addresses of the interfaces that carry an address.
      type: list
      elements: str
    addresses:
      description: Global addresses of the host that last, those of the pod network and O(vip) left out.
      type: list
      elements: str
    vip_holder:
      description: Who has O(vip), as a control plane host sees it; null where nobody asked.
      type: dict
      contains:
        address:
          description: The virtual address.
          type: str
          sample: 192.0.2.100
        mac:
          description: MAC address of the interface that has it, empty when nobody answers.
          type: str
        local:
          description: Whether the host itself has it.
          type: bool
        keepalived:
          description: Whether keepalived runs on the host or is configured there with the address.
          type: bool
        ours:
          description:
            - Whether another host has it that proved to be a control plane node, by a certificate of the cluster's CA
              or because it is one of O(control_plane_addresses).
          type: bool
    node:
      description: The decision which address is the node's; null when none can be.
      type: dict
      contains:
        address:
          description: The node's address.
          type: str
          sample: 192.0.2.11
        interface:
          description: The interface that has it.
          type: str
          sample: eth1
        mtu:
          description: The MTU of this interface.
          type: int
          sample: 1500
        secondary:
          description: The node's address of the other family, where O(pod_cidr) has two; empty elsewhere.
          type: str
          sample: 2001:db8::11
    listener:
      description:
        - What listens for O(listen), and what M(groundplane.kubeadm.reachability_info) needs to know of the host. Null
          without that option, and when there is no node address.
      type: dict
      contains:
        address:
          description: The node's address.
          type: str
          sample: 192.0.2.11
        mtu:
          description: MTU of the interface that has it.
          type: int
          sample: 1500
        role:
          description: What the host is to become.
          type: str
          sample: control_plane
        ports:
          description: Ports that other nodes need.
          type: list
          elements: dict
          contains:
            protocol:
              description: V(tcp) or V(udp).
              type: str
              sample: tcp
            port:
              description: Number of the port.
              type: int
              sample: 10250
            purpose:
              description: The program to which it belongs.
              type: str
              sample: kubelet
            callers:
              description: V(node) when every node needs it, V(control_plane) when only the control plane does.
              type: str
              sample: control_plane
            state:
              description:
                - V(listening) when the process of O(listen) answers there, V(occupied) when somebody else has the port.
                - V(unmeasured) when nobody has it now, and a program of the cluster may take it at any moment.
              type: str
              sample: listening
        until:
          description: Clock of the host when the process ends at the latest, in seconds since 1970.
          type: float
        problem:
          description: Why there is no listener, empty when there is one.
          type: str
    kernel:
      description: Release of the running kernel.
      type: str
    architecture:
      description: Architecture of the machine in the kernel's words.
      type: str
      sample: x86_64
    cgroup_version:
      description: Version of the control groups.
      type: int
      sample: 2
    cpus:
      description: Usable CPUs.
      type: int
    memory_mib:
      description: Physical memory.
      type: int
    package_version:
      description:
        - Exact version that the repository has for O(kubernetes_version), empty when it is not known or nobody asked.
      type: str
      sample: 1.36.3
    firewall:
      description: Whether rules of role firewall are in force on the host.
      type: bool
    cluster:
      description: The cluster to which the host belongs already.
      type: dict
      contains:
        known:
          description: Whether the host is a node, or an interrupted run was about to make it one.
          type: bool
        server:
          description: Address of the API according to the kubeconfig on the host, empty without one.
          type: str
        ca_hash:
          description:
            - Hash of the CA in the same file, as in C(caCertHashes); empty when it cannot be read.
            - To be compared with RV(groundplane.kubeadm.control_plane_info#module:ca_cert_hashes).
          type: str
    epoch:
      description: Clock of the host when the module began and when it ended, in seconds since 1970.
      type: dict
      contains:
        begin:
          description: When the module began.
          type: float
        end:
          description: When the module ended.
          type: float
    clock_offset:
      description: How far the clock of the host is ahead of the controller's. Added by the action plugin.
      type: dict
      contains:
        seconds:
          description: The middle of what the measurement allows.
          type: float
        uncertainty:
          description: How far the truth can be from that.
          type: float
"""

import time
from dataclasses import replace
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPTABLES, MODES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._package_repository import (
    url_fetcher,
    wanted_version,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_checks import facts_of, run_checks
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    EXTERNAL,
    Wanted,
    thresholds_for,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_network import node_address
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    FOREIGN,
    OPEN,
    OURS,
    speaks_tls,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_registry import (
    ask_registry,
    registry_prober,
    sources_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_repository import ask_repository
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot, read_snapshot
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_listener import (
    dismiss_listener,
    leave_ports,
    start_listener,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import API_SERVER, needed_ports

_REGISTRY_SECONDS = 5.0
_ENDPOINT_SECONDS = 3.0


def argument_spec() -> dict[str, Any]:
    """Options of the module."""
    return {
        "role": {"type": "str", "choices": ["control_plane", "worker"], "required": True},
        "kubernetes_version": {"type": "str", "required": True},
        "pod_cidr": {"type": "str", "required": True},
        "service_cidr": {"type": "str", "required": True},
        "node_ip": {"type": "str", "default": ""},
        "node_cidr": {"type": "str", "default": ""},
        "network": {"type": "str", "default": ""},
        "peer_address": {"type": "str", "default": ""},
        "api_port": {"type": "int", "default": 6443},
        "load_balancer": {"type": "str", "choices": ["keepalived", "external", "none"], "default": "none"},
        "vip": {"type": "str", "default": ""},
        "pool_ranges": {"type": "list", "elements": "str", "default": []},
        "endpoint": {"type": "str", "default": ""},
        "endpoint_address": {"type": "str", "default": ""},
        "endpoint_port": {"type": "int"},
        "endpoint_in_hosts": {"type": "bool", "default": True},
        "control_plane_addresses": {"type": "list", "elements": "str", "default": []},
        "local_etcd": {"type": "bool", "default": True},
        "etcd_folder": {"type": "str", "default": "/var/lib/etcd"},
        "image_repository": {"type": "str", "default": "registry.k8s.io"},
        "image_sources": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "url": {"type": "str", "required": True},
                "ca": {"type": "str"},
                "skip_verify": {"type": "bool"},
                "override_path": {"type": "bool"},
                "client_certificate": {"type": "bool"},
            },
        },
        "sandbox_image": {"type": "str", "default": ""},
        "containerd_source": {"type": "str", "default": ""},
        "cri_socket": {"type": "str", "default": "unix:///run/containerd/containerd.sock"},
        "swap_allowed": {"type": "bool", "default": False},
        "cgroup_v1_allowed": {"type": "bool", "default": False},
        "kernel_modules": {"type": "list", "elements": "str", "default": ["overlay", "br_netfilter"]},
        "sysctls": {"type": "dict", "default": {}},
        "proxy_mode": {"type": "str", "choices": list(MODES), "default": IPTABLES},
        "proxy_scheduler": {"type": "str", "default": "rr"},
        "repository_url": {"type": "str", "default": ""},
        "repository_key_url": {"type": "str", "default": "", "no_log": False},
        "repository_kind": {"type": "str", "choices": ["deb", "rpm"]},
        "repository_timeout": {"type": "int", "default": 15},
        "thresholds": {
            "type": "dict",
            "default": {},
            "options": {
                "cpus": {"type": "int"},
                "memory_mib": {"type": "int"},
                "disk_mib": {"type": "int"},
                "recommended_disk_mib": {"type": "int"},
                "etcd_latency_ms": {"type": "int"},
                "recommended_etcd_latency_ms": {"type": "int"},
            },
        },
        "listen": {
            "type": "dict",
            "options": {
                "seconds": {"type": "int", "required": True},
                "secret": {"type": "str", "required": True, "no_log": True},
                "stacked_etcd": {"type": "bool", "default": True},
                "overlay_port": {"type": "int", "default": 0},
            },
        },
    }


def wanted_of(params: dict[str, Any]) -> Wanted:
    """The options in the words of the checks."""
    return Wanted(
        role=params["role"],
        kubernetes_version=wanted_version(params["kubernetes_version"]),
        pod_cidr=params["pod_cidr"],
        service_cidr=params["service_cidr"],
        node_ip=params["node_ip"],
        node_cidr=params["node_cidr"],
        network=params["network"],
        peer_address=params["peer_address"],
        api_port=params["api_port"],
        load_balancer=params["load_balancer"],
        vip=params["vip"],
        pool_ranges=tuple(params["pool_ranges"]),
        endpoint=params["endpoint"],
        endpoint_address=params["endpoint_address"],
        endpoint_port=params["endpoint_port"] or params["api_port"],
        endpoint_in_hosts=params["endpoint_in_hosts"],
        control_plane_addresses=tuple(params["control_plane_addresses"]),
        cri_socket=params["cri_socket"],
        swap_allowed=params["swap_allowed"],
        cgroup_v1_allowed=params["cgroup_v1_allowed"],
        kernel_modules=tuple(params["kernel_modules"]),
        sysctls=params["sysctls"],
        proxy_mode=params["proxy_mode"],
        proxy_scheduler=params["proxy_scheduler"],
        local_etcd=params["local_etcd"],
        etcd_folder=params["etcd_folder"].rstrip("/"),
        image_repository=params["image_repository"],
        sandbox_image=params["sandbox_image"],
        containerd_source=params["containerd_source"],
        thresholds=thresholds_for(params["role"], params["thresholds"]),
    )


def listen(snapshot: Snapshot, wanted: Wanted, options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave a listener at the node address, None when there is nothing to be left.

    Not where kubelet may start programs of a cluster at any moment: they would find their ports taken.
    """
    address = node_address(snapshot, wanted)
    if not options or not address:
        return None
    node = address._asdict()
    ports = needed_ports(
        wanted.role,
        api_port=wanted.api_port,
        stacked_etcd=options["stacked_etcd"],
        overlay_port=options["overlay_port"],
    )
    if snapshot.cluster.begun:
        left = leave_ports(ports, services=snapshot.services_at(node["address"]))
    else:
        kept = [port for port in ports if port.purpose == API_SERVER] if cluster_behind(snapshot, wanted) else []
        mine = [port for port in ports if port not in kept]
        left = start_listener(mine, address=node["address"], secret=options["secret"], seconds=options["seconds"])
        left["ports"] += leave_ports(kept, services=())["ports"]
    until = time.time() + options["seconds"]
    return {"address": node["address"], "mtu": node["mtu"], "role": wanted.role, "until": until, **left}


def cluster_behind(snapshot: Snapshot, wanted: Wanted) -> bool:
    """Whether the operator's load balancer leads to a cluster, and would lead its clients to our listener as well."""
    if wanted.load_balancer != EXTERNAL or snapshot.endpoint is None:
        return False
    if snapshot.endpoint.outcome != OPEN:
        return snapshot.endpoint.outcome in (OURS, FOREIGN)
    address = wanted.endpoint_address or wanted.endpoint
    return speaks_tls(address, wanted.endpoint_port, seconds=_ENDPOINT_SECONDS, name=wanted.endpoint)


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the host and judge it."""
    begin = time.time()
    params = module.params
    wanted = wanted_of(params)
    # Before the ports are looked at: they are not free while a listener of an earlier run has them.
    dismiss_listener()
    host = read_snapshot(ModuleRunner(module), wanted)
    repository = ask_repository(
        host,
        wanted,
        url=params["repository_url"],
        key_url=params["repository_key_url"],
        kind=params["repository_kind"],
        fetch=url_fetcher(params["repository_timeout"]),
    )
    # A node has its images, and containerd asks again when it needs more.
    sources = [] if host.cluster.known else sources_of(params["image_sources"])
    registry = ask_registry(sources, registry_prober(_REGISTRY_SECONDS))
    snapshot = replace(host, repository=repository, registries=(registry,) if registry else ())
    findings = [finding.as_dict() for finding in run_checks(snapshot, wanted)]
    facts = facts_of(snapshot, wanted)
    listener = listen(snapshot, wanted, params["listen"])
    return {
        "changed": False,
        "findings": findings,
        "facts": {**facts, "listener": listener, "epoch": {"begin": begin, "end": time.time()}},
    }


def main() -> None:
    """Entry point."""
    run_module(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), body)


if __name__ == "__main__":
    main()
