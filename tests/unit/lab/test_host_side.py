# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab does on the host: packages, network, firewall, services, known hosts, podman's settings."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import yaml

from tests.lab import host, network, podman, services, ssh
from tests.lab.cli import as_table
from tests.lab.settings import Paths


def test_only_missing_packages_are_installed():
    assert host.missing_packages(["podman", "runc", "podman", "gcc"], ["runc", "bash"]) == ["gcc", "podman"]


def test_nodes_without_a_way_out_are_dropped_at_the_bridge():
    rules = network.guard_rules(way_out=False)
    assert rules[-1] == "-i gplab0 -j DROP"
    assert network.translation_rules(way_out=False) == []


def test_nothing_for_pods_services_or_nodes_leaves_by_another_interface():
    for way_out in (True, False):
        rules = network.guard_rules(way_out)
        drops = [rules.index(f"-d {cidr} -j DROP") for cidr in ("10.244.0.0/16", "10.96.0.0/12", "10.77.0.0/16")]
        assert rules.index("-o gplab0 -j RETURN") < rules.index("-o lo -j RETURN") < min(drops)
        assert not [rule for rule in rules[: min(drops)] if "ACCEPT" in rule and "-o gplab0" not in rule]


def test_ipv6_leads_to_nobody_but_nodes():
    rules = network.guard_rules_6()
    drops = [rules.index(f"-d {cidr} -j DROP") for cidr in ("fd00:10:244::/56", "fd00:10:96::/112", "fd77::/64")]
    assert rules.index("-o gplab0 -j RETURN") < rules.index("-o lo -j RETURN") < min(drops)
    assert [rule for rule in rules if "ACCEPT" in rule] == ["-i gplab0 -o gplab0 -j ACCEPT"]
    assert rules[-1] == "-i gplab0 -j DROP"


def test_each_family_has_a_guard_of_its_own(monkeypatch):
    commands = []
    monkeypatch.setattr(network, "run", lambda argv, **_options: commands.append(argv[0]))
    monkeypatch.setattr(network, "attempt", lambda argv: commands.append(argv[0]) or SimpleNamespace(returncode=1))
    network.GUARD_6.ensure(network.guard_rules_6())
    network.GUARD_6.remove()
    assert {command.removesuffix("-restore") for command in commands} == {"ip6tables"}


def test_nodes_with_a_way_out_are_translated():
    assert network.guard_rules(way_out=True)[-1] == "-i gplab0 -j ACCEPT"
    assert network.translation_rules(way_out=True) == ["-s 10.77.0.0/16 ! -o gplab0 -j MASQUERADE"]


def test_a_port_is_stale_when_no_node_is_at_its_other_end():
    ports = [{"ifname": "gplab0-a", "ifindex": 7}, {"ifname": "veth1", "ifindex": 8}, {"ifname": "veth2", "ifindex": 9}]
    assert network.stale_ports(ports, [9], []) == [ports[1]]


def test_the_port_of_a_running_machine_is_not_stale():
    ports = [{"ifname": "gplab0-a", "ifindex": 7}, {"ifname": "gplab-1-231", "ifindex": 8}]
    assert network.stale_ports(ports, [], ["gplab-1-231"]) == []
    assert network.stale_ports(ports, [], []) == [ports[1]]


def test_podman_gives_no_addresses():
    assert network.network_definition()["ipam_options"] == {"driver": "none"}


def test_services_listen_on_the_bridge_only():
    apt_proxy, registry, web = services.services(Paths(Path("/cache")))
    assert "BindAddress: 127.0.0.1 10.77.0.1\n" in apt_proxy.settings
    assert yaml.safe_load(registry.settings)["http"] == {"addr": "10.77.0.1:5000"}
    assert "10.77.0.1" in web.argv


def test_other_settings_are_another_mark():
    plain = services.services(Paths(Path("/cache")))[0]
    behind_proxy = services.services(Paths(Path("/cache")), "http://proxy.example:3128")[0]
    assert plain.mark != behind_proxy.mark
    assert plain.mark.startswith("apt-proxy ")


def test_host_keys_replace_those_of_the_same_address_only():
    text = "10.77.0.11 ssh-ed25519 OLD\n10.77.0.110 ssh-ed25519 KEPT\n"
    assert ssh.merge_known_hosts(text, {IPv4Address("10.77.0.11"): ["ssh-ed25519 NEW", "ssh-rsa NEW"]}) == (
        "10.77.0.110 ssh-ed25519 KEPT\n10.77.0.11 ssh-ed25519 NEW\n10.77.0.11 ssh-rsa NEW\n"
    )


def test_podman_uses_runc_and_the_given_limits():
    text = podman.containers_conf(Path("/state/networks"), {"nproc": 5, "nofile": 4}, systemd_on_host=False)
    assert 'default_ulimits = ["nofile=4:4", "nproc=5:5"]' in text
    assert 'runtime = "runc"' in text
    assert 'cgroup_manager = "cgroupfs"' in text


def test_tables_are_aligned():
    assert as_table([("A", "LONG"), ("longer", "x")]) == "A       LONG\nlonger  x"
