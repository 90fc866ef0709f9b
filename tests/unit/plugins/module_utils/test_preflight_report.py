# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of hosts, waivers, the table and the sentence that stops a run."""

from __future__ import annotations

import re

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_across_hosts import CROSS_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_checks import CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_control_plane import (
    CONTROL_PLANE_CHECKS,
    Unreachable,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_report import (
    KNOWN_IDS,
    build_report,
    render,
    shorten_hosts,
)


def facts(number, **changes):
    """Facts of a host that shares nothing with the one of another number."""
    return {
        "hostname": f"host-{number}",
        "machine_id": f"{number:032x}",
        "product_uuid": f"5f2b8a52-7b5e-4d8e-9e0f-{number:012x}",
        "macs": [f"02:00:00:00:00:{number:02x}"],
        "node": {"address": f"192.0.2.{number}", "interface": "eth0", "mtu": 1500},
        "cluster": {"known": False, "server": "", "ca_hash": ""},
        **changes,
    }


def clock(seconds, uncertainty=0.1):
    return {"clock_offset": {"seconds": seconds, "uncertainty": uncertainty}}


def member(server, ca_hash):
    return {"cluster": {"known": True, "server": server, "ca_hash": ca_hash}}


def node(address, mtu, secondary=""):
    return {"node": {"address": address, "interface": "eth0", "mtu": mtu, "secondary": secondary}}


def finding(identifier="cpu-count", severity="error", found="1 CPU"):
    return {"id": identifier, "severity": severity, "found": found, "expected": "at least 2", "remedy": "Add CPUs."}


def results(*changes, findings=()):
    """Results of hosts a, b, ... with the given changes of their facts."""
    return {
        "abcdefghij"[index]: {"facts": facts(index + 1, **change), "findings": list(findings), "changed": False}
        for index, change in enumerate(changes)
    }


def report(hosts, **options):
    return build_report(hosts, maximum_skew=options.pop("maximum_skew", 30), **options)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param({}, {}, [], id="two machines"),
        pytest.param({"hostname": "debian"}, {"hostname": "Debian"}, ["duplicate-hostname:error"], id="one hostname"),
        pytest.param(
            {"macs": ["02:aa", "02:bb"]}, {"macs": ["02:aa", "02:bb"]}, ["duplicate-mac:error"], id="cloned cards"
        ),
        pytest.param({"macs": ["02:aa"]}, {"macs": ["02:bb"]}, [], id="own cards"),
        pytest.param(
            {"product_uuid": "5f2b"}, {"product_uuid": "5f2b"}, ["duplicate-product-uuid:error"], id="cloned firmware"
        ),
        pytest.param({"product_uuid": ""}, {"product_uuid": ""}, [], id="no firmware"),
        pytest.param(
            {"product_uuid": "00000000-0000"}, {"product_uuid": "00000000-0000"}, [], id="firmware without a number"
        ),
        pytest.param({"machine_id": "9"}, {"machine_id": "9"}, ["duplicate-machine-id:error"], id="cloned system"),
        pytest.param(
            node("10.0.2.15", 1500), node("10.0.2.15", 1500), ["duplicate-node-address:error"], id="the NAT interface"
        ),
        pytest.param(
            node("192.0.2.1", 1500, "fd00::15"),
            node("192.0.2.2", 1500, "fd00::15"),
            ["duplicate-node-address:error"],
            id="one second address",
        ),
        pytest.param(
            node("192.0.2.1", 1500, "fd00::1"), node("192.0.2.2", 1500, "fd00::2"), [], id="addresses of both families"
        ),
        pytest.param({"node": None}, {"node": None}, [], id="no node address at all"),
        pytest.param(clock(0), clock(2.1), [], id="clocks that may agree"),
        pytest.param(clock(0), clock(-2.3), ["clock-skew:warning"], id="clocks apart"),
        pytest.param(clock(0), clock(30.1), ["clock-skew:warning"], id="far apart, perhaps"),
        pytest.param(clock(0), clock(31), ["clock-skew:error"], id="far apart"),
        pytest.param(clock(0, 20), clock(31, 20), [], id="a measurement that says nothing"),
        pytest.param(clock(0), {}, [], id="a clock that was not measured"),
        pytest.param(node("192.0.2.1", 1500), node("192.0.2.2", 9000), ["mtu-mismatch:warning"], id="one jumbo"),
        pytest.param(
            member("https://one:6443", "sha256:1"),
            member("https://two:6443", "sha256:2"),
            ["other-cluster:warning"],
            id="two clusters",
        ),
        pytest.param(member("https://one:6443", "sha256:1"), {}, [], id="a node and a fresh host"),
    ],
)
def test_compares_hosts(first, second, expected):
    rows = report(results(first, second)).rows
    assert [f"{row.finding.id}:{row.finding.severity}" for row in rows] == expected
    for row in rows:
        assert row.hosts in {("a", "b"), ("b", "a")}


