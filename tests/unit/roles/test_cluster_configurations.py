# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report is told of the operator's configuration for kubeadm, whichever host reports."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.unit.conftest import FIXTURES, ROOT
from tests.unit.roles.playing import link_collection, play_in

CLUSTER = "control_plane_cluster_configuration"
KUBELET = "control_plane_kubelet_configuration"
PROXY = "control_plane_kube_proxy_configuration"
AUDIT = {"apiServer": {"extraArgs": [{"name": "audit-log-path", "value": "{{ path }}"}]}}

#: Variables of the control plane hosts, and of what the report complains.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "as_before": ({CLUSTER: AUDIT, KUBELET: {"maxPods": 200}, "path": "/var/log/audit.log"}, []),
    "changed": ({CLUSTER: AUDIT, PROXY: {"mode": "ipvs", "oomScoreAdj": -9}, "path": "/a"}, [CLUSTER, PROXY]),
    "known_later": ({CLUSTER: {**AUDIT, "clusterName": "x"}, KUBELET: {"maxPods": "{{ 10 * 10 }}"}}, [KUBELET]),
    "null": ({CLUSTER: None}, []),
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was found in each case, as a worker reports it."""
    folder = tmp_path_factory.mktemp("configurations")
    link_collection(folder)
    ready = {"installed": True, "ready": True, "init_unfinished": False, "ca_cert_hashes": [], "joined": True}
    kept = {
        name: (FIXTURES / f"kubeadm/kept_{name}.conf").read_text(encoding="utf-8")
        for name in ("cluster_configuration", "kubelet_configuration", "kube_proxy_configuration")
    }
    tasks = yaml.safe_load((ROOT / "roles/cluster/tasks/preflight.yml").read_text(encoding="utf-8"))
    told = tasks[-1]["groundplane.kubeadm.preflight_report"]
    report = {
        "results": {},
        **{name: told[name] for name in ("control_planes", "configuring_host")},
        "json_path": str(folder / "{{ cluster_control_plane_group }}.json"),
    }
    groups = {}
    for name, (variables, _complaints) in CASES.items():
        master = {**variables, "__cluster_control_plane": {**ready, **kept}}
        groups[name] = {"hosts": {f"{name}-1": master, f"{name}-2": {"__cluster_control_plane": {**ready, **kept}}}}
        groups[f"{name}_workers"] = {"hosts": {f"{name}-0": {}}, "vars": {"cluster_control_plane_group": name}}
    play = {
        "hosts": ":".join(f"{name}_workers" for name in CASES),
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/cluster/vars/main.yml")],
        "tasks": [{"name": "Report", "groundplane.kubeadm.preflight_report": report}],
    }
    run = play_in(folder, {"all": {"children": groups}}, [play])
    assert run.returncode == 0, run.stdout + run.stderr
    return {
        name: [finding["found"] for finding in json.loads((folder / f"{name}.json").read_text("utf-8"))["findings"]]
        for name in CASES
    }


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_in_force_is_named(complaints: dict[str, list[str]], case: str) -> None:
    _variables, variables = CASES[case]
    assert [found.partition(" ")[0] for found in complaints[case]] == variables


def test_values_are_evaluated(complaints: dict[str, list[str]]) -> None:
    assert "audit-log-path: /var/log/audit.log, wanted /a" in complaints["changed"][0]
    assert complaints["known_later"][0].endswith("maxPods: 200, wanted 100")
