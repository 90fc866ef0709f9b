# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator has written for kubeadm, and what a cluster keeps in its place, as the controller can read them."""

from __future__ import annotations

from typing import Any, Mapping

import yaml
from ansible.errors import AnsibleUndefinedVariable
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.groundplane.kubeadm.plugins.module_utils._configuration_drift import DOCUMENTS


def written_configurations(variables: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What the operator has written, by variable; nothing where that takes what is known later in the run.

    :arg variables: those of one host, evaluated when they are read.
    """
    written = {}
    for document in DOCUMENTS:
        try:
            value = variables.get(document.variable)
        except AnsibleUndefinedVariable:
            continue
        # ansible-core 2.18 hands out an expression that it cannot evaluate.
        if isinstance(value, Mapping) and "{{" not in str(value):
            written[document.variable] = value
    return written


def kept_configurations(control_planes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Documents by host and by the variable that the operator has for each.

    :arg control_planes: results of control_plane_info by host.
    """
    return {
        host: {document.variable: _parsed(read.get(document.result) or "") for document in DOCUMENTS}
        for host, read in control_planes.items()
    }


def _parsed(text: str) -> dict[str, Any]:
    """A document, empty where somebody has edited it into something else."""
    try:
        # The parser refuses the texts in which ansible-core 2.19 keeps where a value has come from.
        document = yaml_load(str(text))
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}
