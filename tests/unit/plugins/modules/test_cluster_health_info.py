# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run waits for health, says what it waits for, and gives up in time."""

from __future__ import annotations

import json

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.modules import cluster_health_info

from tests.unit.fake_runner import FakeRunner
from tests.unit.plugins.module_utils.test_cluster_health import ARGV, NODES, find, make_unready

REFUSED = Result(1, "", "The connection to the server api.lab.internal:6443 was refused")


@pytest.fixture
def healthy(fixture_text):
    """Answer of a healthy cluster."""
    return Result(0, fixture_text("kubectl/cluster_objects.json"), "")


@pytest.fixture
def unhealthy(healthy):
    """Answer of a cluster with one node that is not Ready."""
    document = json.loads(healthy.stdout)
    make_unready(find(document["items"], "Node", "worker-1"))
    return Result(0, json.dumps(document), "")


@pytest.fixture
def look(run_main, monkeypatch):
    """Run the module against recorded answers, in a time that passes by a second with every look."""

    def run(*answers, check=False, timeout=300, kubeconfig="/etc/kubernetes/admin.conf"):
        runner = FakeRunner([(ARGV, answer) for answer in answers])
        seconds = iter(range(1000))
        monkeypatch.setattr(cluster_health_info, "ModuleRunner", lambda _module: runner)
        monkeypatch.setattr(cluster_health_info.time, "monotonic", lambda: next(seconds))
        monkeypatch.setattr(cluster_health_info.time, "sleep", lambda _seconds: None)
        monkeypatch.setattr(cluster_health_info.Path, "exists", lambda _path: kubeconfig is not None)
        options = {"nodes": NODES, "namespaces": ["kube-system", "kube-flannel"], "timeout": timeout}
        result = run_main(cluster_health_info, options, check=check)
        runner.assert_finished()
        return result

    return run


def test_a_healthy_cluster_is_reported_at_once(look, healthy):
    result = look(healthy)
    assert result["healthy"]
    assert not result["changed"]
    assert result["summary"][-1] == "system workloads: 3, pods ready: 12 of 12"


def test_it_waits_until_the_cluster_is_healthy(look, healthy, unhealthy):
    assert look(REFUSED, unhealthy, healthy)["healthy"]


def test_it_gives_up_in_time_and_says_what_is_missing(look, unhealthy):
    result = look(unhealthy, unhealthy, unhealthy, timeout=3)
    assert result["failed"]
    assert result["pending"] == ["Node worker-1 is not Ready"]
    assert "not healthy after 3 seconds: Node worker-1 is not Ready" in result["msg"]


def test_an_api_that_never_answers_is_what_it_says(look):
    assert "the API does not answer" in look(REFUSED, timeout=1)["msg"]


def test_check_mode_looks_once(look, unhealthy):
    result = look(unhealthy, check=True)
    assert not result["healthy"]
    assert "failed" not in result


def test_check_mode_knows_that_there_is_no_cluster_yet(look):
    assert "no cluster yet" in look(check=True, kubeconfig=None)["summary"][0]
