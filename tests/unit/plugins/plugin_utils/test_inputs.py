# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule about the operator's values, with the values that break it."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.plugin_utils._inputs import (
    COMMON_VARIABLES,
    FIREWALL_SOURCES,
    check_common_values,
    check_distinct_node_addresses,
    check_free_vip,
    check_groups,
    check_room_for_nodes,
    check_spelling,
    check_values,
    check_version_is_text,
)

from tests.unit.conftest import ROOT

# The last two are what the expressions in the defaults come to.
DEFAULTS = {
    **yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8")),
    "cluster_endpoint": "api.kubernetes.internal",
    "cluster_endpoint_port": 6443,
    "cluster_load_balancer": "none",
}
DUAL = {"cluster_pod_cidr": "10.244.0.0/16,fd00:10::/56", "cluster_service_cidr": "10.96.0.0/16,fd00:96::/108"}
VIP = {"cluster_load_balancer": "keepalived", "cluster_vip": "192.0.2.100"}
ETCD = {
    "endpoints": ["https://192.0.2.31:2379", "https://[2001:db8::31]:2379", "https://etcd-3.example.org:2379"],
    "ca": "files/etcd-ca.crt",
    "certificate": "files/etcd-client.crt",
    "key": "files/etcd-client.key",
}
NAMES = {"control_plane": "control_plane", "workers": "workers"}


def test_defaults_break_no_rule():
    assert check_values(DEFAULTS) == []


@pytest.mark.parametrize(
    "values",
    [
        {"cluster_kubernetes_version": "1.36.3"},
        {"cluster_pod_cidr": "10.244.0.0/16,fd00:10::/56", "cluster_service_cidr": "10.96.0.0/16,fd00:96::/108"},
        {"cluster_endpoint": "192.0.2.10", "cluster_endpoint_address": "192.0.2.10"},
        {"cluster_extra_sans": ["*.example.org", "k8s.example.org", "2001:db8::1"]},
        {"cluster_node_ip": "192.0.2.5", "cluster_node_cidr": "192.168.56.0/24"},
        {
            "cluster_node_ip": "2001:db8::5",
            "cluster_pod_cidr": "fd00:244::/56",
            "cluster_service_cidr": "fd00:96::/112",
        },
        {"cluster_node_ip": "192.0.2.5, 2001:db8::5", "cluster_node_cidr": "192.0.2.0/24,2001:db8::/64", **DUAL},
        {"cluster_node_ip": "2001:db8::5", **DUAL},
        {"cluster_pod_cidr": "fd00:10::/56,10.244.0.0/16", "cluster_service_cidr": "fd00:96::/108,10.96.0.0/16"},
        {"cluster_image_repository": "registry.example.org:5000/kubernetes"},
        {"containerd_registry_mirrors": {"docker.io": [{"url": "http://10.0.0.1:5000", "capabilities": ["pull"]}]}},
        {"workers_token_ttl": "1h30m"},
        {"control_plane_token_ttl": "45m"},
        {"prereqs_preflight_ignore": ["memory", "quorum-lost", "host-unreachable"]},
        VIP,
        {**VIP, "cluster_endpoint_port": 8443, "prereqs_hosts_enabled": False},
        {"cluster_load_balancer": "external", "cluster_endpoint_address": "192.0.2.5", "cluster_endpoint_port": 443},
        {"cluster_load_balancer": "external", "prereqs_hosts_enabled": False},
        {"cluster_load_balancer": "external", "cluster_endpoint": "192.0.2.5"},
        {"cluster_load_balancer": "none", "cluster_api_port": 8443, "cluster_endpoint_port": "8443"},
        {"control_plane_external_etcd": {}},
        {"control_plane_external_etcd": ETCD},
        {"control_plane_kubeconfig_server": ""},
        {"control_plane_kubeconfig_server": "https://[2001:db8::5]"},
        {"control_plane_kubeconfig_server": "https://api.example.org:6443/clusters/one"},
        {"firewall_api_sources": ["198.51.100.5", "198.51.100.0/24", "2001:db8::/32"]},
        {"firewall_ssh_sources": ["0.0.0.0/0", "::/0"], "firewall_ssh_ports": [22, 2022]},
        {"firewall_cluster_ports": ["9100/tcp", "9000:9010/udp"], "firewall_node_port_range": "20000:22767"},
        {"firewall_rules_before": [{"target": "drop", "sources": ["198.51.100.9"], "ports": None}]},
        {"firewall_rules_after": [{"target": "accept", "protocol": "tcp", "ports": ["80"], "comment": "web"}]},
        {"firewall_rollback_seconds": 10},
        {"firewall_enabled": True, **VIP},
        {"firewall_enabled": True, "cluster_load_balancer": "external", "cluster_endpoint_address": "192.0.2.5"},
        {
            "firewall_enabled": True,
            "cluster_load_balancer": "external",
            "prereqs_hosts_enabled": False,
            "firewall_api_sources": ["192.0.2.5"],
        },
        {"firewall_enabled": False, "cluster_load_balancer": "external", "prereqs_hosts_enabled": False},
        {"cluster_proxy_mode": "nftables", "control_plane_kube_proxy_configuration": {"mode": "nftables"}},
        {"cluster_proxy_mode": "nftables", "control_plane_kube_proxy_configuration": {"ipvs": {"scheduler": "sh"}}},
        {"cluster_proxy_mode": "iptables", "control_plane_kube_proxy_configuration": {"mode": ""}},
        {"metallb_enabled": True},
        {"metallb_enabled": True, "metallb_address_pools": [{"name": "web", "addresses": ["192.0.2.200/30"]}]},
        {"metallb_enabled": False, "metallb_address_pools": [{"name": "web", "addresses": ["10.96.0.0/30"]}]},
        {
            "metallb_enabled": True,
            "metallb_state": "absent",
            "metallb_address_pools": [{"name": "web", "addresses": ["10.96.0.0/30"]}],
        },
    ],
    ids=lambda values: next(iter(values)),
)
def test_usable_values(values):
    assert check_values({**DEFAULTS, **values}) == []


