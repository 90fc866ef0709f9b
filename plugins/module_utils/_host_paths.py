# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where kubeadm, kubelet and this collection have their files on a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostPaths:
    """Where everything lies, below a root that only tests set."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """An absolute path of the host."""
        return self.root / path.lstrip("/")

    @property
    def kubernetes(self) -> Path:
        """kubeadm's folder."""
        return self.at("/etc/kubernetes")

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.kubernetes / "pki"

    @property
    def kubelet_conf(self) -> Path:
        """Identity of the kubelet; exists once the cluster has accepted the host."""
        return self.kubernetes / "kubelet.conf"

    @property
    def bootstrap_kubelet_conf(self) -> Path:
        """Token with which the kubelet asks for its identity; kubeadm removes it at the end of a join."""
        return self.kubernetes / "bootstrap-kubelet.conf"

    @property
    def kubelet_configuration(self) -> Path:
        """KubeletConfiguration that kubeadm writes."""
        return self.at("/var/lib/kubelet/config.yaml")

    @property
    def init_record(self) -> Path:
        """Record of a kubeadm init that has not been seen to end: an interrupted run is known by it as one of ours."""
        return self.at("/var/lib/groundplane/kubeadm-init.json")

    @property
    def lock(self) -> Path:
        """Lock file of runs of the module."""
        return self.at("/run/groundplane/kubeadm-node.lock")
