# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages refer to is there: other pages, chapters, variables, playbooks, targets of make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md")])
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())

#: Words that begin like variables of a role.
OTHER_NAMES = {
    "cluster_speaker",  # a group
    *ROLES,
    *(path.stem for path in (ROOT / "plugins/modules").glob("*.py")),
}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def split(page: Path) -> tuple[str, str]:
    """Prose of a page, and its blocks of code."""
    prose: list[str] = []
    code: list[str] = []
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        else:
            (code if fenced or line.startswith("    ") else prose).append(line)
    return "\n".join(prose), "\n".join(code)


def prose(page: Path) -> str:
    """Text without blocks of code."""
    return split(page)[0]


def code(page: Path) -> str:
    """What stands in blocks of code and between backticks, which may begin and end on different lines."""
    prose, blocks = split(page)
    spans = [span for paragraph in prose.split("\n\n") for span in re.findall(r"`([^`]+)`", paragraph)]
    return "\n".join([blocks, *(" ".join(span.split()) for span in spans)])


def anchors(page: Path) -> set[str]:
    """Names under which the headings of a page can be linked."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def variables() -> set[str]:
    """Public variables of all roles."""
    return {
        name
        for role in ROLES
        for name in yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8")) or {}
    }


def targets() -> set[str]:
    """Targets of the Makefile, with one for each scenario of Molecule."""
    named = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    scenarios = {f"molecule-{path.parent.name}" for path in ROOT.glob("molecule/*/molecule.yml")}
    return named | scenarios


def test_there_are_pages_to_read() -> None:
    assert {"README.md", "quick_start.md", "troubleshooting.md"} <= {page.name for page in PAGES}
    assert "cluster_node_cidr" in variables()
    assert {"test", "molecule-vagrant"} <= targets()


@pages
def test_links_lead_to_files_and_chapters(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _hash, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pages
def test_variables_of_roles_exist(page: Path) -> None:
    named = set(re.findall(rf"(?<![\w./-])((?:{'|'.join(ROLES)})_[a-z0-9_]*[a-z0-9])(?![\w.*-])", code(page)))
    assert named - variables() - OTHER_NAMES == set()


@pages
def test_playbooks_exist(page: Path) -> None:
    files = set(re.findall(r"ansible-playbook (?:playbooks/)?([\w/]+)\.yml", code(page)))
    installed = set(re.findall(r"ansible-playbook groundplane\.kubeadm\.(\w+)", code(page)))
    assert files | installed <= {path.stem for path in ROOT.glob("playbooks/*.yml")}


@pages
def test_targets_of_make_exist(page: Path) -> None:
    commands = "\n".join(line for line in code(page).splitlines() if "apt-get" not in line)
    calls = re.findall(r"(?:^|[ ;'])make((?: -C \w+)?(?: [a-z][a-z0-9-]*)+)", commands, flags=re.MULTILINE)
    named = {word for call in calls for word in re.sub(r"-C \w+", "", call).split()}
    assert named <= targets()


@pytest.mark.parametrize("guide", sorted(path.name for path in ROOT.glob("docs/*.md")))
def test_the_front_page_leads_to_every_guide(guide: str) -> None:
    assert f"(docs/{guide})" in (ROOT / "README.md").read_text(encoding="utf-8")
