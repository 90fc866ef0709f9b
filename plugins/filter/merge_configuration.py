# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging of an operator's configuration over a role's own."""

from __future__ import annotations

from typing import Any, Mapping

DOCUMENTATION = r"""
name: merge_configuration
short_description: Merge a configuration dictionary over another
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Merges dictionaries key by key at every depth.
  - Lists whose items are dictionaries with a C(name), such as kubeadm's C(extraArgs) since v1beta4, are merged by
    that name.
  - Any other value of the second dictionary, lists included, replaces the value of the first.
options:
  _input:
    description: The configuration that gives way.
    type: dict
    required: true
  over:
    description: The configuration that wins.
    type: dict
    required: true
positional: over
"""

EXAMPLES = r"""
- name: Add an argument and keep the others
  ansible.builtin.debug:
    msg: "{{ ours | groundplane.kubeadm.merge_configuration(theirs) }}"
  vars:
    ours: {kubeletExtraArgs: [{name: node-ip, value: 192.0.2.10}]}
    theirs: {kubeletExtraArgs: [{name: v, value: "4"}]}
"""

RETURN = r"""
_value:
  description: The merged configuration; neither input is changed.
  type: dict
"""


def _is_named(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def _merge_named(below: list[Any], over: list[Any]) -> list[Any]:
    names = {item["name"] for item in over}
    return [item for item in below if item["name"] not in names] + over


def merge_configuration(below: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge over on top of below; lists of named items by name, everything else by replacement."""
    merged = dict(below)
    for key, value in over.items():
        existing = below.get(key)
        if isinstance(existing, Mapping) and isinstance(value, Mapping):
            merged[key] = merge_configuration(existing, value)
        elif _is_named(existing) and _is_named(value):
            merged[key] = _merge_named(existing, value)
        else:
            merged[key] = value
    return merged


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"merge_configuration": merge_configuration}