@pytest.mark.parametrize(
    ("values", "subject"),
    [
        ({"cluster_kubernetes_version": "v1.36"}, "cluster_kubernetes_version"),
        ({"cluster_kubernetes_version": "latest"}, "cluster_kubernetes_version"),
        ({"cluster_kubernetes_version": "1.19"}, "cluster_kubernetes_version"),
        ({"cluster_pod_cidr": "10.244.0.1/16"}, "cluster_pod_cidr"),
        ({"cluster_pod_cidr": "pods"}, "cluster_pod_cidr"),
        ({"cluster_pod_cidr": "10.244.0.0/16,10.245.0.0/16"}, "cluster_pod_cidr"),
        ({"cluster_pod_cidr": "10.96.0.0/16"}, "cluster_pod_cidr"),
        ({"cluster_service_cidr": "10.0.0.0/8", "cluster_pod_cidr": "192.168.0.0/16"}, "cluster_service_cidr"),
        ({"cluster_service_cidr": "fd00:96::/108"}, "cluster_service_cidr"),
        ({**DUAL, "cluster_service_cidr": "fd00:96::/108,10.96.0.0/16"}, "cluster_service_cidr"),
        ({**DUAL, "cluster_service_cidr": "10.96.0.0/16,fd00:96::/104"}, "cluster_service_cidr"),
        ({**DUAL, "cluster_pod_cidr": "10.244.0.0/16,fd00:96::/56"}, "cluster_pod_cidr"),
        ({"cluster_node_ip": "eth0"}, "cluster_node_ip"),
        ({"cluster_node_ip": "192.0.2.5,eth0", **DUAL}, "cluster_node_ip"),
        ({"cluster_node_ip": "192.0.2.5,192.0.2.6", **DUAL}, "cluster_node_ip"),
        ({"cluster_node_ip": "192.0.2.5,2001:db8::5"}, "cluster_node_ip"),
        ({"cluster_node_cidr": "192.0.2.0/24,2001:db8::/64"}, "cluster_node_cidr"),
        ({"cluster_node_cidr": "192.0.2.0/24,198.51.100.0/24", **DUAL}, "cluster_node_cidr"),
        ({"cluster_node_ip": "2001:db8::5"}, "cluster_node_ip"),
        ({"cluster_node_cidr": "2001:db8::/64"}, "cluster_node_cidr"),
        ({"cluster_node_cidr": "192.168.56.1"}, None),
        ({"cluster_node_cidr": "192.168.56.1/24"}, "cluster_node_cidr"),
        ({"cluster_endpoint": "api.internal:6443"}, "cluster_endpoint"),
        ({"cluster_endpoint": "API.internal"}, "cluster_endpoint"),
        ({"cluster_endpoint_address": "lb.example.org"}, "cluster_endpoint_address"),
        ({"cluster_api_port": 70000, "cluster_endpoint_port": 70000}, ["cluster_endpoint_port", "cluster_api_port"]),
        ({**VIP, "cluster_endpoint_port": 0}, "cluster_endpoint_port"),
        ({"cluster_endpoint_port": 8443}, "cluster_endpoint_port"),
        ({**VIP, "cluster_vip": "api.internal"}, "cluster_vip"),
        ({**VIP, "cluster_vip": "10.244.7.1"}, "cluster_vip"),
        ({**VIP, "cluster_vip": "10.96.0.10"}, "cluster_vip"),
        ({**VIP, "cluster_vip": "10.96.0.10", "cluster_pod_cidr": "pods"}, ["cluster_pod_cidr", "cluster_vip"]),
        ({"cluster_load_balancer": "keepalived"}, "cluster_load_balancer"),
        ({**VIP, "cluster_load_balancer": "none"}, "cluster_vip"),
        ({**VIP, "cluster_load_balancer": "external", "cluster_endpoint_address": "192.0.2.5"}, "cluster_vip"),
        ({"cluster_load_balancer": "external"}, "cluster_load_balancer"),
        ({"control_plane_external_etcd": {**ETCD, "cert": "x"}}, "control_plane_external_etcd"),
        ({"control_plane_external_etcd": {**ETCD, "endpoints": []}}, "control_plane_external_etcd"),
        ({"control_plane_external_etcd": {**ETCD, "endpoints": "https://e:2379"}}, "control_plane_external_etcd"),
        ({"control_plane_external_etcd": {**ETCD, "endpoints": ["http://e:2379"]}}, "control_plane_external_etcd"),
        ({"control_plane_external_etcd": {**ETCD, "endpoints": ["https://e:2379/v3"]}}, "control_plane_external_etcd"),
        ({"control_plane_external_etcd": {**ETCD, "key": ""}}, "control_plane_external_etcd"),
        ({"control_plane_external_etcd": {"endpoints": ETCD["endpoints"]}}, ["control_plane_external_etcd"] * 3),
        ({"control_plane_kubeconfig_server": "203.0.113.5:6443"}, "control_plane_kubeconfig_server"),
        ({"control_plane_kubeconfig_server": "http://203.0.113.5:6443"}, "control_plane_kubeconfig_server"),
        ({"control_plane_kubeconfig_server": "https://203.0.113.5:6443 "}, "control_plane_kubeconfig_server"),
        ({"cluster_extra_sans": ["k8s_example"]}, "cluster_extra_sans"),
        ({"cluster_name": "My Cluster"}, "cluster_name"),
        ({"cluster_dns_domain": "cluster..local"}, "cluster_dns_domain"),
        ({"cluster_image_repository": "https://registry.example.org"}, "cluster_image_repository"),
        ({"cluster_image_repository": "registry.example.org/"}, "cluster_image_repository"),
        ({"containerd_registry_mirrors": {"docker.io": "http://mirror"}}, "containerd_registry_mirrors, docker.io"),
        ({"containerd_registry_mirrors": {"docker.io": ["http://mirror"]}}, "containerd_registry_mirrors, docker.io"),
        (
            {"containerd_registry_mirrors": {"quay.io": [{"capabilities": ["pull"]}]}},
            "containerd_registry_mirrors, quay.io",
        ),
        ({"containerd_registry_mirrors": {"quay.io": [{"url": "mirror"}]}}, "containerd_registry_mirrors, quay.io"),
        (
            {"containerd_registry_mirrors": {"quay.io": [{"url": "http://mirror", "insecure": True}]}},
            "containerd_registry_mirrors, quay.io",
        ),
        (
            {"containerd_registry_mirrors": {"quay.io": [{"url": "http://mirror", "capabilities": ["read"]}]}},
            "containerd_registry_mirrors, quay.io",
        ),
        ({"workers_token_ttl": "a while"}, "workers_token_ttl"),
        ({"control_plane_token_ttl": "soon", "workers_token_ttl": "30m"}, "control_plane_token_ttl"),
        ({"prereqs_preflight_ignore": ["NumCPU"]}, "prereqs_preflight_ignore"),
        ({"prereqs_preflight_ignore": ["memori"]}, "prereqs_preflight_ignore"),
        *(
            ({name: ["192.0.2.1/24", "here", "192.0.2.1"]}, [name] * 2)
            for name in (*FIREWALL_SOURCES, "firewall_ssh_sources")
        ),
        ({"firewall_ssh_sources": []}, "firewall_ssh_sources"),
        ({"firewall_ssh_ports": [0, 22, 70000]}, ["firewall_ssh_ports"] * 2),
        ({"firewall_cluster_ports": ["9100", "9100/tcp"]}, "firewall_cluster_ports"),
        ({"firewall_node_port_range": "30000-32767"}, "firewall_node_port_range"),
        ({"firewall_rules_before": [{"target": "accept", "ports": ["80"]}]}, "firewall_rules_before"),
        ({"firewall_rules_after": [{"target": "accept"}, {"target": "jump"}]}, "firewall_rules_after"),
        ({"firewall_rollback_seconds": 5}, "firewall_rollback_seconds"),
        (
            {"cluster_proxy_mode": "iptables", "control_plane_kube_proxy_configuration": {"mode": "ipvs"}},
            "control_plane_kube_proxy_configuration",
        ),
        (
            {"cluster_proxy_mode": "nftables", "control_plane_kube_proxy_configuration": {"mode": ""}},
            "control_plane_kube_proxy_configuration",
        ),
        (
            {"metallb_enabled": True, "metallb_address_pools": [{"name": "web", "addresses": ["10.96.0.0/30"]}]},
            "metallb_address_pools",
        ),
        (
            {"firewall_enabled": True, "cluster_load_balancer": "external", "prereqs_hosts_enabled": False},
            "firewall_api_sources",
        ),
    ],
)
def test_unusable_values_are_named(values, subject):
    violations = check_values({**DEFAULTS, **values})
    subjects = subject if isinstance(subject, list) else [subject] if subject else []
    assert [violation.subject for violation in violations] == subjects


