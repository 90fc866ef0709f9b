# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking nodes out of a cluster of three control plane nodes, of which master-3 is gone, recorded with kubectl 1.36."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _cluster_node, _waiting
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import ADMIN_KUBECONFIG, Node, kubectl
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster_node import (
    ClusterView,
    RemovalRequest,
    decide_removal,
    drain_arguments,
    own_addresses_argv,
    remove_from_cluster,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import (
    EtcdView,
    Member,
    container_argv,
    endpoint_status_argv,
    member_list_argv,
    member_remove_argv,
)

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]
Command = "tuple[list[str], Result]"

SOCKET = RemovalRequest("any").cri_socket
CRICTL = {"crictl": "/usr/bin/crictl"}
DONE = Result(0, "", "")


def node(name: str, *, ready: bool = True) -> Node:
    """Node master-N with the address 192.0.2.1N, or worker-N with 192.0.2.2N."""
    master = name.startswith("master")
    address = f"192.0.2.{1 if master else 2}{name[-1]}"
    return Node(name, "uid", ready, (address, name), master, "v1.36.3")


def member(name: str, *, healthy: bool = True, learner: bool = False, address: str = "") -> Member:
    """Member master-N with the address 192.0.2.1N unless another is given."""
    host = "https://" + (address or f"192.0.2.1{name[-1]}")
    return Member(f"id-{name}", name, (host + ":2380",), (host + ":2379",), learner, healthy)


def unstarted(address: str) -> Member:
    """A learner that a join has announced and never started."""
    return Member("id-unstarted", "", (f"https://{address}:2380",), (), learner=True, healthy=False)


NODES = (node("master-1"), node("master-2"), node("master-3"), node("worker-1"))
MEMBERS = (member("master-1"), member("master-2"), member("master-3"))
LOST_NODES = (*NODES[:2], node("master-3", ready=False), NODES[3])
LOST_MEMBERS = (*MEMBERS[:2], member("master-3", healthy=False))


def view(
    nodes: Sequence[Node] = NODES,
    members: Sequence[Member] | None = MEMBERS,
    *,
    leader: bool = True,
    stacked: bool = True,
) -> ClusterView:
    """What master-1 sees; members None stands for an etcd that does not answer."""
    own = frozenset(["master-1", "127.0.0.1", "192.0.2.11", "192.0.2.10"])
    return ClusterView(tuple(nodes), own, stacked, None if members is None else EtcdView(tuple(members), leader))


def refusal(seen: ClusterView, name: str, **options: Any) -> str:
    """Message of a refused removal."""
    with pytest.raises(GroundplaneError) as caught:
        decide_removal(seen, RemovalRequest(name, **options))
    return str(caught.value)


