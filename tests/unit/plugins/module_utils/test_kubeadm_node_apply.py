# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change a host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _kubeadm_node_apply
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import EtcdView, Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    config_validate_argv,
    init_argv,
    join_argv,
    mark_argv,
    own_remains_checks,
    reset_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_apply import (
    Work,
    apply_plan,
    sha256_of,
    validate,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_plan import Plan, Step
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import (
    HostState,
    InitRecord,
)

from tests.unit.fake_runner import FakeRunner

SOCKET = "unix:///run/containerd/containerd.sock"
CONFIGURATION = "kind: InitConfiguration\n---\nkind: ClusterConfiguration\netcd:\n  local:\n    dataDir: /data/etcd\n"
DONE = Result(0, "--token abcdef.0123456789abcdef", "")


def limited(argv: Sequence[str]) -> list[str]:
    """A command with the time limit of the tests."""
    return ["timeout", "60", *argv]


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    """An empty host."""
    return HostPaths(tmp_path)


def write(paths: HostPaths, path: str) -> Path:
    """A file of the host."""
    target = paths.at(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("")
    return target


def run(
    paths: HostPaths,
    steps: Sequence[Step],
    commands: Sequence[tuple[Sequence[str], Result]] = (),
    *,
    host: HostState | None = None,
    configuration: str = CONFIGURATION,
) -> FakeRunner:
    """Carry out steps with exactly these commands."""
    runner = FakeRunner(commands)
    apply_plan(Plan("init", "", tuple(steps)), Work(runner, paths, host or HostState(), configuration, SOCKET, 60))
    runner.assert_finished()
    return runner


def test_init_is_recorded_until_it_has_ended(paths: HostPaths) -> None:
    run(paths, [Step.RECORD], host=HostState(pki=("ca.crt",)))
    assert json.loads(paths.init_record.read_text()) == {
        "configuration_sha256": sha256_of(CONFIGURATION),
        "etcd_data": "/data/etcd",
        "pki_before": ["ca.crt"],
    }
    assert [file.name for file in paths.init_record.parent.iterdir()] == ["kubeadm-init.json"]
    runner = run(paths, [Step.INIT, Step.FORGET], [(limited(init_argv()), DONE)])
    assert runner.stdin == [CONFIGURATION]
    assert not paths.init_record.exists()


def test_failed_init_stays_recorded(paths: HostPaths) -> None:
    failed = (limited(init_argv()), Result(1, "", "error: error execution phase preflight: x\n"))
    with pytest.raises(GroundplaneError, match="kubeadm init failed with exit code 1: error: error execution phase"):
        run(paths, [Step.RECORD, Step.INIT, Step.FORGET], [failed])
    assert paths.init_record.exists()


def test_certificates_of_the_operator_stay_known(paths: HostPaths) -> None:
    host = HostState(pki=("apiserver.crt", "ca.crt"), record=InitRecord("old", pki_before=("ca.crt",)))
    run(paths, [Step.RECORD], host=host)
    assert json.loads(paths.init_record.read_text())["pki_before"] == ["ca.crt"]


def test_resume_waives_own_remains(paths: HostPaths) -> None:
    runner = run(paths, [Step.RESUME], [(limited(init_argv(own_remains_checks(CONFIGURATION))), DONE)])
    assert runner.stdin == [CONFIGURATION]


def test_join(paths: HostPaths) -> None:
    runner = run(paths, [Step.JOIN], [(limited(join_argv()), DONE)], configuration="kind: JoinConfiguration\n")
    assert runner.stdin == ["kind: JoinConfiguration\n"]


def test_join_begins_without_certificates_that_a_killed_one_has_left(paths: HostPaths) -> None:
    own, shared = write(paths, "/etc/kubernetes/pki/apiserver.key"), write(paths, "/etc/kubernetes/pki/ca.key")
    run(paths, [Step.DROP_CERTIFICATES], [], host=HostState(pki=("apiserver.key", "ca.key")))
    assert (own.exists(), shared.exists()) == (False, True)


def test_marking_reads_the_configuration_of_the_join(paths: HostPaths) -> None:
    runner = run(paths, [Step.MARK], [(limited(mark_argv()), DONE)], configuration="kind: JoinConfiguration\n")
    assert runner.stdin == ["kind: JoinConfiguration\n"]


VOTER = Member("a1", "master-1", ("https://192.0.2.11:2380",), ("https://192.0.2.11:2379",), False, True)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (None, "cannot be asked"),
        (EtcdView((VOTER,), False), "is not a voting member"),
        (EtcdView((VOTER, VOTER._replace(learner=True)), True), "is not a voting member"),
    ],
)
def test_a_join_that_leaves_no_voter_has_failed(
    paths: HostPaths, monkeypatch: pytest.MonkeyPatch, view: EtcdView | None, reason: str
) -> None:
    monkeypatch.setattr(_kubeadm_node_apply, "read_etcd", lambda runner, socket: view)
    with pytest.raises(GroundplaneError, match=reason):
        run(paths, [Step.VERIFY_MEMBER], [])