def test_names_what_is_shared_in_one_finding():
    (row,) = report(results({"macs": ["02:aa", "02:bb"]}, {"macs": ["02:bb", "02:aa"]})).rows
    assert row.finding.found == "MAC 02:aa, 02:bb"


def test_clock_threshold_below_the_noticeable():
    (row,) = report(results(clock(0), clock(1)), maximum_skew=0.5).rows
    assert row.status == "error"
    assert row.finding.found == "the clock of b is at least 0.8 s ahead of a's"
    assert row.finding.expected == "at most 0.5 s"


def test_groups_hosts_and_puts_errors_first():
    hosts = results({}, {}, {}, findings=[finding("firewall-active", "warning"), finding()])
    hosts["c"]["findings"][1] = finding(found="0 CPU")
    rows = report(hosts).rows
    assert [(row.status, row.finding.id, row.finding.found, row.hosts) for row in rows] == [
        ("error", "cpu-count", "1 CPU", ("a", "b")),
        ("error", "cpu-count", "0 CPU", ("c",)),
        ("warning", "firewall-active", "1 CPU", ("a", "b", "c")),
    ]


def test_failure_names_count_hosts_and_checks():
    hosts = results({}, {}, {})
    hosts["c"]["findings"] = [finding(), finding("memory")]
    hosts["a"]["findings"] = [finding("swap-active", "warning")]
    made = report(hosts)
    assert made.failure.startswith(
        "The preflight found 2 errors on 1 host (c): cpu-count, memory. Nothing was changed."
    )
    assert made.counts == {"errors": 2, "warnings": 1, "waived": 0}


def test_warnings_are_no_failure():
    assert report(results({}, findings=[finding("swap-active", "warning")])).failure == ""


def test_waived_findings_stay_visible_and_no_longer_fail():
    made = report(results({}, findings=[finding(), finding("swap-active", "warning")]), ignore=["cpu-count"])
    assert made.failure == ""
    assert made.counts == {"errors": 0, "warnings": 1, "waived": 1}
    assert [row.status for row in made.rows] == ["warning", "waived"]
    assert made.remarks == ()
    assert made.findings[1] == {**finding(), "hosts": ["a"], "waived": True}


def test_says_which_waivers_do_nothing():
    made = report(results({}), ignore=["memory", "memry", "memry"])
    assert made.remarks == (
        "The waiver memory matches no finding; take it out, so that it cannot hide one later.",
        "The waiver memry is the id of no preflight check; docs/preflight_checks.md lists them.",
    )


def test_a_waiver_of_one_host_counts_there_only():
    made = report(results({}, {}, findings=[finding()]), host_ignore={"a": ["cpu-count"], "b": []})
    assert [(row.status, row.hosts) for row in made.rows] == [("error", ("b",)), ("waived", ("a",))]
    assert made.counts == {"errors": 1, "warnings": 0, "waived": 1}
    assert "1 error on 1 host (b)" in made.failure
    assert made.remarks == ()


def test_a_waiver_of_every_host_counts_everywhere():
    made = report(results({}, {}, findings=[finding()]), host_ignore={"a": ["cpu-count"], "b": ["cpu-count"]})
    assert [(row.status, row.hosts) for row in made.rows] == [("waived", ("a", "b"))]


@pytest.mark.parametrize(
    ("waivers", "status"),
    [
        ({"a": ["duplicate-mac"]}, "error"),
        ({"a": ["duplicate-mac"], "b": ["duplicate-mac"]}, "waived"),
        ({"a": ["duplicate-mac"], "b": ["duplicate-mac"], "c": []}, "waived"),
    ],
)
def test_a_finding_about_several_hosts_is_waived_by_all_of_them(waivers, status):
    (row,) = report(results({"macs": ["02:aa"]}, {"macs": ["02:aa"]}), host_ignore=waivers).rows
    assert (row.status, row.hosts) == (status, ("a", "b"))


def test_a_finding_of_no_host_is_waived_by_all():
    extra = {**finding("inventory-group"), "hosts": []}
    waive = {"a": ["inventory-group"], "b": ["inventory-group"]}
    assert report(results({}, {}), extra=[extra], host_ignore=waive).failure == ""
    assert report(results({}, {}), extra=[extra], host_ignore={**waive, "b": []}).failure != ""
    assert report(results({}), extra=[extra]).failure != ""


