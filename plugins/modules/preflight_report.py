#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin preflight_report."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_report
short_description: Compare hosts, report the findings of the preflight and stop on errors
version_added: 1.0.0
description:
  - Takes what M(groundplane.kubeadm.preflight_info) returned for every host, adds what only shows when hosts are
    compared (the same hostname, MAC, product_uuid, machine-id or node address twice, clocks that disagree) and prints
    one table, errors first.
  - Judges what the hosts have told about the control plane, and what it means that some could not be read. A host that
    is down is left out with a warning as long as the cluster can do without it.
  - Fails when an error remains that is not waived. Warnings never fail.
  - Runs on the controller; nothing is sent to any host. Use it with C(run_once).
author:
  - groundplane.kubeadm contributors (@groundplane)
options:
  results:
    description:
      - The registered results of M(groundplane.kubeadm.preflight_info) by host.
      - Only C(findings) and C(facts) of each are looked at.
      - May be empty, where only O(control_planes) have to be judged.
    type: dict
    required: true
  control_planes:
    description:
      - The registered results of M(groundplane.kubeadm.control_plane_info) by host, of all control plane hosts that
        could be read.
    type: dict
    default: {}
  reachability:
    description: The registered results of M(groundplane.kubeadm.reachability_info) by host.
    type: dict
    default: {}
  guarded_hosts:
    description:
      - Hosts whose packet filter learns of the other hosts only after the preflight, as by role firewall. Where its
        rules are in force already, it is no finding that such a host keeps another one out, unless both are nodes.
    type: list
    elements: str
    default: []
  unreachable:
    description: Hosts that could not be read.
    type: dict
    default: {}
    suboptions:
      control_plane:
        description: Control plane hosts that do not answer.
        type: list
        elements: str
        default: []
      workers:
        description: Workers that do not answer.
        type: list
        elements: str
        default: []
      failed:
        description: Hosts that answered, and on which the check itself failed. They may be in the other lists as well.
        type: list
        elements: str
        default: []
  etcd_hosts:
    description:
      - Hosts that shall run a member of etcd each, also those outside of this run. An even number of them is a warning.
      - Left empty, as where etcd is one of the operator's own, nothing is said of their number.
    type: list
    elements: str
    default: []
  network:
    description:
      - Pod network that is wanted, as in C(cluster_cni); it is compared with the one at work.
      - Left empty, nothing is said of it.
    type: str
    default: ""
  proxy_mode:
    description:
      - Mode of kube-proxy that is wanted, as in C(cluster_proxy_mode); it is compared with the one of the cluster.
      - Left empty, nothing is said of it.
    type: str
    default: ""
  ranges:
    description:
      - Ranges that are wanted; they are compared with those that the cluster keeps.
      - Nothing is said of one that is left out.
    type: dict
    default: {}
    suboptions:
      cluster_pod_cidr:
        description: Range of the pods, or one of each family separated by a comma.
        type: str
      cluster_service_cidr:
        description: Range of the Services, in the same form.
        type: str
  flannel_backend:
    description:
      - Backend of flannel that is wanted, as the field C(Backend) of its configuration, with C(Type) and options; it is
        compared with the one of the cluster. Options that are left out have flannel's defaults.
      - Left empty, nothing is said of it.
    type: dict
    default: {}
  configuring_host:
    description:
      - Control plane host whose variables C(control_plane_cluster_configuration),
        C(control_plane_kubelet_configuration) and C(control_plane_kube_proxy_configuration) are compared with what the
        cluster keeps.
      - Nothing is said of a variable that takes what is known later in the run, and of fields that are null, empty
        text, an empty list or an empty dictionary.
      - Left empty, nothing is compared.
    type: str
    default: ""
  extra_findings:
    description: Findings from other sources that belong into the same table.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Name of the check.
        type: str
        required: true
      severity:
        description: How bad it is.
        type: str
        choices: [error, warning]
        required: true
      found:
        description: What is there.
        type: str
        required: true
      expected:
        description: What should be there.
        type: str
        required: true
      remedy:
        description: What to do.
        type: str
        required: true
      hosts:
        description: Hosts concerned.
        type: list
        elements: str
        required: true
  ignore:
    description:
      - Checks that are waived, by id. Their findings stay in the table and no longer fail.
      - An id that matches no finding, or no check at all, is named in a warning.
    type: list
    elements: str
    default: []
  host_ignore:
    description:
      - Checks that are waived for single hosts, by host.
      - A finding that several hosts have each for itself is waived for those of them that waive it. One that only shows
        when hosts are compared is waived when all of its hosts waive it.
    type: dict
    default: {}
  maximum_clock_skew:
    description: Seconds by which the clocks of two hosts may differ. More than two seconds are a warning.
    type: float
    default: 30
  json_path:
    description: File on the controller for the findings as JSON. It is not written in check mode.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and predict changes without making them.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  platform:
    description: Operating systems on which the module runs.
    support: full
    platforms: linux
seealso:
  - module: groundplane.kubeadm.control_plane_info
  - module: groundplane.kubeadm.preflight_info
  - module: groundplane.kubeadm.reachability_info
"""

EXAMPLES = r"""
- name: Report what was found on all hosts
  groundplane.kubeadm.preflight_report:
    results: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'preflight'))) }}"
    ignore: [firewall-active]
    json_path: preflight.json
  run_once: true

- name: Require a control plane that can be written to
  groundplane.kubeadm.preflight_report:
    results: {}
    control_planes:
      master-1: "{{ hostvars['master-1'].control_plane }}"
    unreachable:
      control_plane: [master-2]
  run_once: true
"""

RETURN = r"""
findings:
  description:
    - All findings, errors first, then warnings, then what was waived; one entry where several hosts share a finding.
    - After a failure they are in the table and in O(json_path) only, so that the message stays readable.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Name of the check.
      type: str
      sample: duplicate-hostname
    severity:
      description: V(error) or V(warning).
      type: str
      sample: error
    found:
      description: What is there.
      type: str
      sample: hostname debian
    expected:
      description: What should be there.
      type: str
      sample: a name of its own for every host
    remedy:
      description: What to do.
      type: str
      sample: Set another name with hostnamectl set-hostname NAME.
    hosts:
      description: Hosts concerned, by their names in the inventory.
      type: list
      elements: str
      sample: [master-1, worker-1]
    waived:
      description: Whether O(ignore) names the check.
      type: bool
      sample: false
counts:
  description: How many errors and warnings there are, and how many findings were waived.
  returned: always
  type: dict
  sample: {errors: 1, warnings: 0, waived: 0}
"""
