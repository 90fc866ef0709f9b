# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator has written is compared with what kubeadm v1.36.3 makes of it, and nothing else is."""

from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._configuration_drift import (
    DOCUMENTS,
    Document,
    drift,
)

from tests.unit.conftest import ROOT

FixtureText = Callable[[str], str]
CLUSTER, KUBELET, PROXY = DOCUMENTS


@pytest.fixture
def kept(fixture_text: FixtureText) -> dict[str, Any]:
    """What the cluster keeps, by variable, as kubeadm has uploaded it."""
    return {
        document.variable: yaml.safe_load(fixture_text(f"kubeadm/kept_{document.result}.conf"))
        for document in DOCUMENTS
    }


@pytest.fixture
def told(fixture_text: FixtureText) -> dict[str, Any]:
    """What kubeadm had been told, by variable."""
    documents = yaml.safe_load_all(fixture_text("kubeadm/told_configuration.conf"))
    by_kind = {document["kind"]: document for document in documents}
    kinds = ("ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration")
    return {document.variable: by_kind[kind] for document, kind in zip(DOCUMENTS, kinds)}


def at(path: str, value: Any) -> dict[str, Any]:
    """A document with one field."""
    *folders, name = path.split(".")
    document = {name: value}
    for folder in reversed(folders):
        document = {folder: document}
    return document


def without(kept: dict[str, Any], path: str) -> dict[str, Any]:
    """A document that lacks a field."""
    changed = copy.deepcopy(kept)
    *folders, name = path.split(".")
    place = changed
    for folder in folders:
        place = place[folder]
    del place[name]
    return changed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.result)
def test_what_kubeadm_was_told_is_in_force(document: Document, told: dict[str, Any], kept: dict[str, Any]) -> None:
    assert len(told[document.variable]) > 8
    assert drift(document, told[document.variable], kept[document.variable]) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.result)
def test_what_the_role_itself_writes_is_in_force(document: Document, kept: dict[str, Any]) -> None:
    samples = [ROOT / "inventories/lab/group_vars/k8s_cluster/lab.yml", ROOT / "roles/control_plane/defaults/main.yml"]
    for path in samples:
        variables = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert drift(document, variables.get(document.variable, {}), kept[document.variable]) == []


def test_the_versions_are_those_that_the_role_writes() -> None:
    variables = yaml.safe_load((ROOT / "roles/control_plane/vars/main.yml").read_text(encoding="utf-8"))
    assert variables["__control_plane_cluster"]["apiVersion"] == CLUSTER.api_version
    assert variables["__control_plane_kubelet"]["apiVersion"] == KUBELET.api_version
    assert f"'{PROXY.api_version}'" in variables["__control_plane_kube_proxy"]


def entry(name: str, **fields: Any) -> list[dict[str, Any]]:
    """A list with one entry that has a name."""
    return [{"name": name, **fields}]


