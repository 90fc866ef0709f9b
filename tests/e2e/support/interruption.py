# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killing a run at a moment that is found by a condition on the node, not by the clock.

The node watches for the moment and freezes kubeadm in it, so that killing the controller, which takes longer than some
of kubeadm's phases, still happens in that very moment.
"""

from __future__ import annotations

import enum
import subprocess
from dataclasses import dataclass

from tests.e2e.support.lab import LabSet
from tests.e2e.support.site import StartedRun
from tests.e2e.support.waiting import wait_for

WATCH_SECONDS = 300
KUBECTL_AS_ADMINISTRATOR = "kubectl --kubeconfig=/etc/kubernetes/super-admin.conf --request-timeout=2s"


class Victim(enum.Enum):
    """What is killed together with the controller."""

    KUBEADM = "the controller and kubeadm are killed"
    NOTHING_ELSE = "the controller is killed while kubeadm goes on"
    POWER = "the power of the node is cut"


@dataclass(frozen=True)
class Moment:
    """A moment in the life of kubeadm, by a condition that a shell on the node can test."""

    name: str
    condition: str


INIT_MOMENTS = {
    moment.name: moment
    for moment in (
        Moment("the CA exists", "test -e /etc/kubernetes/pki/ca.crt"),
        Moment("the administrator's kubeconfig exists", "test -e /etc/kubernetes/admin.conf"),
        Moment("the API server's manifest exists", "test -e /etc/kubernetes/manifests/kube-apiserver.yaml"),
        Moment("etcd has its data folder", "test -d /var/lib/etcd/member"),
        Moment("the API answers", f"{KUBECTL_AS_ADMINISTRATOR} get --raw=/readyz"),
        Moment(
            "the configuration is uploaded",
            f"{KUBECTL_AS_ADMINISTRATOR} --namespace=kube-system get configmap kubeadm-config",
        ),
        Moment("CoreDNS is deployed", f"{KUBECTL_AS_ADMINISTRATOR} --namespace=kube-system get deployment coredns"),
    )
}
JOIN_MOMENTS = {
    moment.name: moment
    for moment in (
        Moment("kubelet's bootstrap kubeconfig exists", "test -e /etc/kubernetes/bootstrap-kubelet.conf"),
        Moment("the CA exists", "test -e /etc/kubernetes/pki/ca.crt"),
        Moment("kubelet's configuration exists", "test -e /var/lib/kubelet/config.yaml"),
        Moment("kubelet has its certificate", "test -e /var/lib/kubelet/pki/kubelet-client-current.pem"),
    )
}


def interrupt(run: StartedRun, nodes: LabSet, node: str, moment: Moment, victim: Victim) -> None:
    """Wait for the moment on the node, then kill what shall die in it."""
    watch = f"until ({moment.condition}) >/dev/null 2>&1 && pkill -STOP -x kubeadm; do sleep 0.01; done"
    watcher = subprocess.Popen(
        nodes.command(node, f"timeout {WATCH_SECONDS} sh -c {_quoted(watch)}"),
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


def _kill(run: StartedRun, nodes: LabSet, node: str, victim: Victim) -> None:
    run.kill()
    if victim is Victim.KUBEADM:
        nodes.run(node, "pkill -KILL -x kubeadm")
    elif victim is Victim.NOTHING_ELSE:
        nodes.run(node, "pkill -CONT -x kubeadm")
    else:
        nodes.kill([node])
        nodes.start([node])


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