class TestDecision:
    def test_lost_control_plane_node(self) -> None:
        removal = decide_removal(view(LOST_NODES, LOST_MEMBERS), RemovalRequest("master-3"))
        assert removal.changed
        assert removal.steps == (
            "remove the etcd member master-3 (192.0.2.13)",
            "delete the Node object master-3",
        )

    def test_running_control_plane_node(self) -> None:
        removal = decide_removal(view(), RemovalRequest("master-3"))
        assert removal.steps == (
            "cordon and drain the node master-3",
            "remove the etcd member master-3 (192.0.2.13)",
            "delete the Node object master-3",
        )

    def test_worker(self) -> None:
        removal = decide_removal(view(), RemovalRequest("worker-1"))
        assert removal.steps == ("cordon and drain the node worker-1", "delete the Node object worker-1")

    def test_drain_can_be_left_out(self) -> None:
        assert not decide_removal(view(), RemovalRequest("worker-1", drain=False)).drain

    def test_node_that_the_cluster_does_not_know(self) -> None:
        removal = decide_removal(view(), RemovalRequest("worker-9", address="192.0.2.29"))
        assert not removal.changed
        assert removal.diff()["before"] == removal.diff()["after"] == "the cluster does not know worker-9\n"

    def test_differences(self) -> None:
        assert decide_removal(view(LOST_NODES, LOST_MEMBERS), RemovalRequest("master-3")).diff() == {
            "before": "Node master-3: control plane, not Ready, 192.0.2.13 master-3\n"
            "etcd member master-3 (192.0.2.13): voter, silent\n",
            "after": "the cluster does not know master-3\n",
        }

    def test_member_without_node(self) -> None:
        removal = decide_removal(view(NODES[:2], LOST_MEMBERS), RemovalRequest("master-3"))
        assert removal.steps == ("remove the etcd member master-3 (192.0.2.13)",)

    def test_node_without_member(self) -> None:
        removal = decide_removal(view(LOST_NODES, MEMBERS[:2]), RemovalRequest("master-3"))
        assert removal.steps == ("delete the Node object master-3",)

    def test_member_without_name_is_found_by_its_address(self) -> None:
        members = (*MEMBERS[:2], unstarted("192.0.2.13"))
        by_option = decide_removal(view(NODES[:2], members), RemovalRequest("master-3", address="192.0.2.13"))
        by_node = decide_removal(view(LOST_NODES, members), RemovalRequest("master-3"))
        assert by_option.members == by_node.members == members[2:]
        assert not decide_removal(view(NODES[:2], members), RemovalRequest("master-3")).changed

    def test_dead_members_go_first(self) -> None:
        nodes = (*NODES[:3], node("master-4", ready=False))
        members = (*MEMBERS, member("master-4"), member("master-4", healthy=False)._replace(id="0"))
        removal = decide_removal(view(nodes, members), RemovalRequest("master-4"))
        assert [gone.healthy for gone in removal.members] == [False, True]

    def test_learner_of_another_node_is_no_obstacle(self) -> None:
        members = (*LOST_MEMBERS, unstarted("192.0.2.14"))
        removal = decide_removal(view(LOST_NODES, members), RemovalRequest("master-3"))
        assert removal.members == LOST_MEMBERS[2:]

    def test_external_etcd(self) -> None:
        removal = decide_removal(view(LOST_NODES, None, stacked=False), RemovalRequest("master-3"))
        assert removal.steps == ("delete the Node object master-3",)

    @pytest.mark.parametrize(
        ("name", "address"),
        [("master-1", ""), ("worker-9", "192.0.2.11"), ("worker-9", "192.0.2.10")],
        ids=["name", "address", "virtual address"],
    )
    def test_this_host(self, name: str, address: str) -> None:
        assert "is the host that this runs on" in refusal(view(), name, address=address)

    def test_this_host_under_another_node_name(self) -> None:
        renamed = (node("master-1")._replace(name="alias"), *NODES[1:])
        assert "both are 192.0.2.11, master-1" in refusal(view(renamed), "alias")

    def test_last_control_plane_node(self) -> None:
        assert "master-2 is the last control plane node" in refusal(view((NODES[1], NODES[3])), "master-2")

    def test_quorum(self) -> None:
        assert "master-3 (192.0.2.13) does not answer" in refusal(view(LOST_NODES, LOST_MEMBERS), "master-2")

    def test_no_quorum_at_all(self) -> None:
        members = (MEMBERS[0], member("master-2", healthy=False))
        message = refusal(view(LOST_NODES[:2], members, leader=False), "master-2")
        assert "one of two is no majority" in message

    def test_no_leader_at_the_moment(self) -> None:
        assert "etcd is without a leader" in refusal(view(leader=False), "master-3")

    def test_silent_etcd(self) -> None:
        assert "the etcd of this host does not answer" in refusal(view(LOST_NODES, None), "master-3")

    def test_node_at_another_address(self) -> None:
        message = refusal(view(), "worker-1", address="192.0.2.99")
        assert "the node worker-1 has the addresses 192.0.2.21, worker-1, and it is Ready. Expected" in message

    def test_former_node_at_another_address(self) -> None:
        gone = (*NODES[:2], node("master-3", ready=False))
        removal = decide_removal(view(gone, LOST_MEMBERS), RemovalRequest("master-3", address="192.0.2.99"))
        assert removal.members == LOST_MEMBERS[2:]

    def test_node_at_another_address_whose_etcd_answers(self) -> None:
        message = refusal(view(LOST_NODES), "master-3", address="192.0.2.99")
        assert "its etcd member master-3 (192.0.2.13) answers" in message

    def test_node_whose_given_address_is_that_of_another(self) -> None:
        nodes = (*NODES[:3], node("worker-1", ready=False), node("worker-2"))
        message = refusal(view(nodes), "worker-1", address="192.0.2.22")
        assert "and the node worker-2 has 192.0.2.22" in message

    def test_former_node_whose_machine_has_begun_to_join_anew(self) -> None:
        members = (*MEMBERS[:2], member("master-3", address="192.0.2.99", learner=True))
        removal = decide_removal(view(LOST_NODES, members), RemovalRequest("master-3", address="192.0.2.99"))
        assert removal.members == members[2:]

    def test_forms_of_an_address(self) -> None:
        six = node("worker-1")._replace(addresses=("2001:db8::21", "worker-1"))
        removal = decide_removal(view((*NODES[:3], six)), RemovalRequest("worker-1", address="2001:DB8:0::21"))
        assert removal.node == six

    @pytest.mark.parametrize(
        ("name", "members"),
        [
            ("master-3", (*MEMBERS[:2], member("master-3", address="192.0.2.12"))),
            ("master-3", (*MEMBERS[:2], member("worker-1", address="192.0.2.13"))),
        ],
        ids=["address of another", "name of another"],
    )
    def test_member_of_two_nodes(self, name: str, members: Sequence[Member]) -> None:
        message = refusal(view(members=members), name)
        assert "also matches the node" in message

    def test_machine_that_has_a_new_name(self) -> None:
        message = refusal(view(LOST_NODES, LOST_MEMBERS), "master-9", address="192.0.2.13")
        assert "if master-3 is what the machine was called before, remove that node first" in message


