# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validates what the operator gave, on the controller, before any host is touched."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Iterable, Mapping

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.groundplane.kubeadm.plugins.plugin_utils._inputs import (
    COMMON_VARIABLES,
    CONTROL_PLANE_VARIABLES,
    Violation,
    check_common_values,
    check_distinct_node_addresses,
    check_free_vip,
    check_groups,
    check_room_for_nodes,
    check_spelling,
    check_values,
    check_version_is_text,
)

# The group on which the playbooks run.
_EVERY_HOST = "k8s_cluster"

_ROLES = Path(__file__).resolve().parents[2] / "roles"


@lru_cache(maxsize=None)
def _role_options() -> dict[str, dict[str, Any]]:
    """Options of the main entry point of every role, by role."""
    return {
        path.parents[1].name: yaml_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"].get("options", {})
        for path in sorted(_ROLES.glob("*/meta/argument_specs.yml"))
    }


class ActionModule(ActionBase):
    """Collects every violation and fails once, naming each variable."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"inventory"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        violations = self._value_violations(variables)
        if not violations and self._task.args.get("inventory", False):
            violations = self._inventory_violations(variables)
        result["violations"] = [str(violation) for violation in violations]
        if violations:
            result["failed"] = True
            result["msg"] = "Nothing was changed. Correct the inventory and run again. " + "; ".join(
                str(violation) for violation in violations
            )
        return result

    def _value_violations(self, variables: Mapping[str, Any]) -> list[Violation]:
        options = _role_options()
        violations = check_spelling(variables, {name for role in options.values() for name in role}, options)
        values: dict[str, Any] = {}
        for specification in options.values():
            given = self._given(specification, variables)
            # A variable that is required is required by its own role; here only what is given is judged.
            optional = {name: {**option, "required": False} for name, option in specification.items() if name in given}
            validated = ArgumentSpecValidator(optional).validate(given)
            violations += [
                Violation("variable", message, "what the role documents") for message in validated.error_messages
            ]
            values.update(validated.validated_parameters)
        raw = self._given(["cluster_kubernetes_version"], variables)
        return violations + check_version_is_text(raw) or check_values(values)

    def _given(self, names: Iterable[str], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the variables that can be known now; an expression over a later result cannot."""
        given = {}
        for name in names:
            if name in variables:
                try:
                    given[name] = self._templar.template(variables[name])
                except AnsibleUndefinedVariable:
                    continue
                except AnsibleError as error:
                    raise AnsibleError(f"{name} cannot be evaluated: {error}") from error
        return given

    def _inventory_violations(self, variables: Mapping[str, Any]) -> list[Violation]:
        names = {
            "control_plane": self._templar.template(variables["cluster_control_plane_group"]),
            "workers": self._templar.template(variables["cluster_workers_group"]),
        }
        groups = {key: list(variables["groups"].get(name, [])) for key, name in names.items()}
        hosts = sorted(set(groups["control_plane"]) | set(groups["workers"]))
        addresses = {host: str(self._value_of(host, "cluster_node_ip", "", variables)) for host in hosts}
        addresses = {host: address for host, address in addresses.items() if address}
        wanted = self._given(
            ["control_plane_cluster_configuration", "cluster_load_balancer", "cluster_vip", "prereqs_hosts_enabled"],
            variables,
        )
        hosts_enabled = boolean(wanted.get("prereqs_hosts_enabled", True), strict=False)
        return [
            *check_groups(
                groups["control_plane"],
                groups["workers"],
                names,
                members=variables["groups"].get(_EVERY_HOST, []),
                one_address=wanted.get("cluster_load_balancer") == "none" and hosts_enabled,
            ),
            *check_distinct_node_addresses(addresses),
            *check_free_vip(str(wanted.get("cluster_vip", "")), addresses),
            *check_common_values(self._values_of(hosts, COMMON_VARIABLES, variables), COMMON_VARIABLES),
            *check_common_values(
                self._values_of(groups["control_plane"], CONTROL_PLANE_VARIABLES, variables),
                CONTROL_PLANE_VARIABLES,
                "hosts of {control_plane}, in its group_vars".format(**names),
            ),
            *check_room_for_nodes(
                self._templar.template(variables["cluster_pod_cidr"]),
                wanted.get("control_plane_cluster_configuration", {}),
                len(hosts),
            ),
        ]

    def _values_of(
        self, hosts: Iterable[str], names: Iterable[str], variables: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """What the inventory says of variables, by host."""
        return {
            host: {name: self._value_of(host, name, "(default)", variables, "(an expression)") for name in names}
            for host in hosts
        }

    def _value_of(self, host: str, name: str, default: str, variables: Mapping[str, Any], unknown: str = "") -> Any:
        """What the inventory says of a variable of a host.

        :arg unknown: stands for an expression over what the inventory does not say, such as the default of a role.
        """
        try:
            return variables["hostvars"][host].get(name, default)
        except AnsibleUndefinedVariable:
            return unknown
