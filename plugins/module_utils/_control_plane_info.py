# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane on this host, as its files, its own API server and its own etcd tell it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Mapping, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import ADMIN_KUBECONFIG, Node, node_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._etcd import EtcdView, read_etcd
from ansible_collections.groundplane.kubeadm.plugins.module_utils._flannel import Backend, backend_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import KubeProxy, kube_proxy_of
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hashes
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import wait_until

_READYZ = "/readyz"
_NODES = "/api/v1/nodes"
# All at once, and not one by one: kubectl takes longer to start than to fetch them.
_CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"

#: What each pod network that the cluster may run is known by.
NETWORKS = {
    "canal": "/apis/apps/v1/namespaces/kube-system/daemonsets/canal",
    "flannel": "/api/v1/namespaces/kube-flannel",
}
_FLANNEL_CONFIGURATION = "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg"
_NOT_FOUND = "Error from server (NotFound): "

# A ready API server answers at once. One whose etcd is silent needs two seconds to say so, and a frozen one never does.
_REQUEST_TIMEOUT = "--request-timeout=5s"
# kubeadm puts this name into the certificate of every API server, whatever its address is.
_SERVER_NAME = "kubernetes"

_ENDPOINT = re.compile(r"kube-apiserver\.advertise-address\.endpoint: *[\"']?(?P<host>[^\s\"']+):(?P<port>[0-9]+)")
_LOCAL_ETCD = re.compile(r"--etcd-servers=\S*//(127\.0\.0\.1|\[::1\]|localhost):")
_FAILED_CHECK = re.compile(r"\[-\](\S+) failed")
_LOG_LINE = re.compile(r"[IWEF][0-9]{4} ")
_NOISE = re.compile(r"^error: |^Please enter Username: (error: )?| - did you specify the right host or port\?$")


class Kubelet(NamedTuple):
    """What systemd says of the kubelet.

    :arg state: ActiveState of the unit.
    :arg runs: it runs, is being restarted, or is about to be started.
    """

    state: str
    runs: bool


@dataclass(frozen=True)
class Api:
    """The API server of this host, asked past the endpoint, which may lead to another one."""

    kubeconfig: str
    host: str
    port: int

    def argv(self, path: str) -> list[str]:
        """Reads a path of the API. Nothing but the answer is fetched, so kubectl keeps no cache of it on the host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return [
            *("kubectl", "--kubeconfig", self.kubeconfig, "--server", f"https://{host}:{self.port}"),
            *("--tls-server-name", _SERVER_NAME, _REQUEST_TIMEOUT, "get", "--raw", path),
        ]

    def get(self, runner: Runner, path: str) -> str:
        """Answer of the API; a proxy has no business between a host and itself."""
        return runner.run(self.argv(path), environment={"NO_PROXY": self.host}).stdout


@dataclass(frozen=True)
class ControlPlane:
    """What there is of a control plane on this host.

    :arg message: why the API server is not ready, in one line.
    :arg address: where the API server listens for the other hosts.
    :arg etcd: None where no etcd here can be asked.
    :arg configuration: the ClusterConfiguration that the cluster keeps, in YAML.
    :arg kubelet_configuration: the KubeletConfiguration that the cluster keeps, likewise.
    :arg networks: pod networks of this collection that the cluster runs; two while one takes over from the other.
    :arg kube_proxy: None where kube-proxy is none of kubeadm's.
    :arg flannel_backend: None where the cluster runs no flannel that can be read.
    """

    installed: bool = False
    init_unfinished: bool = False
    ready: bool = False
    message: str = ""
    address: str = ""
    ca_cert_hashes: tuple[str, ...] = ()
    external_etcd: bool = False
    etcd: EtcdView | None = None
    nodes: tuple[Node, ...] = ()
    configuration: str = ""
    kubelet_configuration: str = ""
    networks: tuple[str, ...] = ()
    kube_proxy: KubeProxy | None = None
    flannel_backend: Backend | None = None

    @property
    def joined(self) -> bool:
        """Whether the cluster knows this host as a control plane node, which it does at the end of init and join."""
        return any(node.control_plane and self.address in node.addresses for node in self.nodes)

    def as_dict(self) -> dict[str, Any]:
        """The result of the module."""
        return {
            "installed": self.installed,
            "init_unfinished": self.init_unfinished,
            "ready": self.ready,
            "joined": self.joined,
            "message": self.message,
            "address": self.address,
            "ca_cert_hashes": list(self.ca_cert_hashes),
            "etcd": {
                "external": self.external_etcd,
                "leader": self.etcd is not None and self.etcd.leader,
                "members": [member.as_dict() for member in self.etcd.members] if self.etcd else [],
            },
            "nodes": [{**node._asdict(), "addresses": list(node.addresses)} for node in self.nodes],
            "cluster_configuration": self.configuration,
            "kubelet_configuration": self.kubelet_configuration,
            "kube_proxy_configuration": self.kube_proxy.configuration.text if self.kube_proxy else "",
            "networks": list(self.networks),
            "kube_proxy": self.kube_proxy.as_dict() if self.kube_proxy else None,
            "flannel_backend": self.flannel_backend.as_dict() if self.flannel_backend else None,
        }


def kubelet_argv() -> list[str]:
    """Asks systemd whether the kubelet runs; a job is what a unit has that waits for its turn at boot."""
    return ["systemctl", "show", "kubelet.service", "--property=ActiveState,Job"]


def read_control_plane(
    runner: Runner,
    paths: HostPaths,
    *,
    cri_socket: str,
    address: str = "",
    api_port: int = 0,
    timeout: float = 0,
) -> ControlPlane:
    """Read the control plane of this host.

    :arg address: where the API server is asked; nothing stands for what its manifest says, as does port 0.
    :arg timeout: seconds for which an API server that may be about to start is waited for.
    """
    manifests = paths.kubernetes / "manifests"
    manifest = read_text(manifests / "kube-apiserver.yaml")
    found = ControlPlane(
        installed=manifest is not None,
        init_unfinished=paths.init_record.exists(),
        ca_cert_hashes=_readable_ca(paths),
    )
    if manifest is None:
        return found
    has_etcd = (manifests / "etcd.yaml").exists()
    endpoint = _ENDPOINT.search(manifest)
    api = Api(
        kubeconfig=str(paths.at(ADMIN_KUBECONFIG)),
        host=address or (endpoint.group("host").strip("[]") if endpoint else ""),
        port=api_port or (int(endpoint.group("port")) if endpoint else 0),
    )
    # A join that was interrupted has the API server's manifest before that of etcd.
    found = replace(found, address=api.host, external_etcd=not has_etcd and _LOCAL_ETCD.search(manifest) is None)
    obstacle = _obstacle(runner, paths, api)
    if not has_etcd and not found.external_etcd:
        obstacle = "etcd has no static pod on this host, as after an interrupted join"
    patience = 0 if obstacle or found.init_unfinished else timeout
    found = replace(found, message=obstacle) if obstacle else _ask(runner, api, found, patience)
    # Last, because a member of etcd that has just been started needs its time as well.
    return replace(found, etcd=read_etcd(runner, cri_socket) if has_etcd else None)


def _obstacle(runner: Runner, paths: HostPaths, api: Api) -> str:
    """What keeps the API server from being asked at all."""
    if runner.find("kubectl") is None:
        return "kubectl is not installed"
    if not paths.at(ADMIN_KUBECONFIG).exists():
        return f"{ADMIN_KUBECONFIG} does not exist"
    if not (api.host and api.port):
        return "the manifest of the API server does not tell its address"
    return ""


def _ask(runner: Runner, api: Api, known: ControlPlane, patience: float) -> ControlPlane:
    """The API server's answer, waited for where the kubelet may still start it."""
    kubelet = _read_kubelet(runner)
    answer = known

    def ready() -> bool:
        nonlocal answer
        answer = _answer(runner, api, known)
        return answer.ready

    if wait_until(ready, patience if kubelet.runs else 0) or kubelet.runs:
        return answer
    return replace(answer, message=f"kubelet.service is {kubelet.state}; {answer.message}")


