#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a package repository known to the package manager."""

from __future__ import annotations

DOCUMENTATION = r"""
module: package_repository
short_description: Make a signed package repository known to apt or dnf
version_added: 1.0.0
description:
  - Keeps the declaration of a package repository and its signing key, and reads its index when either has changed.
  - With apt, writes C(/etc/apt/sources.list.d/<name>.sources) and C(/etc/apt/keyrings/<name>.asc); the key is trusted
    for this repository only. No further Python library is needed on the target.
  - With dnf, writes C(/etc/yum.repos.d/<name>.repo) with C(gpgcheck).
  - The key is downloaded when it is missing or the declaration changes, not on every run.
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
options:
  name:
    description: Name of the repository and of its files.
    type: str
    required: true
  state:
    description: Whether the repository shall be known.
    type: str
    choices: [present, absent]
    default: present
  url:
    description: Address of the repository. Required with O(state=present).
    type: str
  key_url:
    description: Address of its ASCII-armoured signing key. Required with O(state=present).
    type: str
  suite:
    description: Suite of the repository (apt); a path such as V(/) for repositories without suites.
    type: str
    default: /
  components:
    description: Components of the suite (apt).
    type: list
    elements: str
    default: []
  exclude:
    description: Packages that general upgrades pass over (dnf).
    type: list
    elements: str
    default: []
seealso:
  - module: groundplane.kubeadm.package_set
author:
  - groundplane.kubeadm contributors (@groundplane)
"""

EXAMPLES = r"""
- name: Add the repository of Kubernetes 1.36
  groundplane.kubeadm.package_repository:
    name: kubernetes
    url: https://pkgs.k8s.io/core:/stable:/v1.36/deb/
    key_url: https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key
"""

RETURN = r"""
paths:
  description: Files that were, or would be, written or removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/apt/sources.list.d/kubernetes.sources, /etc/apt/keyrings/kubernetes.asc]
"""

from typing import Any, Mapping, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document, read_text, write_document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._repository_files import (
    Repository,
    RepositoryFormat,
    repository_format,
    require_armoured_key,
)

_TIMEOUT = 30


def download_key(url: str) -> str:
    """Text of the signing key."""
    try:
        text = open_url(url, timeout=_TIMEOUT).read().decode("utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise GroundplaneError(
            f"The signing key {url} cannot be downloaded: {error}",
            remedy="check the address and, where the machine has no way out, the proxy or mirror variables",
        ) from error
    return require_armoured_key(text, url)


def wanted_documents(layout: RepositoryFormat, repository: Repository, present: bool) -> list[Document]:
    """The repository's files before and after."""
    source_path, key_path = layout.source_path(repository.name), layout.key_path(repository.name)
    source = Document(source_path, read_text(source_path), layout.render(repository) if present else None)
    if key_path is None:
        return [source]
    key_before = read_text(key_path)
    if not present:
        key_after = None
    elif source.changed or key_before is None:
        key_after = download_key(repository.key_url)
    else:
        key_after = key_before
    return [Document(key_path, key_before, key_after), source]


def refresh_or_restore(
    module: AnsibleModule, runner: ModuleRunner, command: Sequence[str], changes: Sequence[Document]
) -> None:
    """Read the index; a repository that cannot be read is taken back, so that the next run tries it afresh."""
    try:
        runner.run(command)
    except CommandError:
        for document in changes:
            write_document(module, Document(document.path, document.after, document.before), 0o644)
        raise


def package_repository(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide, apply."""
    runner = ModuleRunner(module)
    layout = repository_format(runner)
    options = module.params
    present = options["state"] == "present"
    repository = Repository(**{field: options[field] for field in Repository._fields})
    changes = [document for document in wanted_documents(layout, repository, present) if document.changed]

    if changes and not module.check_mode:
        for document in changes:
            write_document(module, document, 0o644)
        if present:
            refresh_or_restore(module, runner, layout.refresh_command(repository.name), changes)
    return {
        "changed": bool(changes),
        "paths": [document.path for document in changes],
        "diff": [document.diff() for document in changes],
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "url": {"type": "str"},
            "key_url": {"type": "str", "no_log": False},
            "suite": {"type": "str", "default": "/"},
            "components": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "present", ["url", "key_url"])],
        supports_check_mode=True,
    )
    run_module(module, package_repository)


if __name__ == "__main__":
    main()
