# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a plan for a node: the only code here that changes the host."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import read_etcd
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    config_validate_argv,
    configured_value,
    error_lines,
    init_argv,
    join_argv,
    limited,
    mark_argv,
    own_remains_checks,
    reset_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_diagnosis import failure
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_plan import (
    Plan,
    Step,
    own_certificates,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import (
    DEFAULT_ETCD_DATA,
    HostState,
    InitRecord,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import (
    read_network_remains,
    remove_network_remains,
)

_NEEDS_CONFIGURATION = {Step.INIT, Step.RESUME, Step.JOIN, Step.MARK}


@dataclass(frozen=True)
class Work:
    """What the steps of a plan work with.

    :arg host: the host as it was when the plan was made.
    :arg configuration: kubeadm's configuration, which may hold a token.
    :arg timeout: seconds for each run of kubeadm.
    :arg offline: whether kubeadm reset shall neither ask the cluster nor tell it.
    """

    runner: Runner
    paths: HostPaths
    host: HostState
    configuration: str
    cri_socket: str
    timeout: int
    offline: bool = False


def sha256_of(configuration: str) -> str:
    """Identity of a configuration."""
    return hashlib.sha256(configuration.encode("utf-8")).hexdigest()


def etcd_data_of(configuration: str) -> str:
    """Folder of etcd's data in a configuration."""
    return configured_value(configuration, "dataDir", DEFAULT_ETCD_DATA)


def validate(runner: Runner, plan: Plan, configuration: str) -> None:
    """Let kubeadm judge the configuration before anything is touched, if the plan has a use for it.

    A host without kubeadm is possible in check mode only, and then nothing can be validated.
    """
    if not _NEEDS_CONFIGURATION & set(plan.steps) or not configuration or runner.find("kubeadm") is None:
        return
    result = runner.run(config_validate_argv(), stdin=configuration, check=False)
    if result.rc != 0:
        reasons = "; ".join(error_lines(result))
        raise GroundplaneError(
            f"kubeadm refuses the configuration: {reasons}",
            expected="documents of the kubeadm API that this kubeadm knows",
            remedy="correct the variables that are merged into it, see `kubeadm config print init-defaults`",
        )


def apply_plan(plan: Plan, work: Work) -> None:
    """Carry out the steps of a plan in their order."""
    if _NEEDS_CONFIGURATION & set(plan.steps) and not work.configuration:
        raise GroundplaneError(
            f"this host needs kubeadm for: {plan.action}; but no configuration was given",
            expected="the option configuration; only check mode can do without",
            remedy="pass kubeadm's documents",
        )
    for step in plan.steps:
        _STEPS[step](work)


def _reset(work: Work) -> None:
    """Run kubeadm reset; certificates that an operator had provided before a recorded init stay."""
    kept = work.host.record.pki_before if work.host.record else ()
    # kubeadm empties the folder that it is told; one that does not exist spares the certificates.
    spared = str(work.paths.lock.parent / "no-certificates") if kept else ""
    unreachable = str(work.paths.lock.parent / "no-kubeconfig") if work.offline else ""
    _kubeadm(work, reset_argv(work.cri_socket, spared, unreachable))
    if kept:
        for file in work.host.pki:
            if file not in kept:
                (work.paths.pki / file).unlink()


def _clean_up(work: Work) -> None:
    """Remove what kubeadm reset leaves and what is provably of this node: more cleaners can follow."""
    for clean in (_clean_etcd, _clean_pki, _clean_network, _forget):
        clean(work)


def _clean_etcd(work: Work) -> None:
    """Remove etcd's data, which kubeadm reset leaves when it is not in the default folder."""
    folders = {etcd_data_of(work.configuration), work.host.record.etcd_data if work.host.record else DEFAULT_ETCD_DATA}
    for folder in folders:
        shutil.rmtree(str(work.paths.at(folder) / "member"), ignore_errors=True)


def _clean_pki(work: Work) -> None:
    """Remove the folder of the certificates, which kubeadm reset leaves empty."""
    if work.paths.pki.is_dir() and not any(work.paths.pki.iterdir()):
        work.paths.pki.rmdir()


def _clean_network(work: Work) -> None:
    """Remove what is left of the pod network: the next cluster may give this node another range of pod addresses.

    It is read anew, because kubeadm reset has taken the pods away since the plan was made.
    """
    remove_network_remains(work.runner, read_network_remains(work.runner, work.paths.root))


def _record(work: Work) -> None:
    """Write the record before kubeadm starts, so that whatever kubeadm leaves is known to be ours."""
    before = work.host.record.pki_before if work.host.record else work.host.pki
    record = InitRecord(sha256_of(work.configuration), etcd_data_of(work.configuration), before)
    _write_durably(work.paths.init_record, json.dumps(asdict(record), indent=2) + "\n")


def _write_durably(path: Path, text: str) -> None:
    """Replace a file so that it is whole, and on the disk, when this returns."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.with_name("." + path.name)
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _init(work: Work) -> None:
    """Initialise the control plane."""
    _kubeadm(work, init_argv(), stdin=work.configuration)


def _resume(work: Work) -> None:
    """Run kubeadm init over its own remains: every phase takes over what it has already made."""
    _kubeadm(work, init_argv(own_remains_checks(work.configuration)), stdin=work.configuration)


def _forget(work: Work) -> None:
    """Remove the record."""
    if work.paths.init_record.exists():
        work.paths.init_record.unlink()


def _drop_certificates(work: Work) -> None:
    """Remove the certificates that kubeadm join makes for this node alone."""
    for file in own_certificates(work.host.pki):
        (work.paths.pki / file).unlink()


def _join(work: Work) -> None:
    """Join the cluster."""
    _kubeadm(work, join_argv(), stdin=work.configuration)


def _mark(work: Work) -> None:
    """Give the node the label and taints of the control plane, the last that kubeadm join does."""
    _kubeadm(work, mark_argv(), stdin=work.configuration)


def _verify_member(work: Work) -> None:
    """Ask etcd itself, because kubeadm's own word for it comes from before the end."""
    view = read_etcd(work.runner, work.cri_socket)
    if view is None or not view.leader or any(member.learner for member in view.members):
        raise GroundplaneError(
            "kubeadm join has ended, yet etcd here "
            + ("cannot be asked" if view is None else "is not a voting member"),
            expected="a member list of voting members only, with a leader",
            remedy="look at `crictl logs` of etcd on this host; running again completes the join",
        )


def _drop_bootstrap(work: Work) -> None:
    """Remove the token of a join that was killed before its end."""
    work.paths.bootstrap_kubelet_conf.unlink()


def _start_kubelet(work: Work) -> None:
    """Make the kubelet run, now and after a reboot."""
    work.runner.run(["systemctl", "enable", "--now", "kubelet.service"])


def _kubeadm(work: Work, argv: Sequence[str], stdin: str | None = None) -> None:
    """Run kubeadm within the time limit; its output is never passed on as a whole."""
    result = work.runner.run(limited(argv, work.timeout), stdin=stdin, check=False)
    if result.rc != 0:
        raise failure(work.runner, " ".join(argv[:2]), result, work.cri_socket, work.timeout)


_STEPS: dict[Step, Callable[[Work], None]] = {
    Step.RESET: _reset,
    Step.CLEAN_UP: _clean_up,
    Step.RECORD: _record,
    Step.INIT: _init,
    Step.RESUME: _resume,
    Step.FORGET: _forget,
    Step.DROP_CERTIFICATES: _drop_certificates,
    Step.JOIN: _join,
    Step.MARK: _mark,
    Step.VERIFY_MEMBER: _verify_member,
    Step.DROP_BOOTSTRAP: _drop_bootstrap,
    Step.START_KUBELET: _start_kubelet,
}
