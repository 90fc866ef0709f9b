# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its files and which addresses and names it uses."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]

#: Every container, volume, network and image of the lab carries this label, so that all of them
#: can be found and removed, also after a kill.
LABEL = "io.groundplane.lab"
NETWORK_NAME = "groundplane"
BRIDGE_NAME = "gplab0"
SUBNET = ipaddress.IPv4Network("10.77.0.0/16")
SUBNET_6 = ipaddress.IPv6Network("fd77::/64")

#: The host's own address on the lab's bridge; every service of the lab listens there only.
HOST_ADDRESS = ipaddress.IPv4Address("10.77.0.1")
HOST_ADDRESS_6 = ipaddress.IPv6Address("fd77::1")
APT_PROXY_PORT = 3142
REGISTRY_PORT = 5000
WEB_PORT = 8080

#: Ranges of pods and services of the clusters under test; a packet to them must never leave the machine.
CLUSTER_RANGES = (ipaddress.IPv4Network("10.244.0.0/16"), ipaddress.IPv4Network("10.96.0.0/12"))
CLUSTER_RANGES_6 = (ipaddress.IPv6Network("fd00:10:244::/56"), ipaddress.IPv6Network("fd00:10:96::/112"))


def cache_root() -> Path:
    """Folder outside git for everything that is built or downloaded once."""
    configured = os.environ.get("GROUNDPLANE_CACHE")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "groundplane"


@dataclass(frozen=True)
class Paths:
    """Folders of the lab below one cache root."""

    root: Path

    @property
    def programs(self) -> Path:
        """Compiled programs, one folder per name and version."""
        return self.root / "programs"

    @property
    def web(self) -> Path:
        """Document root of the lab's web server: the package repository and the manifests."""
        return self.root / "web"

    @property
    def registry(self) -> Path:
        """Storage of the lab's image registry."""
        return self.root / "registry"

    @property
    def machine_images(self) -> Path:
        """Disks and kernels from which virtual machines start."""
        return self.root / "machine-images"

    @property
    def state(self) -> Path:
        """Key pairs, inventories, process ids and logs of the running lab."""
        return self.root / "state"

    @property
    def machines(self) -> Path:
        """Virtual machines, one folder per name, with their disks."""
        return self.state / "machines"

    @property
    def ssh_key(self) -> Path:
        """Private key with which the controller reaches the nodes."""
        return self.state / "ssh" / "id_ed25519"

    def inventory(self, name: str) -> Path:
        """Inventory folder of the node set called name."""
        return self.state / "inventories" / name


def paths() -> Paths:
    """Folders below the configured cache root."""
    return Paths(cache_root())