def test_every_violation_is_reported_at_once():
    violations = check_values({**DEFAULTS, **VIP, "cluster_name": "A", "cluster_pod_cidr": "x", "cluster_api_port": 0})
    assert {violation.subject for violation in violations} == {"cluster_name", "cluster_pod_cidr", "cluster_api_port"}


def test_a_violation_reads_as_a_sentence():
    (violation,) = check_values({**DEFAULTS, **VIP, "cluster_api_port": 0})
    assert str(violation) == "cluster_api_port: found 0, expected a port from 1 to 65535"


@pytest.mark.parametrize(
    ("control_plane", "workers", "subjects"),
    [
        (["a"], ["b", "c"], []),
        (["a"], [], []),
        ([], ["b"], ["group control_plane"]),
        (["a", "b", "c"], ["d"], []),
        (["a"], ["a", "b"], ["host a"]),
    ],
)
def test_groups(control_plane, workers, subjects):
    members = [*control_plane, *workers]
    assert [violation.subject for violation in check_groups(control_plane, workers, NAMES, members=members)] == subjects


def test_two_modes_of_kube_proxy_are_both_named():
    configuration = {"cluster_proxy_mode": "nftables", "control_plane_kube_proxy_configuration": {"mode": "ipvs"}}
    (violation,) = check_values({**DEFAULTS, **configuration})
    assert str(violation) == (
        "control_plane_kube_proxy_configuration: found mode 'ipvs' with cluster_proxy_mode nftables, "
        "expected the mode in cluster_proxy_mode alone"
    )


