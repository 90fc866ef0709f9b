# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Debian for the images whose programs call others: kube-proxy, flannel and the test image."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.lab import archive
from tests.lab.process import LabError, run
from tests.lab.recipes import FIXED_TIME
from tests.lab.versions import DEBIAN_SUITE

#: What kube-proxy and flannel call, and the program of the test image.
PACKAGES = ("busybox-static", "conntrack", "ipset", "iproute2", "iptables", "kmod", "nftables")

#: Member of the root file system that only the test image is made of.
BUSYBOX = "usr/bin/busybox"

LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")


def make_rootfs(target: Path) -> None:
    """Write the root file system as a tar, from the archives that this machine itself uses."""
    run(
        [
            *archive.mmdebstrap_command(archive.carried_settings()),
            "--variant=essential",
            f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
            *(DEBIAN_SUITE, str(target), "-"),
        ],
        stdin=archive.sources_file(archive.archives_for(DEBIAN_SUITE)),
        environment={"SOURCE_DATE_EPOCH": str(FIXED_TIME)},
    )


def busybox_program(rootfs: Path) -> bytes:
    """Return the statically linked busybox inside a root file system."""
    with tarfile.open(rootfs) as members:
        content = members.extractfile(f"./{BUSYBOX}")
        if content is None:
            raise LabError(f"{BUSYBOX} in {rootfs} is no regular file; expected the program of busybox-static.")
        return content.read()