ADDRESSES = json.dumps([{"ifname": "eth0", "mtu": 1500, "addr_info": [{"local": "192.0.2.11", "prefixlen": 24}]}])
LOCAL_API = "https://192.0.2.11:6443"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Host master-1 with a control plane, where nothing waits."""
    kubernetes = tmp_path / "etc/kubernetes"
    (kubernetes / "manifests").mkdir(parents=True)
    (kubernetes / "manifests/etcd.yaml").touch()
    (kubernetes / "admin.conf").touch()
    (kubernetes / "controller-manager.conf").write_text(f"    server: {LOCAL_API}\n")
    monkeypatch.setattr(_cluster_node.socket, "gethostname", lambda: "Master-1")
    monkeypatch.setattr(_waiting.time, "sleep", lambda seconds: None)
    return tmp_path


def api(*arguments: str, kubeconfig: str = ADMIN_KUBECONFIG) -> list[str]:
    """A call of kubectl at the host's own API server."""
    return kubectl(kubeconfig, f"--server={LOCAL_API}", *arguments)


def recorded_nodes(fixture_text: FixtureText) -> Any:
    """Answer about the nodes."""
    return (api("get", "nodes", "--output=json"), Result(0, fixture_text("kubectl/lost_control_plane_nodes.json"), ""))


def recorded_etcd(fixture_text: FixtureText, states: str = "one_dead", without: str = "", rc: int = 0) -> list[Any]:
    """Answers of etcd, without one of its members."""
    listed = json.loads(fixture_text("etcdctl/three_member_list.json"))
    listed["members"] = [item for item in listed["members"] if item["name"] != without]
    endpoints = [item["clientURLs"][0] for item in listed["members"] if item["name"] != "master-1"]
    states = fixture_text(f"etcdctl/{states}_endpoint_status.json")
    return [
        (container_argv(SOCKET), Result(0, "c1\n", "")),
        (member_list_argv(SOCKET, "c1"), Result(rc, json.dumps(listed), "")),
        *(
            [(endpoint_status_argv(SOCKET, "c1", ["https://127.0.0.1:2379", *endpoints]), Result(1, states, ""))]
            if rc == 0
            else []
        ),
    ]


