# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that no role would accept stop the run on the controller, whichever role they belong to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.groundplane.kubeadm.plugins.action.validate_inputs import ActionModule

from tests.unit.conftest import ROOT

CLUSTER = {
    **yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8")),
    "cluster_endpoint": "api.lab.internal",
    "groups": {"control_plane": ["a"], "workers": ["b", "c"]},
    "hostvars": {"a": {}, "b": {}, "c": {}},
}


def run(variables, **arguments):
    variables = {**CLUSTER, **variables}
    loader = DataLoader()
    task = SimpleNamespace(
        args=arguments,
        async_val=0,
        check_mode=False,
        diff=False,
        action="validate_inputs",
        ignore_errors=False,
        _parent=None,
    )
    action = ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
        play_context=None,
        loader=loader,
        templar=Templar(loader, variables=variables),
        shared_loader_obj=None,
    )
    return action.run(task_vars=variables)


def test_usable_values_pass():
    assert run({}, inventory=True)["violations"] == []


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        pytest.param({"cluster_cni": "weave"}, "cluster_cni", id="a choice that is none"),
        pytest.param({"workers_timeout": "soon"}, "workers_timeout", id="a value of the wrong type"),
        pytest.param({"cluster_pod_cdir": "10.0.0.0/16"}, "cluster_pod_cidr", id="a misspelt name"),
        pytest.param({"cluster_pod_cidr": "10.96.0.0/16"}, "cluster_service_cidr", id="ranges that overlap"),
    ],
)
def test_unusable_values_are_named(variables, name):
    result = run(variables)
    assert result["failed"]
    assert name in result["msg"]
    assert result["msg"].startswith("Nothing was changed.")


def test_an_expression_over_a_later_result_is_not_judged():
    variables = {"cluster_endpoint_address": trust_as_template("{{ registered_later.address }}")}
    assert "failed" not in run(variables)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param({"groups": {"workers": ["b"]}}, "group control_plane", id="no control plane"),
        pytest.param({"groups": {"control_plane": ["a"], "workers": ["a"]}}, "host a", id="a host in both groups"),
        pytest.param(
            {"hostvars": {"a": {}, "b": {"cluster_node_ip": "192.0.2.1"}, "c": {"cluster_node_ip": "192.0.2.1"}}},
            "192.0.2.1 on b and c",
            id="two hosts with one address",
        ),
    ],
)
def test_inventories_that_cannot_work_are_refused(variables, words):
    assert words in run(variables, inventory=True)["msg"]
    assert "failed" not in run(variables)
