# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node, then the whole cluster, is reset; nothing of Kubernetes stays, and a cluster can be built again."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.e2e.support import fingerprint
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import KUBEADM_NODE, RESET, Run

CONFIRMED = ("-e", "reset_confirmed=true")

#: Where Kubernetes, its network and its load balancer are seen on a node.
NETWORK = (
    "for save in iptables-save ip6tables-save 'nft list ruleset'; do "
    '! command -v ${save%% *} >/dev/null || $save | sed "s/^/$save: /"; done; '
    "ip -oneline link | sed 's/^/link: /'; ip -oneline address | sed 's/^/address: /'; ip route | sed 's/^/route: /'"
)
FILES = (
    "ls -d /etc/kubernetes/* /var/lib/etcd/* /var/lib/kubelet/* /var/lib/cni/* /etc/cni/net.d/* /run/flannel/* "
    "/var/lib/groundplane/* 2>/dev/null | grep -v ^/etc/kubernetes/manifests$"
)
PROCESSES = "pgrep --list-name --exact 'kubelet|kube-apiserver|etcd|kube-proxy|flanneld|haproxy|keepalived'"
OF_KUBERNETES = re.compile(r"KUBE-|CNI-|FLANNEL|cali|flannel|cni0|veth|kube-proxy|10\.244\.|10\.96\.")


@dataclass(frozen=True)
class WorkerReset:
    """The reset of one worker."""

    worker: str
    others: list[str]
    run: Run
    changes_elsewhere: str


@pytest.fixture(scope="module")
def worker_reset(ha_control_plane: ControlPlane, phases: Phases) -> WorkerReset:
    """One worker is reset while the cluster goes on."""
    nodes = ha_control_plane.nodes
    worker = nodes.workers[0]
    others = [name for name in nodes.names if name != worker]
    ha_control_plane.wait_whole()
    before = fingerprint.take_running(nodes, others)
    with phases.phase("reset.yml of one worker"):
        run = ha_control_plane.cluster.site.run(f"--limit={worker}", *CONFIRMED, playbook=RESET)
    changes = fingerprint.differences(before, fingerprint.take_running(nodes, others))
    return WorkerReset(worker, others, run, changes)


def test_a_reset_without_confirmation_is_refused(ha_cluster: Cluster, phases: Phases) -> None:
    before = fingerprint.take_running(ha_cluster.nodes)
    with phases.phase("reset.yml without confirmation"):
        run = ha_cluster.site.run(playbook=RESET)

    run.require_refusal("reset_confirmed", "To do:")
    assert not fingerprint.differences(before, fingerprint.take_running(ha_cluster.nodes))


def test_the_reset_of_a_worker_leaves_nothing_of_kubernetes_on_it(
    worker_reset: WorkerReset, ha_cluster: Cluster
) -> None:
    worker_reset.run.require_success()
    assert not remains(ha_cluster.nodes, worker_reset.worker)


def test_the_reset_of_a_worker_leaves_the_others_alone(worker_reset: WorkerReset, ha_cluster: Cluster) -> None:
    worker_reset.run.require_success()
    assert not worker_reset.changes_elsewhere
    assert sorted(node["metadata"]["name"] for node in ha_cluster.items("nodes")) == sorted(worker_reset.others)
    ha_cluster.wait_healthy(worker_reset.others)


def test_the_worker_joins_again(worker_reset: WorkerReset, ha_control_plane: ControlPlane, phases: Phases) -> None:
    with phases.phase("site.yml joins the worker that was reset"):
        run = ha_control_plane.cluster.site.run()

    run.require_success()
    assert run.changed_by(KUBEADM_NODE) == [worker_reset.worker]
    ha_control_plane.require_whole()


@pytest.fixture(scope="module")
def whole_reset(ha_control_plane: ControlPlane, phases: Phases) -> Run:
    """The whole cluster is reset."""
    with phases.phase("reset.yml of the whole cluster"):
        return ha_control_plane.cluster.site.run(*CONFIRMED, playbook=RESET)


def test_the_reset_of_the_whole_cluster_leaves_nothing_of_kubernetes_anywhere(
    whole_reset: Run, ha_cluster: Cluster
) -> None:
    whole_reset.require_success()
    found = {name: remains(ha_cluster.nodes, name) for name in ha_cluster.nodes.names}

    assert not any(found.values()), found


def test_a_second_reset_changes_nothing(whole_reset: Run, ha_cluster: Cluster, phases: Phases) -> None:
    whole_reset.require_success()
    with phases.phase("second reset.yml of the whole cluster"):
        run = ha_cluster.site.run(*CONFIRMED, playbook=RESET)

    run.require_unchanged()


@pytest.mark.long
def test_a_new_cluster_is_built_on_nodes_that_were_reset(
    whole_reset: Run, ha_control_plane: ControlPlane, phases: Phases
) -> None:
    whole_reset.require_success()
    with phases.phase("site.yml on nodes that were reset, three control plane nodes and two workers"):
        run = ha_control_plane.cluster.site.run()

    run.require_success()
    ha_control_plane.require_whole()
    assert not ha_control_plane.cluster.join_secrets()
    ha_control_plane.cluster.site.run().require_unchanged()


def remains(nodes: LabSet, name: str) -> list[str]:
    """Everything on a node that belongs to Kubernetes, its network or the virtual address of its API."""
    network = nodes.run(name, NETWORK).splitlines()
    of_network = [line for line in network if OF_KUBERNETES.search(line) or f" {nodes.vip}/" in line]
    return of_network + nodes.attempt(name, FILES).stdout.split() + nodes.attempt(name, PROCESSES).stdout.splitlines()
