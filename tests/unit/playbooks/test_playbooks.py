# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks say what they need, where Ansible itself would end well without having done anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT

PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))

#: Hosts of somebody else's, in groups that mean nothing to the playbooks.
INVENTORY = "[webservers]\nweb ansible_connection=local\n"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_an_inventory_without_the_cluster_is_an_error(playbook: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(INVENTORY, encoding="utf-8")
    ansible = Path(sys.executable).with_name("ansible-playbook")
    command = [str(ansible), str(playbook), f"--inventory={inventory}", "--extra-vars=node=worker-1"]

    ended = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Found no host" in ended.stdout
    assert "Expected" in ended.stdout
