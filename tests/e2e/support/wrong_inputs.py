# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs that cannot work, and what the message about each has to say.

Every case changes a sound inventory in one point. The message has to hold each of the given words: the name of the
variable or of the host, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Inventory = dict[str, Any]


@dataclass(frozen=True)
class WrongInput:
    """One mistake of an operator."""

    mistake: str
    words: tuple[str, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Inventory], None] | None = None


def group(inventory: Inventory, name: str) -> dict[str, Any]:
    """Hosts of a group with their variables."""
    hosts: dict[str, Any] = inventory["k8s_cluster"]["children"][name]["hosts"]
    return hosts


def _same_address_twice(inventory: Inventory) -> None:
    for host in group(inventory, "workers").values():
        host["cluster_node_ip"] = "10.77.250.21"


def _address_of_another_machine(inventory: Inventory) -> None:
    first = next(iter(group(inventory, "workers").values()))
    first["cluster_node_ip"] = "10.77.250.99"


def _no_control_plane(inventory: Inventory) -> None:
    group(inventory, "control_plane").clear()


def _worker_in_control_plane(inventory: Inventory) -> None:
    workers = group(inventory, "workers")
    group(inventory, "control_plane").clear()
    group(inventory, "control_plane").update(workers)


def _host_in_both_groups(inventory: Inventory) -> None:
    group(inventory, "workers").update(group(inventory, "control_plane"))


def _empty(inventory: Inventory) -> None:
    for name in ("control_plane", "workers"):
        group(inventory, name).clear()


def _one_machine_under_two_names(inventory: Inventory) -> None:
    workers = group(inventory, "workers")
    workers["the-same-again"] = dict(next(iter(workers.values())))


