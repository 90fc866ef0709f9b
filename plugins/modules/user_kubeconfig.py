#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: user_kubeconfig
short_description: Give users of a control plane node the administrator's kubeconfig, or take it back
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Copies a kubeconfig to C(~/.kube/config) of each user, owned by the user and readable by nobody else.
  - A user's file that knows another cluster is left as it is, with a warning, because replacing it would lose that
    access.
  - Takes back only what is a copy for certain, a file that trusts the same certificate authority and knows nothing
    beyond it.
options:
  state:
    description:
      - V(absent) removes the copies. While O(source) does not exist, no file can be told to be a copy and all stay.
    type: str
    choices: [present, absent]
    default: present
  source:
    description: Kubeconfig to copy, or whose copies to remove.
    type: path
    default: /etc/kubernetes/admin.conf
  users:
    description: Names of the users.
    type: list
    elements: str
    default: [root]
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
"""

EXAMPLES = r"""
- name: Let root and alice use kubectl
  groundplane.kubeadm.user_kubeconfig:
    users:
      - root
      - alice

- name: Take it back before the node is reset
  groundplane.kubeadm.user_kubeconfig:
    state: absent
    users:
      - root
      - alice
"""

RETURN = r"""
files:
  description: Kubeconfigs that were written or removed, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [/root/.kube/config]
"""

import os
import pwd
from pathlib import Path
from typing import Any, Iterator, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document, read_text, write_document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig_copy import (
    certificate_authorities,
    is_copy,
    may_replace,
)


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise GroundplaneError(
            f"User {user} does not exist on this host",
            expected="an existing user",
            remedy="create the user or take the name out of the list",
        ) from error


def _is_current(path: Path, account: pwd.struct_passwd, wanted: str) -> bool:
    if read_text(path) != wanted:
        return False
    status = path.stat()
    return status.st_mode & 0o777 == 0o600 and status.st_uid == account.pw_uid


def _write(module: AnsibleModule, path: Path, account: pwd.struct_passwd, wanted: str) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700)
        os.chown(str(path.parent), account.pw_uid, account.pw_gid)
    write_document(module, Document(str(path), None, wanted), 0o600)
    os.chown(str(path), account.pw_uid, account.pw_gid)


def install(module: AnsibleModule) -> dict[str, Any]:
    """Copy the kubeconfig to every user that needs it."""
    source = module.params["source"]
    wanted = read_text(source)
    if wanted is None and not module.check_mode:
        raise GroundplaneError(
            f"{source} does not exist on this host",
            expected="a control plane node",
            remedy="initialise the control plane first",
        )
    files: list[str] = []
    for user in module.params["users"]:
        account = _account(user)
        path = Path(account.pw_dir) / ".kube" / "config"
        if wanted is None:
            files.append(str(path))
        elif not may_replace(read_text(path), wanted):
            module.warn(f"{path} knows another cluster and is left as it is.")
        elif not _is_current(path, account, wanted):
            files.append(str(path))
            if not module.check_mode:
                _write(module, path, account, wanted)
    diff = [{"prepared": f"{path}: new kubeconfig (content not shown)\n"} for path in files]
    return {"changed": bool(files), "files": files, "diff": diff}


def _kubeconfigs(users: list[str]) -> Iterator[Path]:
    """Where the users' kubeconfigs are; a user who has been deleted has none."""
    for user in users:
        try:
            yield Path(pwd.getpwnam(user).pw_dir) / ".kube" / "config"
        except KeyError:
            continue


def remove(module: AnsibleModule) -> dict[str, Any]:
    """Remove the kubeconfig of every user that has a copy."""
    source = read_text(module.params["source"])
    files: list[str] = []
    for path in _kubeconfigs(module.params["users"]):
        existing = read_text(path)
        if source is None or existing is None:
            continue
        if is_copy(existing, source):
            files.append(str(path))
            if not module.check_mode:
                path.unlink()
        elif certificate_authorities(existing) & certificate_authorities(source):
            module.warn(f"{path} knows more than this cluster and is left as it is.")
    diff = [{"prepared": f"{path}: removed (content not shown)\n"} for path in files]
    return {"changed": bool(files), "files": files, "diff": diff}


def main() -> NoReturn:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            "users": {"type": "list", "elements": "str", "default": ["root"]},
        },
        supports_check_mode=True,
    )
    run_module(module, install if module.params["state"] == "present" else remove)


if __name__ == "__main__":
    main()
