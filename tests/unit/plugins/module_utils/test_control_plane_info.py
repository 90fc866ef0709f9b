# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the control plane of a host past the endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _control_plane_info, _waiting
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import Node
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._control_plane_info import (
    Api,
    ControlPlane,
    kubelet_argv,
    one_line,
    read_control_plane,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import EtcdView, Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hash

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]
Commands = Sequence[tuple[Sequence[str], Result]]

SOCKET = "unix:///run/containerd/containerd.sock"
KUBECTL = {"kubectl": "/usr/bin/kubectl"}
ETCD = EtcdView((Member("1f", "master-1", ("https://192.0.2.11:2380",), (), False, True),), True)

RUNNING = (kubelet_argv(), Result(0, "ActiveState=active\n", ""))
REFUSED = Result(
    1, "", "The connection to the server 192.0.2.11:6443 was refused - did you specify the right host or port?\n"
)
CANAL = "/apis/apps/v1/namespaces/kube-system/daemonsets/canal"
FLANNEL = "/api/v1/namespaces/kube-flannel"
FLANNEL_CONFIG = "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg"
CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
NO_CANAL = Result(1, "", 'Error from server (NotFound): daemonsets.apps "canal" not found\n')
NO_FLANNEL = Result(1, "", 'Error from server (NotFound): namespaces "kube-flannel" not found\n')
NO_FLANNEL_CONFIG = Result(1, "", 'Error from server (NotFound): configmaps "kube-flannel-cfg" not found\n')
THERE = Result(0, "{}", "")
WHY_REFUSED = "The connection to the server 192.0.2.11:6443 was refused"


def argv(path: str, server: str = "https://192.0.2.11:6443", root: Path = Path("/")) -> list[str]:
    """A question for the API server of the host itself."""
    return [
        *("kubectl", "--kubeconfig", str(root / "etc/kubernetes/admin.conf"), "--server", server),
        *("--tls-server-name", "kubernetes", "--request-timeout=5s", "get", "--raw", path),
    ]


class Host:
    """A host below a temporary root, with the etcd and the clock of a test."""

    def __init__(self, root: Path, fixture_text: FixtureText) -> None:
        self.paths = HostPaths(root)
        self.fixture_text = fixture_text
        self.etcd: EtcdView | None = ETCD
        self.asked_etcd = 0

    def write(self, path: str, text: str = "") -> None:
        """Make a file."""
        target = self.paths.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def install(self, **replaced: str) -> None:
        """What kubeadm has made of a control plane node."""
        manifest = self.fixture_text("kubeadm/static_pod_kube_apiserver.txt")
        for old, new in replaced.items():
            assert old in manifest
            manifest = manifest.replace(old, new)
        self.write("/etc/kubernetes/manifests/kube-apiserver.yaml", manifest)
        self.write("/etc/kubernetes/manifests/etcd.yaml")
        self.write("/etc/kubernetes/admin.conf")
        self.write("/etc/kubernetes/pki/ca.crt", self.fixture_text("kubeadm/ca.crt"))

    def config_maps(self, changed: Mapping[str, Any]) -> Result:
        """Those of kube-system, with other data in some; None for one that is not there."""
        (kubeadm,) = (
            item
            for item in json.loads(self.fixture_text("kubectl/kubeadm_config.json"))["items"]
            if item["metadata"]["name"] == "kubeadm-config"
        )
        contents = {
            "coredns": {"Corefile": ".:53 {\n}\n"},
            "kube-proxy": {"config.conf": self.fixture_text("kubeadm/kube_proxy_config.conf")},
            "kubeadm-config": kubeadm["data"],
            "kubelet-config": {"kubelet": self.fixture_text("kubeadm/kept_kubelet_configuration.conf")},
            **changed,
        }
        items = [
            {"metadata": {"name": name}, **({"data": data} if data else {})}
            for name, data in contents.items()
            if data is not None
        ]
        return Result(0, json.dumps({"kind": "ConfigMapList", "items": items}), "")

    def answers(self, server: str = "https://192.0.2.11:6443", **config_maps: Any) -> Commands:
        """The commands with which a ready API server is read.

        :arg config_maps: data of ConfigMaps in kube-system that differ, by name with underscores.
        """
        changed = {name.replace("_", "-"): data for name, data in config_maps.items()}
        flannel = {"data": {"net-conf.json": self.fixture_text("flannel/net-conf.json")}}
        nodes = {"kind": "NodeList", "items": json.loads(self.fixture_text("kubectl/nodes.json"))["items"]}
        return [
            (argv("/readyz", server, self.paths.root), Result(0, "ok", "")),
            (argv("/api/v1/nodes", server, self.paths.root), Result(0, json.dumps(nodes), "")),
            (argv(CANAL, server, self.paths.root), NO_CANAL),
            (argv(FLANNEL, server, self.paths.root), Result(0, "{}", "")),
            (argv(FLANNEL_CONFIG, server, self.paths.root), Result(0, json.dumps(flannel), "")),
            (argv(CONFIG_MAPS, server, self.paths.root), self.config_maps(changed)),
        ]

    def refusal(self, result: Result = REFUSED) -> tuple[Sequence[str], Result]:
        """An API server that is not ready."""
        return argv("/readyz", root=self.paths.root), result

    def read(self, commands: Commands = (), programs: Mapping[str, str] | None = None, **options: Any) -> ControlPlane:
        """The control plane as it is read with exactly these commands; without programs, kubectl alone is installed."""
        runner = FakeRunner(commands, KUBECTL if programs is None else programs)
        found = read_control_plane(runner, self.paths, cri_socket=SOCKET, **options)
        runner.assert_finished()
        return found


