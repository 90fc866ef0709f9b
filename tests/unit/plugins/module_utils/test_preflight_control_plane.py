# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the control plane as a whole, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._flannel import backend_from
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_control_plane import (
    CONTROL_PLANE_CHECKS,
    Situation,
    Unreachable,
    judge_configurations,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Finding

OURS = "sha256:ours"
THEIRS = "sha256:theirs"
API = "https://api.internal:6443"


def etcd(*numbers: int, running: tuple[int, ...] = (), learners: tuple[int, ...] = (), leader: bool = False) -> Any:
    """The etcd of a host, with members on the hosts of these numbers."""
    members = [
        Member(
            id=f"{number:x}",
            name=f"node-{number}",
            peer_urls=(f"https://192.0.2.{number}:2380",),
            client_urls=(),
            learner=number in learners,
            healthy=number in running,
        )
        for number in numbers
    ]
    return {"external": False, "leader": leader, "members": [member.as_dict() for member in members]}


FRESH = {
    "installed": False,
    "init_unfinished": False,
    "ready": False,
    "message": "",
    "ca_cert_hashes": [],
    "etcd": etcd(),
    "nodes": [],
}
READY = {
    **FRESH,
    "installed": True,
    "ready": True,
    "ca_cert_hashes": [OURS],
    "etcd": etcd(1, running=(1,), leader=True),
}
SILENT = {**READY, "ready": False, "message": "refused", "etcd": etcd(1, running=(1,), leader=True)}
UNFINISHED = {**FRESH, "init_unfinished": True, "ca_cert_hashes": [OURS]}


def node(ca_hash: str = OURS, server: str = API) -> Any:
    """Facts of a host that belongs to a cluster, or to none."""
    return {"cluster": {"known": bool(ca_hash), "server": server if ca_hash else "", "ca_hash": ca_hash}}


def judge(
    control_planes: dict[str, Any],
    facts: dict[str, Any] | None = None,
    etcd_hosts: tuple[str, ...] = (),
    network: str = "",
    proxy_mode: str = "",
    ranges: dict[str, str] | None = None,
    flannel_backend: dict[str, Any] | None = None,
    configurations: dict[str, Any] | None = None,
    kept_configurations: dict[str, Any] | None = None,
    **unreachable: tuple[str, ...],
) -> dict[tuple[str, str, tuple[str, ...]], Finding]:
    """Findings by id, severity and hosts."""
    situation = Situation(
        facts or {},
        control_planes,
        Unreachable(**unreachable),
        etcd_hosts,
        network,
        proxy_mode,
        ranges or {},
        flannel_backend=flannel_backend or {},
        configurations=configurations or {},
        kept_configurations=kept_configurations or {},
    )
    found = {}
    for check in CONTROL_PLANE_CHECKS:
        for comparison in check.judge(situation):
            finding = check.description.finding(comparison.observation)
            found[(finding.id, finding.severity, comparison.hosts)] = finding
    return found


@pytest.mark.parametrize(
    ("control_planes", "facts"),
    [
        pytest.param({}, {}, id="nothing at all"),
        pytest.param({"m1": FRESH, "m2": FRESH}, {"m1": node(""), "w1": node("")}, id="fresh hosts"),
        pytest.param(
            {"m1": READY, "m2": FRESH}, {"m1": node(), "m2": node(""), "w1": node()}, id="a cluster that grows"
        ),
        pytest.param({"m1": READY, "m2": READY}, {}, id="only the control plane"),
        pytest.param({"m1": UNFINISHED}, {"m1": node(), "w1": node("")}, id="an init to be completed"),
        pytest.param({"m1": {**UNFINISHED, "installed": True}}, {"m1": node()}, id="an init killed later"),
        pytest.param({}, {"w1": node()}, id="no control plane host was read"),
        pytest.param(
            {"m1": {**READY, "ca_cert_hashes": [OURS, THEIRS]}}, {"w1": node(THEIRS)}, id="a CA that is being replaced"
        ),
        pytest.param({"m1": {**READY, "ca_cert_hashes": []}}, {"w1": node()}, id="a CA that cannot be read"),
    ],
)
def test_nothing_to_say(control_planes: dict[str, Any], facts: dict[str, Any]) -> None:
    assert judge(control_planes, facts) == {}


def test_a_worker_that_is_down_is_left_out() -> None:
    found = judge({"m1": READY}, workers=("w1", "w2"))
    assert set(found) == {("host-unreachable", "warning", ("w1", "w2"))}


@pytest.mark.parametrize(
    ("control_plane", "severity"),
    [(READY, "warning"), (FRESH, "error"), ({**READY, "init_unfinished": True}, "error")],
    ids=["another is ready", "nothing is ready", "an unfinished one cannot speak for the cluster"],
)
def test_a_control_plane_host_that_is_down(control_plane: Any, severity: str) -> None:
    assert set(judge({"m1": control_plane}, control_plane=("m2",))) == {("host-unreachable", severity, ("m2",))}


def test_a_host_on_which_the_check_failed() -> None:
    found = judge({"m1": READY}, control_plane=("m2", "m3"), workers=("w1", "w2"), failed=("m2", "w1"))
    assert set(found) == {
        ("host-unreachable", "error", ("m2", "w1")),
        ("host-unreachable", "warning", ("m3",)),
        ("host-unreachable", "warning", ("w2",)),
    }


def test_lost_quorum() -> None:
    silent = {**SILENT, "etcd": etcd(1, 2, 3, 4, running=(2,), learners=(4,))}
    found = judge({"m2": silent}, control_plane=("m1", "m3"))
    assert set(found) == {("host-unreachable", "error", ("m1", "m3")), ("quorum-lost", "error", ("m2",))}
    loss = found[("quorum-lost", "error", ("m2",))]
    assert loss.found == (
        "etcd has lost its quorum: 1 of 3 voting members runs, node-2 (192.0.2.2), and 2 are needed; "
        "node-1 (192.0.2.1) and node-3 (192.0.2.3) do not answer"
    )
    assert loss.expected == "a leader, which takes 2 of 3 voting members"
    assert loss.remedy.startswith(
        "Start the machines node-1 (192.0.2.1) and node-3 (192.0.2.3) (any 1 of them will do), and run again. "
        "When too many are lost for good, restore etcd from a snapshot"
    )
    assert loss.remedy.endswith("Never remove members by hand while there is no quorum. Nothing was changed.")


def test_what_several_members_see_is_put_together() -> None:
    views = {
        "m1": {**SILENT, "etcd": etcd(1, 2, 3, 4, 5, running=(1,))},
        "m2": {**SILENT, "etcd": etcd(1, 2, 3, 4, 5, running=(2,))},
    }
    loss = judge(views)[("quorum-lost", "error", ("m1", "m2"))]
    assert "2 of 5 voting members run, node-1 (192.0.2.1) and node-2 (192.0.2.2), and 3 are needed" in loss.found
    assert "node-3 (192.0.2.3), node-4 (192.0.2.4) and node-5 (192.0.2.5) (any 1 of them will do)" in loss.remedy


def test_one_of_two() -> None:
    loss = judge({"m1": {**SILENT, "etcd": etcd(1, 2, running=(1,))}})[("quorum-lost", "error", ("m1",))]
    assert loss.found.endswith("and 2 are needed; node-2 (192.0.2.2) does not answer")
    assert loss.remedy.startswith("Start the machine node-2 (192.0.2.2), and run again.")


def test_members_that_do_not_tell_their_state() -> None:
    loss = judge({"m1": {**SILENT, "etcd": etcd(1, 2)}})[("quorum-lost", "error", ("m1",))]
    assert loss.found == (
        "etcd has lost its quorum: 0 of 2 voting members run, and 2 are needed; "
        "node-1 (192.0.2.1) and node-2 (192.0.2.2) do not answer"
    )


def test_members_that_do_not_find_each_other() -> None:
    loss = judge({"m1": {**SILENT, "etcd": etcd(1, 2, 3, running=(1, 2))}})[("quorum-lost", "error", ("m1",))]
    assert loss.found == "etcd has no leader, though node-1 (192.0.2.1) and node-2 (192.0.2.2) run"
    assert "2380" in loss.remedy
    assert "snapshot" not in loss.remedy


def test_members_that_cannot_be_read() -> None:
    silent = {**SILENT, "etcd": etcd()}
    found = judge({"m1": silent, "m4": FRESH}, control_plane=("m2", "m3"))
    loss = found[("quorum-lost", "error", ("m1",))]
    assert loss.found == (
        "etcd cannot be asked for its members, and of 3 control plane hosts only m1 answers; m2 and m3 do not"
    )
    assert "Start the machines m2 and m3" in loss.remedy
    assert "on m1 instead" in loss.remedy


@pytest.mark.parametrize(
    ("control_planes", "unreachable"),
    [
        pytest.param({"m1": {**SILENT, "etcd": etcd()}}, {}, id="a single one without its etcd"),
        pytest.param(
            {"m1": {**SILENT, "etcd": etcd()}, "m2": {**SILENT, "etcd": etcd()}},
            {"control_plane": ("m3",)},
            id="enough hosts for a quorum",
        ),
        pytest.param(
            {"m1": {**SILENT, "etcd": {**etcd(), "external": True}}},
            {"control_plane": ("m2", "m3")},
            id="external etcd",
        ),
        pytest.param({"m1": SILENT}, {"control_plane": ("m2", "m3")}, id="a leader"),
        pytest.param({"m1": {**SILENT, "etcd": etcd(1, running=(1,))}}, {}, id="a single member about to lead"),
    ],
)
def test_silent_without_a_sign_of_a_lost_quorum(control_planes: dict[str, Any], unreachable: Any) -> None:
    found = {key: finding for key, finding in judge(control_planes, **unreachable).items() if "host-" not in key[0]}
    assert set(found) == {("control-plane-silent", "error", (host,)) for host in control_planes}
    for finding in found.values():
        assert finding.found == "the API server is not ready: refused"
        assert "journalctl -u kubelet" in finding.remedy
        assert "crictl ps -a" in finding.remedy


def test_an_unfinished_init_is_not_silent_and_its_neighbour_is() -> None:
    unfinished = {**SILENT, "init_unfinished": True}
    assert set(judge({"m1": unfinished, "m2": SILENT})) == {("control-plane-silent", "error", ("m2",))}
    assert judge({"m1": unfinished}) == {}


def test_degraded() -> None:
    lost = {**SILENT, "message": "kubelet.service is inactive; refused", "etcd": etcd()}
    found = judge({"m1": READY, "m2": lost, "m3": SILENT})
    assert set(found) == {
        ("control-plane-degraded", "warning", ("m2",)),
        ("control-plane-degraded", "warning", ("m3",)),
    }
    degraded = found[("control-plane-degraded", "warning", ("m2",))]
    assert degraded.found == "the API server is not ready: kubelet.service is inactive; refused"


@pytest.mark.parametrize(
    "control_plane",
    [FRESH, {**FRESH, "ca_cert_hashes": [THEIRS]}, UNFINISHED],
    ids=["fresh", "itself no more than a node", "a new one that was begun"],
)
def test_nodes_whose_control_plane_is_missing(control_plane: Any) -> None:
    facts = {"w1": node(THEIRS), "w2": node(THEIRS), "w3": node("sha256:third", "https://x:6443"), "w4": node("")}
    found = judge({"m1": control_plane}, facts)
    assert set(found) == {
        ("control-plane-missing", "error", ("w1", "w2")),
        ("control-plane-missing", "error", ("w3",)),
    }
    missing = found[("control-plane-missing", "error", ("w1", "w2"))]
    assert missing.found == f"a node of the cluster at {API}, whose control plane is none of these hosts"
    assert "playbooks/reset.yml --limit HOST" in missing.remedy


@pytest.mark.parametrize("unreachable", [{"control_plane": ("m2",)}, {"failed": ("m2",)}])
def test_a_control_plane_that_may_be_elsewhere_is_not_called_missing(unreachable: Any) -> None:
    found = judge({"m1": FRESH}, {"w1": node(THEIRS)}, **unreachable)
    assert {key[0] for key in found} == {"host-unreachable"}


def test_missing_although_another_one_is_silent() -> None:
    found = judge({"m1": SILENT}, {"w1": node(THEIRS), "w2": node()})
    assert set(found) == {("control-plane-silent", "error", ("m1",)), ("control-plane-missing", "error", ("w1",))}


def test_a_node_of_another_cluster() -> None:
    facts = {"m1": node(), "w1": node(THEIRS, "https://x:6443"), "w2": node()}
    found = judge({"m1": READY, "m2": FRESH}, facts)
    assert set(found) == {("other-cluster", "error", ("w1",))}
    other = found[("other-cluster", "error", ("w1",))]
    assert other.found == "a node of another cluster than m1, at https://x:6443"
    # A control plane host that is down changes nothing about what the ready one says.
    assert ("other-cluster", "error", ("w1",)) in judge({"m1": READY}, facts, control_plane=("m2",))


@pytest.mark.parametrize("ready", [True, False])
def test_control_planes_of_two_clusters(ready: bool) -> None:
    control_planes = {"m1": {**UNFINISHED, "ca_cert_hashes": [THEIRS]}, "m2": {**READY, "ready": ready, "message": "x"}}
    facts = {"m1": node(THEIRS), "m2": node()}
    first, second = ("m2", "m1") if ready else ("m1", "m2")
    found = judge(control_planes, facts)
    (other,) = [finding for key, finding in found.items() if key[0] == "other-cluster"]
    assert ("other-cluster", "error", (first, second)) in found
    assert other.found == f"the control plane of {second} is of another cluster than that of {first}"
    assert {key[0] for key in found} == ({"other-cluster"} if ready else {"other-cluster", "control-plane-silent"})


def test_different_nodes_while_no_control_plane_can_tell() -> None:
    found = judge({}, {"w1": node(), "w2": node(THEIRS, "https://x:6443"), "w3": node("")})
    assert set(found) == {("other-cluster", "warning", ("w1", "w2"))}
    assert next(iter(found.values())).found == f"nodes of clusters with different CAs: w1 {API}, w2 https://x:6443"


@pytest.mark.parametrize(
    ("number", "spared", "fewer", "more"),
    [(2, "2 of them have to run, so none", 1, 3), (4, "3 of them have to run, so 1", 3, 5)],
)
def test_an_even_number_of_etcd_members(number: int, spared: str, fewer: int, more: int) -> None:
    hosts = tuple(f"m{index}" for index in range(number))
    found = judge({}, etcd_hosts=hosts)
    assert set(found) == {("even-control-plane", "warning", hosts)}
    even = found["even-control-plane", "warning", hosts]
    assert even.found == (
        f"{number} control plane hosts, each with a member of etcd: {spared} may fail, "
        f"which is no more than with {fewer}"
    )
    assert even.expected == f"an odd number of them, such as {fewer} or {more}"


@pytest.mark.parametrize("hosts", [(), ("m1",), ("m1", "m2", "m3")], ids=["not to be judged", "one", "three"])
def test_a_number_of_etcd_members_that_is_fine(hosts: tuple[str, ...]) -> None:
    assert judge({}, etcd_hosts=hosts) == {}


def versions(*kubelets: str) -> Any:
    """A ready control plane with nodes of these versions."""
    nodes = [{"name": f"m{number}", "control_plane": True, "kubelet_version": v} for number, v in enumerate(kubelets)]
    return {**READY, "nodes": [*nodes, {"name": "w", "control_plane": False, "kubelet_version": "v1.30.0"}]}


@pytest.mark.parametrize(
    ("control_plane", "version", "found"),
    [
        (versions("v1.35.4"), "1.36.2", True),
        (versions("v1.36.1", "v1.35.4"), "1.36.2", True),
        (versions("v1.9.0"), "1.10.0", True),
        (versions("v1.36.1"), "1.36.2", False),
        (versions("v1.36.1"), "1.35.9", False),
        (versions("v1.35.4"), "", False),
        (READY, "1.36.2", False),
        ({**versions("v1.35.4"), "ready": False}, "1.36.2", False),
    ],
    ids=["newer", "while upgrading", "by number", "a patch", "older", "not known", "no nodes", "silent"],
)
def test_a_worker_newer_than_the_control_plane(control_plane: Any, version: str, found: bool) -> None:
    facts = {"m1": node(), "w1": {**node(""), "package_version": version}}
    assert (("version-skew", "error", ("w1",)) in judge({"m1": control_plane}, facts)) is found


def running(network: str, *others: str) -> Any:
    """A ready control plane of a cluster with two nodes and these networks."""
    nodes = [
        {"name": "m1", "control_plane": True, "kubelet_version": "v1.36.3", "addresses": ["192.0.2.11", "m1"]},
        {"name": "w1", "control_plane": False, "kubelet_version": "v1.36.3", "addresses": ["192.0.2.21", "w1"]},
    ]
    return {**READY, "nodes": nodes, "networks": [network, *others]}


def at(address: str) -> Any:
    """Facts of a host with this node address."""
    return {**node(), "node": {"address": address} if address else {}}


BOTH = {"m1": at("192.0.2.11"), "w1": at("192.0.2.21")}


@pytest.mark.parametrize(
    ("wanted", "control_plane", "facts", "hosts"),
    [
        ("flannel", running("canal"), BOTH, ("m1",)),
        ("flannel", running("canal", "flannel"), BOTH, ("m1",)),
        ("flannel", running("flannel"), BOTH, None),
        ("canal", running("flannel"), BOTH, None),
        ("canal", running("flannel"), {"m1": at("192.0.2.11"), "w2": at("")}, ("m1",)),
        ("canal", running("canal"), {"m1": at("192.0.2.11")}, None),
        ("none", running("canal"), BOTH, None),
        ("", running("canal"), BOTH, None),
        ("flannel", {**running("canal"), "ready": False}, BOTH, None),
        ("canal", {**running("flannel"), "ready": False}, {"m1": at("192.0.2.11")}, None),
    ],
    ids=[
        *("back", "back while going there", "as before", "forward", "forward without a node", "afterwards"),
        *("left to the operator", "not to be judged", "back, silent", "forward, silent"),
    ],
)
def test_a_change_of_the_network(wanted: str, control_plane: Any, facts: Any, hosts: tuple[str, ...] | None) -> None:
    found = judge({"m1": control_plane}, facts, network=wanted)
    assert [key[2] for key in found if key[0] == "network-change"] == ([hosts] if hosts else [])


def backed(kind: str, **options: Any) -> Any:
    """A ready control plane of a cluster with this backend of flannel, as control_plane_info returns it."""
    backend = backend_from({"Type": kind, **options})
    assert backend is not None
    return {**running("flannel"), "flannel_backend": backend.as_dict()}


@pytest.mark.parametrize(
    ("control_plane", "wanted", "found", "expected"),
    [
        (backed("vxlan"), {"Type": "vxlan"}, "", ""),
        (
            backed("vxlan"),
            {"Type": "host-gw"},
            "the cluster runs flannel's backend vxlan, and host-gw is wanted",
            "cni_flannel_backend: vxlan",
        ),
        (
            {**backed("host-gw"), "networks": ["canal"]},
            {"Type": "vxlan"},
            "the cluster runs flannel's backend host-gw, and vxlan is wanted",
            "cni_flannel_backend: host-gw",
        ),
        (
            backed("vxlan"),
            {"Type": "vxlan", "Port": 4790, "VNI": 2},
            "the cluster runs flannel's backend vxlan with VNI 1 and Port 8472, and it is wanted with VNI 2 and Port "
            "4790",
            "cni_flannel_backend_options with VNI 1 and Port 8472",
        ),
        (
            backed("wireguard", PSK="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            {"Type": "wireguard", "Mode": "auto"},
            "the cluster runs flannel's backend wireguard with Mode separate and a PSK whose SHA-256 begins with "
            "2cf5e6ec, and it is wanted with Mode auto and no PSK",
            "cni_flannel_backend_options with Mode separate and a PSK whose SHA-256 begins with 2cf5e6ec",
        ),
        (backed("vxlan", Port=4790), {"Type": "vxlan", "Port": 4790}, "", ""),
        (backed("vxlan"), {"Type": "vxlan", "VNI": 1, "Port": 8472, "GBP": False}, "", ""),
        (backed("vxlan", VNI=1, Port=8472), {"Type": "vxlan"}, "", ""),
        (backed("vxlan"), {"Type": "vxlan", "MTU": 1400, "DirectRouting": True, "Learning": True}, "", ""),
        (backed("wireguard"), {"Type": "wireguard", "PersistentKeepaliveInterval": 25}, "", ""),
        (backed("vxlan"), {}, "", ""),
        ({**backed("vxlan"), "flannel_backend": None}, {"Type": "host-gw"}, "", ""),
        (running("flannel"), {"Type": "host-gw"}, "", ""),
        ({**backed("vxlan"), "ready": False}, {"Type": "host-gw"}, "", ""),
        ({**backed("vxlan"), "init_unfinished": True}, {"Type": "host-gw"}, "", ""),
    ],
    ids=[
        *("as before", "another", "another, with canal", "options", "a key", "an option as before"),
        *("defaults that are written", "defaults that were written", "what each node has for itself", "keepalive"),
        *("not to be judged", "none of flannel's", "not read", "silent", "an init to be completed"),
    ],
)
def test_a_change_of_flannels_backend(control_plane: Any, wanted: dict[str, Any], found: str, expected: str) -> None:
    findings = judge({"m1": control_plane, "m2": READY}, BOTH, flannel_backend=wanted)
    texts = {key: (finding.found, finding.expected) for key, finding in findings.items() if "backend" in key[0]}
    assert texts == ({("flannel-backend-change", "error", ("m1",)): (found, expected)} if found else {})


def test_canal_takes_over_with_the_backend_of_flannel_alone() -> None:
    found = judge({"m1": backed("vxlan")}, BOTH, network="canal", flannel_backend={"Type": "host-gw"})
    assert set(found) == {("flannel-backend-change", "error", ("m1",))}
    assert judge({"m1": backed("vxlan")}, BOTH, network="canal", flannel_backend={"Type": "vxlan"}) == {}


def proxied(mode: str, former: str = "", **changes: Any) -> Any:
    """A ready control plane of a cluster with two nodes whose kube-proxy runs in a mode, or is changed to it."""
    proxy = {"mode": mode, "strict_arp": False, "former_mode": former}
    return {**running("flannel"), "kube_proxy": proxy, **changes}


ONE = {"m1": at("192.0.2.11")}


@pytest.mark.parametrize(
    ("wanted", "control_plane", "facts", "found"),
    [
        ("iptables", proxied("iptables"), ONE, ""),
        ("nftables", proxied("iptables"), BOTH, ""),
        ("nftables", proxied("iptables"), ONE, "from mode iptables to nftables, and the nodes w1 are not"),
        ("nftables", proxied("nftables", "ipvs"), ONE, "from mode ipvs to nftables"),
        ("nftables", proxied("iptables", "ipvs"), ONE, "from mode iptables and ipvs to nftables"),
        ("ipvs", proxied("ipvs", "ipvs"), ONE, ""),
        ("nftables", proxied("iptables", kube_proxy=None), ONE, ""),
        ("", proxied("iptables"), ONE, ""),
        ("nftables", proxied("iptables", ready=False), ONE, ""),
    ],
    ids=[
        *("as before", "every node", "a node is absent", "interrupted", "interrupted and another one"),
        *("another field", "none of kubeadm's", "not to be judged", "silent"),
    ],
)
def test_a_change_of_kube_proxy(wanted: str, control_plane: Any, facts: Any, found: str) -> None:
    findings = judge({"m1": control_plane}, facts, proxy_mode=wanted)
    texts = [finding.found for key, finding in findings.items() if key[0] == "proxy-mode-change"]
    assert len(texts) == bool(found)
    assert found in "".join(texts)


def keeping(pods: str, services: str = "10.96.0.0/12") -> Any:
    """A ready control plane of a cluster with these ranges, in the words of kubeadm."""
    networking = f"networking:\n  dnsDomain: cluster.local\n  podSubnet: {pods}\n  serviceSubnet: {services}\n"
    return {**READY, "cluster_configuration": f"kind: ClusterConfiguration\n{networking}proxy: {{}}\n"}


PODS = {"cluster_pod_cidr": "10.244.0.0/16", "cluster_service_cidr": "10.96.0.0/12"}
DUAL_PODS = {"cluster_pod_cidr": "10.244.0.0/16,fd00:10::/56", "cluster_service_cidr": "10.96.0.0/12,fd00:96::/112"}
DUAL_KEPT = keeping("10.244.0.0/16,fd00:10::/56", "10.96.0.0/12,fd00:96::/112")


@pytest.mark.parametrize(
    ("control_plane", "wanted", "number"),
    [
        (keeping("10.244.0.0/16"), PODS, 0),
        (keeping("10.244.0.0/16"), DUAL_PODS, 2),
        (keeping("10.244.0.0/16"), {**PODS, "cluster_pod_cidr": "10.0.0.0/16"}, 1),
        (DUAL_KEPT, DUAL_PODS, 0),
        (DUAL_KEPT, PODS, 2),
        (DUAL_KEPT, {**DUAL_PODS, "cluster_pod_cidr": "10.244.0.0/16, FD00:10:0::/56"}, 0),
        (DUAL_KEPT, {**DUAL_PODS, "cluster_pod_cidr": "fd00:10::/56,10.244.0.0/16"}, 1),
        (DUAL_KEPT, {**DUAL_PODS, "cluster_pod_cidr": "10.244.0.0/16,pods"}, 1),
        (keeping('""'), DUAL_PODS, 1),
        ({**READY, "cluster_configuration": ""}, DUAL_PODS, 0),
        (READY, DUAL_PODS, 0),
        (keeping("10.244.0.0/16"), {}, 0),
        ({**keeping("10.244.0.0/16"), "ready": False}, DUAL_PODS, 0),
        ({**keeping("10.244.0.0/16"), "init_unfinished": True}, DUAL_PODS, 0),
    ],
    ids=[
        *("as before", "a second family", "another range", "both as before", "a family less", "in another spelling"),
        *("another first family", "nonsense", "none kept for pods", "no configuration", "none read"),
        *("not to be judged", "silent", "an init to be completed"),
    ],
)
def test_a_change_of_the_ranges(control_plane: Any, wanted: dict[str, str], number: int) -> None:
    situation = Situation(control_planes={"m1": control_plane}, ranges=wanted)
    (check,) = [check for check in CONTROL_PLANE_CHECKS if check.description.id == "range-change"]
    assert [comparison.hosts for comparison in check.judge(situation)] == [("m1",)] * number


def test_says_which_ranges_the_cluster_has() -> None:
    found = judge({"m1": keeping("10.244.0.0/16"), "m2": DUAL_KEPT}, ranges={**PODS, "cluster_pod_cidr": "10.0.0.0/8"})
    finding = found["range-change", "error", ("m1",)]
    assert finding.found == "the cluster has 10.244.0.0/16, and cluster_pod_cidr is 10.0.0.0/8"
    assert finding.expected == "cluster_pod_cidr: 10.244.0.0/16"


KEPT = {
    "control_plane_cluster_configuration": {"apiVersion": "kubeadm.k8s.io/v1beta4", "apiServer": {}},
    "control_plane_kubelet_configuration": {"apiVersion": "kubelet.config.k8s.io/v1beta1", "maxPods": 110},
    "control_plane_kube_proxy_configuration": {},
}


def gates(number: int) -> Any:
    """What the operator has written of this many feature gates."""
    return {"control_plane_cluster_configuration": {"featureGates": {f"G{count}": True for count in range(number)}}}


def test_what_is_written_and_not_in_force() -> None:
    wanted = {
        "control_plane_cluster_configuration": {
            "apiServer": {"extraArgs": [{"name": "audit-log-path", "value": "/a"}]}
        },
        "control_plane_kubelet_configuration": {"maxPods": 200},
        "control_plane_kube_proxy_configuration": {"nodePortAddresses": ["primary"]},
    }
    situation = Situation({}, {"m1": READY, "m2": READY}, configurations=wanted, kept_configurations={"m1": KEPT})
    cluster, kubelet = judge_configurations(situation)
    assert (cluster.hosts, kubelet.hosts) == (("m1",), ("m1",))
    assert cluster.observation.found == (
        "control_plane_cluster_configuration is not in force: apiServer.extraArgs audit-log-path: none, wanted /a"
    )
    assert "ConfigMap kubeadm-config" in cluster.observation.remedy
    assert kubelet.observation.found == "control_plane_kubelet_configuration is not in force: maxPods: 110, wanted 200"
    assert "kubeadm upgrade node phase kubelet-config" in kubelet.observation.remedy
    found = judge({"m1": READY}, configurations=gates(1), kept_configurations={"m1": KEPT})
    assert set(found) == {("configuration-drift", "warning", ("m1",))}


@pytest.mark.parametrize(("number", "end"), [(5, "G4: none, wanted true"), (7, "G4: none, wanted true; and 2 more")])
def test_the_first_differences_are_listed(number: int, end: str) -> None:
    found = judge({"m1": READY}, configurations=gates(number), kept_configurations={"m1": KEPT})
    finding = found["configuration-drift", "warning", ("m1",)]
    assert finding.found.endswith("featureGates." + end)
    assert finding.found.count(", wanted true") == 5


@pytest.mark.parametrize(
    ("control_plane", "wanted", "kept"),
    [
        pytest.param(READY, {}, {"m1": KEPT}, id="nothing is written"),
        pytest.param(READY, gates(1), {}, id="what the cluster keeps is not known"),
        pytest.param(SILENT, gates(1), {"m1": {}}, id="no API server is ready"),
        pytest.param(FRESH, gates(1), {"m1": {}}, id="the cluster is still to be made"),
        pytest.param({**READY, "init_unfinished": True}, gates(1), {"m1": KEPT}, id="an init to be completed"),
    ],
)
def test_nothing_to_say_of_the_configuration(control_plane: Any, wanted: Any, kept: Any) -> None:
    found = judge({"m1": control_plane}, configurations=wanted, kept_configurations=kept)
    assert "configuration-drift" not in {name for name, _severity, _hosts in found}
