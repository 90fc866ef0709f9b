# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubeadm, kubelet and pod networks have left on this host, read without changing anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import (
    ADMIN_KUBECONFIG,
    SUPER_ADMIN_KUBECONFIG,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import STATIC_PODS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig import Kubeconfig, parse_kubeconfig
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import (
    NetworkRemains,
    read_network_remains,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hashes

DEFAULT_ETCD_DATA = "/var/lib/etcd"
_CHANGING_COMMANDS = ("init", "join", "reset", "upgrade")


@dataclass(frozen=True)
class InitRecord:
    """Proof that a kubeadm init on this host is this module's own and has not been seen to end."""

    configuration_sha256: str
    etcd_data: str = DEFAULT_ETCD_DATA
    pki_before: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostState:
    """Everything on the host that a decision depends on.

    :arg kubelet_rotates: kubelet.conf names a certificate that kubelet has got from the cluster. `kubeadm init` writes
        that only when the control plane works (phase kubelet-finalize), before nothing but the addons.
    :arg network: what is left of a pod network. It is not read on a node, whose network is in use and decides nothing.
    :arg damaged: files below /etc/kubernetes without content, as a power cut leaves those that were just being written.
    """

    kubelet_conf: bool = False
    kubelet_credentials: bool = False
    kubelet_rotates: bool = False
    bootstrap_kubelet_conf: bool = False
    kubelet_configuration: bool = False
    kubelet_running: bool = False
    kubelet_enabled: bool = False
    ca_hashes: tuple[str, ...] = ()
    server: str = ""
    pki: tuple[str, ...] = ()
    admin_conf: bool = False
    super_admin_conf: bool = False
    manifests: tuple[str, ...] = ()
    etcd_data: bool = False
    network: NetworkRemains = NetworkRemains()
    damaged: tuple[str, ...] = ()
    record: InitRecord | None = None

    @property
    def control_plane(self) -> bool:
        """Whether parts of a control plane run, or have run, here."""
        return bool(self.manifests or self.etcd_data)

    @property
    def kubelet_remains(self) -> bool:
        """Whether kubeadm has begun to make a node of this host."""
        return self.kubelet_conf or self.bootstrap_kubelet_conf or self.kubelet_configuration

    @property
    def kubeadm_remains(self) -> bool:
        """Whether there is anything that only kubeadm can have made."""
        own_files = self.pki or self.admin_conf or self.damaged or self.record
        return bool(self.kubelet_remains or self.control_plane or own_files)

    @property
    def touched(self) -> bool:
        """Whether there is anything at all that a reset would undo."""
        return bool(self.kubeadm_remains or self.network)


def read_host(runner: Runner, paths: HostPaths, etcd_data: str = DEFAULT_ETCD_DATA) -> HostState:
    """Read the host.

    :arg etcd_data: folder of etcd's data according to the wanted configuration.
    """
    record = read_record(paths)
    kubelet = _readable_kubeconfig(paths.kubelet_conf)
    identity = kubelet or _readable_kubeconfig(paths.bootstrap_kubelet_conf)
    active, unit_file = _kubelet_service(runner)
    manifests = paths.kubernetes / "manifests"
    folders = {etcd_data, record.etcd_data if record else etcd_data}
    return HostState(
        kubelet_conf=paths.kubelet_conf.exists(),
        kubelet_credentials=kubelet is not None and _has_credentials(paths, kubelet),
        kubelet_rotates=kubelet is not None and bool(kubelet.client_certificate),
        bootstrap_kubelet_conf=paths.bootstrap_kubelet_conf.exists(),
        kubelet_configuration=paths.kubelet_configuration.exists(),
        kubelet_running=_is_running(active),
        kubelet_enabled=unit_file == "enabled",
        ca_hashes=_known_ca_hashes(identity.ca_pem if identity else "", read_text(paths.pki / "ca.crt") or ""),
        server=identity.server if identity else "",
        pki=tuple(sorted(str(file.relative_to(paths.pki)) for file in paths.pki.rglob("*") if file.is_file())),
        admin_conf=_has_content(paths.at(ADMIN_KUBECONFIG)),
        super_admin_conf=_has_content(paths.at(SUPER_ADMIN_KUBECONFIG)),
        manifests=tuple(pod for pod in STATIC_PODS if _has_content(manifests / f"{pod}.yaml")),
        etcd_data=any((paths.at(folder) / "member").exists() for folder in folders),
        network=NetworkRemains() if paths.kubelet_configuration.exists() else read_network_remains(runner, paths.root),
        damaged=_damaged(paths),
        record=record,
    )


def read_record(paths: HostPaths) -> InitRecord | None:
    """Record of an unfinished init; one that cannot be read proves nothing."""
    text = read_text(paths.init_record)
    if text is None:
        return None
    try:
        values = json.loads(text)
        return InitRecord(values["configuration_sha256"], values["etcd_data"], tuple(values["pki_before"]))
    except (ValueError, KeyError, TypeError):
        return None


def running_kubeadm(paths: HostPaths) -> dict[int, str]:
    """Commands of kubeadm that change this host right now, by process id."""
    found = {}
    for folder in paths.at("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if Path(arguments[0]).name == "kubeadm" and arguments[1:2] and arguments[1] in _CHANGING_COMMANDS:
            found[int(folder.name)] = f"kubeadm {arguments[1]}"
    return found


def kubelet_service_argv() -> list[str]:
    """Asks systemd for what matters of the kubelet's unit."""
    return ["systemctl", "show", "kubelet.service", "--property=ActiveState,UnitFileState"]


def kubelet_runs(runner: Runner) -> bool:
    """Whether the kubelet runs, or is about to be started again."""
    return _is_running(_kubelet_service(runner)[0])


def _is_running(active_state: str) -> bool:
    """What systemd's ActiveState says."""
    return active_state not in ("inactive", "failed", "")


def _kubelet_service(runner: Runner) -> tuple[str, str]:
    """ActiveState and UnitFileState of the kubelet's unit; empty when there is no such unit."""
    shown = runner.run(kubelet_service_argv()).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return values.get("ActiveState", ""), values.get("UnitFileState", "")


def _has_content(path: Path) -> bool:
    """Whether a file is there and not empty."""
    return path.exists() and path.stat().st_size > 0


def _damaged(paths: HostPaths) -> tuple[str, ...]:
    """Empty files among those that kubeadm writes."""
    files = (
        *sorted(paths.pki.rglob("*")),
        *sorted(paths.kubernetes.glob("*.conf")),
        *sorted((paths.kubernetes / "manifests").glob("*.yaml")),
    )
    return tuple(str(file.relative_to(paths.root)) for file in files if file.is_file() and not file.stat().st_size)


def _readable_kubeconfig(path: Path) -> Kubeconfig | None:
    """A kubeconfig, None when it is absent or was cut off while being written."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return parse_kubeconfig(text, str(path))
    except GroundplaneError:
        return None


def _has_credentials(paths: HostPaths, identity: Kubeconfig) -> bool:
    """Whether the certificate that a kubelet.conf names is there; one without a name carries it inside."""
    return not identity.client_certificate or paths.at(identity.client_certificate).exists()


def _known_ca_hashes(*pems: str) -> tuple[str, ...]:
    """Hashes of the first text that holds readable certificates."""
    for pem in pems:
        try:
            return ca_cert_hashes(pem)
        except GroundplaneError:
            continue
    return ()
