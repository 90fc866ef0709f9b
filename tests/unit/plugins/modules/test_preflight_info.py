# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of preflight_info."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    FOREIGN,
    OPEN,
    OURS,
    REFUSED,
    Answer,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import ClusterFiles, Listener
from ansible_collections.groundplane.kubeadm.plugins.modules import preflight_info

from tests.unit.preflight_samples import CLEAN, host

OPTIONS = {
    "role": "control_plane",
    "kubernetes_version": "1.36",
    "pod_cidr": "10.244.0.0/16",
    "service_cidr": "10.96.0.0/12",
}


@pytest.fixture
def preflight(run_main, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Run the module on a given snapshot."""

    def run(snapshot=CLEAN, check=False, **options):
        monkeypatch.setattr(preflight_info, "read_snapshot", lambda runner, wanted: snapshot)
        result: dict[str, Any] = run_main(preflight_info, {**OPTIONS, **options}, check=check)
        return result

    return run


@pytest.mark.parametrize("check", [False, True])
def test_a_clean_host(preflight, check):
    result = preflight(check=check)
    assert result["findings"] == []
    assert result["changed"] is False
    assert result["facts"]["node"]["address"] == "192.0.2.11"
    assert result["facts"]["epoch"]["begin"] <= result["facts"]["epoch"]["end"]


def test_findings_do_not_fail(preflight):
    result = preflight(host(cpus=1))
    assert [finding["id"] for finding in result["findings"]] == ["cpu-count"]
    assert "failed" not in result


def test_thresholds(preflight):
    assert preflight(host(cpus=1), thresholds={"cpus": 1})["findings"] == []


def test_options_reach_the_checks(preflight):
    result = preflight(pod_cidr="192.0.2.0/24", node_ip="192.0.2.99")
    assert [finding["id"] for finding in result["findings"]] == ["node-address-absent", "cidr-address-overlap"]
    assert result["facts"]["node"] is None


def test_the_virtual_address_reaches_the_checks(preflight):
    virtual = {"load_balancer": "keepalived", "vip": "203.0.113.100", "api_port": 7443}
    result = preflight(**virtual)
    assert [finding["id"] for finding in result["findings"]] == ["vip-outside-network"]
    assert result["facts"]["vip_holder"] is None


@pytest.mark.parametrize(("given", "port"), [({}, 7443), ({"endpoint_port": 443}, 443)])
def test_the_endpoint_reaches_the_checks(preflight, given, port):
    answering = host(endpoint=Answer(REFUSED, "Connection refused"))
    endpoint = {"load_balancer": "external", "endpoint": "api.example.com", "endpoint_address": "192.0.2.200"}
    (finding,) = preflight(answering, api_port=7443, **endpoint, **given)["findings"]
    assert finding["found"] == f"192.0.2.200, port {port}: Connection refused"


def test_every_option_reaches_the_checks():
    options = {
        **{name: option.get("default") for name, option in preflight_info.argument_spec().items()},
        **OPTIONS,
        "endpoint_in_hosts": False,
        "control_plane_addresses": ["192.0.2.11", "192.0.2.12"],
        "endpoint": "api.example.com",
        "local_etcd": False,
        "etcd_folder": "/data/etcd/",
        "image_repository": "registry.example.com",
        "sandbox_image": "registry.example.com/pause:3.10",
        "containerd_source": "docker",
        "proxy_mode": "ipvs",
        "proxy_scheduler": "sh",
    }
    wanted = preflight_info.wanted_of(options)
    assert wanted.endpoint_by_dns
    assert wanted.control_plane_addresses == ("192.0.2.11", "192.0.2.12")
    assert not wanted.local_etcd
    assert wanted.etcd_folder == "/data/etcd"
    assert wanted.image_repository == "registry.example.com"
    assert wanted.sandbox_image == "registry.example.com/pause:3.10"
    assert wanted.containerd_source == "docker"
    assert (wanted.proxy_mode, wanted.proxy_scheduler) == ("ipvs", "sh")


def test_asks_the_repository(preflight, monkeypatch):
    monkeypatch.setattr(preflight_info, "url_fetcher", lambda timeout: lambda url: b"nothing")
    result = preflight(repository_url="http://192.0.2.3/deb/")
    assert [finding["id"] for finding in result["findings"]] == ["package-version"]
    assert result["facts"]["package_version"] == ""


def test_asks_the_registries_of_a_host_that_is_no_node(preflight, monkeypatch):
    asked = []

    def prober(timeout):
        def probe(source):
            asked.append(source.url)
            return "timed out"

        return probe

    monkeypatch.setattr(preflight_info, "registry_prober", prober)
    result = preflight(image_sources=[{"url": "http://192.0.2.3:5000"}])
    assert [finding["id"] for finding in result["findings"]] == ["registry-unreachable"]
    assert result["findings"][0]["found"] == "http://192.0.2.3:5000: timed out"
    node = host(cluster=ClusterFiles(credentials=("kubelet.conf",)))
    assert preflight(node, image_sources=[{"url": "http://192.0.2.3:5000"}])["findings"] == []
    assert asked == ["http://192.0.2.3:5000"]


def test_a_version_that_is_none(preflight):
    result = preflight(kubernetes_version="latest")
    assert result["failed"]
    assert 'The Kubernetes version is "latest"' in result["msg"]


LISTEN = {"seconds": 90, "secret": "of this run", "overlay_port": 8472}


def test_leaves_a_listener(preflight, monkeypatch):
    started = []

    def start(ports, **options):
        started.append(([port.number for port in ports], options))
        return {"ports": [], "problem": ""}

    monkeypatch.setattr(preflight_info, "start_listener", start)
    result = preflight(listen=LISTEN, api_port=7443)
    assert started == [
        ([10250, 7443, 2379, 2380, 8472], {"address": "192.0.2.11", "secret": "of this run", "seconds": 90})
    ]
    until = result["facts"]["listener"].pop("until")
    assert 80 < until - result["facts"]["epoch"]["begin"] < 100
    assert result["facts"]["listener"] == {
        "address": "192.0.2.11",
        "mtu": 1500,
        "role": "control_plane",
        "ports": [],
        "problem": "",
    }
    assert "of this run" not in str(result)


SERVICES = (
    Listener(2379, "etcd", "127.0.0.1"),
    Listener(2380, "etcd", "192.0.2.11"),
    Listener(6443, "haproxy", "192.0.2.100"),
    Listener(10250, "kubelet", "::"),
)


@pytest.mark.parametrize(
    "cluster",
    [
        ClusterFiles(credentials=("kubelet.conf",)),
        ClusterFiles(record=True),
        ClusterFiles(credentials=("bootstrap-kubelet.conf",)),
        ClusterFiles(manifests=("etcd.yaml",)),
    ],
    ids=["a node", "an interrupted init", "an interrupted join", "static pods"],
)
def test_takes_no_port_from_a_program_that_may_just_be_starting(preflight, monkeypatch, cluster):
    monkeypatch.setattr(preflight_info, "start_listener", None)
    listener = preflight(host(cluster=cluster, listeners=SERVICES), listen=LISTEN)["facts"]["listener"]
    assert {entry["port"]: entry["state"] for entry in listener["ports"]} == {
        10250: "occupied",
        6443: "unmeasured",
        2379: "unmeasured",
        2380: "occupied",
        8472: "unmeasured",
    }
    assert (listener["address"], listener["problem"]) == ("192.0.2.11", "")


@pytest.mark.parametrize(
    ("outcome", "tls", "listening"),
    [(OPEN, True, False), (OPEN, False, True), (OURS, None, False), (FOREIGN, None, False), (REFUSED, None, True)],
)
def test_a_load_balancer_does_not_take_the_listener_for_an_api_server(preflight, monkeypatch, outcome, tls, listening):
    started, asked = [], []
    monkeypatch.setattr(preflight_info, "speaks_tls", lambda *where, **how: asked.append(where) or tls)
    monkeypatch.setattr(
        preflight_info, "start_listener", lambda ports, **options: started.extend(ports) or {"ports": [], "problem": ""}
    )
    balancer = {"load_balancer": "external", "endpoint": "api.example.com", "endpoint_address": "192.0.2.200"}
    result = preflight(host(endpoint=Answer(outcome)), listen=LISTEN, **balancer)
    assert (6443 in [port.number for port in started]) is listening
    left = [(port["port"], port["state"]) for port in result["facts"]["listener"]["ports"]]
    assert left == ([] if listening else [(6443, "unmeasured")])
    assert asked == ([("192.0.2.200", 6443)] if outcome == OPEN else [])


@pytest.mark.parametrize("options", [{}, {"listen": LISTEN, "node_ip": "192.0.2.99"}])
def test_leaves_no_listener(preflight, monkeypatch, options):
    monkeypatch.setattr(preflight_info, "start_listener", None)
    assert preflight(**options)["facts"]["listener"] is None


def test_ends_the_listener_of_an_earlier_run_before_it_looks_at_the_ports(run_main, monkeypatch):
    order = []
    monkeypatch.setattr(preflight_info, "dismiss_listener", lambda: order.append("dismissed"))
    monkeypatch.setattr(preflight_info, "read_snapshot", lambda runner, wanted: order.append("read") or CLEAN)
    run_main(preflight_info, OPTIONS)
    assert order == ["dismissed", "read"]


def test_reads_the_machine_under_the_tests(run_main):
    result = run_main(preflight_info, OPTIONS)
    assert result["facts"]["hostname"]
    for finding in result["findings"]:
        assert sorted(finding) == ["expected", "found", "id", "remedy", "severity"]
