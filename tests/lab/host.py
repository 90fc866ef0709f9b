# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab needs of the machine it runs on: packages, kernel limits, one run at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.process import LabError, run
from tests.lab.progress import Report, step
from tests.lab.settings import HOST_ADDRESS, Paths

REQUIRED_PACKAGES = (
    "apt-cacher-ng",
    "ca-certificates",
    "docker-registry",
    "iproute2",
    "iptables",
    "mmdebstrap",
    "netavark",
    "openssh-client",
    "podman",
    "python3",
    "runc",
)

#: Packages that would start a service of their own on a port of the lab.
PACKAGES_WITH_SERVICE = ("apt-cacher-ng", "docker-registry")

#: Every systemd, kubelet and containerd of every node counts against the one root user of the kernel.
KERNEL_LIMITS = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}


def require_root() -> None:
    """Stop anyone who could not create nodes anyway."""
    if os.geteuid() != 0:
        raise LabError(f"The lab runs as user {os.geteuid()}; it makes network devices and needs root: use sudo.")


@contextmanager
def only_one_run(paths: Paths, report: Report) -> Iterator[None]:
    """Let a second run wait while a first one changes the lab; a killed run lets go by itself."""
    paths.state.mkdir(parents=True, exist_ok=True)
    with (paths.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(report, "Waiting for the end of another run"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def missing_packages(wanted: Iterable[str], installed: Iterable[str]) -> list[str]:
    """Packages that still have to be installed, each once, in order."""
    return sorted(set(wanted) - set(installed))


def ensure_packages(wanted: Iterable[str], report: Report) -> None:
    """Install the Debian packages that are missing, without starting their services."""
    missing = missing_packages(wanted, _installed_packages())
    if not missing:
        return
    for package in set(missing) & set(PACKAGES_WITH_SERVICE):
        _mask_service(package)
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    apt_get = ["apt-get", "--option", "DPkg::Lock::Timeout=300", "--quiet=2"]
    with step(report, f"Installing {' '.join(missing)}"):
        run([*apt_get, "update"], environment=environment)
        run([*apt_get, "install", "--yes", "--no-install-recommends", *missing], environment=environment)


def raise_kernel_limits() -> None:
    """Lift the limits that all nodes share; a higher value of the machine's own stays."""
    for name, wanted in KERNEL_LIMITS.items():
        setting = Path("/proc/sys") / name
        if int(setting.read_text()) < wanted:
            setting.write_text(str(wanted))


def _installed_packages() -> list[str]:
    listing = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n"])
    return [line.split()[0] for line in listing.splitlines() if line.endswith(" installed")]


def _mask_service(name: str) -> None:
    """Mask the packaged unit: the lab runs the program itself, on the bridge only."""
    unit = Path("/etc/systemd/system") / f"{name}.service"
    if not unit.exists() and not unit.is_symlink():
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.symlink_to("/dev/null")


def nameservers(way_out: bool) -> list[str]:
    """Name servers of nodes: the machine's own, or one that is not there for nodes without a way out.

    Refused queries end at once, whereas CoreDNS does not start without any name server to forward to.
    """
    if not way_out:
        return [str(HOST_ADDRESS)]
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ") and len(line.split()) > 1]
