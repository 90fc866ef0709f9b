# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the running kernel has, or can load, what Kubernetes needs of it."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Mapping

from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_settings import Kernel
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import IPTABLES, IPVS, NFTABLES

PRESENT = "present"
LOADABLE = "loadable"
MISSING = "missing"
UNKNOWN = "unknown"

# What kube-proxy and the portmap plugin use; each line is satisfied by any of its modules. nft_compat stands for
# iptables on nf_tables, ip_tables for the older kind.
PACKET_FILTERS = (
    ("nf_conntrack",),
    ("nf_nat",),
    ("nft_compat", "ip_tables"),
    ("xt_MASQUERADE",),
    ("xt_comment",),
    ("xt_conntrack",),
    ("xt_mark",),
    ("xt_statistic",),
    ("xt_addrtype",),
    ("xt_multiport",),
    ("xt_nat",),
)
# The devices of which pod networks are made: a pair for every pod, the bridge of a node, the overlay between nodes.
POD_NETWORKS = (("veth",), ("bridge",), ("vxlan",))
#: Everything that a cluster of this collection asks of the kernel beyond the modules that the operator names.
NEEDED_FEATURES = (*PACKET_FILTERS, *POD_NETWORKS)

# What the modes of kube-proxy use beyond that. Rules that reject stand for Services without a pod.
_PROXY_MODES = {
    IPTABLES: (("ipt_REJECT",),),
    NFTABLES: (
        ("nf_tables",),
        ("nft_chain_nat",),
        ("nft_ct",),
        ("nft_fib_ipv4",),
        ("nft_masq",),
        ("nft_nat",),
        ("nft_numgen",),
        ("nft_reject_ipv4",),
    ),
    IPVS: (
        ("ip_vs",),
        ("nf_conntrack",),
        ("dummy",),
        ("ip_set",),
        ("ip_set_bitmap_port",),
        ("ip_set_hash_ip",),
        ("ip_set_hash_ipport",),
        ("ip_set_hash_ipportip",),
        ("ip_set_hash_ipportnet",),
        ("xt_ipvs",),
        ("xt_set",),
    ),
}

# Configuration options whose names do not follow from the module's.
_OPTIONS = {
    "br_netfilter": "BRIDGE_NETFILTER",
    "ip_tables": "IP_NF_IPTABLES",
    "ipt_REJECT": "IP_NF_TARGET_REJECT",
    "ipt_rpfilter": "IP_NF_MATCH_RPFILTER",
    "nft_chain_nat": "NFT_NAT",
    "overlay": "OVERLAY_FS",
    "xt_MASQUERADE": "NETFILTER_XT_TARGET_MASQUERADE",
    "xt_addrtype": "NETFILTER_XT_MATCH_ADDRTYPE",
    "xt_comment": "NETFILTER_XT_MATCH_COMMENT",
    "xt_conntrack": "NETFILTER_XT_MATCH_CONNTRACK",
    "xt_ipvs": "NETFILTER_XT_MATCH_IPVS",
    "xt_mark": "NETFILTER_XT_MARK",
    "xt_multiport": "NETFILTER_XT_MATCH_MULTIPORT",
    "xt_nat": "NETFILTER_XT_NAT",
    "xt_set": "NETFILTER_XT_SET",
    "xt_statistic": "NETFILTER_XT_MATCH_STATISTIC",
}
_RELEASE = re.compile(r"(\d+)\.(\d+)")
_BUILT_IN_OPTION = re.compile(r"^CONFIG_(\w+)=y$", re.MULTILINE)


@dataclass(frozen=True)
class KernelSupport:
    """The running kernel and the state of the modules that were asked for."""

    release: str = ""
    states: Mapping[str, str] = field(default_factory=dict)

    def state(self, module: str) -> str:
        """Present, loadable, missing, or unknown when the machine tells nothing about its kernel."""
        return self.states.get(module, UNKNOWN)

    @property
    def version(self) -> tuple[int, ...]:
        """Major and minor number, nothing where the release has none."""
        match = _RELEASE.match(self.release)
        return tuple(int(number) for number in match.groups()) if match else ()


def proxy_features(mode: str, scheduler: str) -> tuple[tuple[str, ...], ...]:
    """What a mode of kube-proxy asks of the kernel, in the form of NEEDED_FEATURES.

    :arg scheduler: how ipvs chooses among the pods of a Service; each is a module.
    """
    return _PROXY_MODES[mode] + (((f"ip_vs_{scheduler}",),) if mode == IPVS else ())


def read_kernel_support(root: Path, release: str, modules: Iterable[str]) -> KernelSupport:
    """Ask the running kernel, its module files and, where there are none, its configuration."""
    kernel = Kernel(root, release)
    has_files = (root / "lib/modules" / release / "modules.dep").exists()
    built_in = None if has_files else _built_in_options(root, release)
    absent = UNKNOWN if not has_files and built_in is None else MISSING
    return KernelSupport(
        release, {module: _state(kernel, built_in or frozenset(), module, absent) for module in modules}
    )


def _state(kernel: Kernel, built_in: frozenset[str], module: str, absent: str) -> str:
    if kernel.has(module) or _OPTIONS.get(module, module.upper()) in built_in:
        return PRESENT
    return LOADABLE if kernel.can_load(module) else absent


def _built_in_options(root: Path, release: str) -> frozenset[str] | None:
    """Options that are y in /proc/config.gz or the distribution's copy in /boot, None when there is neither."""
    compressed = root / "proc/config.gz"
    if compressed.exists():
        return frozenset(_BUILT_IN_OPTION.findall(gzip.decompress(compressed.read_bytes()).decode("utf-8")))
    plain = root / "boot" / ("config-" + release)
    if plain.exists():
        return frozenset(_BUILT_IN_OPTION.findall(plain.read_text(encoding="utf-8")))
    return None