def test_says_whose_waivers_do_nothing():
    waivers = {"a": ["memory", "memry"], "b": ["cpu-count", "memry"], "c": ["cpu-count"]}
    hosts = results({}, {}, {})
    hosts["c"]["findings"] = [finding()]
    assert report(hosts, host_ignore=waivers).remarks == (
        "The waiver memory (a) matches no finding; take it out, so that it cannot hide one later.",
        "The waiver memry is the id of no preflight check; docs/preflight_checks.md lists them.",
    )
    hosts["c"]["findings"] = [finding("memory")]
    assert report(hosts, host_ignore={"a": ["memory"], "c": []}).remarks == (
        "The waiver memory (a) matches no finding; take it out, so that it cannot hide one later.",
    )
    assert report(results({}), host_ignore={"a": ["memory"]}).remarks == (
        "The waiver memory matches no finding; take it out, so that it cannot hide one later.",
    )


def test_takes_findings_from_elsewhere():
    extra = {**finding("inventory-group"), "hosts": ["b"]}
    made = report(results({}, {}), extra=[extra], ignore=["inventory-group"])
    assert made.findings == [{**extra, "waived": True}]
    assert made.remarks == ()


def text(made, width):
    return "\n".join(line.text for line in render(made, width))


def test_says_that_all_is_well_in_one_line():
    assert text(report(results({}, {})), 120) == "Preflight of 2 hosts: 0 errors, 0 warnings, 0 waived"


@pytest.mark.parametrize("width", [110, 120, 200])
def test_table_fits_the_terminal(width):
    hosts = results(
        {}, {}, findings=[finding(found="x" * 300), finding("clock-unsynchronised", "warning", "a b " * 80)]
    )
    lines = render(report(hosts), width)
    assert max(len(line.text) for line in lines) <= width
    assert lines[1].text.startswith("severity  check")
    assert [line.status for line in lines if line.status] == sorted(line.status for line in lines if line.status)


def test_table_rows():
    (row,) = text(report(results({}, {}, findings=[finding()])), 120).splitlines()[3:]
    assert re.split(r"  +", row) == ["error", "cpu-count", "a, b", "1 CPU", "at least 2", "Add CPUs."]


def test_a_finding_of_no_host_in_particular():
    extra = {**finding("inventory-group"), "hosts": []}
    assert "inventory-group" in text(report(results({}), extra=[extra]), 120)


def test_narrow_terminals_get_a_list():
    made = report(results({}, {}, findings=[finding(found="word " * 30)]))
    lines = text(made, 79).splitlines()
    assert lines[1] == "ERROR cpu-count on a, b"
    assert lines[2].startswith("  found       word word")
    assert lines[3].startswith("              word")
    assert lines[-1] == "  what to do  Add CPUs."
    assert max(map(len, lines)) <= 79


def test_many_hosts_are_shortened():
    assert shorten_hosts(list("abcdef")) == "a, b, c, d, e, f"
    assert shorten_hosts(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_the_control_plane_is_judged_with_the_hosts():
    control_plane = {"installed": True, "init_unfinished": False, "ready": True, "ca_cert_hashes": ["sha256:1"]}
    hosts = results(member("https://other:6443", "sha256:2"), findings=[finding()])
    made = report(hosts, control_planes={"m": control_plane}, unreachable=Unreachable(workers=("w",), failed=("f",)))
    assert [(row.status, row.finding.id, row.hosts) for row in made.rows] == [
        ("error", "host-unreachable", ("f",)),
        ("error", "other-cluster", ("a",)),
        ("error", "cpu-count", ("a",)),
        ("warning", "host-unreachable", ("w",)),
    ]
    assert "3 errors on 2 hosts (a, f)" in made.failure
    assert text(made, 120).startswith("Preflight of 4 hosts")


def test_a_control_plane_without_any_other_result():
    silent = {
        "installed": True,
        "init_unfinished": False,
        "ready": False,
        "message": "refused",
        "ca_cert_hashes": [],
        "etcd": {"external": True, "leader": False, "members": []},
    }
    made = report({}, control_planes={"m": silent})
    assert "1 error on 1 host (m): control-plane-silent. Nothing was changed. To do: " in made.failure
    assert report({}).failure == ""


def test_known_ids_are_those_of_all_registries():
    descriptions = [check.description for check in (*CHECKS, *CROSS_CHECKS, *CONTROL_PLANE_CHECKS)]
    assert len(descriptions) == len(KNOWN_IDS)
    for description in descriptions:
        assert description.purpose.endswith(".")
        assert description.remedy.endswith(".")
