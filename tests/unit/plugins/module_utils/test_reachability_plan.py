# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports nodes need of each other, and who measures whom."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.filter.reachability_peers import FilterModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE, WORKER
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import (
    allows,
    label,
    needed_mtu,
    needed_ports,
    peers,
    probe_sizes,
)


@pytest.mark.parametrize(
    ("role", "api_port", "stacked", "overlay", "expected"),
    [
        (WORKER, 6443, True, 8472, ["tcp 10250 control_plane", "udp 8472 node"]),
        (WORKER, 6443, True, 0, ["tcp 10250 control_plane"]),
        (
            CONTROL_PLANE,
            7443,
            True,
            8472,
            [
                "tcp 10250 control_plane",
                "tcp 7443 node",
                "tcp 2379 control_plane",
                "tcp 2380 control_plane",
                "udp 8472 node",
            ],
        ),
        (CONTROL_PLANE, 6443, False, 51820, ["tcp 10250 control_plane", "tcp 6443 node", "udp 51820 node"]),
    ],
)
def test_needed_ports(role, api_port, stacked, overlay, expected):
    ports = needed_ports(role, api_port=api_port, stacked_etcd=stacked, overlay_port=overlay)
    assert [f"{port.protocol} {port.number} {port.callers}" for port in ports] == expected


HOSTS = ["w4", "m2", "w1", "m1", "w3", "w2", "w5"]
MASTERS = ["m1", "m2"]


@pytest.mark.parametrize(
    ("hosts", "masters", "host", "expected"),
    [
        (["m1"], ["m1"], "m1", []),
        (["m1", "w1"], ["m1"], "w1", ["m1"]),
        (["m1", "w1"], ["m1"], "m1", ["w1"]),
        (["m1", "w1", "w2"], ["m1"], "w1", ["m1", "w2"]),
        (["w1"], [], "w1", []),
        (HOSTS, MASTERS, "m2", ["m1", "w1", "w2", "w3", "w4", "w5"]),
        (HOSTS, MASTERS, "w1", ["m1", "m2", "w2", "w5"]),
        (HOSTS, MASTERS, "w3", ["m1", "m2", "w2", "w4"]),
        (HOSTS, MASTERS, "w5", ["m1", "m2", "w1", "w4"]),
    ],
)
def test_peers(hosts, masters, host, expected):
    assert peers(hosts, masters, host) == expected


@pytest.mark.parametrize(("masters", "workers"), [(1, 1), (1, 3), (3, 0), (3, 7), (3, 100)])
def test_whom_a_host_measures_is_who_measures_it_and_their_number_grows_with_the_hosts(masters, workers):
    control_plane = [f"m{number}" for number in range(masters)]
    everybody = control_plane + [f"w{number:03}" for number in range(workers)]
    measured = {host: peers(everybody, control_plane, host) for host in everybody}
    assert all(host in measured[peer] for host in everybody for peer in measured[host])
    neighbours = min(2, workers - 1)
    assert sum(map(len, measured.values())) == masters * (masters - 1 + workers) + workers * (masters + neighbours)


def test_the_filter_leaves_out_control_plane_hosts_of_other_plays():
    peers_of = FilterModule().filters()["reachability_peers"]
    assert peers_of(["w1", "w2", "m1"], "w1", ["m1", "m2"]) == ["m1", "w2"]


@pytest.mark.parametrize(
    ("mtu", "sizes"),
    [
        (1500, (1500, 1450, 1400, 1280)),
        (1400, (1400, 1350, 1280)),
        (9000, (9000, 8950, 1500, 1450, 1400, 1280)),
        (1280, (1280, 1230)),
        (65536, (65535, 65485, 1500, 1450, 1400, 1280)),
    ],
)
def test_probe_sizes(mtu, sizes):
    assert probe_sizes(mtu) == sizes


@pytest.mark.parametrize(
    ("mtu", "overlay", "expected"),
    [(1500, 0, 1500), (1500, 1400, 1400), (1500, 9000, 1500)],
)
def test_needed_mtu(mtu, overlay, expected):
    assert needed_mtu(mtu, overlay) == expected


def test_who_calls():
    assert [allows("node", "worker"), allows("control_plane", "worker"), allows("control_plane", "control_plane")] == [
        True,
        False,
        True,
    ]


def test_a_port_is_named_once():
    kubelet = {"protocol": "tcp", "port": 10250, "purpose": "kubelet"}
    assert label([kubelet, {**kubelet, "port": 6443, "purpose": "kube-apiserver"}, kubelet]) == (
        "TCP 10250 (kubelet), TCP 6443 (kube-apiserver)"
    )
