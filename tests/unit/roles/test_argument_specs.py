# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public interface of the roles: defaults, argument specifications and what the tasks really use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def defaults(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "defaults" / "main.yml")


def entry_points(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "meta" / "argument_specs.yml").get("argument_specs", {})


def options(role: str) -> dict[str, Any]:
    return entry_points(role)["main"].get("options") or {}


def internal_variables(role: str) -> set[str]:
    """Names that the role itself gives a value: vars, registers, facts, task variables and groups."""
    names = set(load(ROOT / "roles" / role / "vars" / "main.yml"))
    for path in (ROOT / "roles" / role).glob("*/*.yml"):
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"(?:register|loop_var|groups|key): (\w+)", text))
        names.update(re.findall(r"^\s+(__\w+):", text, re.MULTILINE))
    return names


def inputs() -> set[str]:
    """Names to which those who use an entry point of a role give a value."""
    sources = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    return {
        name for path in sources for name in re.findall(r"^\s+(__\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    }


def groups_of_plays() -> set[str]:
    """Names of groups that plays run on, or ask for."""
    pattern = re.compile(r"(?:^  hosts: |'(?=\w+' in groups))(\w+)", re.MULTILINE)
    return {name for path in (ROOT / "playbooks").glob("*.yml") for name in pattern.findall(path.read_text("utf-8"))}


def role_files(role: str) -> list[Path]:
    folder = ROOT / "roles" / role
    parts = ("tasks", "handlers", "templates", "vars")
    return [path for part in parts for path in sorted((folder / part).glob("**/*.*"))]


def used_names(role: str) -> set[str]:
    """Words beginning with the role's prefix where an expression can stand; keys, files and modules do not count."""
    used = set()
    for path in role_files(role):
        text = re.sub(r"#.*|- name: .*|^ *\w+:(?=\s)", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        used.update(re.findall(rf"(?<![\w./-])(?:__)?{role}_\w+", text))
    return used


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specification_name_the_same_variables(role: str) -> None:
    assert set(defaults(role)) == {name for name, option in options(role).items() if not option.get("required")}


@pytest.mark.parametrize("role", ROLES)
def test_defaults_have_the_documented_values(role: str) -> None:
    documented = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert defaults(role) == documented


@pytest.mark.parametrize("role", ROLES)
def test_literal_defaults_have_the_declared_type(role: str) -> None:
    wrong = {
        name: value
        for name, value in defaults(role).items()
        if not (isinstance(value, str) and "{{" in value)
        and type(value).__name__ != options(role)[name].get("type", "str")
    }
    assert wrong == {}


@pytest.mark.parametrize("role", ROLES)
def test_literal_defaults_are_among_the_choices(role: str) -> None:
    wrong = {
        name: value
        for name, value in defaults(role).items()
        if "choices" in options(role)[name]
        and not (isinstance(value, str) and "{{" in value)
        and not set(value if isinstance(value, list) else [value]) <= set(options(role)[name]["choices"])
    }
    assert wrong == {}


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_explained(role: str) -> None:
    assert [name for name, option in options(role).items() if not option.get("description")] == []


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_carry_the_prefix_of_their_role(role: str) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_explained_by_a_comment(role: str) -> None:
    text = (ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8") if defaults(role) else ""
    blocks = [block for block in re.split(r"\n\n|^---\n", text) if block.strip()]
    assert [block for block in blocks if not block.startswith("# ")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_in_use_is_declared(role: str) -> None:
    declared = set(options(role)) | internal_variables(role) | inputs() | groups_of_plays()
    assert used_names(role) - declared == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_role_depends_on_cluster_alone(role: str) -> None:
    dependencies = load(ROOT / "roles" / role / "meta" / "main.yml").get("dependencies", [])
    assert dependencies == ([] if role == "cluster" else [{"role": "groundplane.kubeadm.cluster"}])


@pytest.mark.parametrize("role", ROLES)
def test_every_role_introduces_itself(role: str) -> None:
    readme = ROOT / "roles" / role / "README.md"
    assert f"groundplane.kubeadm.{role}" in readme.read_text(encoding="utf-8")


def test_every_entry_point_in_use_exists() -> None:
    sources = [path for folder in ("playbooks", "roles", "molecule") for path in (ROOT / folder).glob("**/*.yml")]
    used = set()
    for path in sources:
        text = path.read_text(encoding="utf-8")
        used.update(re.findall(r"name: groundplane\.kubeadm\.(\w+)\n\s+tasks_from: (\w+)", text))
    assert used, "no playbook uses an entry point: this test looks in the wrong place"
    assert {(role, entry) for role, entry in used if entry not in entry_points(role)} == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_a_task_file(role: str) -> None:
    tasks = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(entry_points(role)) <= tasks
