# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thin entry point of every module: errors become fail_json, results exit_json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Mapping, NoReturn

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run_module(module: AnsibleModule, body: Callable[[AnsibleModule], Mapping[str, Any]]) -> NoReturn:
    """Run body and end the module with what it returned or with the error that it raised.

    :arg body: reads, decides and, outside check mode, applies; returns the module's result.
    """
    try:
        result = body(module)
    except GroundplaneError as error:
        module.fail_json(msg=str(error), **error.facts)
    module.exit_json(**result)
