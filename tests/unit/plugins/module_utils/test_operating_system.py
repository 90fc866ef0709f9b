# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operating system is named as Ansible's own facts name it."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._operating_system import (
    OperatingSystem,
    families_of,
    operating_system,
    parse_os_release,
)

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""


def test_parses_quoted_and_bare_values():
    fields = parse_os_release(DEBIAN)
    assert fields["ID"] == "debian"
    assert fields["VERSION_ID"] == "12"
    assert fields["PRETTY_NAME"] == "Debian GNU/Linux 12 (bookworm)"


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        (parse_os_release(DEBIAN), OperatingSystem("Debian", "Debian", "bookworm", "12")),
        (
            {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04", "VERSION_CODENAME": "noble"},
            OperatingSystem("Debian", "Ubuntu", "noble", "24.04"),
        ),
        ({"ID": "rhel", "ID_LIKE": "fedora", "VERSION_ID": "9.6"}, OperatingSystem("RedHat", "RedHat", "", "9.6")),
        (
            {"ID": "rocky", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "9.6"},
            OperatingSystem("RedHat", "Rocky", "", "9.6"),
        ),
        ({"ID": "ol", "ID_LIKE": "fedora", "VERSION_ID": "9.6"}, OperatingSystem("RedHat", "OracleLinux", "", "9.6")),
        ({"ID": "fedora", "VERSION_ID": "43"}, OperatingSystem("RedHat", "Fedora", "", "43")),
        ({"ID": "alpine", "NAME": "Alpine Linux"}, OperatingSystem("Alpine Linux", "Alpine Linux", "", "")),
        ({}, OperatingSystem("", "", "", "")),
    ],
    ids=["Debian", "Ubuntu", "RHEL", "Rocky", "Oracle Linux", "Fedora", "Alpine", "nothing"],
)
def test_names_systems_as_ansible_does(os_release, expected):
    assert operating_system(os_release) == expected


def test_a_rebuild_of_rhel_is_one_also_where_it_names_only_fedora():
    assert "rhel" in families_of({"ID": "ol", "ID_LIKE": "fedora"})
    assert "rhel" not in families_of({"ID": "fedora"})
