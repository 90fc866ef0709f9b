# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a joining host is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _join_info
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import nodes_argv, objects_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import EtcdView, Member
from ansible_collections.groundplane.kubeadm.plugins.module_utils._join_info import read_join_info
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hash

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

SOCKET = "unix:///run/containerd/containerd.sock"


@pytest.fixture
def kubeconfig(tmp_path: Path, fixture_text: FixtureText) -> str:
    """A kubeconfig of the recorded cluster."""
    path = tmp_path / "admin.conf"
    path.write_text(fixture_text("kubeadm/worker_kubelet.conf"))
    return str(path)


def read(kubeconfig: str, config: str, nodes: str, etcd_socket: str = "") -> dict[str, Any]:
    """Join information from two calls of kubectl."""
    names = ["configmap/kubeadm-config", "secret/kubeadm-certs"]
    runner = FakeRunner(
        [
            (objects_argv(kubeconfig, "kube-system", names), Result(0, config, "")),
            (nodes_argv(kubeconfig), Result(0, nodes, "")),
        ]
    )
    return read_join_info(runner, kubeconfig, etcd_socket)


def test_recorded_cluster(kubeconfig: str, fixture_text: FixtureText) -> None:
    info = read(kubeconfig, fixture_text("kubectl/kubeadm_config.json"), fixture_text("kubectl/nodes.json"))
    assert info["endpoint"] == "10.77.5.11:6443"
    assert info["ca_cert_hashes"] == [ca_cert_hash(fixture_text("kubeadm/ca.crt"))]
    assert info["certificates_uploaded"] is False
    assert info["etcd_members"] == []
    assert [node["name"] for node in info["nodes"]] == ["kubeadm-master-1", "kubeadm-worker-1"]
    assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize(
    ("configured", "endpoint"),
    [
        ("controlPlaneEndpoint: api.lab.internal", "api.lab.internal:6443"),
        ("controlPlaneEndpoint: '[2001:db8::1]:8443'", "[2001:db8::1]:8443"),
        ("clusterName: x", "10.77.5.11:6443"),
    ],
    ids=["default port", "IPv6", "from the kubeconfig"],
)
def test_endpoint(kubeconfig: str, fixture_text: FixtureText, configured: str, endpoint: str) -> None:
    config = fixture_text("kubectl/kubeadm_config.json")
    config = config.replace("controlPlaneEndpoint: 10.77.5.11:6443", configured)
    assert read(kubeconfig, config, '{"kind": "List", "items": []}')["endpoint"] == endpoint


def test_uploaded_certificates(kubeconfig: str, fixture_text: FixtureText) -> None:
    config = json.loads(fixture_text("kubectl/kubeadm_config.json"))
    config["items"].append({"kind": "Secret", "metadata": {"name": "kubeadm-certs"}, "data": {}})
    assert read(kubeconfig, json.dumps(config), '{"kind": "List", "items": []}')["certificates_uploaded"] is True


def test_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(GroundplaneError, match="admin.conf does not exist"):
        read_join_info(FakeRunner(), str(tmp_path / "admin.conf"))


def test_not_made_by_kubeadm(kubeconfig: str) -> None:
    with pytest.raises(GroundplaneError, match="no ConfigMap kubeadm-config"):
        read(kubeconfig, "", "")


def test_hash_of_the_ca_on_disk(
    tmp_path: Path, kubeconfig: str, fixture_text: FixtureText, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(kubeconfig).write_text("clusters:\n- cluster:\n    server: https://a:6443\n")
    (tmp_path / "ca.crt").write_text(fixture_text("kubeadm/ca.crt"))
    monkeypatch.setattr(_join_info, "CA_FILE", str(tmp_path / "ca.crt"))
    info = read(kubeconfig, fixture_text("kubectl/kubeadm_config.json"), '{"kind": "List", "items": []}')
    assert info["ca_cert_hashes"] == [ca_cert_hash(fixture_text("kubeadm/ca.crt"))]


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Callable[[EtcdView | None], None]:
    """Lets the etcd of the host answer."""

    def answer(view: EtcdView | None) -> None:
        monkeypatch.setattr(_join_info, "read_etcd", lambda runner, cri_socket: {SOCKET: view}[cri_socket])

    return answer


def test_members_of_etcd(kubeconfig: str, fixture_text: FixtureText, etcd: Callable[[EtcdView | None], None]) -> None:
    member = Member("1f", "master-1", ("https://192.0.2.11:2380",), ("https://192.0.2.11:2379",), False, True)
    etcd(EtcdView((member,), True))
    recorded = (fixture_text("kubectl/kubeadm_config.json"), fixture_text("kubectl/nodes.json"))
    info = read(kubeconfig, *recorded, etcd_socket=SOCKET)
    assert [Member.from_dict(values) for values in info["etcd_members"]] == [member]
    assert json.loads(json.dumps(info)) == info


def test_etcd_that_cannot_be_asked(
    kubeconfig: str, fixture_text: FixtureText, etcd: Callable[[EtcdView | None], None]
) -> None:
    etcd(None)
    config, nodes = fixture_text("kubectl/kubeadm_config.json"), fixture_text("kubectl/nodes.json")
    with pytest.raises(GroundplaneError, match="cannot be asked for its members"):
        read(kubeconfig, config, nodes, etcd_socket=SOCKET)
    local, external = "etcd:\\n  local:\\n    dataDir: /var/lib/etcd", "etcd:\\n  external:\\n    endpoints: []"
    assert local in config
    assert read(kubeconfig, config.replace(local, external), nodes, etcd_socket=SOCKET)["etcd_members"] == []