def reading(fixture_text: FixtureText) -> list[Any]:
    """Everything that is read before a decision."""
    own = (own_addresses_argv(), Result(0, ADDRESSES, ""))
    return [recorded_nodes(fixture_text), own, *recorded_etcd(fixture_text)]


def removing_member(*answers: Result) -> list[Any]:
    """Removal of the member master-3."""
    argv = member_remove_argv(SOCKET, "c1", member("master-3")._replace(id="da07dd5a1cae3dd1"))
    return [(container_argv(SOCKET), Result(0, "c1\n", "")), *((argv, answer) for answer in answers)]


def deleting_node(name: str, deleted: Result = DONE, left: Result = DONE) -> list[Any]:
    """Deletion of a Node object, and the look after it."""
    return [
        (api("delete", "node", name, "--ignore-not-found", "--wait=false"), deleted),
        (api("get", "node", name, "--ignore-not-found", "--output=name"), left),
    ]


def trying_to_drain(name: str, answer: Result = DONE) -> list[Any]:
    """The trial of a drain."""
    return [(api(*drain_arguments(name, 300), "--dry-run=client"), answer)]


def draining(fixture_text: FixtureText, name: str, *answers: Result) -> list[Any]:
    """A drain in steps, between which the node is looked at."""
    steps = [(api(*drain_arguments(name, 15)), answer) for answer in answers]
    looks = [looking_at(fixture_text, name, ready=True)] * len(answers)
    return [command for pair in zip(steps, looks, strict=True) for command in pair][:-1]


def looking_at(fixture_text: FixtureText, name: str, *, ready: bool) -> Any:
    """The look at a node in the middle of its drain."""
    nodes = json.loads(fixture_text("kubectl/lost_control_plane_nodes.json"))["items"]
    node = next(item for item in nodes if item["metadata"]["name"] == name)
    condition = next(item for item in node["status"]["conditions"] if item["type"] == "Ready")
    condition["status"] = "True" if ready else "Unknown"
    return api("get", "node", name, "--ignore-not-found", "--output=json"), Result(0, json.dumps(node), "")


def run(root: Path, commands: Sequence[Any], name: str, *, check_mode: bool = False, **options: Any) -> Any:
    """Remove a node, with exactly these commands."""
    runner = FakeRunner(commands, CRICTL)
    request = RemovalRequest(name, **options)
    try:
        return remove_from_cluster(runner, request, check_mode=check_mode, root=root)
    finally:
        runner.assert_finished()


