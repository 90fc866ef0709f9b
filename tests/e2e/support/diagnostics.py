# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person would look at first when a cluster test has failed."""

from __future__ import annotations

from tests.e2e.support.cluster import KUBECTL
from tests.e2e.support.lab import LabSet
from tests.lab.process import LabError

ASK_CLUSTER = f"test ! -e /etc/kubernetes/admin.conf || {KUBECTL} --request-timeout=5s"
QUESTIONS = (
    "systemctl --failed --no-legend --plain",
    f"{ASK_CLUSTER} get nodes,pods --all-namespaces --output=wide",
    f"{ASK_CLUSTER} get events --all-namespaces --sort-by=.lastTimestamp | tail -n 15",
    "test ! -S /run/containerd/containerd.sock || crictl ps --all",
    "journalctl --unit=kubelet --no-pager --output=cat --lines=25",
    "journalctl --unit=containerd --no-pager --output=cat --lines=10",
)
ANSWER_SECONDS = 20


def describe(nodes: LabSet) -> str:
    """State of every node of a set as text."""
    try:
        return "\n".join(_describe_node(nodes, name) for name in nodes.names)
    except LabError as error:
        return str(error)


def _describe_node(nodes: LabSet, name: str) -> str:
    parts = [f"######## {name}"]
    for question in QUESTIONS:
        answer = nodes.attempt(name, question, seconds=ANSWER_SECONDS)
        if text := (answer.stdout + answer.stderr).strip():
            parts.append(f"$ {question}\n{text}")
    return "\n".join(parts)
