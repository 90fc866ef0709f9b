# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, decide and apply together, on hosts made of files and recorded answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _kubeadm_node, _waiting
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import nodes_argv, objects_argv, readyz_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import container_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    config_validate_argv,
    init_argv,
    join_argv,
    own_remains_checks,
    reset_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node import NodeRequest, bring_to_state
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_apply import sha256_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_plan import Step
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import kubelet_service_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hash

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

ADMIN, SUPER_ADMIN = "/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf"
CONFIGURATION = "kind: InitConfiguration\n"
INIT = NodeRequest("initialised", CONFIGURATION, node_name="kubeadm-master-1", timeout=0)
KUBELET = (kubelet_service_argv(), Result(0, "ActiveState=active\nUnitFileState=enabled\n", ""))
STOPPED = (kubelet_service_argv(), Result(0, "ActiveState=inactive\nUnitFileState=enabled\n", ""))
VALID = (config_validate_argv(), Result(0, "ok\n", ""))
SILENT = Result(1, "", "connection refused\n")
PROGRAMS = {"kubeadm": "/usr/bin/kubeadm", "crictl": "/usr/bin/crictl"}


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    """A fresh host."""
    return HostPaths(tmp_path)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    monkeypatch.setattr(_waiting.time, "sleep", lambda seconds: None)


def write(paths: HostPaths, path: str, text: str = "content\n") -> None:
    """A file of the host."""
    paths.at(path).parent.mkdir(parents=True, exist_ok=True)
    paths.at(path).write_text(text)


def install_control_plane(paths: HostPaths, record: str | None = None) -> None:
    """The files of a control plane, finished or interrupted."""
    for path in (ADMIN, SUPER_ADMIN, "/etc/kubernetes/kubelet.conf", "/etc/kubernetes/manifests/kube-apiserver.yaml"):
        write(paths, path)
    write(paths, "/var/lib/etcd/member/snap/db")
    if record:
        text = '{"configuration_sha256": "%s", "etcd_data": "/var/lib/etcd", "pki_before": []}'
        write(paths, "/var/lib/groundplane/kubeadm-init.json", text % record)


def complete_cluster(fixture_text: FixtureText, kubeconfig: str = ADMIN) -> list[Any]:
    """Answers of a cluster whose initialisation has ended."""
    names = ["configmap/kubeadm-config", "configmap/kubelet-config", "deployment/coredns", "service/kube-dns"]
    names += ["daemonset/kube-proxy", "rolebinding/kube-proxy", "node/kubeadm-master-1"]
    kube_system = fixture_text("kubectl/initialised_kube_system.json")
    kube_public = fixture_text("kubectl/initialised_kube_public.json")
    return [
        (readyz_argv(kubeconfig), Result(0, "ok", "")),
        (objects_argv(kubeconfig, "kube-system", names), Result(0, kube_system, "")),
        (objects_argv(kubeconfig, "kube-public", ["configmap/cluster-info"]), Result(0, kube_public, "")),
    ]


def limited(argv: list[str], seconds: int = 0) -> list[str]:
    """A command with a time limit."""
    return ["timeout", str(seconds), *argv]


def test_init_of_a_fresh_host(paths: HostPaths) -> None:
    done = (limited(init_argv()), Result(0, "--token abcdef.0123456789abcdef", ""))
    runner = FakeRunner([KUBELET, VALID, done], PROGRAMS)
    plan = bring_to_state(runner, paths, INIT, check_mode=False)
    runner.assert_finished()
    assert plan.action == "init"
    assert "abcdef" not in str(asdict(plan))
    assert not paths.init_record.exists()


def test_prediction_leaves_no_trace(paths: HostPaths) -> None:
    plan = bring_to_state(FakeRunner([STOPPED]), paths, INIT, check_mode=True)
    assert plan.action == "init"
    assert list(paths.root.iterdir()) == []


