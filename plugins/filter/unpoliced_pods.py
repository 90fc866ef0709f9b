# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods that Calico has not connected."""

from __future__ import annotations

from typing import Any, Iterable, Mapping

DOCUMENTATION = r"""
name: unpoliced_pods
short_description: Pods for which no NetworkPolicy counts, because Calico has not connected them
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Calico's felix knows a pod by the interface that Calico's CNI plugin has made for it, and the plugin notes what it
    has made in an annotation. Pods from before have neither.
  - Pods in the host's network, and those that have ended or have no address yet, are left out.
options:
  _input:
    description: Pods as the API server lists them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Name the pods without policy
  ansible.builtin.debug:
    msg: "{{ (pods.stdout | from_json)['items'] | groundplane.kubeadm.unpoliced_pods | map(attribute='pod') }}"
"""

RETURN = r"""
_value:
  description:
    - The pods, each with C(pod), its namespace and name, and with C(workload), what a rolling restart has to name;
      C(workload) is empty for pods that nothing restarts, such as those of a Job.
  type: list
  elements: dict
  sample:
    - pod: kube-system/coredns-6f6b679f8f-9x2kp
      workload: {namespace: kube-system, name: deployment/coredns}
"""

_ANNOTATION = "cni.projectcalico.org/podIP"
_HASH_LABEL = "pod-template-hash"
_RESTARTABLE = {"DaemonSet": "daemonset", "StatefulSet": "statefulset"}


def unpoliced_pods(pods: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pods that run in the pod network without Calico knowing of them."""
    return [
        {"pod": f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", "workload": _workload(pod["metadata"])}
        for pod in pods
        if _is_connected(pod) and _ANNOTATION not in (pod["metadata"].get("annotations") or {})
    ]


def _is_connected(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has an address of its own at the moment."""
    status = pod.get("status", {})
    ended = status.get("phase") in ("Succeeded", "Failed")
    return bool(status.get("podIP")) and not ended and not pod["spec"].get("hostNetwork", False)


def _workload(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What restarts the pod; the name of a Deployment is that of its ReplicaSet without the hash of the template."""
    for owner in metadata.get("ownerReferences") or ():
        kind, name = owner["kind"], owner["name"]
        suffix = "-" + (metadata.get("labels") or {}).get(_HASH_LABEL, "")
        if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
            kind, name = "deployment", name[: -len(suffix)]
        elif kind in _RESTARTABLE:
            kind = _RESTARTABLE[kind]
        else:
            continue
        return {"namespace": metadata["namespace"], "name": f"{kind}/{name}"}
    return {}


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, Any]:
        """Return the filters of this plugin."""
        return {"unpoliced_pods": unpoliced_pods}
