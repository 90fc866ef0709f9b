# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways between the hosts, judged over all hosts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_role import CONTROL_PLANE, WORKER
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_across_hosts import CROSS_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_checks import facts_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Wanted
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_reachability import REACHABILITY_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_report import build_report
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import allows, needed_ports, peers

from tests.unit.preflight_samples import CLEAN

MASTERS = ("m1", "m2", "m3")
HOSTS = (*MASTERS, "w1", "w2", "w3", "w4")


def role(host):
    return CONTROL_PLANE if host in MASTERS else WORKER


def measured(failures=None, *, mtu=1500, needed=1500, occupied=(), hosts=HOSTS) -> dict[str, Any]:
    """What all hosts return where everything is well but for the given (source, target, port) with their outcomes."""
    failures = failures or {}
    results = {}
    for source in hosts:
        probes = []
        for target in peers(hosts, MASTERS, source):
            for port in needed_ports(role(target), api_port=6443, stacked_etcd=True, overlay_port=8472):
                if not allows(port.callers, role(source)):
                    continue
                probes.append(
                    {
                        "host": target,
                        "address": f"192.0.2.{hosts.index(target)}",
                        "protocol": port.protocol,
                        "port": port.number,
                        "purpose": port.purpose,
                        "echo": (target, port.number) not in occupied,
                        "result": "ok",
                        "reason": "",
                        "path_mtu": mtu if port.protocol == "udp" else None,
                        **failures.get((source, target, port.number), {}),
                    }
                )
        results[source] = {"listening": True, "mtu": mtu, "needed_mtu": needed, "epoch": 1000.0, "probes": probes}
    return results


def everybody(*targets, port, **outcome):
    """The given outcome for all that measure a port of some hosts."""
    return {
        (source, target, port): outcome
        for target in targets
        for source in HOSTS
        if target in peers(HOSTS, MASTERS, source)
    }


SILENT = {"result": "silent", "reason": "no answer", "path_mtu": None}
REFUSED = {"result": "refused", "reason": "Connection refused", "path_mtu": None}
NO_ROUTE = {"result": "unroutable", "reason": "Network is unreachable", "path_mtu": None}
FOREIGN = {"result": "foreign", "reason": "another program answers", "path_mtu": None}


def observations(results, ahead="", new=(), guarded=(), ruled=(), **listeners):
    """What the checks say, each as description and comparison."""
    facts = {
        host: {
            "reachability": results[host],
            "listener": {"problem": listeners.get(host, ""), "until": 1010.0, "ports": []},
            "clock_offset": {"seconds": 500.0 if host == ahead else 0.0, "uncertainty": 0.1},
            "cluster": {"known": host not in new},
            "guarded": host in guarded,
            "firewall": host in ruled,
        }
        for host in results
    }
    return [(check.description, comparison) for check in REACHABILITY_CHECKS for comparison in check.compare(facts, 30)]


def rows(results, **circumstances):
    """Findings as severity, id, hosts and what was found."""
    return [
        (
            comparison.observation.severity or description.severity,
            description.id,
            comparison.hosts,
            comparison.observation.found,
        )
        for description, comparison in observations(results, **circumstances)
    ]


def test_all_is_well():
    assert rows(measured()) == []


def test_hosts_that_measured_nothing():
    facts = {"m1": {"listener": None}, "w1": {}, "w2": {"listener": {"problem": "", "ports": []}}}
    assert [list(check.compare(facts, 30)) for check in REACHABILITY_CHECKS] == [[]] * len(REACHABILITY_CHECKS)


def test_one_host_drops_one_port():
    assert rows(measured(everybody("w1", port=10250, **SILENT))) == [
        (
            "error",
            "port-unreachable",
            ("w1",),
            "TCP 10250 (kubelet) from m1, m2, m3 to w1 is not answered, as where a firewall drops packets",
        )
    ]


def test_a_port_closed_everywhere_is_one_finding():
    assert rows(measured(everybody(*HOSTS, port=10250, **REFUSED))) == [
        (
            "error",
            "port-unreachable",
            MASTERS,
            "TCP 10250 (kubelet) from m1, m2, m3 to m1, m2, m3, w1, w2 and 2 more is refused (Connection refused)",
        )
    ]


def test_ports_of_one_host_are_one_finding():
    failures = {**everybody("m2", port=2379, **SILENT), **everybody("m2", port=2380, **SILENT)}
    failures = {key: value for key, value in failures.items() if key[0] in MASTERS}
    ((severity, name, hosts, found),) = rows(measured(failures))
    assert (severity, name, hosts) == ("error", "port-unreachable", ("m2",))
    assert found.startswith("TCP 2379 (etcd), TCP 2380 (etcd) from m1, m3 to m2 is not answered")


def test_a_host_that_lets_nothing_out_is_named_itself():
    failures = {("w1", target, 8472): SILENT for target in peers(HOSTS, MASTERS, "w1")}
    ((severity, name, hosts, found),) = rows(measured(failures))
    assert (severity, name, hosts) == ("error", "overlay-path", ("w1",))
    assert found.startswith("UDP 8472 (pod network) from w1 to m1, m2, m3, w2, w4 is not answered")


@pytest.mark.parametrize("outcome", [SILENT, REFUSED], ids=["drops", "rejects"])
@pytest.mark.parametrize("new", [("w1",), HOSTS, MASTERS], ids=["a new host", "no node at all", "new masters"])
@pytest.mark.parametrize("occupied", [(), [(master, 6443) for master in MASTERS]], ids=["listeners", "services"])
def test_rules_that_will_learn_of_a_host_are_no_finding(outcome, new, occupied):
    results = measured({("w1", master, 6443): outcome for master in MASTERS}, occupied=occupied)
    assert rows(results, new=new, guarded=MASTERS, ruled=MASTERS) == []


