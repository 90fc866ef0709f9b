# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets the real Ansible evaluate the variables of roles, on this machine and without a host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import yaml

from tests.unit.conftest import ROOT


def link_collection(folder: Path) -> None:
    """Let the checkout be found under the collection's own name in a folder."""
    collection = folder / "ansible_collections" / "groundplane" / "kubeadm"
    collection.parent.mkdir(parents=True)
    collection.symlink_to(ROOT)


def play_in(
    folder: Path, inventory: Mapping[str, Any], plays: Sequence[Mapping[str, Any]], collections: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run plays in a folder.

    :arg collections: where the collection is found, by default in the folder.
    """
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
    (folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml"],
        cwd=folder,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections or folder),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
