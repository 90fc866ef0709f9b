# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operating system a host has, from /etc/os-release (os-release(5)) and in Ansible's words."""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple

OS_RELEASE = "/etc/os-release"

_RHEL = "rhel"
# Oracle Linux names Fedora alone as its ancestor, and is a rebuild of RHEL.
_RELATIVES_OF_RHEL = frozenset({"ol"})
_RED_HAT = frozenset({_RHEL, "fedora"})
_DISTRIBUTIONS = {
    "almalinux": "AlmaLinux",
    "centos": "CentOS",
    "debian": "Debian",
    "fedora": "Fedora",
    "ol": "OracleLinux",
    "rhel": "RedHat",
    "rocky": "Rocky",
    "ubuntu": "Ubuntu",
}


class OperatingSystem(NamedTuple):
    """The operating system as Ansible's own facts name it.

    :arg family: Debian, RedHat, or the distribution itself where it belongs to neither.
    :arg release: code name such as trixie, empty where the distribution has none.
    :arg version: number of the release without that of its updates, such as 13 or 24.04.
    """

    family: str
    distribution: str
    release: str
    version: str


def parse_os_release(text: str) -> dict[str, str]:
    """Fields of os-release."""
    fields = re.findall(r"""^([A-Z_]+)=["']?(.*?)["']?$""", text, re.MULTILINE)
    return dict(fields)


def families_of(os_release: Mapping[str, str]) -> frozenset[str]:
    """The distribution and those that it descends from, by their identifiers."""
    names = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    return frozenset(names | ({_RHEL} if names & _RELATIVES_OF_RHEL else set()))


def operating_system(os_release: Mapping[str, str]) -> OperatingSystem:
    """The operating system that os-release describes."""
    families = families_of(os_release)
    distribution = _DISTRIBUTIONS.get(os_release.get("ID", ""), os_release.get("NAME", ""))
    return OperatingSystem(
        family="Debian" if "debian" in families else "RedHat" if families & _RED_HAT else distribution,
        distribution=distribution,
        release=os_release.get("VERSION_CODENAME", ""),
        version=os_release.get("VERSION_ID", ""),
    )
