# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that no role would accept stop the run on the controller, whichever role they belong to."""

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleUndefinedVariable
from ansible.template import trust_as_template
from ansible_collections.groundplane.kubeadm.plugins.action.validate_inputs import ActionModule

from tests.unit.conftest import ROOT

DEFAULTS = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))
CLUSTER = {
    # Some defaults are expressions over others.
    **{name: trust_as_template(value) if isinstance(value, str) else value for name, value in DEFAULTS.items()},
    "cluster_endpoint": "api.lab.internal",
    "groups": {"control_plane": ["a"], "workers": ["b", "c"]},
    "hostvars": {"a": {}, "b": {}, "c": {}},
}


@pytest.fixture
def run(make_action):
    """Run the action with the given variables of a usable cluster changed."""

    def execute(variables, **arguments):
        variables = {**CLUSTER, **variables}
        return make_action(ActionModule, arguments, variables=variables).run(task_vars=variables)

    return execute


def test_usable_values_pass(run):
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
def test_unusable_values_are_named(run, variables, name):
    result = run(variables)
    assert result["failed"]
    assert name in result["msg"]
    assert result["msg"].startswith("Nothing was changed.")


def test_an_expression_over_a_later_result_is_not_judged(run):
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
        pytest.param(
            {"cluster_vip": "192.0.2.1", "hostvars": {"a": {"cluster_node_ip": "192.0.2.1"}, "b": {}, "c": {}}},
            "cluster_vip: found 192.0.2.1, which is cluster_node_ip of a",
            id="a virtual address that a host has",
        ),
        pytest.param(
            {"groups": {"control_plane": ["a", "b"]}},
            "2 hosts with cluster_load_balancer none",
            id="several control plane hosts behind one address",
        ),
        pytest.param(
            {"groups": {"control_plane": ["a"], "workers": ["b"], "k8s_cluster": ["a", "b", "c"]}},
            "host c: found membership in k8s_cluster alone",
            id="a host that is to become nothing",
        ),
        pytest.param(
            {
                "cluster_vip": "192.0.2.100",
                "groups": {"control_plane": ["a", "b"], "workers": ["c"]},
                "hostvars": {"a": {"control_plane_external_etcd": {"ca": "x"}}, "b": {}, "c": {}},
            },
            "one value for all hosts of control_plane, in its group_vars",
            id="control plane hosts with different etcds",
        ),
    ],
)
def test_inventories_that_cannot_work_are_refused(run, variables, words):
    assert words in run(variables, inventory=True)["msg"]
    assert "failed" not in run(variables)


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"cluster_vip": "192.0.2.100"}, id="a virtual address"),
        pytest.param(
            {"cluster_endpoint_address": "192.0.2.5", "cluster_endpoint_port": 443}, id="an own load balancer"
        ),
        pytest.param({"prereqs_hosts_enabled": "no"}, id="a name that DNS knows"),
        pytest.param({"cluster_load_balancer": trust_as_template("{{ registered_later }}")}, id="not known yet"),
    ],
)
def test_several_control_plane_hosts(run, variables):
    groups = {"control_plane": ["a", "b", "c"], "workers": [], "k8s_cluster": ["a", "b", "c"]}
    assert run({"groups": groups, **variables}, inventory=True)["violations"] == []


def test_workers_need_not_know_the_etcd(run):
    etcd = {"control_plane_external_etcd": {"ca": "x"}}
    assert run({"hostvars": {"a": etcd, "b": {}, "c": {}}}, inventory=True)["violations"] == []


class Undefined(dict):
    """Variables of a host, all expressions over the default of a role, as Ansible evaluates them in hostvars."""

    def get(self, name, default=None):
        raise AnsibleUndefinedVariable(f"{name} is undefined")


def test_expressions_over_defaults_can_be_compared(run):
    assert run({"hostvars": dict.fromkeys("abc", Undefined())}, inventory=True)["violations"] == []
    result = run({"hostvars": {"a": {"cluster_name": "x"}, "b": Undefined(), "c": Undefined()}}, inventory=True)
    assert "cluster_name: found x on a, (an expression) on b" in result["msg"]