CHANGED = [
    pytest.param(
        CLUSTER,
        at("apiServer.extraArgs", entry("audit-log-path", value="/srv/audit.log")),
        ["apiServer.extraArgs audit-log-path: /var/log/audit.log, wanted /srv/audit.log"],
        id="argument",
    ),
    pytest.param(
        CLUSTER,
        at("scheduler.extraArgs", entry("v", value="4")),
        ["scheduler.extraArgs v: none, wanted 4"],
        id="argument of a component that has none",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.extraArgs", entry("request-timeout", value="3m") + entry("audit-log-maxage", value=7)),
        ["apiServer.extraArgs request-timeout: 2m, wanted 3m"],
        id="one of two arguments",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.extraArgs", entry("request-timeout", value="")),
        ['apiServer.extraArgs request-timeout: 2m, wanted ""'],
        id="an empty argument is one",
    ),
    pytest.param(
        CLUSTER,
        at(
            "apiServer.extraArgs",
            entry("service-account-issuer", value="https://a.example")
            + entry("service-account-issuer", value="https://b.example"),
        ),
        [
            "apiServer.extraArgs service-account-issuer: https://b.example, https://a.example, wanted "
            "https://a.example, https://b.example"
        ],
        id="argument given twice, in another order",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.extraArgs", entry("service-account-issuer", value="https://b.example")),
        ["apiServer.extraArgs service-account-issuer: https://b.example, https://a.example, wanted https://b.example"],
        id="argument given once instead of twice",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.extraVolumes", entry("policy", hostPath="/etc/policies", mountPath="/etc/policy", readOnly=True)),
        ["apiServer.extraVolumes policy.hostPath: /etc/policy, wanted /etc/policies"],
        id="field of a volume",
    ),
    pytest.param(
        CLUSTER,
        at("controllerManager.extraVolumes", entry("ca", hostPath="/srv/ca", mountPath="/srv/ca")),
        ["controllerManager.extraVolumes ca: none, wanted one"],
        id="volume",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.certSANs", ["Api.Example.Org", "k8s.example.org", "192.0.2.5"]),
        ["apiServer.certSANs: without k8s.example.org, 192.0.2.5"],
        id="names of a certificate",
    ),
    pytest.param(
        CLUSTER,
        at("certificateValidityPeriod", "4380h"),
        ["certificateValidityPeriod: 8760h0m0s, wanted 4380h"],
        id="validity",
    ),
    pytest.param(CLUSTER, at("dns.imageTag", "v1.14.0"), ["dns.imageTag: none, wanted v1.14.0"], id="image"),
    pytest.param(CLUSTER, at("dns.disabled", True), ["dns.disabled: none, wanted true"], id="without DNS"),
    pytest.param(CLUSTER, at("auditPolicy", {"path": "/x"}), ["auditPolicy.path: none, wanted /x"], id="no such field"),
    pytest.param(KUBELET, at("maxPods", 250), ["maxPods: 200, wanted 250"], id="number"),
    pytest.param(KUBELET, at("podsPerCore", 10), ["podsPerCore: none, wanted 10"], id="number that is not there"),
    pytest.param(
        KUBELET, at("imageMinimumGCAge", "10m"), ["imageMinimumGCAge: 5m0s, wanted 10m"], id="duration of the kubelet"
    ),
    pytest.param(
        KUBELET, at("imageMaximumGCAge", "168h"), ["imageMaximumGCAge: 0s, wanted 168h"], id="duration in place of none"
    ),
    pytest.param(KUBELET, at("featureGates", {"Foo": True}), ["featureGates.Foo: false, wanted true"], id="gate"),
    pytest.param(KUBELET, at("eventRecordQPS", 0), ["eventRecordQPS: none, wanted 0"], id="0 where the default is not"),
    pytest.param(
        KUBELET, at("enableServer", False), ["enableServer: none, wanted false"], id="false where the default is not"
    ),
    pytest.param(
        KUBELET,
        at("tlsCipherSuites", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]),
        ["tlsCipherSuites: none, wanted TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384"],
        id="list",
    ),
    pytest.param(
        KUBELET,
        at("shutdownGracePeriodByPodPriority", [{"priority": 0, "shutdownGracePeriodSeconds": 90}]),
        ["shutdownGracePeriodByPodPriority[0].shutdownGracePeriodSeconds: 60, wanted 90"],
        id="entry without a name",
    ),
    pytest.param(
        KUBELET,
        at("registerWithTaints", [{"key": "a"}, {"key": "b"}]),
        ["registerWithTaints: 1, wanted 2"],
        id="further entry without a name",
    ),
    pytest.param(
        KUBELET,
        at("evictionHard", {"nodefs.available": "x" * 70}),
        [f"evictionHard.nodefs.available: none, wanted {'x' * 57}..."],
        id="long value",
    ),
    pytest.param(PROXY, at("conntrack.min", 0), ["conntrack.min: none, wanted 0"], id="0 in place of null"),
    pytest.param(
        PROXY, at("nodePortAddresses", ["primary"]), ["nodePortAddresses: none, wanted primary"], id="list for none"
    ),
    pytest.param(
        PROXY,
        at("metricsBindAddress", "[::]:10249"),
        ["metricsBindAddress: 0.0.0.0:10249, wanted [::]:10249"],
        id="address",
    ),
    pytest.param(PROXY, at("portRange", "1-2"), ['portRange: "", wanted 1-2'], id="text in place of none"),
]


@pytest.mark.parametrize(("document", "wanted", "said"), CHANGED)
def test_what_differs_is_named(document: Document, wanted: Any, said: list[str], kept: dict[str, Any]) -> None:
    assert drift(document, wanted, kept[document.variable]) == said


