# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host looks like, so that two looks can be compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from tests.e2e.support.lab import LabSet

#: Folders that a run of the collection could write to. What belongs to Ansible's own connection is left out.
FOLDERS = "/etc /home /opt /root /srv /usr/lib /usr/local /usr/share/keyrings /var/lib"
KERNEL_SETTINGS = "^(net[.]bridge|net[.]ipv[46][.](ip_forward|conf[.]all[.]forwarding)|vm[.]|kernel[.]panic)"
PARTS = {
    "packages": "dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Abbrev}\\n'; apt-mark showhold",
    "files": (
        f"find {FOLDERS} -xdev \\( -path /root/.ansible -o -path /var/lib/systemd -o -name __pycache__ \\) -prune -o "
        "-not -path /root -printf '%p %y %m %U:%G %s %l %T@\\n' | sort"
    ),
    "content of /etc": "find /etc -xdev -type f -exec sha256sum {} + | sort -k 2",
    "kernel settings": f"sysctl --all --pattern '{KERNEL_SETTINGS}' 2>/dev/null",
    "modules": "cut -d ' ' -f 1 /proc/modules | sort",
    "swap": "cat /proc/swaps",
    "firewall": "for save in iptables-save ip6tables-save; do ! command -v $save || $save | grep -v '^[#:]'; done",
    "links": "ls /sys/class/net",
    "units": "systemctl list-unit-files --no-legend --no-pager",
    "processes": "systemctl list-units --type=service --state=active --plain --no-legend | cut -d ' ' -f 1 | sort",
}

#: What stays as it is on a node of a running cluster as long as nobody reconfigures the node.
PARTS_OF_A_RUNNING_NODE = {
    **{name: PARTS[name] for name in ("packages", "content of /etc", "kernel settings", "swap")},
    # Without the scopes of containers.
    "units": f"{PARTS['units']} | grep -v ' transient '",
    # Its configuration; the files beside it keep the state of pods, which come and go.
    "kubelet": (
        "find /var/lib/kubelet -maxdepth 1 \\( -name config.yaml -o -name kubeadm-flags.env \\) "
        "-exec sha256sum {} + | sort -k 2"
    ),
    "running since": "systemctl show kubelet containerd --property=Id,ActiveState,ExecMainStartTimestamp",
}

Fingerprint = Mapping[str, str]


def take(nodes: LabSet, names: Iterable[str] | None = None) -> Fingerprint:
    """Fingerprint of every named host, or of all."""
    return _take(nodes, names, PARTS)


def take_running(nodes: LabSet, names: Iterable[str] | None = None) -> Fingerprint:
    """Fingerprint of nodes on which a cluster is at work."""
    return _take(nodes, names, PARTS_OF_A_RUNNING_NODE)


def differences(before: Fingerprint, after: Fingerprint) -> str:
    """Lines that differ, by host; nothing when the hosts are as they were."""
    return "\n".join(
        f"{host}: {line}"
        for host in before
        for line in difflib.unified_diff(before[host].splitlines(), after[host].splitlines(), lineterm="", n=0)
    )


def _take(nodes: LabSet, names: Iterable[str] | None, parts: Mapping[str, str]) -> Fingerprint:
    script = "\n".join(f"echo '== {name}'\n{command}" for name, command in parts.items())
    return nodes.run_on(nodes.names if names is None else names, script)