@pytest.fixture
def host(tmp_path: Path, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without anything."""
    made = Host(tmp_path, fixture_text)

    def read_etcd(runner: FakeRunner, cri_socket: str) -> EtcdView | None:
        assert cri_socket == SOCKET
        made.asked_etcd += 1
        return made.etcd

    monkeypatch.setattr(_control_plane_info, "read_etcd", read_etcd)
    monkeypatch.setattr(_waiting.time, "sleep", lambda seconds: None)
    return made


def test_nothing_installed(host: Host) -> None:
    assert host.read(programs={}, timeout=60).as_dict() == {
        "installed": False,
        "init_unfinished": False,
        "ready": False,
        "joined": False,
        "message": "",
        "address": "",
        "ca_cert_hashes": [],
        "etcd": {"external": False, "leader": False, "members": []},
        "nodes": [],
        "cluster_configuration": "",
        "kubelet_configuration": "",
        "kube_proxy_configuration": "",
        "networks": [],
        "kube_proxy": None,
        "flannel_backend": None,
    }
    assert host.asked_etcd == 0


def test_init_killed_before_the_manifests(host: Host, fixture_text: FixtureText) -> None:
    host.write("/var/lib/groundplane/kubeadm-init.json", "{}")
    host.write("/etc/kubernetes/pki/ca.crt", fixture_text("kubeadm/ca.crt"))
    hashes = (ca_cert_hash(fixture_text("kubeadm/ca.crt")),)
    assert host.read(programs={}) == ControlPlane(init_unfinished=True, ca_cert_hashes=hashes)


@pytest.mark.parametrize(
    ("address", "labelled", "joined"),
    [("192.0.2.11", True, True), ("192.0.2.11", False, False), ("192.0.2.12", True, False)],
)
def test_a_control_plane_node_has_joined_when_the_cluster_calls_it_one(
    address: str, labelled: bool, joined: bool
) -> None:
    node = Node("master-1", "uid", True, ("192.0.2.11", "master-1"), labelled, "v1.36.3")
    assert ControlPlane(address=address, nodes=(node,)).joined is joined


def test_ready(host: Host, fixture_text: FixtureText) -> None:
    host.install()
    found = host.read([RUNNING, *host.answers()]).as_dict()
    assert (found["installed"], found["ready"], found["init_unfinished"]) == (True, True, False)
    assert (found["message"], found["address"]) == ("", "192.0.2.11")
    assert found["ca_cert_hashes"] == [ca_cert_hash(fixture_text("kubeadm/ca.crt"))]
    assert [(node["name"], type(node["addresses"])) for node in found["nodes"]] == [
        ("kubeadm-master-1", list),
        ("kubeadm-worker-1", list),
    ]
    assert found["etcd"] == {
        "external": False,
        "leader": True,
        "members": [
            {
                "id": "1f",
                "name": "master-1",
                "peer_urls": ["https://192.0.2.11:2380"],
                "client_urls": [],
                "learner": False,
                "healthy": True,
            }
        ],
    }
    assert "controlPlaneEndpoint: 10.77.5.11:6443" in found["cluster_configuration"]
    assert found["kubelet_configuration"] == fixture_text("kubeadm/kept_kubelet_configuration.conf")
    assert found["kube_proxy_configuration"] == fixture_text("kubeadm/kube_proxy_config.conf")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("noted", "options", "server", "address"),
    [
        ("192.0.2.11:6443", {"address": "198.51.100.1", "api_port": 8443}, "https://198.51.100.1:8443", "198.51.100.1"),
        ("192.0.2.11:6443", {"api_port": 8443}, "https://192.0.2.11:8443", "192.0.2.11"),
        ("'[2001:db8::11]:6443'", {}, "https://[2001:db8::11]:6443", "2001:db8::11"),
        ("nothing", {"address": "2001:db8::1", "api_port": 6443}, "https://[2001:db8::1]:6443", "2001:db8::1"),
    ],
    ids=["given", "port given", "IPv6", "no annotation"],
)
def test_where_it_is_asked(host: Host, noted: str, options: dict[str, Any], server: str, address: str) -> None:
    host.install(**{"endpoint: 192.0.2.11:6443": f"endpoint: {noted}"})
    found = host.read([RUNNING, *host.answers(server)], **options)
    assert (found.ready, found.address) == (True, address)


def test_no_proxy_stands_between(host: Host) -> None:
    class Environment(FakeRunner):
        def run(self, argv: Sequence[str], **options: Any) -> Result:
            seen.append(options.get("environment"))
            return super().run(argv, **options)

    seen: list[Any] = []
    runner = Environment([(argv("/readyz"), Result(0, "ok", ""))])
    assert Api("/etc/kubernetes/admin.conf", "192.0.2.11", 6443).get(runner, "/readyz") == "ok"
    assert seen == [{"NO_PROXY": "192.0.2.11"}]


def test_not_ready(host: Host, fixture_text: FixtureText) -> None:
    host.install()
    host.etcd = None
    said = Result(1, "", fixture_text("kubectl/readyz-etcd.stderr"))
    found = host.read([RUNNING, host.refusal(said)])
    assert (found.installed, found.ready, found.nodes) == (True, False, ())
    assert found.message == "checks of the API server fail: etcd, etcd-readiness"
    assert found.as_dict()["etcd"] == {"external": False, "leader": False, "members": []}


def test_gone_in_the_middle(host: Host) -> None:
    host.install()
    readyz, (nodes, _result), *_others = host.answers()
    found = host.read([RUNNING, readyz, (nodes, REFUSED)])
    assert (found.ready, found.message) == (False, WHY_REFUSED)


@pytest.mark.parametrize("data", [None, {}], ids=["none", "without data"])
def test_cluster_without_a_configuration(host: Host, data: Any) -> None:
    host.install()
    found = host.read([RUNNING, *host.answers(kubeadm_config=data)])
    assert (found.ready, found.configuration) == (True, "")


def test_waits_for_a_machine_that_boots(host: Host) -> None:
    host.install()
    queued = (kubelet_argv(), Result(0, "ActiveState=inactive\nJob=97\n", ""))
    found = host.read([queued, host.refusal(), host.refusal(), *host.answers()], timeout=60)
    assert (found.ready, found.message) == (True, "")


def test_waits_no_longer_than_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install()
    clock = iter([0.0, 1.0, 61.0])
    monkeypatch.setattr(_waiting.time, "monotonic", lambda: next(clock))
    found = host.read([RUNNING, host.refusal(), host.refusal()], timeout=60)
    assert (found.ready, found.message, found.etcd) == (False, WHY_REFUSED, ETCD)


@pytest.mark.parametrize("shown", ["ActiveState=inactive\nJob=0\n", "ActiveState=inactive\nJob=\n"])
def test_does_not_wait_for_a_kubelet_that_is_off(host: Host, shown: str) -> None:
    host.install()
    found = host.read([(kubelet_argv(), Result(0, shown, "")), host.refusal()], timeout=60)
    assert found.message == f"kubelet.service is inactive; {WHY_REFUSED}"


def test_pods_outlive_a_kubelet_that_is_off(host: Host) -> None:
    host.install()
    found = host.read([(kubelet_argv(), Result(0, "ActiveState=failed\n", "")), *host.answers()])
    assert (found.ready, found.message) == (True, "")


def test_does_not_wait_for_an_unfinished_init(host: Host) -> None:
    host.install()
    host.write("/var/lib/groundplane/kubeadm-init.json", "{}")
    found = host.read([RUNNING, host.refusal()], timeout=60)
    assert (found.init_unfinished, found.ready, found.message) == (True, False, WHY_REFUSED)


def test_external_etcd(host: Host) -> None:
    host.install(**{"--etcd-servers=https://127.0.0.1:2379": "--etcd-servers=https://192.0.2.31:2379,https://e:2379"})
    host.paths.at("/etc/kubernetes/manifests/etcd.yaml").unlink()
    found = host.read([RUNNING, *host.answers()])
    assert found.ready
    assert found.as_dict()["etcd"] == {"external": True, "leader": False, "members": []}
    assert host.asked_etcd == 0


@pytest.mark.parametrize("local", ["127.0.0.1", "[::1]"])
def test_interrupted_join_is_no_external_etcd(host: Host, local: str) -> None:
    host.install(**{"127.0.0.1": local})
    host.paths.at("/etc/kubernetes/manifests/etcd.yaml").unlink()
    found = host.read(timeout=60)
    assert found.as_dict()["etcd"]["external"] is False
    assert found.message == "etcd has no static pod on this host, as after an interrupted join"


def test_what_keeps_it_from_being_asked(host: Host) -> None:
    host.install(**{"endpoint: 192.0.2.11:6443": "endpoint: nothing"})
    messages = [host.read(programs={}, timeout=60).message, host.read(timeout=60).message]
    host.paths.at("/etc/kubernetes/admin.conf").unlink()
    messages.append(host.read(timeout=60).message)
    assert messages == [
        "kubectl is not installed",
        "the manifest of the API server does not tell its address",
        "/etc/kubernetes/admin.conf does not exist",
    ]


def test_a_cut_off_ca(host: Host) -> None:
    host.install()
    host.write("/etc/kubernetes/pki/ca.crt", "-----BEGIN CERT")
    assert host.read([RUNNING, *host.answers()]).ca_cert_hashes == ()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Unable to connect to the server: context deadline exceeded\n",
            "Unable to connect to the server: context deadline exceeded",
        ),
        (
            "E1121 07:43:19.347180   10220 memcache.go:265] couldn't get current server API group list\n"
            'Error from server (Forbidden): forbidden: User "kubernetes-admin" cannot get path "/readyz"\n',
            'Error from server (Forbidden): forbidden: User "kubernetes-admin" cannot get path "/readyz"',
        ),
        (
            "error: You must be logged in to the server (Unauthorized)\n",
            "You must be logged in to the server (Unauthorized)",
        ),
        ("Please enter Username: error: EOF\n", "EOF"),
        ("", "kubectl said nothing"),
    ],
)
def test_one_line(said: str, line: str) -> None:
    assert one_line(said) == line


def read_networks(
    host: Host, canal: Result, flannel: Result, configuration: Result | None, canal_config: Any = None
) -> ControlPlane:
    """The control plane of a cluster with these networks; without a configuration flannel's is not asked for."""
    host.install()
    readyz, nodes, (canal_argv, _none), (flannel_argv, _some), (config_argv, _net), config_maps = host.answers(
        canal_config=canal_config
    )
    asked = [(config_argv, configuration)] if configuration else []
    return host.read([RUNNING, readyz, nodes, (canal_argv, canal), (flannel_argv, flannel), *asked, config_maps])


def configured(**backend: Any) -> dict[str, str]:
    """Data of a ConfigMap with this backend of flannel."""
    return {"net-conf.json": json.dumps({"Backend": backend})}


def config_map(data: Mapping[str, str]) -> Result:
    """A ConfigMap with this data."""
    return Result(0, json.dumps({"data": data}), "")


VXLAN = {"VNI": 1, "Port": 8472, "GBP": False}


@pytest.mark.parametrize(
    ("canal", "flannel", "configuration", "canal_config", "networks", "backend"),
    [
        (
            *(NO_CANAL, THERE, config_map(configured(Type="vxlan", Port=4790)), None),
            *(("flannel",), {"type": "vxlan", "options": {**VXLAN, "Port": 4790}}),
        ),
        (
            *(THERE, THERE, config_map(configured(Type="vxlan")), configured(Type="host-gw")),
            *(("canal", "flannel"), {"type": "vxlan", "options": VXLAN}),
        ),
        (
            *(THERE, THERE, NO_FLANNEL_CONFIG, configured(Type="host-gw")),
            *(("canal", "flannel"), {"type": "host-gw", "options": {}}),
        ),
        (
            *(THERE, NO_FLANNEL, None, configured(Type="host-gw")),
            *(("canal",), {"type": "host-gw", "options": {}}),
        ),
        (NO_CANAL, NO_FLANNEL, None, configured(Type="host-gw"), (), None),
        (NO_CANAL, THERE, NO_FLANNEL_CONFIG, None, ("flannel",), None),
        (NO_CANAL, THERE, THERE, None, ("flannel",), None),
        (NO_CANAL, THERE, config_map({"net-conf.json": '{"Backend": {'}), None, ("flannel",), None),
    ],
    ids=[
        *("flannel", "one takes over", "one has all but taken over", "canal", "neither", "no configuration"),
        *("another key", "broken"),
    ],
)
def test_networks_at_work(
    host: Host,
    canal: Result,
    flannel: Result,
    configuration: Result | None,
    canal_config: Any,
    networks: tuple[str, ...],
    backend: Any,
) -> None:
    found = read_networks(host, canal, flannel, configuration, canal_config)
    assert (found.ready, found.networks, found.as_dict()["flannel_backend"]) == (True, networks, backend)


def test_a_key_of_the_backend_is_kept_secret(host: Host) -> None:
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    found = read_networks(host, NO_CANAL, THERE, config_map(configured(Type="wireguard", PSK=key)))
    assert found.as_dict()["flannel_backend"]["type"] == "wireguard"
    assert key not in json.dumps(found.as_dict())


def test_an_api_that_cannot_tell_of_the_backend_is_not_ready(host: Host) -> None:
    host.install()
    *before, (asked, _some), _config_maps = host.answers()
    failed = Result(1, "", "Error from server: etcdserver: request timed out\n")
    found = host.read([RUNNING, *before, (asked, failed)])
    assert (found.ready, found.flannel_backend) == (False, None)


def test_kube_proxy(host: Host) -> None:
    host.install()
    assert host.read([RUNNING, *host.answers()]).as_dict()["kube_proxy"] == {
        "mode": "iptables",
        "strict_arp": False,
        "former_mode": "",
    }


@pytest.mark.parametrize("data", [None, {"config.conf": "somebody else"}], ids=["none", "none of kubeadm's"])
def test_cluster_without_kube_proxy(host: Host, data: Any) -> None:
    host.install()
    found = host.read([RUNNING, *host.answers(kube_proxy=data)])
    assert (found.ready, found.kube_proxy) == (True, None)
    assert found.as_dict()["kube_proxy_configuration"] == ""


@pytest.mark.parametrize("data", [None, {}, {"kubelet-1.22": "x"}], ids=["none", "without data", "under another key"])
def test_cluster_without_a_configuration_of_the_kubelets(host: Host, data: Any) -> None:
    host.install()
    found = host.read([RUNNING, *host.answers(kubelet_config=data)])
    assert (found.ready, found.kubelet_configuration) == (True, "")


def test_an_api_that_cannot_tell_of_the_configuration_is_not_ready(host: Host) -> None:
    host.install()
    *before, (asked, _some) = host.answers()
    failed = Result(1, "", "Error from server: etcdserver: request timed out\n")
    found = host.read([RUNNING, *before, (asked, failed)])
    assert (found.ready, found.configuration) == (False, "")


def test_an_api_that_cannot_tell_of_a_network_is_not_ready(host: Host) -> None:
    host.install()
    readyz, nodes, (canal_argv, _none), *_others = host.answers()
    failed = Result(1, "", "Error from server: etcdserver: request timed out\n")
    found = host.read([RUNNING, readyz, nodes, (canal_argv, failed)])
    assert (found.ready, found.networks) == (False, ())