def test_initialised_host_costs_three_calls_of_kubectl(paths: HostPaths, fixture_text: FixtureText) -> None:
    install_control_plane(paths)
    runner = FakeRunner([KUBELET, *complete_cluster(fixture_text)], PROGRAMS)
    assert bring_to_state(runner, paths, INIT, check_mode=False).action == "none"
    runner.assert_finished()


def test_slow_api_is_waited_for(paths: HostPaths, fixture_text: FixtureText) -> None:
    install_control_plane(paths)
    silent = (readyz_argv(ADMIN), SILENT)
    runner = FakeRunner([KUBELET, silent, silent, *complete_cluster(fixture_text)])
    request = NodeRequest("initialised", CONFIGURATION, node_name="kubeadm-master-1", timeout=600)
    assert bring_to_state(runner, paths, request, check_mode=False).action == "none"
    runner.assert_finished()


def test_silent_api_without_kubelet_is_not_waited_for(paths: HostPaths) -> None:
    install_control_plane(paths)
    runner = FakeRunner([STOPPED, (readyz_argv(ADMIN), SILENT)])
    request = NodeRequest("initialised", CONFIGURATION, node_name="kubeadm-master-1", timeout=600)
    with pytest.raises(GroundplaneError, match="does not answer: connection refused"):
        bring_to_state(runner, paths, request, check_mode=False)


def test_silent_api_in_check_mode(paths: HostPaths) -> None:
    install_control_plane(paths)
    runner = FakeRunner([KUBELET, (readyz_argv(ADMIN), SILENT)])
    plan = bring_to_state(runner, paths, INIT, check_mode=True)
    assert (plan.action, plan.steps, plan.changed) == ("wait", (Step.WAIT,), False)
    assert "connection refused" in plan.warnings[0]


def test_interrupted_init_is_resumed(paths: HostPaths) -> None:
    install_control_plane(paths, record=sha256_of(CONFIGURATION))
    socket = INIT.cri_socket
    runner = FakeRunner(
        [
            KUBELET,
            (readyz_argv(SUPER_ADMIN), SILENT),
            (container_argv(socket), Result(0, "", "")),
            VALID,
            (limited(init_argv(own_remains_checks(CONFIGURATION))), Result(0, "", "")),
        ],
        PROGRAMS,
    )
    assert bring_to_state(runner, paths, INIT, check_mode=False).action == "resume-init"
    runner.assert_finished()
    assert not paths.init_record.exists()


def test_init_killed_after_its_end(paths: HostPaths, fixture_text: FixtureText) -> None:
    install_control_plane(paths, record="another configuration")
    runner = FakeRunner(
        [
            KUBELET,
            *complete_cluster(fixture_text, SUPER_ADMIN),
            (nodes_argv(SUPER_ADMIN), Result(0, fixture_text("kubectl/nodes.json"), "")),
            (container_argv(INIT.cri_socket), Result(0, "", "")),
        ],
        PROGRAMS,
    )
    assert bring_to_state(runner, paths, INIT, check_mode=False).action == "repair"
    runner.assert_finished()
    assert not paths.init_record.exists()


def worker(fixture_text: FixtureText, **options: Any) -> NodeRequest:
    """Request for a worker of the recorded cluster."""
    nodes = [
        {
            **{"name": "kubeadm-worker-1", "uid": "u", "ready": False, "addresses": ["10.77.5.21", "kubeadm-worker-1"]},
            **{"control_plane": False, "kubelet_version": "v1.36.3"},
        }
    ]
    values = {
        "node_name": "kubeadm-worker-1",
        "node_address": "10.77.5.21",
        "cluster_nodes": nodes,
        "ca_cert_hashes": [ca_cert_hash(fixture_text("kubeadm/ca.crt"))],
        "timeout": 0,
    }
    return NodeRequest("joined", **{**values, **options})


