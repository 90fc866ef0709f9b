#!/usr/bin/python
# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iptables_persistence
short_description: Keep packet filter chains of our own, now and at every boot
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Keeps chains whose names begin with C(GROUNDPLANE-) in the table C(filter) of IPv4 and IPv6, and one rule in
    C(INPUT) that leads into them. Nothing else is ever changed, neither the policy of a built-in chain nor a chain of
    others, and no chain of others is written to a file. O(chains) is the whole of what is ours; chains that have left
    it are removed.
  - The rules are tried in a network namespace of their own first, then loaded in one step for each family.
  - A change takes itself back. Before it is loaded, a timer of systemd is armed on the host that restores the chains
    from before. The controller then opens a new connection; when the new rules let it in, the timer is stopped, and
    only then the rules are saved for the next boot. When it gets no connection, the task fails after the timer has
    restored the old rules, and names the rules that dropped packets meanwhile.
  - Rules that are in force already are saved only after such a connection, too.
  - The rules are saved in C(/etc/groundplane/firewall) and loaded by C(groundplane-firewall.service) before the
    network, containerd and kubelet start. A restart of the host before the confirmation brings the rules from before.
  - The host's default C(iptables) is used, of the backend nft or legacy. A host on which both backends filter, or on
    which Kubernetes has chains in the other one, is refused.
options:
  state:
    description: V(absent) removes all chains of ours, what leads into them, the files and the unit.
    type: str
    choices: [present, absent]
    default: present
  chains:
    description: All chains, in any order. Required with O(state=present), of no effect with O(state=absent).
    type: list
    elements: dict
    suboptions:
      name:
        description: C(GROUNDPLANE-) and 1 to 16 capital letters, digits and hyphens.
        type: str
        required: true
      hook:
        description: Whether C(INPUT) leads here. Exactly one chain has it.
        type: bool
        default: false
      text:
        description:
          - Rules as C(iptables-save) prints them, without C(-A) and the chain, such as
            C(-p tcp -m tcp --dport 22 -j ACCEPT).
          - A rule that begins with C(-4) or C(-6) stands in this family only.
          - A rule can lead into no chain but those of O(chains), and can use no set of C(ipset).
        type: list
        elements: str
      rules:
        description: Rules as data.
        type: list
        elements: dict
        suboptions:
          target:
            description: V(accept), V(drop), V(reject), V(return), or the name of another of the chains.
            type: str
            required: true
          comment:
            description: What the rule is for, up to 200 characters; it is part of the rule, of diffs and of messages.
            type: str
            required: true
          family:
            description: Only this family; empty is both.
            type: str
            choices: ["", ipv4, ipv6]
            default: ""
          protocol:
            description:
              - Name or number of the protocol, any without it.
              - V(icmp) stands in IPv4 only, V(icmpv6) in IPv6 only.
            type: str
          interface:
            description: Interface by which packets come in; V(+) at its end stands for any further characters.
            type: str
          ports:
            description: Destination ports, such as V(6443) or V(30000:32767). Any number of them.
            type: list
            elements: str
          sources:
            description:
              - Addresses and networks from which packets come. Each stands in its own family.
              - An empty list is nothing at all, so that the rule is left out; without the option any source is meant.
            type: list
            elements: str
          destinations:
            description: Addresses and networks to which packets go, as with O(chains[].rules[].sources).
            type: list
            elements: str
          states:
            description: V(NEW), V(ESTABLISHED), V(RELATED) and V(INVALID), as connection tracking sees a packet.
            type: list
            elements: str
          icmp_types:
            description: Names or numbers of ICMP types.
            type: list
            elements: str
  families:
    description:
      - Families in which the chains stand; they are removed from the others.
      - V(ipv6) is left out when the kernel has no IPv6.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  rollback_seconds:
    description: Seconds in which a change has to be confirmed, 10 to 600.
    type: int
    default: 60
attributes:
  check_mode:
    description: Tries the rules in a network namespace of their own and predicts; nothing is loaded or armed.
    support: full
  diff_mode:
    description: Shows our chains in the order of their rules, as the kernel prints them, by family.
    support: full
  platform:
    description: Operating systems on which the module runs.
    support: full
    platforms: linux
notes:
  - Needs systemd, C(iptables) and C(unshare) on the host, and root.
  - A connection that is no SSH connection, such as V(local), is closed and opened again, which proves nothing about the
    network where none is involved.
  - A run that finds a change of another run that was not confirmed yet waits until it is confirmed or taken back.
  - After O(state=absent) the output of C(iptables-save) is what it was before, except that a host without any table
    C(filter) keeps an empty one, which filters nothing. No program of iptables can remove it.
seealso:
  - name: Packet filters and Kubernetes
    description: The chains that kubelet makes, and how it tells which backend is in use.
    link: https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

EXAMPLES = r"""
- name: Let in SSH and what belongs to a connection
  groundplane.kubeadm.iptables_persistence:
    chains:
      - name: GROUNDPLANE-INPUT
        hook: true
        rules:
          - {target: accept, states: [ESTABLISHED, RELATED], comment: known connections}
          - {target: accept, interface: lo, comment: the host itself}
          - {target: accept, protocol: tcp, ports: ["22"], sources: [192.0.2.0/24], comment: SSH}
          - {target: drop, comment: everything else}

- name: Remove it
  groundplane.kubeadm.iptables_persistence:
    state: absent
"""

RETURN = r"""
backend:
  description: Backend of the host's iptables, V(nft) or V(legacy); empty when nothing is installed.
  returned: success
  type: str
  sample: nft
families:
  description: Families in which the chains stand.
  returned: success
  type: list
  elements: str
  sample: [ipv4, ipv6]
chains:
  description: Names of the chains, or of those that are removed.
  returned: success
  type: list
  elements: str
  sample: [GROUNDPLANE-INPUT]
previous:
  description:
    - Our chains as they were before, in the form of O(chains), with which they can be put back; empty without any.
    - A chain that stood in one family only is put back with no rules in the other.
  returned: success
  type: list
  elements: dict
  sample:
    - name: GROUNDPLANE-INPUT
      hook: true
      text: [-4 -i lo -j ACCEPT, -6 -i lo -j ACCEPT]
files:
  description: Files that were, or would be, written or removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/groundplane/firewall/rules.v4]
persistence:
  description:
    - What else on the host would flush or freeze the chains of Kubernetes, and rules of C(INPUT) that let packets in
      before they come to our chains (C(accepted-before)). Each is a warning too.
    - The host's own packets, those of known connections, and chains of Kubernetes and of networks for pods are not
      meant.
  returned: success
  type: list
  elements: dict
  sample:
    - id: netfilter-persistent-save
      found: "`netfilter-persistent save` would freeze the chains of Kubernetes in /etc/iptables/rules.v4"
      remedy: set IPTABLES_SKIP_SAVE=yes in /etc/default/netfilter-persistent
earlier_change_rolled_back:
  description: Whether a change of an earlier run was found that had not been confirmed, and was taken back.
  returned: success
  type: bool
rolled_back:
  description: Whether rules were loaded and taken back.
  returned: when something was to be loaded or saved
  type: bool
suspects:
  description: Rules that dropped or rejected packets before the change was taken back, the likeliest first.
  returned: when the change was not confirmed
  type: list
  elements: dict
"""
