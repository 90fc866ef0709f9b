# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts answer and fail, and which do not answer at all, before the preflight has read them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.playing import link_collection, play_in

ROOT = Path(__file__).resolve().parents[3]
LOCAL = {"ansible_connection": "local"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Hosts by what the report is told of them, after the role itself on real connections."""
    folder = tmp_path_factory.mktemp("failures")
    link_collection(folder)
    silent = folder / "ssh"
    # Exit code 255 is how ssh says that it did not reach a host.
    silent.write_text("#!/bin/sh\nexit 255\n", encoding="utf-8")
    silent.chmod(0o755)
    workers: dict[str, dict[str, Any]] = {
        "no-python": {**LOCAL, "ansible_python_interpreter": str(folder / "python")},
        "no-number": {**LOCAL, "cluster_api_port": "https"},
        "no-port": {**LOCAL, "cluster_api_port": 70000},
        "silent": {"ansible_connection": "ssh", "ansible_ssh_executable": str(silent)},
    }
    groups = {
        "control_plane": {"hosts": {"well": {**LOCAL, "ansible_python_interpreter": sys.executable}}},
        "workers": {"hosts": workers},
    }
    inventory = {"all": {"children": {"k8s_cluster": {"children": groups}}}}
    play = {
        "hosts": "k8s_cluster",
        "gather_facts": False,
        "roles": [{"role": "groundplane.kubeadm.cluster"}],
        "tasks": [
            # In place of preflight_info, the first module on a host, which would look at this machine as a whole.
            {"name": "Need Python", "ansible.builtin.ping": {}, "register": "__cluster_preflight"},
            {
                "name": "Hand over",
                "run_once": True,
                "ansible.builtin.copy": {
                    "content": "{{ __cluster_unreachable }}",
                    "dest": str(folder / "judged.json"),
                    "mode": "0600",
                },
            },
        ],
    }
    run = play_in(folder, inventory, [play])
    assert (folder / "judged.json").exists(), run.stdout + run.stderr
    result: dict[str, list[str]] = json.loads((folder / "judged.json").read_text(encoding="utf-8"))
    return result


def test_a_host_that_answers_and_fails_is_not_taken_for_a_silent_one(judged: dict[str, list[str]]) -> None:
    assert sorted(judged["failed"]) == ["no-number", "no-port", "no-python"]
    assert judged["workers"] == ["silent"]
