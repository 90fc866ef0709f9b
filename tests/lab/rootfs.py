# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Debian for the images whose programs call others: kube-proxy, flannel and the test image."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.lab.archive import KEYRING
from tests.lab.process import LabError, run
from tests.lab.recipes import FIXED_TIME
from tests.lab.versions import DEBIAN_SUITE

#: What kube-proxy and flannel call, and the program of the test image.
PACKAGES = ("busybox-static", "conntrack", "ipset", "iproute2", "iptables", "kmod", "nftables")

#: Member of the root file system that only the test image is made of.
BUSYBOX = "usr/bin/busybox"

LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")


def make_rootfs(target: Path) -> None:
    """Write the root file system as a tar, from the archive that this machine itself uses."""
    run(
        [
            *("mmdebstrap", "--quiet", "--variant=essential", "--components=main"),
            f"--include={','.join(PACKAGES)}",
            f"--keyring={KEYRING}",
            # A mirror that is kept at some date serves indexes which are past theirs.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
            *(DEBIAN_SUITE, str(target), machine_mirror()),
        ],
        environment={"SOURCE_DATE_EPOCH": str(FIXED_TIME)},
    )


def machine_mirror() -> str:
    """Address of the Debian archive that this machine's apt uses."""
    listing = _mirrors()
    if not listing:
        run(["apt-get", "--option", "DPkg::Lock::Timeout=300", "--quiet=2", "update"])
        listing = _mirrors()
    if not listing:
        raise LabError(
            "apt on this machine knows no Debian archive; images are made from the machine's own mirror, "
            "so add one to /etc/apt/sources.list.d."
        )
    return listing[0]


def busybox_program(rootfs: Path) -> bytes:
    """Return the statically linked busybox inside a root file system."""
    with tarfile.open(rootfs) as archive:
        content = archive.extractfile(f"./{BUSYBOX}")
        if content is None:
            raise LabError(f"{BUSYBOX} in {rootfs} is no regular file; expected the program of busybox-static.")
        return content.read()


def _mirrors() -> list[str]:
    """Ask apt itself, which understands every form of its sources."""
    filters = ["Identifier: Packages", "Origin: Debian", "Label: Debian"]
    return run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters]).split()