def test_a_gate_that_is_not_there_is_missed_whatever_it_is_set_to(kept: dict[str, Any]) -> None:
    found = drift(KUBELET, at("featureGates", {"Bar": False}), kept[KUBELET.variable])
    assert found == ["featureGates.Bar: none, wanted false"]
    lacking = without(kept[PROXY.variable], "featureGates")
    assert drift(PROXY, at("featureGates", {"Bar": True}), lacking) == ["featureGates.Bar: none, wanted true"]


SILENT = [
    pytest.param(CLUSTER, {}, id="nothing"),
    pytest.param(
        CLUSTER, {"apiServer": None, "scheduler": {}, "imageRepository": ""}, id="nothing stands for a default"
    ),
    pytest.param(CLUSTER, at("apiServer", {"certSANs": [], "extraArgs": []}), id="empty lists"),
    pytest.param(CLUSTER, at("apiServer.extraArgs", entry("audit-log-path", value=None)), id="argument of null"),
    pytest.param(CLUSTER, at("apiServer.extraArgs", entry("request-timeout", value="120s")), id="duration otherwise"),
    pytest.param(CLUSTER, at("apiServer.extraArgs", entry("permit-port-sharing", value=True)), id="true and 'true'"),
    pytest.param(CLUSTER, at("apiServer.extraArgs", {"audit-log-path": "/x"}), id="a map where a list is kept"),
    pytest.param(CLUSTER, at("apiServer", "nonsense"), id="text where a dictionary is kept"),
    pytest.param(CLUSTER, at("imageRepository", {"name": "x"}), id="a dictionary where text is kept"),
    pytest.param(CLUSTER, at("proxy.disabled", False), id="false is left out by kubeadm"),
    pytest.param(CLUSTER, at("kubernetesVersion", "v1.36.0"), id="the version before an upgrade"),
    pytest.param(CLUSTER, at("controlPlaneEndpoint", "api.lab.internal"), id="endpoint without its port"),
    pytest.param(CLUSTER, at("networking.podSubnet", "10.0.0.0/16"), id="range, which stops the run"),
    pytest.param(KUBELET, at("rotateCertificates", False), id="what kubeadm decides on"),
    pytest.param(KUBELET, at("readOnlyPort", 0), id="0 is left out by kubeadm"),
    pytest.param(KUBELET, at("protectKernelDefaults", False), id="false is left out by the kubelet's API"),
    pytest.param(KUBELET, at("nodeStatusReportFrequency", "0s"), id="0s"),
    pytest.param(KUBELET, at("newFieldOfALaterRelease", "0s"), id="0s of a field that is not there"),
    pytest.param(KUBELET, at("allowedUnsafeSysctls", ["net.*"]), id="list"),
    pytest.param(KUBELET, at("reservedMemory", [{"numaNode": 0, "limits": {"memory": "1024Mi"}}]), id="quantity"),
    pytest.param(KUBELET, at("memoryThrottlingFactor", 0.90), id="fraction"),
    pytest.param(KUBELET, at("maxPods", 200.0), id="whole number as a fraction"),
    pytest.param(PROXY, at("mode", "iptables"), id="the mode, which is cluster_proxy_mode's"),
    pytest.param(PROXY, at("ipvs.strictARP", False), id="strictARP, which is set for MetalLB"),
    pytest.param(PROXY, at("conntrack.tcpCloseWaitTimeout", "1h"), id="duration of kube-proxy"),
    pytest.param(PROXY, at("conntrack.udpTimeout", "1500ms"), id="fraction of a second"),
]


