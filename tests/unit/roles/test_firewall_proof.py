# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof between nodes, run by Ansible itself against a port that answers and one that does not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]

#: In place of the real module, which would change this machine.
TAKEN_BACK = """
from ansible.module_utils.basic import AnsibleModule
AnsibleModule(argument_spec={"state": {"type": "str"}}).exit_json(changed=True)
"""
#: Writes what each task has come to.
RECORDER = """
import json
import os
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "recorder"
    def record(self, result, failed=False):
        values = {**result._result, "failed": failed}
        line = {"host": result._host.get_name(), "task": result._task.get_name(), "result": values}
        with open(os.environ["RECORD"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + chr(10))
    v2_runner_on_ok = v2_runner_on_unreachable = record
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.record(result, failed=True)
"""
#: Hosts by what happens to them: whether the port answers, the prover, whether this run has changed the rules.
HOSTS = {
    "reached": (True, "prover", True),
    "cut_off": (False, "prover", True),
    "cut_off_before": (False, "prover", False),
    "not_proved": (True, "gone", True),
    "not_proved_before": (True, "gone", False),
}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def play() -> list[dict[str, Any]]:
    variables = yaml.safe_load((ROOT / "roles/firewall/vars/main.yml").read_text(encoding="utf-8"))
    return [
        {
            "hosts": "proved",
            "gather_facts": False,
            "vars": {
                "__cluster_node": {"address": "127.0.0.1"},
                "__firewall_applied": {"changed": "{{ changed_now }}"},
                **{name: variables[name] for name in ("__firewall_is_new", "__firewall_not_proved")},
            },
            "tasks": [
                {
                    "ansible.builtin.include_role": {
                        "name": "groundplane.kubeadm.firewall",
                        "tasks_from": "prove",
                    }
                }
            ],
        }
    ]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Result of each task that was not skipped, by host."""
    folder = tmp_path_factory.mktemp("proof")
    collection = folder / "ansible_collections" / "groundplane" / "kubeadm"
    shutil.copytree(ROOT / "roles/firewall/tasks", collection / "roles/firewall/tasks")
    module = collection / "plugins/modules/iptables_persistence.py"
    module.parent.mkdir(parents=True)
    module.write_text(TAKEN_BACK, encoding="utf-8")

    (folder / "callbacks").mkdir()
    (folder / "callbacks/recorder.py").write_text(RECORDER, encoding="utf-8")
    record = folder / "record"

    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = {True: server.getsockname()[1], False: closed_port()}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": closed_port()}
        hosts = {
            name: {
                **local,
                "__firewall_proven_ports": [ports[answers]],
                "__firewall_prover": prover,
                "changed_now": changed,
            }
            for name, (answers, prover, changed) in HOSTS.items()
        }
        groups = {"proved": {"hosts": hosts}, "provers": {"hosts": {"prover": local, "gone": gone}}}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
        (folder / "play.yml").write_text(yaml.safe_dump(play(), sort_keys=False), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml"],
            cwd=folder,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(folder),
                "ANSIBLE_CALLBACK_PLUGINS": str(folder / "callbacks"),
                "RECORD": str(record),
                "ANSIBLE_FORKS": str(len(HOSTS)),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert record.exists(), run.stdout + run.stderr
    found: dict[str, dict[str, Any]] = {name: {} for name in HOSTS}
    for line in record.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        found[entry["host"]][entry["task"].rpartition(" | ")[2]] = entry["result"]
    return found


REACH = "Reach the host from another one"
TAKE_BACK = "Remove the chains and what brings them back at boot"
STOP = "Stop before the next host"
SAY = "Say where nobody could prove anything"


def test_a_host_that_the_others_reach_keeps_its_rules(tasks: dict[str, dict[str, Any]]) -> None:
    assert not {TAKE_BACK, STOP, SAY} & set(tasks["reached"])
    assert not tasks["reached"][REACH]["failed"]


def test_rules_of_this_run_that_cut_a_host_off_are_taken_back(tasks: dict[str, dict[str, Any]]) -> None:
    assert tasks["cut_off"][TAKE_BACK]["changed"]
    assert "were taken back" in tasks["cut_off"][STOP]["msg"]


def test_rules_of_an_earlier_run_stay_but_the_run_ends(tasks: dict[str, dict[str, Any]]) -> None:
    assert TAKE_BACK not in tasks["cut_off_before"]
    assert tasks["cut_off_before"][STOP]["failed"]
    assert "stay in force" in tasks["cut_off_before"][STOP]["msg"]


def test_a_prover_that_is_gone_ends_a_run_that_has_changed_something(tasks: dict[str, dict[str, Any]]) -> None:
    assert not {TAKE_BACK, STOP} & set(tasks["not_proved"])
    assert tasks["not_proved"][SAY]["failed"]
    assert "gone is not reached over SSH" in tasks["not_proved"][SAY]["msg"]


def test_a_prover_that_is_gone_is_named_where_nothing_has_changed(tasks: dict[str, dict[str, Any]]) -> None:
    assert not {TAKE_BACK, STOP} & set(tasks["not_proved_before"])
    assert not tasks["not_proved_before"][SAY]["failed"]
    assert "gone is not reached over SSH" in tasks["not_proved_before"][SAY]["msg"]


def test_a_run_without_a_change_proves_what_an_interrupted_one_could_not() -> None:
    (proof,) = [
        task
        for task in yaml.safe_load((ROOT / "roles/firewall/tasks/main.yml").read_text(encoding="utf-8"))
        if task.get("ansible.builtin.include_tasks") == "prove.yml"
    ]
    assert not [condition for condition in proof["when"] if "changed" in condition]
