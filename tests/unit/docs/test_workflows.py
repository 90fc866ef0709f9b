# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflows, ours and those that users are given, ask for no rights and call what exists."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.unit.conftest import ROOT
from tests.unit.docs.test_references import targets

FILES = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob(".github/workflows/*.yml")}
GIVEN = dict(
    enumerate(re.findall(r"^```yaml\n(.*?^jobs:.*?)^```$", (ROOT / "docs/molecule.md").read_text(), re.M | re.S))
)
WORKFLOWS = {name: yaml.safe_load(text) for name, text in {**FILES, **GIVEN}.items()}

workflows = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=[str(name) for name in WORKFLOWS])


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_are_workflows_of_both_kinds() -> None:
    assert sorted(FILES) == ["ci.yml", "vagrant.yml"]
    assert len(GIVEN) == 2


@workflows
def test_nothing_but_reading_is_allowed(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert [job for job in workflow["jobs"].values() if "permissions" in job] == []


@workflows
def test_actions_are_pinned(workflow: dict[str, Any]) -> None:
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)] == []


@workflows
def test_jobs_end(workflow: dict[str, Any]) -> None:
    assert [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job] == []


@workflows
def test_targets_of_make_exist(workflow: dict[str, Any]) -> None:
    called = set()
    for job in workflow["jobs"].values():
        stages = job.get("strategy", {}).get("matrix", {}).get("stage", [""])
        for step in job["steps"]:
            for call in re.findall(r"make (?:-C \w+ )?([a-z$][^\n';]*)", step.get("run", "")):
                called.update(call.replace("${{ matrix.stage }}", stage) for stage in stages)
    called.discard("python3")  # a package beside make
    assert called
    assert called <= targets()


def test_users_are_given_what_runs_here() -> None:
    """The steps that prepare a machine are the same ones."""

    def preparing(workflow: dict[str, Any], job: str) -> tuple[Any, list[Any]]:
        found = [step for step in workflow["jobs"][job]["steps"] if "make " not in step.get("run", "")]
        container = workflow["jobs"][job].get("container")
        return container, [step for step in found if "checkout" not in step.get("uses", "")]

    assert preparing(WORKFLOWS[0], "cluster") == preparing(WORKFLOWS["ci.yml"], "molecule")
    assert preparing(WORKFLOWS[1], "libvirt") == preparing(WORKFLOWS["vagrant.yml"], "libvirt")
