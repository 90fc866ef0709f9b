# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that the acceptance tests of all scenarios ask."""

from __future__ import annotations

import os

import pytest
from testinfra import get_host
from testinfra.host import Host


@pytest.fixture(scope="session")
def control_plane_node() -> Host:
    """The control plane node; a test that asks it alone runs once and not on every node."""
    return get_host(
        "ansible://molecule-master-1", ansible_inventory=f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/nodes"
    )
