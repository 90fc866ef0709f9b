# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight check of what kube-proxy needs of a node in the mode that is wanted."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    MISSING,
    UNKNOWN,
    proxy_features,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPTABLES, IPVS, NFTABLES
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot

# kube-proxy refuses older ones in this mode: where they are, the distribution's nft may be one that stumbles over its
# rules.
_NFTABLES_KERNEL = (5, 13)
_IPVS_DEPRECATED_SINCE = (1, 35)


def check_proxy_mode(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The kernel has what the mode uses; of a mode that ends some day the operator knows."""
    mode, kernel = wanted.proxy_mode, snapshot.kernel
    found = f"cluster_proxy_mode {mode}, and kernel {kernel.release}"
    if mode == NFTABLES and kernel.version and kernel.version < _NFTABLES_KERNEL:
        yield Observation(found, "kernel 5.13 or newer, at which kube-proxy insists in this mode")
    features = proxy_features(mode, wanted.proxy_scheduler)
    states = {" or ".join(modules): {kernel.state(module) for module in modules} for modules in features}
    missing = [name for name, found_states in states.items() if found_states == {MISSING}]
    unknown = [name for name, found_states in states.items() if found_states == {UNKNOWN}]
    if missing:
        yield Observation(f"{found} has no {', '.join(missing)}", "built in or loadable")
    if unknown and mode != IPTABLES:
        yield Observation(
            f"{found} tells nothing about {', '.join(unknown)}",
            "built in or loadable",
            severity=WARNING,
            remedy="Load the modules on the machine underneath; this looks like a container.",
        )
    if mode == IPVS and wanted.kubernetes_minor >= _IPVS_DEPRECATED_SINCE:
        yield Observation(
            "cluster_proxy_mode ipvs, which Kubernetes has declared deprecated in 1.35 (KEP-5495)",
            "nftables, which takes its place, or iptables",
            severity=WARNING,
            remedy="Set cluster_proxy_mode to nftables; a cluster that runs changes with the next run.",
        )


PROXY_CHECKS = (
    Check(
        Description(
            id="proxy-mode",
            severity=ERROR,
            purpose="The running kernel has, or can load, what kube-proxy uses in the mode of cluster_proxy_mode: "
            "nf_tables with its expressions and kernel 5.13 for nftables; ip_vs with its scheduler, ip_set and a dummy "
            "device for ipvs. Mode ipvs is a warning since Kubernetes 1.35, where it is deprecated.",
            remedy="Choose another cluster_proxy_mode, or install the rest of the distribution's kernel "
            "(linux-modules-extra, kernel-modules-extra) and reboot when it was updated since the last boot.",
            variables=("cluster_proxy_mode",),
        ),
        check_proxy_mode,
    ),
)