WRONG_INPUTS = (
    WrongInput("an unknown network", ("cluster_cni", "flannel"), {"cluster_cni": "weave"}),
    WrongInput(
        "pods and Services in one range",
        ("cluster_pod_cidr", "cluster_service_cidr", "overlap"),
        {"cluster_pod_cidr": "10.96.0.0/16"},
    ),
    WrongInput("pods in the range of the nodes", ("cluster_pod_cidr", "10.77."), {"cluster_pod_cidr": "10.77.0.0/16"}),
    WrongInput(
        "Services in the range of the nodes",
        ("cluster_service_cidr", "10.77."),
        {"cluster_service_cidr": "10.77.0.0/16"},
    ),
    WrongInput("a range with an impossible length", ("cluster_pod_cidr",), {"cluster_pod_cidr": "10.244.0.0/33"}),
    WrongInput("a range that is no network address", ("cluster_pod_cidr",), {"cluster_pod_cidr": "10.244.1.1/16"}),
    WrongInput("a range that is no range at all", ("cluster_service_cidr",), {"cluster_service_cidr": "services"}),
    WrongInput(
        "pods with IPv6 and Services without",
        ("cluster_service_cidr", "cluster_pod_cidr"),
        {"cluster_pod_cidr": "10.244.0.0/16,fd00:244::/56"},
    ),
    WrongInput(
        "families in another order",
        ("cluster_service_cidr", "in the same order"),
        {
            "cluster_pod_cidr": "10.244.0.0/16,fd00:244::/56",
            "cluster_service_cidr": "fd00:96::/112,10.96.0.0/12",
        },
    ),
    WrongInput(
        "a range of pods with more parts than kubeadm keeps",
        ("cluster_pod_cidr", "/48"),
        {
            "cluster_pod_cidr": "10.244.0.0/16,fd00:244::/32",
            "cluster_service_cidr": "10.96.0.0/12,fd00:96::/112",
        },
    ),
    WrongInput(
        "networks of both families for nodes of one",
        ("cluster_node_cidr", "one family"),
        {"cluster_node_cidr": "10.77.0.0/16,fd77::/64"},
    ),
    WrongInput(
        "a range of Services too large", ("cluster_service_cidr", "/12"), {"cluster_service_cidr": "10.0.0.0/8"}
    ),
    WrongInput(
        "a range of pods smaller than one node's", ("cluster_pod_cidr", "/24"), {"cluster_pod_cidr": "10.244.0.0/25"}
    ),
    WrongInput(
        "a range of pods too small for the nodes", ("cluster_pod_cidr", "/24"), {"cluster_pod_cidr": "10.244.0.0/24"}
    ),
    WrongInput(
        "a version that is none", ("cluster_kubernetes_version", "1.36"), {"cluster_kubernetes_version": "latest"}
    ),
    WrongInput(
        "a version with a v", ("cluster_kubernetes_version", "1.36.3"), {"cluster_kubernetes_version": "v1.36.3"}
    ),
    WrongInput(
        "a version that the repository does not have",
        ("cluster_kubernetes_version", "1.36.99"),
        {"cluster_kubernetes_version": "1.36.99"},
    ),
    WrongInput(
        "a minor that is not supported",
        ("cluster_kubernetes_version", "1.34"),
        {"cluster_kubernetes_version": "1.20"},
    ),
    WrongInput("one address for two hosts", ("cluster_node_ip", "worker-1", "worker-2"), change=_same_address_twice),
    WrongInput(
        "an address that the host does not have",
        ("cluster_node_ip", "worker-1", "10.77.250.99"),
        change=_address_of_another_machine,
    ),
    WrongInput(
        "a node network in which no host is",
        ("cluster_node_cidr", "192.0.2.0/24"),
        {"cluster_node_cidr": "192.0.2.0/24"},
    ),
    WrongInput("an address that is none", ("cluster_node_ip", "10.77.1"), {"cluster_node_ip": "10.77.1"}),
    WrongInput("no control plane node", ("control_plane", "one host"), change=_no_control_plane),
    WrongInput(
        "two control plane nodes and nothing before them",
        ("control_plane", "cluster_vip"),
        change=_worker_in_control_plane,
    ),
    WrongInput("a host in both groups", ("master-1", "control_plane", "workers"), change=_host_in_both_groups),
    WrongInput("an inventory without hosts", ("k8s_cluster", "inventories/"), change=_empty),
    WrongInput("one machine under two names", ("worker-1", "the-same-again"), change=_one_machine_under_two_names),
    WrongInput(
        "a misspelt variable",
        ("containerd_registry_miror", "containerd_registry_mirrors"),
        {"containerd_registry_miror": {}},
    ),
    WrongInput("a variable of the wrong type", ("kube_packages_hold",), {"kube_packages_hold": "perhaps"}),
    WrongInput("a list where a dictionary belongs", ("prereqs_sysctls",), {"prereqs_sysctls": ["net.ipv4.ip_forward"]}),
    WrongInput("an endpoint with a port", ("cluster_endpoint", "port"), {"cluster_endpoint": "api.example.org:6443"}),
    WrongInput(
        "an endpoint address that is a name",
        ("cluster_endpoint_address",),
        {"cluster_endpoint_address": "balancer.example.org"},
    ),
    WrongInput("capital letters in the cluster's name", ("cluster_name", "a-z"), {"cluster_name": "Production"}),
    WrongInput("a name that no certificate can carry", ("cluster_extra_sans",), {"cluster_extra_sans": ["api_1"]}),
    WrongInput("a port that no socket can have", ("cluster_api_port", "65535"), {"cluster_api_port": 70000}),
    WrongInput("a port that is no number", ("cluster_api_port",), {"cluster_api_port": "https"}),
    WrongInput(
        "an image repository with a scheme",
        ("cluster_image_repository", "scheme"),
        {"cluster_image_repository": "https://registry.example.org"},
    ),
    WrongInput(
        "a package repository that does not answer",
        ("kube_packages_repository_url", "10.77.0.1:9"),
        {"kube_packages_repository_url": "http://10.77.0.1:9/deb/"},
    ),
    WrongInput(
        "a package repository that is none",
        ("kube_packages_repository_url",),
        {"kube_packages_repository_url": "http://10.77.0.1:8080/nothing/here/"},
    ),
    WrongInput(
        "a signing key that is not there",
        ("kube_packages_repository_key_url",),
        {"kube_packages_repository_key_url": "http://10.77.0.1:8080/nothing/Release.key"},
    ),
    WrongInput(
        "a registry mirror without URL",
        ("containerd_registry_mirrors", "url"),
        {"containerd_registry_mirrors": {"docker.io": [{"capabilities": ["pull"]}]}},
    ),
    WrongInput("an unknown source of containerd", ("containerd_source", "distribution"), {"containerd_source": "snap"}),
    WrongInput("a token life that is no duration", ("workers_token_ttl",), {"workers_token_ttl": "a while"}),
    WrongInput(
        "a waived finding that does not exist", ("prereqs_preflight_ignore",), {"prereqs_preflight_ignore": ["NumCPU"]}
    ),
)