def _answer(runner: Runner, api: Api, known: ControlPlane) -> ControlPlane:
    """What the API server says; one that fails in the middle counts as one that is not ready yet."""
    try:
        api.get(runner, _READYZ)
        nodes = json.loads(api.get(runner, _NODES))["items"]
        networks = tuple(name for name, path in NETWORKS.items() if _read(runner, api, path) is not None)
        flannel = _read(runner, api, _FLANNEL_CONFIGURATION) if "flannel" in networks else None
        config_maps = json.loads(api.get(runner, _CONFIG_MAPS))["items"]
    except CommandError as error:
        return replace(known, message=one_line(error.result.stderr or error.result.stdout))
    system = {config_map["metadata"]["name"]: config_map for config_map in config_maps}
    # While canal takes over from flannel both have a configuration, and flannel's counts: nodes on which canal is not
    # up yet run by it, and canal's was made from variables that were compared with it.
    backend = backend_of(json.loads(flannel)) if flannel else None
    return replace(
        known,
        ready=True,
        nodes=tuple(sorted(node_of(node) for node in nodes)),
        configuration=_text(system, "kubeadm-config", "ClusterConfiguration"),
        kubelet_configuration=_text(system, "kubelet-config", "kubelet"),
        networks=networks,
        kube_proxy=kube_proxy_of(system.get("kube-proxy", {})),
        flannel_backend=backend or (backend_of(system.get("canal-config", {})) if "canal" in networks else None),
    )


def _read(runner: Runner, api: Api, path: str) -> str | None:
    """An object, None when it is not there; an API server that cannot tell is not taken for one that says no."""
    try:
        return api.get(runner, path)
    except CommandError as error:
        if _NOT_FOUND in error.result.stderr:
            return None
        raise


def _text(config_maps: Mapping[str, Mapping[str, Any]], name: str, key: str) -> str:
    """What a ConfigMap has under a key; empty where there is no such ConfigMap or key."""
    return str((config_maps.get(name, {}).get("data") or {}).get(key) or "")


def _read_kubelet(runner: Runner) -> Kubelet:
    shown = runner.run(kubelet_argv()).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state = values.get("ActiveState", "unknown")
    starting = values.get("Job", "") not in ("", "0")
    return Kubelet(state, starting or state in ("active", "activating", "reloading"))


def _readable_ca(paths: HostPaths) -> tuple[str, ...]:
    """Hashes of the CA, none where a file has been cut off."""
    try:
        return ca_cert_hashes(read_text(paths.pki / "ca.crt") or "")
    except GroundplaneError:
        return ()


def one_line(said: str) -> str:
    """What kubectl reports, without its log, its hints and the checks that have passed."""
    failed = _FAILED_CHECK.findall(said)
    if failed:
        return "checks of the API server fail: " + ", ".join(failed)
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _LOG_LINE.match(line)]
    return _NOISE.sub("", lines[-1]) if lines else "kubectl said nothing"
