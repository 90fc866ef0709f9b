#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module reachability_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reachability_info
short_description: Measure whether a host gets through to other nodes
version_added: 1.0.0
description:
  - Connects to the ports that a node needs of other nodes, all at once, and finds out which answer and how large a
    packet of the pod network arrives.
  - Where no service has the port yet, a listener answers that M(groundplane.kubeadm.preflight_info) has left on the
    other host for a short time. Where the service runs already, a connection to it is all that is made.
  - A UDP port that the pod network itself holds is not measured, nor is a port of a node that no program has at the
    moment.
  - Takes a few milliseconds where everything answers. What does not answer within 3 seconds is tried for another 3,
    once for every 400 ports.
  - Tells the listeners of the other hosts that this host is done with them, and its own by whom it will be asked. A
    listener that all have left ends.
  - Never fails because of what it measures; M(groundplane.kubeadm.preflight_report) judges over all hosts.
author:
  - groundplane.kubeadm contributors (@groundplane)
extends_documentation_fragment:
  - groundplane.kubeadm._attributes.info_module
options:
  listener:
    description:
      - What M(groundplane.kubeadm.preflight_info) says of this host,
        RV(groundplane.kubeadm.preflight_info#module:facts.listener).
    type: dict
    required: true
  targets:
    description: The same of other hosts, by their name; those that have no node address are left out.
    type: dict
    required: true
  secret:
    description: The secret that the listeners were started with.
    type: str
    required: true
  overlay_mtu:
    description: Largest packet that the pod network is told to send; V(0) where it follows the node's interface.
    type: int
    default: 0
seealso:
  - module: groundplane.kubeadm.preflight_info
  - module: groundplane.kubeadm.preflight_report
"""

EXAMPLES = r"""
- name: Measure the way to the other nodes
  groundplane.kubeadm.reachability_info:
    listener: "{{ preflight.facts.listener }}"
    targets:
      worker-1: "{{ hostvars['worker-1'].preflight.facts.listener }}"
    secret: "{{ secret }}"
  register: reachability
"""

RETURN = r"""
listening:
  description:
    - Whether the listener of this host was still there. If not, that others did not get an answer says nothing.
  returned: always
  type: bool
mtu:
  description: MTU of the interface with the node address.
  returned: always
  type: int
  sample: 1500
needed_mtu:
  description: Largest packet that the pod network sends to another node.
  returned: always
  type: int
  sample: 1500
epoch:
  description: Clock of the host at the end of the measurement, in seconds since 1970.
  returned: always
  type: float
seconds:
  description: How long the measurement took.
  returned: always
  type: float
  sample: 0.012
probes:
  description: What became of each port.
  returned: always
  type: list
  elements: dict
  contains:
    host:
      description: The other host.
      type: str
      sample: worker-1
    address:
      description: Its node address.
      type: str
      sample: 192.0.2.21
    protocol:
      description: V(tcp) or V(udp).
      type: str
      sample: tcp
    port:
      description: Number of the port.
      type: int
      sample: 10250
    purpose:
      description: The program to which the port belongs.
      type: str
      sample: kubelet
    echo:
      description: Whether the listener of the preflight was asked, and not a service.
      type: bool
    result:
      description:
        - V(ok), or V(refused) by the host or a machine on the way, V(silent) when nobody answered, V(unroutable) when
          the host has no route, V(foreign) when something else than the listener answered.
      type: str
      sample: ok
    reason:
      description: What the system said.
      type: str
    path_mtu:
      description: The largest packet that arrived, null where that was not measured.
      type: int
      sample: 1500
"""

import time
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.groundplane.kubeadm.plugins.module_utils._entry import run_module
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_listener import (
    LISTENING,
    OCCUPIED,
    identity,
    tell_listener,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_plan import TCP, UDP, allows, needed_mtu
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_probe import (
    OK,
    Sender,
    Target,
    measure,
    sign_off,
)


def argument_spec() -> dict[str, Any]:
    """Options of the module."""
    return {
        "listener": {"type": "dict", "required": True},
        "targets": {"type": "dict", "required": True},
        "secret": {"type": "str", "required": True, "no_log": True},
        "overlay_mtu": {"type": "int", "default": 0},
    }


def targets_of(role: str, listeners: Mapping[str, Mapping[str, Any] | None]) -> list[Target]:
    """The ports of other hosts that a host of this role needs."""
    return [
        Target(host, listener["address"], port["protocol"], port["port"], port["purpose"], port["state"] == LISTENING)
        for host, listener in listeners.items()
        if listener
        for port in listener["ports"]
        if allows(port["callers"], role) and _measurable(port)
    ]


def _measurable(port: Mapping[str, Any]) -> bool:
    """Whether somebody answers: our listener, or a service to which a connection can be made."""
    return port["state"] == LISTENING or (port["protocol"] == TCP and port["state"] == OCCUPIED)


def body(module: AnsibleModule) -> dict[str, Any]:
    """Measure, and let the listeners go."""
    begin = time.monotonic()
    params = module.params
    own = params["listener"]
    sender = Sender(own["address"], own["mtu"], params["secret"])
    targets = targets_of(own["role"], params["targets"])
    outcomes = measure(targets, sender)
    end = time.time()
    answering = {
        target.host: target
        for target, outcome in sorted(zip(targets, outcomes), key=lambda pair: pair[0].protocol == UDP)
        if target.echo and outcome.result == OK
    }
    sign_off(list(answering.values()), sender)
    callers = [listener["address"] for listener in params["targets"].values() if listener]
    answer = tell_listener({"expect": callers})
    return {
        "changed": False,
        "listening": answer == identity(sender.secret, sender.address),
        "mtu": sender.mtu,
        "needed_mtu": needed_mtu(sender.mtu, params["overlay_mtu"]),
        "epoch": end,
        "seconds": round(time.monotonic() - begin, 3),
        "probes": [{**target._asdict(), **outcome._asdict()} for target, outcome in zip(targets, outcomes)],
    }


def main() -> None:
    """Entry point."""
    run_module(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), body)


if __name__ == "__main__":
    main()
