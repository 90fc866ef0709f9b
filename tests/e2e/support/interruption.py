# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killing a run at a moment that is found by a condition on the node, not by the clock.

The node watches for the moment and freezes kubeadm in it, so that killing the controller, which takes longer than some
of kubeadm's phases, still happens in that very moment. Looking takes longer than some phases as well; therefore kubeadm
also stands still whenever the node looks, and moves on in small steps.
"""

from __future__ import annotations

import enum
import subprocess
from dataclasses import dataclass

from tests.e2e.support.control_plane import ETCDCTL
from tests.e2e.support.lab import LabSet
from tests.e2e.support.site import StartedRun
from tests.e2e.support.waiting import wait_for

WATCH_SECONDS = 300
STEP_SECONDS = 0.002
#: Short beside kubeadm's own start, and long beside a look, which would else take a processor from the run.
LOOK_SECONDS = 0.05
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
ENDED_CHECK = (
    "if grep -q '^State:.*zombie' /proc/$kubeadm/status; then echo 'kubeadm ended before it was frozen'; exit 1; fi"
)
ETCD_STATUS = f"{ETCDCTL} endpoint status --write-out=json"


class Victim(enum.Enum):
    """What is killed together with the controller."""

    KUBEADM = "the controller and kubeadm are killed"
    KUBEADM_BY_REQUEST = "the controller is killed and kubeadm is asked to end"
    NOTHING_ELSE = "the controller is killed while kubeadm goes on"
    POWER = "the power of the node is cut"


@dataclass(frozen=True)
class Moment:
    """A moment in the life of kubeadm, by conditions that a shell on the node can test.

    :arg condition: kubeadm is frozen as soon as this holds.
    :arg settled: what others on the node shall come to while kubeadm is frozen.
    """

    name: str
    condition: str
    settled: str = "true"


def _when_api(question: str, *, kubeconfig: str = "super-admin.conf", file: str = "kube-apiserver.yaml") -> str:
    """Condition about what kubectl says, which is not asked before there is a manifest."""
    kubectl = f"kubectl --kubeconfig=/etc/kubernetes/{kubeconfig} --request-timeout=2s"
    return f"test -e /etc/kubernetes/manifests/{file} && {kubectl} {question}"


def _by_name(*moments: Moment) -> dict[str, Moment]:
    return {moment.name: moment for moment in moments}


#: In the order of kubeadm's phases, at least one in each. There is none for upload-certs, which a plain init skips, and
#: none for show-join-command, which leaves no trace.
INIT_MOMENTS = _by_name(
    # preflight
    Moment("kubeadm has begun", "pgrep -f '^kubeadm init'"),
    # certs
    Moment("the CA exists", "test -e /etc/kubernetes/pki/ca.crt"),
    # kubeconfig
    Moment("the administrator's kubeconfig exists", "test -e /etc/kubernetes/admin.conf"),
    # etcd
    Moment("etcd's manifest exists", "test -e /etc/kubernetes/manifests/etcd.yaml"),
    # control-plane
    Moment("the API server's manifest exists", "test -e /etc/kubernetes/manifests/kube-apiserver.yaml"),
    # kubelet-start
    Moment("kubelet's configuration exists", "test -e /var/lib/kubelet/config.yaml"),
    # wait-control-plane
    Moment("etcd has its data folder", "test -d /var/lib/etcd/member"),
    Moment("the API answers", _when_api("get --raw=/readyz")),
    # upload-config
    Moment("the configuration is uploaded", _when_api("--namespace=kube-system get configmap kubeadm-config")),
    # mark-control-plane
    Moment(
        "the node is marked as one of the control plane",
        _when_api(f"get nodes --selector={CONTROL_PLANE_LABEL} --output=name | grep ."),
    ),
    # bootstrap-token
    Moment("nodes may bootstrap with tokens", _when_api("get clusterrolebinding kubeadm:kubelet-bootstrap")),
    # kubelet-finalize
    Moment("kubelet uses a certificate of its own", "grep kubelet-client-current.pem /etc/kubernetes/kubelet.conf"),
    # addon
    Moment("CoreDNS is deployed", _when_api("--namespace=kube-system get deployment coredns")),
    Moment("kube-proxy is deployed", _when_api("--namespace=kube-system get daemonset kube-proxy")),
)
JOIN_MOMENTS = _by_name(
    Moment("kubelet's bootstrap kubeconfig exists", "test -e /etc/kubernetes/bootstrap-kubelet.conf"),
    Moment("the CA exists", "test -e /etc/kubernetes/pki/ca.crt"),
    Moment("kubelet's configuration exists", "test -e /var/lib/kubelet/config.yaml"),
    Moment("kubelet has its certificate", "test -e /var/lib/kubelet/pki/kubelet-client-current.pem"),
)

#: The same for a further control plane node.
CONTROL_PLANE_JOIN_MOMENTS = _by_name(
    # preflight
    Moment("kubeadm has begun", "pgrep -f '^kubeadm join'"),
    # control-plane-prepare
    Moment("shared keys are downloaded", "ls /etc/kubernetes/pki | grep '^sa.key$\\|^front-proxy-ca.key$'"),
    Moment("the API server's certificate exists", "test -e /etc/kubernetes/pki/apiserver.crt"),
    Moment("the administrator's kubeconfig exists", "test -e /etc/kubernetes/admin.conf"),
    Moment("the API server's manifest exists", "test -e /etc/kubernetes/manifests/kube-apiserver.yaml"),
    # kubelet-start
    Moment("kubelet's configuration exists", "test -e /var/lib/kubelet/config.yaml"),
    # etcd-join
    Moment("etcd's new member is announced", "test -e /etc/kubernetes/manifests/etcd.yaml"),
    Moment("etcd runs as a learner", "test -e /etc/kubernetes/manifests/etcd.yaml", f"{ETCD_STATUS} | grep isLearner"),
    Moment(
        "etcd's new member votes",
        f"test -e /etc/kubernetes/manifests/etcd.yaml && {ETCD_STATUS} | grep leader | grep -v isLearner",
    ),
    # kubelet-wait-bootstrap
    Moment("kubelet has its certificate", "test -e /var/lib/kubelet/pki/kubelet-client-current.pem"),
    # control-plane-join
    Moment(
        "the node is marked as one of the control plane",
        "test -e /var/lib/kubelet/pki/kubelet-client-current.pem && "
        + _when_api(
            f"get nodes --selector={CONTROL_PLANE_LABEL} --output=name | grep -x node/$(hostname)",
            kubeconfig="admin.conf",
            file="etcd.yaml",
        ),
    ),
)


def interrupt(run: StartedRun, nodes: LabSet, node: str, moment: Moment, victim: Victim) -> None:
    """Wait for the moment on the node, then kill what shall die in it."""
    watcher = subprocess.Popen(
        nodes.command(node, f"timeout {WATCH_SECONDS} bash -c {_quoted(_watch(moment))}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(
            f"The moment in which {moment.name} on {node}",
            lambda: "" if watcher.poll() is not None or run.has_ended else "the moment",
            seconds=WATCH_SECONDS,
            interval=0.02,
        )
        assert not run.has_ended, f"The run ended before {moment.name} on {node}:\n{run.output()[-3000:]}"
        assert watcher.returncode == 0, f"Watching {node} failed: {watcher.stdout and watcher.stdout.read()}"
        _kill(run, nodes, node, victim)
    finally:
        watcher.kill()
        watcher.wait()
        if not run.has_ended:
            run.kill()


def _watch(moment: Moment) -> str:
    """Script for bash that ends in the moment, with kubeadm frozen.

    kubeadm is frozen by its process id: by its name, a child that is just becoming another program would be frozen too,
    and for ever. A step is a read that times out: starting a program such as sleep takes a busy machine as long as
    several of kubeadm's phases. A process that has ended takes signals, too, until its parent has heard of it.
    """
    return (
        f"exec 3<> <(:); until kill -STOP $kubeadm 2>/dev/null && ({moment.condition}) >/dev/null 2>&1; "
        f"do if kill -CONT $kubeadm 2>/dev/null; then read -r -t {STEP_SECONDS} -u 3; "
        f"else kubeadm=$(pgrep --oldest --exact kubeadm) || sleep {LOOK_SECONDS}; fi; done; "
        f"{ENDED_CHECK}; "
        f"until ({moment.settled}) >/dev/null 2>&1; do sleep 0.1; done"
    )


def _kill(run: StartedRun, nodes: LabSet, node: str, victim: Victim) -> None:
    run.kill()
    if victim is Victim.KUBEADM:
        nodes.run(node, "pkill -KILL -x kubeadm")
    elif victim is Victim.KUBEADM_BY_REQUEST:
        nodes.run(node, "pkill -TERM -x kubeadm; pkill -CONT -x kubeadm")
    elif victim is Victim.NOTHING_ELSE:
        nodes.run(node, "pkill -CONT -x kubeadm")
    else:
        nodes.kill([node])
        nodes.start([node])


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
