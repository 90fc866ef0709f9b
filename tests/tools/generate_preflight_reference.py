# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/preflight_checks.md from the registries of checks.

Run it as python -m tests.tools.generate_preflight_reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs/preflight_checks.md"
_UTILS = "ansible_collections.groundplane.kubeadm.plugins.module_utils."

_INTRODUCTION = """\
# Preflight checks

Before anything is changed, every host is read and the hosts are compared with each other. All findings come in one
table: errors stop the run, warnings do not. Nothing is ever changed by the preflight, and it can be run alone:

    ansible-playbook groundplane.kubeadm.preflight -i inventory

A check is waived by its name, for all hosts in `group_vars` or for one in its `host_vars`; its findings stay in the
table. A finding about several hosts together is waived when each of them waives it. A waiver that matches nothing is
reported, so that none is forgotten.

    prereqs_preflight_ignore: [firewall-active]

A node of a running cluster and a host on which an earlier run was interrupted are recognised: what Kubernetes itself
occupies there is no finding, so that a run can always be repeated.

This page is written from the checks themselves by `python -m tests.tools.generate_preflight_reference`.
"""


def chapters() -> list[tuple[str, list[Any]]]:
    """Titles with the descriptions of the checks below them."""
    # The unit tests' configuration makes the collection importable from a checkout in a folder of any name.
    import_module("tests.unit.conftest")
    registries = (
        ("The machine", "_preflight_machine", "MACHINE_CHECKS"),
        ("File systems", "_preflight_storage", "STORAGE_CHECKS"),
        ("Software of others", "_preflight_software", "SOFTWARE_CHECKS"),
        ("The host's network", "_preflight_network", "NETWORK_CHECKS"),
        ("IPv6", "_preflight_ipv6", "IPV6_CHECKS"),
        ("Services", "_preflight_proxy", "PROXY_CHECKS"),
        ("The endpoint of the API", "_preflight_endpoint", "ENDPOINT_CHECKS"),
        ("Kubernetes", "_preflight_kubernetes", "KUBERNETES_CHECKS"),
        ("Hosts compared with each other", "_preflight_across_hosts", "CROSS_CHECKS"),
        ("The control plane as a whole", "_preflight_control_plane", "CONTROL_PLANE_CHECKS"),
    )
    return [
        (title, [check.description for check in getattr(import_module(_UTILS + module), name)])
        for title, module, name in registries
    ]


def render(titles: Iterable[tuple[str, list[Any]]]) -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for title, descriptions in titles:
        parts += [f"## {title}\n", *map(_section, descriptions)]
    return "\n".join(parts)


def _section(description: Any) -> str:
    lines = [
        f"### {description.id}\n",
        f"{description.purpose}\n",
        f"* Severity: {description.severity}",
        f"* What to do: {description.remedy}",
    ]
    if description.variables:
        lines.append(f"* Variables: {', '.join(f'`{name}`' for name in description.variables)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(chapters()), encoding="utf-8")