@pytest.mark.parametrize(
    ("new", "guarded", "ruled"),
    [((), MASTERS, MASTERS), (HOSTS, (), MASTERS), (HOSTS, MASTERS, ()), (HOSTS, HOSTS, ("w1",))],
    ids=["between nodes", "never renewed", "a first run", "rules of the source"],
)
@pytest.mark.parametrize("occupied", [(), [(master, 6443) for master in MASTERS]], ids=["listeners", "services"])
def test_rules_that_keep_a_host_out_for_good_are_one(new, guarded, ruled, occupied):
    results = measured({("w1", master, 6443): SILENT for master in MASTERS}, occupied=occupied)
    assert [row[1] for row in rows(results, new=new, guarded=guarded, ruled=ruled)] == ["port-unreachable"]


def test_rules_excuse_neither_a_missing_route_nor_another_program():
    results = measured({("w1", "m1", 6443): FOREIGN, ("w1", "m2", 6443): NO_ROUTE})
    found = rows(results, new=HOSTS, guarded=HOSTS, ruled=HOSTS)
    assert [row[1] for row in found] == ["node-unroutable", "port-unreachable"]


@pytest.mark.parametrize(("ruled", "named"), [(("m1", "m2"), True), ((), False)])
def test_rules_that_nobody_renews_have_a_remedy_of_their_own(ruled, named):
    results = measured({("w1", master, 6443): SILENT for master in MASTERS})
    ((_description, comparison),) = observations(results, new=("w1",), ruled=ruled)
    assert ("playbooks/firewall.yml" in comparison.observation.remedy) is named
    assert ("in force on m1, m2, where" in comparison.observation.remedy) is named


def test_one_direction_only():
    ((severity, name, hosts, found),) = rows(measured({("w1", "m1", 6443): FOREIGN}))
    assert (severity, name, hosts) == ("error", "port-unreachable", ("m1",))
    assert found == "TCP 6443 (kube-apiserver) from w1 to m1 is answered by something else (another program answers)"


def test_no_route():
    failures = {("w1", "m1", port): NO_ROUTE for port in (6443, 8472)}
    assert rows(measured(failures)) == [
        ("error", "node-unroutable", ("w1",), "no route from w1 to m1 (192.0.2.0): Network is unreachable")
    ]


@pytest.mark.parametrize(("needed", "severity"), [(1500, "error"), (1400, "warning")])
def test_a_path_that_carries_less(needed, severity):
    failures = everybody("w1", port=8472, path_mtu=1400)
    assert rows(measured(failures, needed=needed)) == [
        (
            severity,
            "path-mtu",
            ("w1",),
            "packets of 1500 bytes, the MTU of the interface, do not arrive from m1, m2, m3, w2, w4 to w1; 1400 do",
        )
    ]


def test_paths_that_carry_less_everywhere_are_one_finding():
    ((_severity, name, hosts, _found),) = rows(measured(everybody(*HOSTS, port=8472, path_mtu=1450)))
    assert (name, hosts) == ("path-mtu", HOSTS)


def test_an_interface_with_more_than_any_packet():
    assert rows(measured(everybody(*HOSTS, port=8472, path_mtu=65535), mtu=65536, needed=65536)) == []


def test_a_listener_that_had_gone_proves_nothing():
    results = measured(everybody("w1", port=10250, **REFUSED))
    results["w1"]["listening"] = False
    assert rows(results) == [
        ("warning", "reachability-unmeasured", ("w1",), "the listener ended before the measurement did")
    ]


def test_a_host_that_came_too_late_proves_nothing():
    results = measured({("m1", "w1", 10250): REFUSED, ("m2", "w1", 10250): SILENT})
    results["m1"]["epoch"] = 1020.0
    found = rows(results)
    assert found[0][:3] == ("error", "port-unreachable", ("w1",))
    assert "from m2 to w1" in found[0][3]
    assert [row[1] for row in found[1:]] == ["reachability-unmeasured"]


def test_clocks_that_disagree_make_nobody_late():
    results = measured(everybody("w1", port=10250, **SILENT))
    results["m1"]["epoch"] += 500
    assert [row[1] for row in rows(results, ahead="m1")][0] == "port-unreachable"
    assert "from m1, m2, m3 to w1" in rows(results, ahead="m1")[0][3]


def test_a_service_needs_no_listener():
    results = measured(everybody("w1", port=10250, **REFUSED), occupied=[("w1", 10250)])
    results["w1"]["listening"] = False
    assert [row[1] for row in rows(results)] == ["port-unreachable", "reachability-unmeasured"]


def test_a_listener_that_could_not_start():
    results = measured()
    results["w1"]["listening"] = False
    assert rows(results, w1="no listener could be started") == [
        ("warning", "reachability-unmeasured", ("w1",), "no listener could be started")
    ]


def test_the_registry_knows_them_all():
    assert set(REACHABILITY_CHECKS) <= set(CROSS_CHECKS)
    assert len({check.description.id for check in REACHABILITY_CHECKS}) == len(REACHABILITY_CHECKS)


def test_the_report_takes_measurements_of_hosts_that_were_read():
    facts = {**facts_of(CLEAN, Wanted()), "listener": None}
    report = build_report(
        {"w1": {"facts": facts, "findings": []}},
        reachability={"w1": measured(everybody("m1", port=6443, **SILENT))["w1"], "w9": {}},
        maximum_skew=30,
    )
    # The listener of m1 is not known to have been there.
    assert report.rows == ()
