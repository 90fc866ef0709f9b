#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a set of text files as given and removes those that have left the set."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Keep a set of text files as given and remove those that have left it
version_added: 1.0.0
description:
  - Writes all files of a set in one step, each atomically, with its permissions set before its content. Missing folders
    are made.
  - Validates a file with the program that will read it before the old one is replaced. When one file is refused, none
    is written.
  - Files that an earlier run wrote and that have left the set are removed, with the folders that become empty by it.
    They are known by a marker in their first line.
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
options:
  files:
    description: The files of the set.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the file.
        type: path
        required: true
      content:
        description: Text of the file.
        type: str
      secret_content:
        description:
          - Text of a file that may appear in no output, such as a private key.
          - Used instead of O(files[].content).
        type: str
      mode:
        description: Permissions as an octal string.
        type: str
        default: "0644"
      validate:
        description:
          - Argument list of a program that must accept the file, with V(%s) for the path of the new content.
          - In check mode it is left out when the program is not installed yet.
        type: list
        elements: str
        default: []
  owned_directories:
    description: Folders below which files with O(marker) in their first line are removed when they are not in O(files).
    type: list
    elements: path
    default: []
  marker:
    description: Words in the first line of every file that this set owns.
    type: str
    default: Managed by groundplane.kubeadm
  reader:
    description:
      - Unit of systemd that reads the files when it starts or is reloaded.
      - The result is changed also when the unit has last done so before a file was written, so that the restart or
        reload which a killed run still owed is made up for.
    type: str
author:
  - groundplane.kubeadm contributors (@groundplane)
"""

EXAMPLES = r"""
- name: Write the configuration of containerd
  groundplane.kubeadm.file_set:
    owned_directories:
      - /etc/containerd/certs.d
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
        validate: [containerd, --config, "%s", config, dump]
      - path: /etc/containerd/certs.d/registry.example.com/client.key
        secret_content: "{{ registry_key }}"
        mode: "0600"
"""

RETURN = r"""
written:
  description: Files that were, or would be, written.
  returned: success
  type: list
  elements: str
removed:
  description: Files that were, or would be, removed.
  returned: success
  type: list
  elements: str
"""

import tempfile
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import write_document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._file_set import (
    FileChange,
    WantedFile,
    changes_to_remove,
    changes_to_write,
    reader_is_outdated,
    remove_empty_parents,
)


def read_option(item: Mapping[str, Any]) -> WantedFile:
    """One entry of the option files."""
    secret = item["secret_content"] is not None
    return WantedFile(
        path=item["path"],
        content=item["secret_content"] if secret else item["content"],
        mode=int(item["mode"], 8),
        secret=secret,
        validate=item["validate"],
    )


def validate(module: AnsibleModule, runner: Runner, change: FileChange) -> None:
    """Raise when the program that will read the file refuses its new content."""
    if not change.validate or (module.check_mode and runner.find(change.validate[0]) is None):
        return
    with tempfile.NamedTemporaryFile("w", dir=module.tmpdir, encoding="utf-8") as candidate:
        candidate.write(change.document.after)
        candidate.flush()
        argv = [candidate.name if argument == "%s" else argument for argument in change.validate]
        result = runner.run(argv, check=False)
    if result.rc != 0:
        said = (result.stderr or result.stdout).strip()
        raise GroundplaneError(
            f"{change.validate[0]} refuses the new content of {change.document.path}: {said}",
            remedy="correct the variables from which it is made; nothing has been written",
        )


def file_set(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide, apply."""
    files = [read_option(item) for item in module.params["files"]]
    to_write = changes_to_write(files)
    to_remove = changes_to_remove(files, module.params["owned_directories"], module.params["marker"])
    changes = to_write + to_remove

    runner = ModuleRunner(module)
    for change in to_write:
        validate(module, runner, change)
    if not module.check_mode:
        for change in changes:
            write_document(module, change.document, change.mode)
        for change in to_remove:
            remove_empty_parents(change.document.path, module.params["owned_directories"])
    reader = module.params["reader"]
    outdated = bool(reader and not changes and reader_is_outdated(runner, reader, files))
    return {
        "changed": bool(changes) or outdated,
        "written": [change.document.path for change in to_write],
        "removed": [change.document.path for change in to_remove],
        "diff": [change.diff() for change in changes],
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "secret_content": {"type": "str", "no_log": True},
                    "mode": {"type": "str", "default": "0644"},
                    "validate": {"type": "list", "elements": "str", "default": []},
                },
                "mutually_exclusive": [("content", "secret_content")],
                "required_one_of": [("content", "secret_content")],
            },
            "owned_directories": {"type": "list", "elements": "path", "default": []},
            "marker": {"type": "str", "default": "Managed by groundplane.kubeadm"},
            "reader": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run_module(module, file_set)


if __name__ == "__main__":
    main()
