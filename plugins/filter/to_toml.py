# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter to_toml."""

from __future__ import annotations

DOCUMENTATION = r"""
name: to_toml
author: groundplane.kubeadm contributors (@groundplane)
version_added: 1.0.0
short_description: Render a dictionary as TOML
description:
  - Renders dictionaries, lists, strings, booleans and numbers as TOML 1.0, nested dictionaries as tables.
  - Keys with dots, slashes or quotes, such as those of containerd's plugins, are quoted.
  - TOML has no null; a value without content is an error naming its key.
options:
  _input:
    description: The document.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the configuration of containerd
  ansible.builtin.copy:
    content: "{{ configuration | groundplane.kubeadm.to_toml }}"
    dest: /etc/containerd/config.toml
    mode: "0644"
  vars:
    configuration:
      version: 2
      plugins:
        io.containerd.grpc.v1.cri:
          enable_selinux: true
"""

RETURN = r"""
_value:
  description: The TOML text, ending with a line break.
  type: str
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(document: Mapping[str, Any]) -> str:
    """Render a dictionary as TOML."""
    if not isinstance(document, Mapping):
        raise AnsibleFilterError(f"to_toml renders dictionaries, found {type(document).__name__}.")
    return "\n\n".join(_blocks(document, ())) + "\n"


def _blocks(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Text of a table and, after it, of the tables in it, each under its full name."""
    values = [
        f"{_key(key)} = {_value(value, (*path, key))}" for key, value in table.items() if not isinstance(value, Mapping)
    ]
    nested = [(key, value) for key, value in table.items() if isinstance(value, Mapping)]
    if path and (values or not nested):
        values.insert(0, "[" + ".".join(map(_key, path)) + "]")
    if values:
        yield "\n".join(values)
    for key, value in nested:
        yield from _blocks(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    """A basic string; JSON escapes all that TOML wants escaped except DEL."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, path: tuple[str, ...]) -> str:
    """A value on one line; dictionaries get here only inside lists."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return repr(float(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item, (*path, key))}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item, path) for item in value) + "]"
    raise AnsibleFilterError(
        f"{'.'.join(map(str, path))} is {value!r}, which TOML cannot express. "
        "Expected: text, a number, true, false, a list or a dictionary. To do: set it or leave the key out."
    )


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"to_toml": to_toml}
