# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel has is asked of the running one, then of its files, then of its configuration."""

from __future__ import annotations

import gzip

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    LOADABLE,
    MISSING,
    PRESENT,
    UNKNOWN,
    KernelSupport,
    proxy_features,
    read_kernel_support,
)

RELEASE = "6.12.48+deb13-amd64"
CONFIGURATION = "CONFIG_OVERLAY_FS=y\nCONFIG_VXLAN=m\n# CONFIG_IP_SET is not set\nCONFIG_NETFILTER_XT_MARK=y\n"
FILES = {
    "modules.dep": "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/netfilter/xt_mark.ko: kernel/net/x_tables.ko\n",
    "modules.builtin": "kernel/net/core/nf_nat.ko\n",
}


def write(root, path, content):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())


def state(root, module):
    return read_kernel_support(root, RELEASE, [module]).state(module)


@pytest.mark.parametrize(
    ("module", "expected"), [("overlay", LOADABLE), ("xt_mark", LOADABLE), ("nf_nat", PRESENT), ("ip_set", MISSING)]
)
def test_module_files(tmp_path, module, expected):
    for name, content in FILES.items():
        write(tmp_path, f"lib/modules/{RELEASE}/{name}", content)
    assert state(tmp_path, module) == expected


@pytest.mark.parametrize(
    ("path", "content"),
    [("proc/config.gz", gzip.compress(CONFIGURATION.encode())), (f"boot/config-{RELEASE}", CONFIGURATION)],
)
@pytest.mark.parametrize(
    ("module", "expected"), [("overlay", PRESENT), ("xt_mark", PRESENT), ("vxlan", MISSING), ("ip_set", MISSING)]
)
def test_configuration_of_a_kernel_without_module_files(tmp_path, path, content, module, expected):
    write(tmp_path, path, content)
    assert state(tmp_path, module) == expected


def test_running_kernel(tmp_path):
    write(tmp_path, "proc/filesystems", "nodev\toverlay\n")
    write(tmp_path, "proc/sys/net/bridge/bridge-nf-call-iptables", "1\n")
    assert state(tmp_path, "overlay") == PRESENT
    assert state(tmp_path, "br_netfilter") == PRESENT


def test_a_machine_that_tells_nothing(tmp_path):
    assert state(tmp_path, "overlay") == UNKNOWN
    assert KernelSupport().state("overlay") == UNKNOWN


@pytest.mark.parametrize(
    ("release", "version"), [(RELEASE, (6, 12)), ("5.13-rc1", (5, 13)), ("5.4.0-1.el7", (5, 4)), ("custom", ())]
)
def test_version_of_a_release(release, version):
    assert KernelSupport(release).version == version


def test_the_scheduler_of_ipvs_is_a_module():
    assert ("ip_vs_sh",) in proxy_features("ipvs", "sh")
    assert ("ip_vs_rr",) not in proxy_features("ipvs", "sh")
    assert not [modules for modules in proxy_features("nftables", "sh") if "ip_vs_sh" in modules]