def test_one_address_cannot_lead_to_several_control_plane_hosts():
    assert check_groups(["a"], ["b"], NAMES, one_address=True) == []
    (violation,) = check_groups(["a", "b"], [], NAMES, one_address=True)
    assert violation.found == "2 hosts with cluster_load_balancer none"
    for variable in ("cluster_vip", "cluster_endpoint_address", "prereqs_hosts_enabled"):
        assert variable in violation.expected


def test_a_host_that_is_to_become_nothing():
    (violation,) = check_groups(["a"], ["b"], NAMES, members=["a", "b", "c"])
    assert str(violation) == (
        "host c: found membership in k8s_cluster alone, expected membership in control_plane or workers, which tells "
        "what it becomes"
    )


@pytest.mark.parametrize(
    ("pod_cidr", "arguments", "hosts", "enough"),
    [
        ("10.244.0.0/16", [], 256, True),
        ("10.244.0.0/16", [], 257, False),
        ("10.244.0.0/26", [], 1, False),
        ("10.244.0.0/24", [{"name": "node-cidr-mask-size", "value": "26"}], 4, True),
        ("10.244.0.0/16,fd00:10::/62", [], 5, False),
        ("10.244.0.0/16,fd00:10::/62", [{"name": "node-cidr-mask-size-ipv6", "value": "72"}], 5, True),
        ("10.244.0.0/16,fd00:10::/48", [], 5, True),
        ("10.244.0.0/16,fd00:10::/47", [], 5, False),
        ("fd00:10::/56", [{"name": "node-cidr-mask-size-ipv6", "value": "80"}], 5, False),
        ("10.0.0.0/8", [{"name": "node-cidr-mask-size", "value": "26"}], 5, False),
        ("fd00:10::/32", [{"name": "allocate-node-cidrs", "value": "false"}], 5, True),
        ("10.244.0.0/16,fd00:10::/56", [{"name": "node-cidr-mask-size", "value": "24"}], 5, False),
    ],
)
def test_room_for_nodes(pod_cidr, arguments, hosts, enough):
    configuration = {"controllerManager": {"extraArgs": arguments}} if arguments else {}
    assert (check_room_for_nodes(pod_cidr, configuration, hosts) == []) is enough


