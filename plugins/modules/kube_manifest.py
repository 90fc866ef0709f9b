#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_manifest
short_description: Apply or delete Kubernetes manifests with kubectl
version_added: 1.0.0
description:
  - Applies manifests by server-side apply with the field manager C(groundplane), or deletes their objects.
  - Runs on a host that has C(kubectl) and a kubeconfig, usually a control plane node. It needs no Python library there.
  - A manifest can be shaped by a kustomization before it is applied, so that an official one needs no changed copy.
  - Whether anything differs, and the diff, come from the API server's own dry run. When nothing differs, nothing is
    applied.
  - Namespaces and CustomResourceDefinitions are applied before all other objects, and deleted after them.
  - The content of Secrets is never part of the diff. Set C(no_log) on the task when O(content) or O(definitions) hold
    secrets, because Ansible shows options with C(-vvv).
author:
  - groundplane.kubeadm contributors (@groundplane)
extends_documentation_fragment:
  - groundplane.kubeadm._attributes
attributes:
  check_mode:
    details:
      - Where the cluster, C(kubectl) or the file at O(path) are not there yet, all objects are predicted as created, or
        as already deleted, with a warning that says so. Outside check mode this is an error.
options:
  state:
    description:
      - V(present) applies the manifest.
      - V(absent) deletes the objects of the manifest that exist.
    type: str
    choices: [absent, present]
    default: present
  url:
    description: Address of the manifest, read by the host on which the module runs. A V(file://) address works too.
    type: str
  checksum:
    description:
      - Checksum that the content at O(url) must have, such as V(sha256:0123abc...).
      - With it the content is kept in C(/var/cache/groundplane) on the host and not read again from O(url).
    type: str
  path:
    description: File with the manifest, or folder with a kustomization, on the host on which the module runs.
    type: path
  content:
    description: The manifest itself, in YAML or JSON.
    type: str
  definitions:
    description: The objects of the manifest.
    type: list
    elements: dict
  kustomization:
    description:
      - Fields of a kustomization that is laid over the manifest, such as C(patches), C(images) or C(namespace).
      - The manifest is added to its C(resources).
    type: dict
  kubeconfig:
    description: Kubeconfig that C(kubectl) uses.
    type: path
    default: /etc/kubernetes/admin.conf
  force_conflicts:
    description: Take over fields that another field manager owns. Otherwise such a conflict is an error.
    type: bool
    default: true
  create:
    description:
      - Create objects that do not exist. When false they are left out, so that a manifest may name just the fields to
        set in objects of others.
    type: bool
    default: true
  prune:
    description:
      - With O(state=present), delete objects that carry a label of yours and are not in the manifest, after it has been
        applied. They are deleted before where an admission webhook refuses the manifest beside them, such as a pool
        with addresses that the old one still has.
      - Nothing without that label is deleted. Give the label to the objects of the manifest, so that they are found
        when they leave it.
      - With an empty list of O(definitions) all that carry the label are deleted.
    type: dict
    suboptions:
      selector:
        description: The label, such as V(example.com/owner=me).
        type: str
        required: true
      resources:
        description: Resources that are looked through, as plural and group. Those the API server does not know have
          no objects.
        type: list
        elements: str
        required: true
      namespace:
        description: Namespace that is looked through; not needed for resources without one.
        type: str
        default: ""
  webhook_timeout:
    description:
      - Seconds to wait for admission webhooks that the API server cannot call, such as those of an operator that has
        just been installed. A webhook that answers and refuses is an error at once.
      - Asking what differs needs the webhooks as well, so check mode waits too.
    type: int
    default: 0
  wait:
    description:
      - Wait until every Deployment, DaemonSet and StatefulSet of the manifest is rolled out, also when nothing changed.
      - With O(state=absent), wait until the objects are gone.
    type: bool
    default: false
  wait_timeout:
    description: Seconds that all waiting may take together.
    type: int
    default: 300
seealso:
  - name: Server-side apply
    description: How the API server merges what several managers apply.
    link: https://kubernetes.io/docs/reference/using-api/server-side-apply/
  - name: Kustomization
    description: The fields that O(kustomization) may have.
    link: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

EXAMPLES = r"""
- name: Apply an official manifest with images from a mirror
  groundplane.kubeadm.kube_manifest:
    url: https://github.com/flannel-io/flannel/releases/download/v0.28.4/kube-flannel.yml
    checksum: sha256:d078019743c5e0194ce965125fc80ef00af0c1661ec9e12396311f1cfec860a2
    kustomization:
      images:
        - name: ghcr.io/flannel-io/flannel
          newName: mirror.example.com/flannel-io/flannel
    wait: true

- name: Apply a kustomization that lies on the host
  groundplane.kubeadm.kube_manifest:
    path: /etc/kubernetes/addons/metallb

- name: Restart the pods of a DaemonSet when a value changes
  groundplane.kubeadm.kube_manifest:
    create: false
    definitions:
      - apiVersion: apps/v1
        kind: DaemonSet
        metadata:
          name: kube-proxy
          namespace: kube-system
        spec:
          template:
            metadata:
              annotations:
                example.com/endpoint: 192.0.2.10

- name: Keep a namespace
  groundplane.kubeadm.kube_manifest:
    definitions:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: web

- name: Have these pools and no other of ours, as soon as the webhook of MetalLB answers
  groundplane.kubeadm.kube_manifest:
    definitions:
      - apiVersion: metallb.io/v1beta1
        kind: IPAddressPool
        metadata:
          name: web
          namespace: metallb-system
          labels:
            example.com/owner: me
        spec:
          addresses: [192.0.2.200-192.0.2.220]
    prune:
      selector: example.com/owner=me
      resources: [ipaddresspools.metallb.io]
      namespace: metallb-system
    webhook_timeout: 120

- name: Delete what a manifest made
  groundplane.kubeadm.kube_manifest:
    path: /etc/kubernetes/addons/web.yaml
    state: absent
    wait: true
"""

RETURN = r"""
objects:
  description: What happened to each object of the manifest, or would in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    api_version:
      description: Group and version.
      type: str
      sample: apps/v1
    kind:
      description: Kind.
      type: str
      sample: DaemonSet
    namespace:
      description: Namespace; empty when the manifest names none.
      type: str
      sample: kube-flannel
    name:
      description: Name.
      type: str
      sample: kube-flannel-ds
    action:
      description: One of V(created), V(configured), V(unchanged) and V(deleted).
      type: str
      sample: created
"""

from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import ModuleRunner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._download_cache import DownloadCache
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_manifest import (
    Plan,
    Prune,
    Source,
    apply_pruned,
    delete_plan,
    plan_absent,
    plan_present,
    plan_pruned,
    plan_without_cluster,
    read_manifest,
    wait_for_rollout,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_objects import KubeObject
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubectl import Kubectl, NotThereYetError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import url_fetcher

FETCH_TIMEOUT = 30


def manage_manifest(module: AnsibleModule) -> Mapping[str, Any]:
    """Read, decide and, outside check mode, apply."""
    options = module.params
    kubectl = Kubectl(
        ModuleRunner(module),
        options["kubeconfig"],
        force_conflicts=options["force_conflicts"],
        webhook_timeout=options["webhook_timeout"],
    )
    plan = decide(module, kubectl)
    if not module.check_mode:
        plan = apply(kubectl, plan, options)
    return {
        "changed": plan.changed,
        "objects": [change.describe() for change in plan.changes],
        "diff": plan.diff(),
    }


def decide(module: AnsibleModule, kubectl: Kubectl) -> Plan:
    """Plan for the manifest, in check mode also for a cluster that is not there yet."""
    options = module.params
    source = Source(**{field: options[field] for field in Source._fields})
    present = options["state"] == "present"
    targets: list[KubeObject] = []
    try:
        cache = DownloadCache(url_fetcher(FETCH_TIMEOUT), frozen=module.check_mode)
        targets = read_manifest(source, kubectl, cache, module.tmpdir)
        if present and not options["create"]:
            targets = plan_absent(kubectl, targets).existing()
        if present and options["prune"]:
            return plan_pruned(kubectl, targets, Prune(**options["prune"]))
        return plan_present(kubectl, targets) if present else plan_absent(kubectl, targets)
    except NotThereYetError as error:
        if not module.check_mode:
            raise
        if present and not options["create"]:
            return Plan()
        module.warn(f"{error.found}. The prediction is that of a new cluster, in which none of the objects exists.")
        return plan_without_cluster(targets, present=present)


def apply(kubectl: Kubectl, plan: Plan, options: Mapping[str, Any]) -> Plan:
    """Do what is planned, and wait for it when asked to; returns what was done."""
    if options["state"] == "absent":
        if plan.changed:
            delete_plan(kubectl, plan, options["wait_timeout"] if options["wait"] else 0)
        return plan
    plan = apply_pruned(kubectl, plan, options["wait_timeout"])
    if options["wait"]:
        wait_for_rollout(kubectl, plan.present(), options["wait_timeout"])
    return plan


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "url": {"type": "str"},
            "checksum": {"type": "str"},
            "path": {"type": "path"},
            "content": {"type": "str"},
            "definitions": {"type": "list", "elements": "dict"},
            "kustomization": {"type": "dict"},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            "force_conflicts": {"type": "bool", "default": True},
            "create": {"type": "bool", "default": True},
            "prune": {
                "type": "dict",
                "options": {
                    "selector": {"type": "str", "required": True},
                    "resources": {"type": "list", "elements": "str", "required": True},
                    "namespace": {"type": "str", "default": ""},
                },
            },
            "webhook_timeout": {"type": "int", "default": 0},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 300},
        },
        mutually_exclusive=[("url", "path", "content", "definitions")],
        required_one_of=[("url", "path", "content", "definitions")],
        required_by={"checksum": ["url"]},
        supports_check_mode=True,
    )
    run_module(module, manage_manifest)


if __name__ == "__main__":
    main()