def test_a_join_that_leaves_voters_only_is_complete(paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kubeadm_node_apply, "read_etcd", lambda runner, socket: EtcdView((VOTER,), True))
    run(paths, [Step.VERIFY_MEMBER], [])


def test_reset_leaves_nothing(paths: HostPaths) -> None:
    data = write(paths, "/var/lib/etcd/member/snap/db")
    own_data = write(paths, "/data/etcd/member/snap/db")
    conflist = write(paths, "/etc/cni/net.d/10-flannel.conflist")
    addresses = write(paths, "/var/lib/cni/networks/cbr0/10.244.0.2")
    write(paths, "/var/lib/groundplane/kubeadm-init.json")
    paths.pki.mkdir(parents=True)
    write(paths, "/sys/class/net/cni0")
    write(paths, "/sys/class/net/flannel.1")
    run(
        paths,
        [Step.RESET, Step.CLEAN_UP],
        [
            (limited(reset_argv(SOCKET)), DONE),
            (["ip", "link", "delete", "cni0"], DONE),
            (["ip", "link", "delete", "flannel.1"], DONE),
        ],
    )
    assert not any(file.exists() for file in (data, own_data, conflist, addresses.parent, paths.init_record, paths.pki))
    assert conflist.parent.exists()


def test_reset_spares_certificates_of_the_operator(paths: HostPaths) -> None:
    kept, new = write(paths, "/etc/kubernetes/pki/ca.crt"), write(paths, "/etc/kubernetes/pki/etcd/ca.crt")
    record = InitRecord("x", pki_before=("ca.crt",))
    spared = paths.at("/run/groundplane/no-certificates")
    run(
        paths,
        [Step.RESET, Step.CLEAN_UP],
        [(limited(reset_argv(SOCKET, str(spared))), DONE)],
        host=HostState(pki=("ca.crt", "etcd/ca.crt"), record=record),
    )
    assert (kept.exists(), new.exists(), spared.exists()) == (True, False, False)


def test_repair(paths: HostPaths) -> None:
    token = write(paths, "/etc/kubernetes/bootstrap-kubelet.conf")
    start = (["systemctl", "enable", "--now", "kubelet.service"], DONE)
    run(paths, [Step.DROP_BOOTSTRAP, Step.START_KUBELET], [start], configuration="")
    assert not token.exists()


def test_nothing_begins_without_a_configuration(paths: HostPaths) -> None:
    with pytest.raises(GroundplaneError, match="no configuration was given"):
        run(paths, [Step.RESET, Step.JOIN], configuration="")


KUBEADM = {"kubeadm": "/usr/bin/kubeadm"}


def test_configuration_is_judged_first() -> None:
    runner = FakeRunner([(config_validate_argv(), Result(0, "ok\n", ""))], KUBEADM)
    validate(runner, Plan("init", "", (Step.INIT,)), CONFIGURATION)
    runner.assert_finished()
    assert runner.stdin == [CONFIGURATION]


def test_refused_configuration() -> None:
    refusal = Result(1, "", 'error: strict decoding error: unknown field "nodeRegistration.nme"\nTo see the stack\n')
    runner = FakeRunner([(config_validate_argv(), refusal)], KUBEADM)
    with pytest.raises(GroundplaneError, match='unknown field "nodeRegistration.nme"'):
        validate(runner, Plan("join", "", (Step.JOIN,)), CONFIGURATION)


@pytest.mark.parametrize(
    ("steps", "configuration", "programs"),
    [((), CONFIGURATION, KUBEADM), ((Step.INIT,), "", KUBEADM), ((Step.INIT,), CONFIGURATION, {})],
    ids=["nothing to do", "no configuration", "no kubeadm yet"],
)
def test_nothing_to_judge(steps: tuple[Step, ...], configuration: str, programs: dict[str, str]) -> None:
    validate(FakeRunner(programs=programs), Plan("none", "", steps), configuration)


def test_record_of_the_data_folder_is_followed(paths: HostPaths) -> None:
    data = write(paths, "/former/etcd/member/snap/db")
    host = replace(HostState(), record=InitRecord("x", etcd_data="/former/etcd"))
    run(paths, [Step.CLEAN_UP], host=host)
    assert not data.exists()
