# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about a host, as tables: what is there, what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import Node
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_cluster import (
    CONTROL_PLANE_LABEL,
    KUBEADM_CONFIG,
    NODE,
    ClusterState,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_plan import (
    JoinTarget,
    Plan,
    Step,
    decide_init,
    decide_join,
    decide_reset,
    refuse_other_cluster_configuration,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import HostState, InitRecord
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import NetworkRemains

NO_CLUSTER = ClusterState(ready=False)
COMPLETE = ClusterState(ready=True)
SILENT = ClusterState(ready=False, message="connection refused")

FRESH = HostState(kubelet_enabled=True)
RUNNING = HostState(kubelet_running=True, kubelet_enabled=True, kubelet_conf=True, kubelet_configuration=True)
MANIFESTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
MASTER = replace(RUNNING, manifests=MANIFESTS, etcd_data=True, admin_conf=True, pki=("ca.crt",), ca_hashes=("ours",))
RECORD = InitRecord("hash")
POD_NETWORK = NetworkRemains(links=("cni0", "flannel.1"))
INTERRUPTED = replace(MASTER, record=RECORD)
CERTIFICATES_ONLY = HostState(kubelet_enabled=True, pki=("ca.crt", "ca.key"), record=RECORD)

REINIT = (Step.RESET, Step.CLEAN_UP, Step.RECORD, Step.INIT, Step.FORGET)

INIT_PLANS = {
    "fresh host": (FRESH, NO_CLUSTER, "init", (Step.RECORD, Step.INIT, Step.FORGET)),
    "pod network of a former node": (
        replace(FRESH, network=POD_NETWORK),
        NO_CLUSTER,
        *("reinit", (Step.CLEAN_UP, Step.RECORD, Step.INIT, Step.FORGET)),
    ),
    "certificates of the operator": (
        replace(FRESH, pki=("ca.crt", "ca.key")),
        NO_CLUSTER,
        *("init", (Step.RECORD, Step.INIT, Step.FORGET)),
    ),
    "complete": (MASTER, COMPLETE, "none", ()),
    "complete, kubelet stopped": (
        replace(MASTER, kubelet_running=False),
        COMPLETE,
        *("repair", (Step.START_KUBELET,)),
    ),
    "complete, kubelet disabled": (
        replace(MASTER, kubelet_enabled=False),
        COMPLETE,
        *("repair", (Step.START_KUBELET,)),
    ),
    "killed before anything": (
        replace(FRESH, record=RECORD),
        NO_CLUSTER,
        *("init", (Step.RECORD, Step.INIT, Step.FORGET)),
    ),
    "killed among certificates": (CERTIFICATES_ONLY, NO_CLUSTER, "reinit", REINIT),
    "killed among certificates, some of the operator": (
        replace(CERTIFICATES_ONLY, record=InitRecord("hash", pki_before=("ca.crt", "ca.key"))),
        NO_CLUSTER,
        *("init", (Step.RECORD, Step.INIT, Step.FORGET)),
    ),
    "killed among kubeconfigs": (replace(CERTIFICATES_ONLY, admin_conf=True), NO_CLUSTER, "reinit", REINIT),
    "killed while the API came up": (INTERRUPTED, SILENT, "resume-init", (Step.RESUME, Step.FORGET)),
    "killed among addons": (
        INTERRUPTED,
        ClusterState(ready=True, missing=("daemonset/kube-proxy",)),
        *("resume-init", (Step.RESUME, Step.FORGET)),
    ),
    "killed after the end": (INTERRUPTED, COMPLETE, "repair", (Step.FORGET,)),
    "another configuration": (replace(INTERRUPTED, record=InitRecord("other")), SILENT, "reinit", REINIT),
    "another configuration, etcd data alone": (
        replace(FRESH, etcd_data=True, record=InitRecord("other")),
        NO_CLUSTER,
        *("reinit", REINIT),
    ),
}


@pytest.mark.parametrize(("host", "cluster", "action", "steps"), INIT_PLANS.values(), ids=INIT_PLANS)
def test_init(host: HostState, cluster: ClusterState, action: str, steps: tuple[Step, ...]) -> None:
    plan = decide_init(host, cluster, "hash", 1 if host.etcd_data else None)
    assert (plan.action, plan.steps) == (action, steps)
    assert plan.changed == bool(steps)
    assert plan.outcome() == "an initialised control plane"


INIT_REFUSALS = {
    "worker": (RUNNING, NO_CLUSTER, None, "is, or was about to become, a node of the cluster at an unknown address"),
    "begun worker": (
        HostState(bootstrap_kubelet_conf=True, server="https://a:6443"),
        NO_CLUSTER,
        *(None, "about to become, a node of the cluster at https://a:6443"),
    ),
    "etcd of unknown origin": (replace(FRESH, etcd_data=True), NO_CLUSTER, None, "etcd's folder holds data"),
    "another configuration for a cluster that had worked": (
        replace(INTERRUPTED, record=InitRecord("other"), kubelet_rotates=True),
        *(SILENT, None, "come as far as a working cluster"),
    ),
    "silent control plane": (
        MASTER,
        SILENT,
        *(None, r"does not answer: connection refused.*playbooks/reset\.yml --limit HOST; state reset of this module"),
    ),
    "stopped control plane": (
        replace(MASTER, kubelet_running=False),
        SILENT,
        *(None, "systemctl enable --now kubelet"),
    ),
    "no kubeconfig": (replace(MASTER, admin_conf=False), NO_CLUSTER, None, "admin.conf is missing"),
    "another node name": (
        MASTER,
        ClusterState(ready=True, missing=(NODE,)),
        *(None, "lacks the Node object of this host"),
    ),
    "not made by kubeadm": (
        MASTER,
        ClusterState(ready=True, missing=(KUBEADM_CONFIG, NODE)),
        *(None, "lacks configmap/kubeadm-config, the Node object"),
    ),
    "others have joined an unfinished cluster": (
        INTERRUPTED,
        ClusterState(ready=True, missing=("configmap/cluster-info",), other_nodes=("worker-1",)),
        *(1, "other members: worker-1.*missing is configmap/cluster-info"),
    ),
    "others are members of etcd": (
        INTERRUPTED,
        SILENT,
        *(3, "other members: 3 members of etcd.*missing is an answer of the API"),
    ),
}


@pytest.mark.parametrize(("host", "cluster", "members", "reason"), INIT_REFUSALS.values(), ids=INIT_REFUSALS)
def test_init_refuses(host: HostState, cluster: ClusterState, members: int | None, reason: str) -> None:
    with pytest.raises(GroundplaneError, match=reason):
        decide_init(host, cluster, "hash", members)


def test_addons_taken_away_on_purpose() -> None:
    cluster = ClusterState(ready=True, missing=("daemonset/kube-proxy", CONTROL_PLANE_LABEL))
    plan = decide_init(MASTER, cluster, "hash", None)
    assert plan.action == "none"
    assert [warning.split(",")[0] for warning in plan.warnings] == [
        "the cluster lacks daemonset/kube-proxy",
        "the cluster lacks the label node-role.kubernetes.io/control-plane",
    ]


ADDRESS = "192.0.2.21"
WORKER = JoinTarget(ADDRESS, control_plane=False, ca_cert_hashes=("ours",))
FIRST_MEMBER = Member("a1", "master-1", ("https://192.0.2.11:2380",), ("https://192.0.2.11:2379",), False, True)
VOTER = Member("a2", "master-2", (f"https://{ADDRESS}:2380",), (f"https://{ADDRESS}:2379",), False, True)
LEARNER = VOTER._replace(name="", client_urls=(), learner=True, healthy=False)
JOINING_MASTER = replace(WORKER, control_plane=True, etcd_members=(FIRST_MEMBER,))
VOTING_MASTER = replace(JOINING_MASTER, etcd_members=(FIRST_MEMBER, VOTER))
LEARNING_MASTER = replace(JOINING_MASTER, etcd_members=(FIRST_MEMBER, LEARNER))
EXTERNAL_ETCD = replace(JOINING_MASTER, etcd_members=())
OWN = Node("worker-1", "uid", True, (ADDRESS, "worker-1"), False, "v1.36.3")
NOT_READY = OWN._replace(ready=False)
STRANGER = OWN._replace(addresses=("192.0.2.99", "worker-1"))

JOINED = replace(RUNNING, kubelet_credentials=True, ca_hashes=("ours",), pki=("ca.crt",), server="https://a:6443")
JOINED_MASTER = replace(JOINED, manifests=MANIFESTS, etcd_data=True)
WITHOUT_ETCD = replace(JOINED, manifests=tuple(pod for pod in MANIFESTS if pod != "etcd"))
REJOIN = (Step.RESET, Step.CLEAN_UP, Step.JOIN)
JOIN_ETCD = (Step.JOIN, Step.VERIFY_MEMBER)
REJOIN_ETCD = (Step.RESET, Step.CLEAN_UP, *JOIN_ETCD)
MARKED = OWN._replace(control_plane=True)

JOIN_PLANS = {
    "fresh host": (FRESH, WORKER, None, "join", (Step.JOIN,), False),
    "fresh host, stale node": (FRESH, WORKER, NOT_READY, "join", (Step.JOIN,), True),
    "fresh host, own node still ready": (FRESH, WORKER, OWN, "join", (Step.JOIN,), True),
    "fresh host, lost namesake": (FRESH, WORKER, STRANGER._replace(ready=False), "join", (Step.JOIN,), True),
    "joined": (JOINED, WORKER, OWN, "none", (), False),
    "joined, network not there yet": (JOINED, WORKER, NOT_READY, "none", (), False),
    "joined, kubelet stopped": (
        replace(JOINED, kubelet_running=False),
        *(WORKER, OWN, "repair", (Step.START_KUBELET,), False),
    ),
    "killed at the very end": (
        replace(JOINED, bootstrap_kubelet_conf=True),
        *(WORKER, OWN, "repair", (Step.DROP_BOOTSTRAP,), False),
    ),
    "killed before the TLS bootstrap": (
        replace(FRESH, bootstrap_kubelet_conf=True, ca_hashes=("ours",)),
        *(WORKER, None, "rejoin", REJOIN, False),
    ),
    "killed join of a former cluster": (
        replace(FRESH, bootstrap_kubelet_conf=True, ca_hashes=("theirs",)),
        *(WORKER, None, "rejoin", REJOIN, False),
    ),
    "pod network of a former node": (
        replace(FRESH, network=POD_NETWORK),
        *(WORKER, None, "rejoin", (Step.CLEAN_UP, Step.JOIN), False),
    ),
    "CA alone": (replace(FRESH, pki=("ca.crt",)), WORKER, None, "rejoin", REJOIN, False),
    "node deleted": (JOINED, WORKER, None, "rejoin", REJOIN, False),
    "certificate of the kubelet lost": (
        replace(JOINED, kubelet_credentials=False),
        *(WORKER, NOT_READY, "rejoin", REJOIN, True),
    ),
    "configuration of the kubelet lost": (
        replace(JOINED, kubelet_configuration=False),
        *(WORKER, NOT_READY, "rejoin", REJOIN, True),
    ),
    "control plane": (JOINED_MASTER, VOTING_MASTER, MARKED, "none", (), False),
    "control plane, etcd elsewhere": (WITHOUT_ETCD, EXTERNAL_ETCD, MARKED, "none", (), False),
    "control plane, killed before its label": (
        replace(JOINED_MASTER, bootstrap_kubelet_conf=True),
        *(VOTING_MASTER, OWN, "resume-join", (Step.DROP_BOOTSTRAP, Step.MARK), False),
    ),
    "control plane, killed before its vote": (JOINED_MASTER, LEARNING_MASTER, OWN, "rejoin", REJOIN_ETCD, True),
    "control plane, killed before kubelet had its certificate": (
        replace(JOINED_MASTER, kubelet_conf=False, kubelet_credentials=False, bootstrap_kubelet_conf=True),
        *(VOTING_MASTER, None, "rejoin", REJOIN_ETCD, True),
    ),
    "control plane whose member was removed": (JOINED_MASTER, JOINING_MASTER, MARKED, "rejoin", REJOIN_ETCD, True),
    "control plane without label and manifest": (
        replace(JOINED_MASTER, manifests=MANIFESTS[1:]),
        *(VOTING_MASTER, OWN, "rejoin", REJOIN_ETCD, True),
    ),
    "control plane with copied certificates": (
        replace(FRESH, pki=("ca.crt", "ca.key", "sa.key")),
        *(JOINING_MASTER, None, "join", JOIN_ETCD, False),
    ),
    "control plane, killed during its certificates": (
        replace(FRESH, pki=("apiserver.key", "ca.crt", "ca.key", "etcd/ca.key", "etcd/peer.crt", "sa.key")),
        *(JOINING_MASTER, None, "join", (Step.DROP_CERTIFICATES, *JOIN_ETCD), False),
    ),
    "control plane with certificates of an external CA": (
        replace(FRESH, pki=("apiserver.crt", "apiserver.key", "ca.crt")),
        *(JOINING_MASTER, None, "join", JOIN_ETCD, False),
    ),
    "control plane on a new machine of an old name": (FRESH, VOTING_MASTER, NOT_READY, "join", JOIN_ETCD, True),
    "control plane on a new machine of an old address": (FRESH, VOTING_MASTER, None, "join", JOIN_ETCD, True),
    "control plane, first with etcd elsewhere": (FRESH, EXTERNAL_ETCD, None, "join", (Step.JOIN,), False),
    "control plane, killed after its kubeconfigs": (
        replace(FRESH, pki=("ca.crt",), admin_conf=True, ca_hashes=("ours",)),
        *(JOINING_MASTER, None, "rejoin", REJOIN_ETCD, False),
    ),
    "control plane, power cut during its certificates": (
        replace(FRESH, pki=("ca.crt",), damaged=("etc/kubernetes/pki/sa.key",), ca_hashes=("ours",)),
        *(JOINING_MASTER, None, "rejoin", REJOIN_ETCD, False),
    ),
    "control plane, killed after its manifests": (
        replace(FRESH, manifests=MANIFESTS, ca_hashes=("ours",)),
        *(JOINING_MASTER, None, "rejoin", REJOIN_ETCD, False),
    ),
}


@pytest.mark.parametrize(("host", "target", "node", "action", "steps", "stale"), JOIN_PLANS.values(), ids=JOIN_PLANS)
def test_join(
    host: HostState, target: JoinTarget, node: Node | None, action: str, steps: tuple[Step, ...], stale: bool
) -> None:
    plan = decide_join(host, target, node)
    assert (plan.action, plan.steps, plan.stale) == (action, steps, stale)
    assert plan.outcome() == "a node of the cluster"


JOIN_REFUSALS = {
    "a node whose address has changed, or a copy of one": (
        JOINED,
        *(WORKER, STRANGER._replace(ready=False), "has the identity of a node"),
    ),
    "keys of a control plane": (
        replace(FRESH, pki=("ca.crt", "ca.key")),
        WORKER,
        None,
        "holds keys of a control plane",
    ),
    "namesake": (FRESH, WORKER, STRANGER, "a ready node worker-1 with the addresses 192.0.2.99, worker-1"),
    "another cluster": (
        replace(JOINED, ca_hashes=("theirs",)),
        *(WORKER, None, "belongs to another cluster, at https://a:6443"),
    ),
    "another cluster's control plane": (
        replace(FRESH, etcd_data=True),
        *(JOINING_MASTER, None, "belongs to another cluster, at an unknown address"),
    ),
    "control plane as worker": (JOINED_MASTER, WORKER, OWN, "runs parts of a control plane"),
    "half-finished join of another control plane host": (
        FRESH,
        *(replace(JOINING_MASTER, node_address="192.0.2.13", etcd_members=(FIRST_MEMBER, LEARNER)), None),
        f"a new member at {ADDRESS} that has no vote yet",
    ),
    "control plane whose manifest somebody has moved": (
        replace(JOINED_MASTER, manifests=MANIFESTS[:1]),
        *(VOTING_MASTER, MARKED, "lacks kube-apiserver.yaml, kube-controller-manager.yaml, kube-scheduler.yaml"),
    ),
    "a member of etcd that is down": (
        FRESH,
        *(replace(JOINING_MASTER, etcd_members=(FIRST_MEMBER._replace(healthy=False),)), None),
        "the etcd member master-1 at 192.0.2.11 does not answer",
    ),
    "worker as control plane": (JOINED, JOINING_MASTER, OWN, "is a worker of the cluster"),
}


@pytest.mark.parametrize(("host", "target", "node", "reason"), JOIN_REFUSALS.values(), ids=JOIN_REFUSALS)
def test_join_refuses(host: HostState, target: JoinTarget, node: Node | None, reason: str) -> None:
    with pytest.raises(GroundplaneError, match=reason):
        decide_join(host, target, node)


def test_prediction_without_a_cluster() -> None:
    nowhere = replace(WORKER, ca_cert_hashes=())
    assert decide_join(FRESH, nowhere, None).action == "join"
    assert decide_join(replace(FRESH, bootstrap_kubelet_conf=True), nowhere, None).action == "rejoin"
    plan = decide_join(JOINED, nowhere, None)
    assert (plan.action, plan.changed) == ("none", False)
    assert "nothing can be predicted" in plan.warnings[0]


def test_reset() -> None:
    assert decide_reset(FRESH).action == "none"
    plan = decide_reset(JOINED)
    assert (plan.action, plan.steps) == ("reset", (Step.RESET, Step.CLEAN_UP))
    assert plan.outcome() == "nothing of kubeadm is on this host"


def test_network_of_another_distribution_is_no_reason_for_kubeadm_reset() -> None:
    plan = decide_reset(replace(FRESH, network=POD_NETWORK))
    assert (plan.action, plan.found, plan.steps) == ("reset", "remains of a pod network", (Step.CLEAN_UP,))


def test_waiting_changes_nothing() -> None:
    plan = Plan("wait", "a silent control plane", (Step.WAIT,))
    assert not plan.changed
    assert plan.outcome() == "a silent control plane"


KEPT = """apiVersion: kubeadm.k8s.io/v1beta4
controlPlaneEndpoint: api.one.internal:6443
kind: ClusterConfiguration
networking:
  dnsDomain: cluster.local
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/12
"""


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (KEPT.replace("one", "two"), "has the controlPlaneEndpoint api.one.internal:6443"),
        (KEPT.replace("10.244", "10.200"), "has the podSubnet 10.244.0.0/16"),
        (KEPT.replace("10.96.0.0/12", "10.100.0.0/16"), "has the serviceSubnet 10.96.0.0/12"),
        (KEPT.replace("cluster.local", "example.org"), "has the dnsDomain cluster.local"),
    ],
)
def test_another_cluster_is_not_taken_for_the_wanted_one(wanted: str, reason: str) -> None:
    with pytest.raises(GroundplaneError, match=reason):
        refuse_other_cluster_configuration(KEPT, wanted)


def test_a_cluster_without_an_endpoint_name_or_of_the_same_configuration_is_taken() -> None:
    refuse_other_cluster_configuration(KEPT, KEPT)
    refuse_other_cluster_configuration(KEPT.replace("controlPlaneEndpoint: api.one.internal:6443\n", ""), KEPT)