@pytest.mark.parametrize(("document", "wanted"), SILENT)
def test_what_is_not_told_apart_with_certainty_is_left_out(
    document: Document, wanted: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert drift(document, wanted, kept[document.variable]) == []


def test_an_order_of_a_list_without_names_does_not_count(kept: dict[str, Any]) -> None:
    keeping = {**kept[KUBELET.variable], "allowedUnsafeSysctls": ["net.*", "kernel.msg*"]}
    assert drift(KUBELET, at("allowedUnsafeSysctls", ["kernel.msg*", "net.*"]), keeping) == []


def test_strict_arp_of_the_operators_own_is_missed(kept: dict[str, Any]) -> None:
    keeping = {**kept[PROXY.variable], "ipvs": {"strictARP": False}}
    assert drift(PROXY, at("ipvs.strictARP", True), keeping) == ["ipvs.strictARP: false, wanted true"]


@pytest.mark.parametrize(
    "keeping",
    [
        pytest.param({}, id="not known"),
        pytest.param(
            {"apiVersion": "kubeadm.k8s.io/v1beta3", "apiServer": {"extraArgs": {"audit-log-path": "/x"}}},
            id="arguments as a map, of a cluster made by kubeadm 1.30",
        ),
        pytest.param({"apiVersion": "kubeadm.k8s.io/v1beta5"}, id="a version to come"),
    ],
)
def test_nothing_is_said_of_a_document_in_another_version(keeping: dict[str, Any]) -> None:
    assert drift(CLUSTER, at("apiServer.extraArgs", entry("audit-log-path", value="/y")), keeping) == []


def test_the_operator_may_write_another_version() -> None:
    keeping = {"apiVersion": "kubeadm.k8s.io/v1beta3", "apiServer": {"extraArgs": {"audit-log-path": "/x"}}}
    wanted = {"apiVersion": "kubeadm.k8s.io/v1beta3", "apiServer": {"extraArgs": {"audit-log-path": "/y"}}}
    assert drift(CLUSTER, wanted, keeping) == ["apiServer.extraArgs.audit-log-path: /x, wanted /y"]


SECRETS = [
    pytest.param(
        CLUSTER,
        at("apiServer.extraEnvs", entry("HTTP_PROXY", value="http://proxy:3128")),
        "apiServer.extraEnvs HTTP_PROXY: another, wanted one that is not shown",
        id="environment",
    ),
    pytest.param(
        CLUSTER,
        at("etcd.local.extraEnvs", entry("KEY_FILE", value="s3cret")),
        "etcd.local.extraEnvs KEY_FILE: none, wanted one that is not shown",
        id="environment that is not there",
    ),
    pytest.param(
        CLUSTER,
        at("etcd.local.extraArgs", entry("initial-cluster-token", value="s3cret")),
        "etcd.local.extraArgs initial-cluster-token: none, wanted one that is not shown",
        id="token",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.extraArgs", entry("etcd-servers", value="https://user:s3cret@192.0.2.5")),
        "apiServer.extraArgs etcd-servers: none, wanted one that is not shown",
        id="login in a URL",
    ),
    pytest.param(
        CLUSTER,
        at("apiServer.extraArgs", 2 * entry("etcd-servers", value=f"https://user:{'s3cret' * 20}@192.0.2.5")),
        "apiServer.extraArgs etcd-servers: none, wanted one that is not shown",
        id="login in a long URL, twice",
    ),
    pytest.param(
        KUBELET,
        at("staticPodURL", "https://pods.example/?key=s3cret"),
        "staticPodURL: none, wanted one that is not shown",
        id="query in a URL",
    ),
    pytest.param(
        KUBELET,
        at("staticPodURLHeader", {"Authorization": ["Bearer s3cret"]}),
        "staticPodURLHeader.Authorization: another, wanted one that is not shown",
        id="header",
    ),
]


@pytest.mark.parametrize(("document", "wanted", "said"), SECRETS)
def test_what_may_be_secret_is_not_shown(document: Document, wanted: Any, said: str, kept: dict[str, Any]) -> None:
    assert drift(document, wanted, kept[document.variable]) == [said]


def test_the_name_of_a_file_with_a_secret_is_none(kept: dict[str, Any]) -> None:
    wanted = at("apiServer.extraArgs", entry("token-auth-file", value="/etc/tokens.csv"))
    assert drift(CLUSTER, wanted, kept[CLUSTER.variable]) == [
        "apiServer.extraArgs token-auth-file: none, wanted /etc/tokens.csv"
    ]


def test_a_secret_that_is_kept_is_not_shown_either(kept: dict[str, Any]) -> None:
    (said,) = drift(
        KUBELET, at("staticPodURL", "https://x.example"), {**kept[KUBELET.variable], "staticPodURL": "h://a@b"}
    )
    assert said == "staticPodURL: another, wanted one that is not shown"