def test_a_version_without_quotes_is_refused():
    assert check_version_is_text({"cluster_kubernetes_version": "1.36"}) == []
    assert check_version_is_text({}) == []
    (violation,) = check_version_is_text({"cluster_kubernetes_version": 1.36})
    assert "quotes" in violation.expected


def test_what_the_cluster_shares_is_the_same_on_all_hosts():
    assert check_common_values({"a": {"cluster_name": "x"}, "b": {"cluster_name": "x"}}, COMMON_VARIABLES) == []
    (violation,) = check_common_values({"a": {"cluster_vip": "192.0.2.1"}, "b": {}}, COMMON_VARIABLES)
    assert violation.subject == "cluster_vip"
    assert violation.found == "192.0.2.1 on a, (default) on b"
    assert violation.expected == "one value for all hosts, in group_vars of k8s_cluster"


def test_one_address_on_two_hosts():
    assert check_distinct_node_addresses({"a": "192.0.2.1", "b": "192.0.2.2"}) == []
    (violation,) = check_distinct_node_addresses({"a": "192.0.2.1", "b": "192.0.2.1"})
    assert violation.found == "192.0.2.1 on a and b"
    both = {"a": "192.0.2.1, 2001:db8::1", "b": "192.0.2.2,2001:db8::1", "c": "192.0.2.3,2001:db8::3"}
    (violation,) = check_distinct_node_addresses(both)
    assert violation.found == "2001:db8::1 on a and b"


@pytest.mark.parametrize(
    ("vip", "hosts"),
    [
        ("", []),
        ("192.0.2.9", []),
        ("192.0.2.1", ["a"]),
        ("2001:db8::2", ["b"]),
        ("2001:db8::1", ["a"]),
        ("api.internal", []),
    ],
)
def test_a_virtual_address_that_is_a_hosts_own(vip, hosts):
    violations = check_free_vip(vip, {"a": "192.0.2.1, 2001:db8::1", "b": "2001:db8:0::2", "c": "eth0"})
    assert [violation.found for violation in violations] == [
        f"{vip}, which is cluster_node_ip of {host}" for host in hosts
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["cluster_pod_cidr", "unrelated"], []),
        (["cluster_pod_cdir"], ["cluster_pod_cdir"]),
        (["cluster_autoscaler_enabled"], []),
        (["podd_cidr"], []),
    ],
)
def test_near_misses_are_misspelt(given, found):
    violations = check_spelling(given, ["cluster_pod_cidr", "cluster_name"], ["cluster"])
    assert [violation.subject for violation in violations] == found
