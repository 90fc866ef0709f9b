# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin preflight_report: table, warnings, JSON and failure."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleError
from ansible_collections.groundplane.kubeadm.plugins.action.preflight_report import ActionModule

FINDING = {"id": "cpu-count", "severity": "error", "found": "1 CPU", "expected": "2", "remedy": "Add CPUs."}
FACTS = {
    "hostname": "a",
    "machine_id": "1",
    "product_uuid": "",
    "macs": [],
    "node": None,
    "cluster": {"known": False, "server": "", "ca_hash": ""},
}


class FakeDisplay:
    columns = 79

    def __init__(self):
        self.lines = []
        self.warnings = []

    def display(self, text, color=None):
        self.lines.append((text, color))

    def warning(self, text):
        self.warnings.append(text)


@pytest.fixture
def run(monkeypatch, make_action):
    """Run the action and return its result and what it showed."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def execute(*findings, check_mode=False, variables=None, **arguments):
        arguments = {"results": {"a": {"findings": list(findings), "facts": FACTS}}, **arguments}
        action = make_action(ActionModule, arguments, check_mode=check_mode)
        display = FakeDisplay()
        monkeypatch.setattr(action, "_display", display)
        return action.run(task_vars=variables or {}), display

    return execute


def test_nothing_found(run):
    result, display = run()
    assert (result["findings"], result["changed"]) == ([], False)
    assert display.lines == [("Preflight of 1 host: 0 errors, 0 warnings, 0 waived", None)]


def test_errors_fail_after_the_table(run):
    result, display = run(FINDING)
    assert result["failed"]
    assert not result["changed"]
    assert result["counts"] == {"errors": 1, "warnings": 0, "waived": 0}
    assert "1 error on 1 host (a): cpu-count" in result["msg"]
    assert "findings" not in result
    assert display.lines[1] == ("ERROR cpu-count on a", "red")


def test_waivers(run):
    result, display = run(FINDING, ignore=["cpu-count", "cpu-cout"])
    assert "failed" not in result
    assert result["findings"] == [{**FINDING, "hosts": ["a"], "waived": True}]
    assert display.lines[1] == ("WAIVED cpu-count on a", "cyan")
    assert len(display.warnings) == 1


def test_a_wide_terminal_gets_a_table(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    _result, display = run({**FINDING, "severity": "warning"})
    assert display.lines[1][0].startswith("severity  check")
    assert display.lines[3][1] == "bright purple"


def test_extra_findings(run):
    result, _display = run(extra_findings=[{**FINDING, "hosts": ["a"]}])
    assert result["failed"]


def test_writes_json_once(run, tmp_path):
    path = tmp_path / "reports/preflight.json"
    warning = {**FINDING, "severity": "warning"}
    assert run(warning, json_path=str(path))[0]["changed"]
    assert json.loads(path.read_text()) == {
        "counts": {"errors": 0, "warnings": 1, "waived": 0},
        "findings": [{**warning, "hosts": ["a"], "waived": False}],
    }
    assert path.stat().st_mode & 0o777 == 0o644
    assert not run(warning, json_path=str(path))[0]["changed"]


def test_writes_json_of_a_failure(run, tmp_path):
    path = tmp_path / "preflight.json"
    result, _display = run(FINDING, json_path=str(path))
    assert not result["changed"]
    assert json.loads(path.read_text())["counts"]["errors"] == 1


def test_check_mode_writes_nothing(run, tmp_path):
    path = tmp_path / "preflight.json"
    assert run(check_mode=True, json_path=str(path))[0]["changed"]
    assert not path.exists()


def test_judges_the_control_plane(run):
    ready = {"installed": True, "init_unfinished": False, "ready": True, "ca_cert_hashes": []}
    result, _display = run(control_planes={"m1": ready}, unreachable={"control_plane": ["m2"]})
    assert [(row["id"], row["severity"], row["hosts"]) for row in result["findings"]] == [
        ("host-unreachable", "warning", ["m2"])
    ]
    result, _display = run(results={}, unreachable={"control_plane": ["m2"], "workers": [], "failed": []})
    assert "host-unreachable" in result["msg"]


def test_judges_the_number_of_etcd_members(run):
    result, _display = run(etcd_hosts=["a", "b"])
    assert [(row["id"], row["severity"], row["hosts"]) for row in result["findings"]] == [
        ("even-control-plane", "warning", ["a", "b"])
    ]


def test_compares_the_ranges_with_those_that_the_cluster_keeps(run):
    configuration = "networking:\n  podSubnet: 10.244.0.0/16\n  serviceSubnet: 10.96.0.0/12\n"
    ready = {
        **{"installed": True, "init_unfinished": False, "ready": True, "ca_cert_hashes": []},
        "cluster_configuration": configuration,
    }
    result, _display = run(control_planes={"m1": ready}, ranges={"cluster_pod_cidr": "10.244.0.0/16,fd00::/56"})
    assert "1 error on 1 host (m1): range-change" in result["msg"]
    result, _display = run(control_planes={"m1": ready}, ranges={"cluster_pod_cidr": "10.244.0.0/16"})
    assert result["findings"] == []


def test_compares_the_backend_with_the_one_that_the_cluster_runs(run):
    ready = {
        **{"installed": True, "init_unfinished": False, "ready": True, "ca_cert_hashes": []},
        "flannel_backend": {"type": "vxlan", "options": {"VNI": 1, "Port": 8472, "GBP": False}},
    }
    result, _display = run(control_planes={"m1": ready}, flannel_backend={"Type": "vxlan", "Port": 4790})
    assert "1 error on 1 host (m1): flannel-backend-change" in result["msg"]
    result, _display = run(control_planes={"m1": ready}, flannel_backend={"Type": "vxlan", "MTU": 1400})
    assert result["findings"] == []
    waived = {"control_planes": {"m1": ready}, "flannel_backend": {"Type": "host-gw"}}
    result, _display = run(**waived, ignore=["flannel-backend-change"])
    assert [(row["id"], row["waived"]) for row in result["findings"]] == [("flannel-backend-change", True)]


def test_compares_what_is_written_with_what_the_cluster_keeps(run, fixture_text):
    ready = {
        **{"installed": True, "init_unfinished": False, "ready": True, "ca_cert_hashes": []},
        "cluster_configuration": fixture_text("kubeadm/kept_cluster_configuration.conf"),
        "kubelet_configuration": "maxPods: [",
        "kube_proxy_configuration": "- a list",
    }
    environment = {"extraEnvs": [{"name": "HTTP_PROXY", "value": "s3cret"}]}
    written = {
        "control_plane_cluster_configuration": {"apiServer": {**environment, "certSANs": ["api.example.org"]}},
        "control_plane_kubelet_configuration": {"maxPods": 200},
        "control_plane_kube_proxy_configuration": {"portRange": "1-2"},
    }
    configured = {"configuring_host": "m2", "variables": {"hostvars": {"m2": written}}}
    result, display = run(control_planes={"m1": ready, "m2": ready}, **configured)
    (row,) = result["findings"]
    assert (row["id"], row["severity"], row["hosts"]) == ("configuration-drift", "warning", ["m1"])
    assert row["found"] == (
        "control_plane_cluster_configuration is not in force: apiServer.extraEnvs HTTP_PROXY: another, wanted one that "
        "is not shown"
    )
    assert "secret" not in str(display.lines)
    result, _display = run(control_planes={"m1": ready}, **configured, ignore=["configuration-drift"])
    assert result["counts"] == {"errors": 0, "warnings": 0, "waived": 1}
    assert run(control_planes={"m1": ready})[0]["findings"] == []


def test_options_are_validated(run):
    with pytest.raises(AnsibleError, match="pods"):
        run(ranges={"pods": "10.244.0.0/16"})
    with pytest.raises(AnsibleError, match="masters"):
        run(unreachable={"masters": ["m1"]})
    with pytest.raises(AnsibleError, match="severity"):
        run(extra_findings=[{**FINDING, "severity": "bad", "hosts": []}])
