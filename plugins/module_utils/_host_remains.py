# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that Kubernetes has left on a host, for people: nothing is decided by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm_node_state import kubelet_runs
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import (
    NetworkRemains,
    read_network_remains,
)

# The folders themselves belong to the packages or are made by kubeadm without a use.
_FILES = (
    "etc/kubernetes/*.conf",
    "etc/kubernetes/pki",
    "etc/kubernetes/manifests/*",
    "etc/kubernetes/tmp/*",
    "var/lib/kubelet/*",
    "var/lib/etcd/*",
    "var/lib/groundplane/kubeadm-init.json",
)
_KUBELET_FOLDER = "/var/lib/kubelet/"


@dataclass(frozen=True)
class HostRemains:
    """What is left on a host."""

    kubelet_running: bool = False
    mounts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    network: NetworkRemains = NetworkRemains()

    def describe(self) -> Iterator[str]:
        """Lines for operators."""
        if self.kubelet_running:
            yield "kubelet runs"
        yield from (f"mount {point}" for point in self.mounts)
        yield from self.files
        yield from self.network.describe()


def read_host_remains(runner: Runner, paths: HostPaths) -> HostRemains:
    """Read the host without changing it."""
    mounts = (line.split(" ") for line in (read_text(paths.at("/proc/self/mounts")) or "").splitlines())
    return HostRemains(
        kubelet_running=kubelet_runs(runner),
        mounts=tuple(fields[1] for fields in mounts if fields[1].startswith(_KUBELET_FOLDER)),
        files=tuple(str(file) for pattern in _FILES for file in sorted(paths.root.glob(pattern))),
        network=read_network_remains(runner, paths.root),
    )
