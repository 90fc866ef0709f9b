# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second run finds nothing to do, check mode on the running cluster says so, and what no run does is said."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.dual_stack import RANGES
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import PREFLIGHT

CONFIGURATION = "get configmap kube-flannel-cfg --namespace=kube-flannel --output=jsonpath={.data}"

#: The port of the discard protocol, which nobody serves.
NOWHERE = {"cni_flannel_manifest_url": "http://127.0.0.1:9/kube-flannel.yml"}

#: What the operator writes after the cluster was made: a field that it lacks, and one that it has.
AUDIT = {
    "control_plane_cluster_configuration": {
        "etcd": {"local": {"dataDir": "/var/lib/etcd"}},
        "apiServer": {"extraArgs": [{"name": "audit-log-path", "value": "/var/log/audit.log"}]},
    }
}
DRIFT = "configuration-drift"


def test_the_second_run_changes_nothing(cluster: Cluster, phases: Phases) -> None:
    with phases.phase("second run of site.yml"):
        run = cluster.site.run()

    run.require_unchanged()
    assert set(cluster.nodes.names) <= set(run.recap)
    assert DRIFT not in run.output


def test_check_mode_on_the_running_cluster_predicts_no_change(cluster: Cluster, phases: Phases) -> None:
    with phases.phase("check mode on the running cluster, with nobody who has flannel's manifest"):
        run = cluster.site.run("--check", "--diff", variables=NOWHERE)

    run.require_unchanged()


def test_a_cluster_of_one_family_does_not_become_dual_stack(cluster: Cluster) -> None:
    refused = cluster.site.run(variables=RANGES)
    refused.require_refusal("range-change", "cluster_pod_cidr", "cluster_service_cidr", "10.244.0.0/16")


def test_another_backend_of_flannel_is_refused(cluster: Cluster) -> None:
    before = cluster.kubectl(CONFIGURATION)
    assert "vxlan" in before

    refused = cluster.site.run(variables={"cni_flannel_backend": "host-gw"})

    refused.require_refusal("flannel-backend-change", "vxlan", "host-gw", "cni_flannel_backend")
    assert cluster.kubectl(CONFIGURATION) == before


def test_a_field_that_is_written_and_not_in_force_is_named(cluster: Cluster, tmp_path: Path) -> None:
    report = tmp_path / "findings.json"
    run = cluster.site.run(playbook=PREFLIGHT, variables={**AUDIT, "cluster_preflight_report_path": str(report)})

    run.require_success()
    drifts = [finding for finding in json.loads(report.read_text())["findings"] if finding["id"] == DRIFT]
    assert [(finding["severity"], finding["hosts"]) for finding in drifts] == [("warning", [cluster.master])]
    assert drifts[0]["found"] == (
        "control_plane_cluster_configuration is not in force: apiServer.extraArgs audit-log-path: none, wanted "
        "/var/log/audit.log"
    )