def test_joined_worker_needs_no_call_at_all(paths: HostPaths, fixture_text: FixtureText) -> None:
    write(paths, "/etc/kubernetes/kubelet.conf", fixture_text("kubeadm/worker_kubelet.conf"))
    write(paths, "/var/lib/kubelet/config.yaml")
    write(paths, "/var/lib/kubelet/pki/kubelet-client-current.pem")
    runner = FakeRunner([KUBELET], PROGRAMS)
    assert bring_to_state(runner, paths, worker(fixture_text), check_mode=False).action == "none"


def test_join(paths: HostPaths, fixture_text: FixtureText) -> None:
    runner = FakeRunner([STOPPED, VALID, (limited(join_argv()), Result(0, "", ""))], PROGRAMS)
    request = worker(fixture_text, configuration="kind: JoinConfiguration\n", cluster_nodes=[])
    plan = bring_to_state(runner, paths, request, check_mode=False)
    assert (plan.action, plan.stale) == ("join", False)
    runner.assert_finished()


def test_predicted_join_needs_no_token(paths: HostPaths, fixture_text: FixtureText) -> None:
    request = worker(fixture_text, configuration="token: ''\n")
    plan = bring_to_state(FakeRunner([STOPPED], PROGRAMS), paths, request, check_mode=True)
    assert (plan.action, plan.stale) == ("join", True)


def test_join_verifies_the_cluster(paths: HostPaths, fixture_text: FixtureText) -> None:
    request = worker(fixture_text, ca_cert_hashes=[])
    with pytest.raises(GroundplaneError, match="ca_cert_hashes is empty"):
        bring_to_state(FakeRunner([STOPPED]), paths, request, check_mode=False)
    assert bring_to_state(FakeRunner([STOPPED]), paths, request, check_mode=True).action == "join"


def test_reset(paths: HostPaths) -> None:
    write(paths, "/etc/kubernetes/kubelet.conf")
    request = NodeRequest("reset", timeout=9)
    runner = FakeRunner([KUBELET, (limited(reset_argv(request.cri_socket), 9), Result(0, "", ""))])
    assert bring_to_state(runner, paths, request, check_mode=False).action == "reset"
    runner.assert_finished()


def test_reset_without_the_cluster(paths: HostPaths) -> None:
    write(paths, ADMIN, "kind: Config\n")
    request = NodeRequest("reset", timeout=9, offline=True)
    argv = reset_argv(request.cri_socket, kubeconfig=str(paths.at("/run/groundplane/no-kubeconfig")))
    runner = FakeRunner([KUBELET, (limited(argv, 9), Result(0, "", ""))])
    assert bring_to_state(runner, paths, request, check_mode=False).action == "reset"
    runner.assert_finished()


def test_running_kubeadm_is_waited_for(paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    running = iter([{7: "kubeadm init"}, {7: "kubeadm init"}, {7: "kubeadm init"}, {}])
    monkeypatch.setattr(_kubeadm_node, "running_kubeadm", lambda paths: next(running))
    assert bring_to_state(FakeRunner([STOPPED]), paths, NodeRequest("reset"), check_mode=False).action == "none"


def test_a_join_is_not_decided_by_what_was_read_before_another_one_ended(
    paths: HostPaths, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = iter([{7: "kubeadm join"}, {}])
    monkeypatch.setattr(_kubeadm_node, "running_kubeadm", lambda paths: next(running))
    with pytest.raises(GroundplaneError, match="another kubeadm has just ended on this host"):
        bring_to_state(FakeRunner([STOPPED]), paths, worker(fixture_text), check_mode=False)


def test_kubeadm_that_does_not_end(paths: HostPaths) -> None:
    write(paths, "/proc/7/cmdline", "kubeadm\0init\0")
    with pytest.raises(GroundplaneError, match=r"kubeadm init \(process 7\) has been running .* more than 0 seconds"):
        bring_to_state(FakeRunner(), paths, INIT, check_mode=False)
    plan = bring_to_state(FakeRunner(), paths, INIT, check_mode=True)
    assert (plan.action, plan.found) == ("wait", "a host on which kubeadm init is running")
