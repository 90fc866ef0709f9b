# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of kube-proxy's configuration in a cluster that runs.

A change is written into the ConfigMap together with a mark, in one step. The pods that are started for it get the same
mark, and when nothing of it is left to do the ConfigMap's is removed. So whatever a change was interrupted by, the
cluster itself tells what is missing. kubeadm, which writes both objects anew at an upgrade, takes the marks away with
them and starts the pods itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_manifest import wait_for_rollout
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import (
    KubeObject,
    objects,
    parse_json_stream,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import (
    IPVS,
    KEY,
    MARK,
    Change,
    Configuration,
    KubeProxy,
    kube_proxy_of,
    mark_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import Kubectl

_METADATA = {"name": "kube-proxy", "namespace": "kube-system"}
_CONFIG_MAP = KubeObject({"apiVersion": "v1", "kind": "ConfigMap", "metadata": _METADATA})
_DAEMON_SET = KubeObject({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _METADATA})


@dataclass(frozen=True)
class State:
    """kube-proxy as kubeadm has deployed it.

    :arg version: resource version of the ConfigMap.
    :arg started_for: the mark of the pods, empty where they have none.
    """

    proxy: KubeProxy
    version: str
    daemon_set: KubeObject
    started_for: str


@dataclass(frozen=True)
class Plan:
    """What has to be done.

    :arg change: the change that is under way then.
    """

    before: Configuration
    after: Configuration
    change: Change | None = None
    restart: bool = False

    @property
    def writes(self) -> bool:
        """Whether the configuration has to be changed."""
        return self.before != self.after

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return self.writes or self.restart

    @property
    def ends_by_itself(self) -> bool:
        """Whether there was no other mode that could have left anything on the nodes."""
        return self.change is not None and self.change.former == self.after.mode

    def diff(self) -> list[dict[str, str]]:
        """Entries of the module's diff."""
        entries = [(f"{_CONFIG_MAP.title} {KEY}", self.before.text, self.after.text)] if self.writes else []
        entries += [(_DAEMON_SET.title, "", "pods with this configuration\n")] if self.restart else []
        return [
            {"before_header": header, "after_header": header, "before": before, "after": after}
            for header, before, after in entries
        ]


def read_state(kubectl: Kubectl) -> State | None:
    """Ask the cluster, None where kube-proxy is none of kubeadm's."""
    targets = (_CONFIG_MAP, _DAEMON_SET)
    result = kubectl.existing(targets)
    if result.rc != 0:
        raise CommandError(["kubectl", "get"], result, remedy="see that the API server of this host is ready")
    found = {each.kind: each for each in objects(parse_json_stream(result.stdout))}
    if len(found) < len(targets):
        return None
    config_map, daemon_set = (found[target.kind] for target in targets)
    proxy = kube_proxy_of(config_map.definition)
    if proxy is None:
        return None
    template = daemon_set.definition["spec"]["template"]
    return State(proxy, str(config_map.definition["metadata"]["resourceVersion"]), daemon_set, mark_of(template))


def decide(state: State, *, mode: str, strict_arp: bool, moment: str) -> Plan:
    """Plan for a mode.

    :arg mode: empty for the one that is there.
    :arg strict_arp: nodes shall answer ARP for none but their own addresses, which only mode ipvs needs to be told.
    :arg moment: stands for a change that begins now.
    """
    before, change = state.proxy
    after = before if mode in ("", before.mode) else before.with_mode(mode)
    if strict_arp and after.mode == IPVS and not after.strict_arp:
        after = after.with_strict_arp()
    if after.mode != before.mode:
        change = Change(before.mode, moment)
    elif after != before:
        change = Change(change.former if change else before.mode, moment)
    return Plan(before, after, change, restart=change is not None and str(change) != state.started_for)


def apply_plan(kubectl: Kubectl, state: State, plan: Plan, timeout: int) -> None:
    """Write the configuration, have every pod started with it, and end what needs no more.

    :arg timeout: seconds until every pod has to be started.
    """
    if plan.change is None:
        return
    mark = {MARK: str(plan.change)}
    if plan.writes:
        metadata = {"resourceVersion": state.version, "annotations": mark}
        kubectl.patch(_CONFIG_MAP, {"metadata": metadata, "data": {KEY: plan.after.text}})
    if plan.restart:
        kubectl.patch(_DAEMON_SET, {"spec": {"template": {"metadata": {"annotations": mark}}}})
    wait_for_rollout(kubectl, [state.daemon_set], timeout)
    if plan.ends_by_itself:
        end_change(kubectl)


def end_change(kubectl: Kubectl) -> None:
    """Remove the mark of a change of which nothing is left to do."""
    kubectl.patch(_CONFIG_MAP, {"metadata": {"annotations": {MARK: None}}})