class TestRun:
    def test_lost_control_plane_node(self, root: Path, fixture_text: FixtureText) -> None:
        commands = [
            *reading(fixture_text),
            *removing_member(DONE),
            *recorded_etcd(fixture_text, without="master-3"),
            *deleting_node("master-3"),
        ]
        assert [gone.name for gone in run(root, commands, "master-3").members] == ["master-3"]

    def test_no_proxy_stands_before_the_own_api_server(self, root: Path, fixture_text: FixtureText) -> None:
        environments = []

        class Observer(FakeRunner):
            def run(self, argv: Sequence[str], **options: Any) -> Result:
                environments.append((argv[0], options.get("environment")))
                return super().run(argv, **options)

        runner = Observer(reading(fixture_text), CRICTL)
        remove_from_cluster(runner, RemovalRequest("worker-9"), check_mode=False, root=root)
        assert environments[0] == ("kubectl", {"NO_PROXY": "192.0.2.11"})

    def test_prediction(self, root: Path, fixture_text: FixtureText) -> None:
        kubeconfig = root / "etc/kubernetes/admin.conf"
        _nodes, *rest = reading(fixture_text)
        nodes = Result(0, fixture_text("kubectl/lost_control_plane_nodes.json"), "")
        argv = api("get", "nodes", "--output=json", kubeconfig=str(kubeconfig))
        removal = run(root, [(argv, nodes), *rest], "master-3", check_mode=True, kubeconfig=str(kubeconfig))
        assert len(removal.steps) == 2

    def test_prediction_before_there_is_a_cluster(self, root: Path) -> None:
        missing = str(root / "missing.conf")
        assert not run(root, [], "master-3", check_mode=True, kubeconfig=missing).changed

    def test_nothing_to_remove(self, root: Path, fixture_text: FixtureText) -> None:
        assert not run(root, reading(fixture_text), "worker-9").changed

    def test_host_without_control_plane_of_its_own(self, tmp_path: Path, fixture_text: FixtureText) -> None:
        nodes = Result(0, fixture_text("kubectl/lost_control_plane_nodes.json"), "")
        commands = [
            (kubectl(ADMIN_KUBECONFIG, "get", "nodes", "--output=json"), nodes),
            (own_addresses_argv(), Result(0, "[]", "")),
        ]
        assert not run(tmp_path, commands, "worker-9").changed

    def test_worker(self, root: Path, fixture_text: FixtureText) -> None:
        commands = [
            *reading(fixture_text),
            *trying_to_drain("worker-1"),
            *draining(fixture_text, "worker-1", DONE),
            *deleting_node("worker-1"),
        ]
        assert run(root, commands, "worker-1").drain

    def test_pods_that_take_their_time(self, root: Path, fixture_text: FixtureText) -> None:
        slow = Result(1, "", fixture_text("kubectl/drain_disruption_budget.stderr"))
        commands = [
            *reading(fixture_text),
            *trying_to_drain("worker-1"),
            *draining(fixture_text, "worker-1", slow, slow, DONE),
            *deleting_node("worker-1"),
        ]
        assert run(root, commands, "worker-1").drain

    def test_node_that_dies_while_it_is_drained(self, root: Path, fixture_text: FixtureText) -> None:
        slow = Result(1, "", fixture_text("kubectl/drain_dead_node.stderr"))
        commands = [
            *reading(fixture_text),
            *trying_to_drain("worker-1"),
            *draining(fixture_text, "worker-1", slow, slow),
            looking_at(fixture_text, "worker-1", ready=False),
            *deleting_node("worker-1"),
        ]
        assert run(root, commands, "worker-1").drain

    def test_pods_without_controller(self, root: Path, fixture_text: FixtureText) -> None:
        refused = Result(1, "", fixture_text("kubectl/drain_no_controller.stderr"))
        commands = [*reading(fixture_text), *trying_to_drain("worker-1", refused)]
        with pytest.raises(
            GroundplaneError,
            match=r"declare no controller .*: default/lonely\. .*-e reset_drain=false; .* nothing was changed",
        ):
            run(root, commands, "worker-1")

    def test_disruption_budget(self, root: Path, fixture_text: FixtureText) -> None:
        failed = Result(1, "", fixture_text("kubectl/drain_disruption_budget.stderr"))
        commands = [
            *reading(fixture_text),
            (api(*drain_arguments("worker-1", 20), "--dry-run=client"), DONE),
            (api(*drain_arguments("worker-1", 15)), failed),
            looking_at(fixture_text, "worker-1", ready=True),
            (api(*drain_arguments("worker-1", 5)), failed),
        ]
        with pytest.raises(
            GroundplaneError,
            match=r"hold back default/web-c7b4d8587-2kmmn, default/web-c7b4d8587-nkq2k\. .*nothing was removed",
        ):
            run(root, commands, "worker-1", drain_timeout=20)

    def test_pod_that_does_not_end(self, root: Path, fixture_text: FixtureText) -> None:
        said = 'error when waiting for pod "web-1" in namespace "default" to terminate: global timeout reached: 8s'
        line = f'error: unable to drain node "worker-1" due to error: {said}, continuing command...\n'
        commands = [
            *reading(fixture_text),
            (api(*drain_arguments("worker-1", 8), "--dry-run=client"), DONE),
            (api(*drain_arguments("worker-1", 8)), Result(1, "", line)),
        ]
        with pytest.raises(GroundplaneError, match='pod "web-1" in namespace .* stays cordoned'):
            run(root, commands, "worker-1", drain_timeout=8)

    def test_drain_that_fails_for_no_known_reason(self, root: Path, fixture_text: FixtureText) -> None:
        refused = Result(1, "", "connection refused\n")
        commands = [*reading(fixture_text), *trying_to_drain("worker-1"), *draining(fixture_text, "worker-1", refused)]
        with pytest.raises(GroundplaneError, match="could not be drained: connection refused.*remove_node_drain=false"):
            run(root, commands, "worker-1")

    def test_etcd_may_need_a_while(self, root: Path, fixture_text: FixtureText) -> None:
        unhealthy = Result(1, "", "Error: etcdserver: unhealthy cluster\n")
        commands = [
            *reading(fixture_text),
            *(*removing_member(unhealthy), *recorded_etcd(fixture_text)),
            *(*removing_member(DONE), *recorded_etcd(fixture_text, rc=1)),
            *(*removing_member(DONE), *recorded_etcd(fixture_text, "no_quorum", without="master-3")),
            (container_argv(SOCKET), DONE),
            *(*removing_member(DONE), *recorded_etcd(fixture_text, without="master-3")),
            *deleting_node("master-3", Result(1, "", "etcdserver: leader changed"), Result(1, "", "timeout")),
            *deleting_node("master-3", DONE, Result(0, "node/master-3\n", "")),
            *deleting_node("master-3"),
        ]
        assert run(root, commands, "master-3").changed

    def test_nothing_is_believed_but_the_list(
        self, root: Path, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cluster_node, "_SETTLE_TIMEOUT", 0)
        refused = Result(1, "", '{"level":"warn"}\nError: etcdserver: unhealthy cluster\ntime=x level=fatal\n')
        commands = [*reading(fixture_text), *removing_member(refused), *recorded_etcd(fixture_text)]
        with pytest.raises(
            GroundplaneError, match="could not be removed .* seconds: Error: etcdserver: unhealthy cluster. Exp"
        ):
            run(root, commands, "master-3")

    def test_member_that_stays_without_a_word(
        self, root: Path, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cluster_node, "_SETTLE_TIMEOUT", 0)
        commands = [*reading(fixture_text), *removing_member(DONE), *recorded_etcd(fixture_text)]
        with pytest.raises(GroundplaneError, match="the list still has it, or nobody leads"):
            run(root, commands, "master-3")

    def test_etcd_that_has_stopped(
        self, root: Path, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cluster_node, "_SETTLE_TIMEOUT", 0)
        commands = [*reading(fixture_text), (container_argv(SOCKET), DONE)]
        with pytest.raises(GroundplaneError, match="within 0 seconds: there is no running container of etcd"):
            run(root, commands, "master-3")

    def test_node_object_that_stays(
        self, root: Path, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cluster_node, "_SETTLE_TIMEOUT", 0)
        left = Result(0, "node/worker-1\n", "")
        commands = [
            *reading(fixture_text),
            *trying_to_drain("worker-1"),
            *draining(fixture_text, "worker-1", DONE),
            *deleting_node("worker-1", DONE, left),
        ]
        with pytest.raises(GroundplaneError, match="Node object worker-1 is still there .* see its finalizers"):
            run(root, commands, "worker-1")

    @pytest.mark.parametrize("name", ["--all", "Worker-1", "", "worker-1 worker-2", "worker-1\n"])
    def test_names_that_are_none(self, root: Path, name: str) -> None:
        with pytest.raises(GroundplaneError, match="the option name is"):
            run(root, [], name)

    def test_drain_without_end(self, root: Path) -> None:
        with pytest.raises(GroundplaneError, match="drain_timeout is 0"):
            run(root, [], "worker-1", drain_timeout=0)
