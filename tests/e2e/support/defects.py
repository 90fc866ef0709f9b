# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Defects that are put on hosts on purpose, and taken away again.

Everything happens inside of a node: what the kernel tells about the whole machine is replaced by a file that is mounted
over it, because the nodes share the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.support.lab import LabSet

MASTER = "master"
FIRST_WORKER = "first worker"
SECOND_WORKER = "second worker"

ERROR = "error"
WARNING = "warning"

# Where seeds keep what they replace; it is gone after a power cut.
_SCRATCH = "/run/seeded"


@dataclass(frozen=True)
class Defect:
    """One defect.

    :arg id: the check that has to find it, with this severity; a defect may take two steps.
    :arg where: the host that gets it.
    :arg seed: shell that makes the defect.
    :arg undo: shell that takes it away, also when it was made only in part.
    """

    id: str
    severity: str
    where: str
    seed: str
    undo: str


def _over(path: str, content: str) -> tuple[str, str]:
    """Let a file have another content, given as a shell command, without writing to it."""
    copy = f"{_SCRATCH}/{path.replace('/', '_')}"
    return f"{content} > {copy}; mount --bind {copy} {path}", f"umount {path}"


#: One defect that two checks see.
_SMALL_PACKETS = (
    f"cat /sys/class/net/eth0/mtu > {_SCRATCH}/mtu; ip link set eth0 mtu 1400",
    f"ip link set eth0 mtu $(cat {_SCRATCH}/mtu)",
)


def _file(path: str, content: str = "") -> tuple[str, str]:
    """A file that is not there otherwise, with the folders above it."""
    folders = [str(parent) for parent in Path(path).parents]
    known = f"{_SCRATCH}/made{path.replace('/', '_')}"
    make = f"for f in {' '.join(reversed(folders))}; do test -d $f || {{ mkdir $f; echo $f >> {known}; }}; done"
    remove = f"rm -f {path}; test ! -e {known} || {{ tac {known} | xargs rmdir; rm {known}; }}"
    return f"{make}; printf '%s\\n' '{content}' > {path}", remove


def _program(path: str, says: str) -> tuple[str, str]:
    """A program that only says something."""
    make, remove = _file(path, f'#!/bin/sh\necho "{says}"')
    return f"{make}; chmod 755 {path}", remove


def _appended(path: str, line: str) -> tuple[str, str]:
    """A further line in a file; podman has mounted some of them, so they are written in place."""
    copy = f"{_SCRATCH}/{path.replace('/', '_')}"
    undo = f"test ! -e {copy} || {{ cat {copy} > {path}; touch -r {copy} {path}; rm {copy}; }}"
    return f"cp -p {path} {copy}; echo {line} >> {path}", undo


def _inserted(rule: str) -> tuple[str, str]:
    """A rule of the packet filter, before all others."""
    return f"iptables --wait -I {rule}", f"iptables --wait -D {rule}"


def _mounted(folder: str, options: str, then: str = "true", kind: str = "tmpfs") -> tuple[str, str]:
    """A file system of its own at a folder."""
    made = f"{_SCRATCH}/mounted{folder.replace('/', '_')}"
    return (
        f"test -d {folder} || {{ mkdir {folder}; touch {made}; }}; "
        f"mount -t {kind} -o {options} seeded {folder}; {then}",
        f"umount --lazy {folder}; test ! -e {made} || {{ rmdir {folder}; rm {made}; }}",
    )


def _without_tcp(*ports: int) -> tuple[str, str]:
    """No way to these ports of any machine."""
    rules = [f"ipproto tcp dport {port} priority 99 unreachable" for port in ports]
    return "; ".join(f"ip rule add {rule}" for rule in rules), "; ".join(f"ip rule del {rule}" for rule in rules)


# The program hostname refuses what a cloned or careless machine may have.
_HOSTNAME = ("echo {name} > /proc/sys/kernel/hostname", "cat /etc/hostname > /proc/sys/kernel/hostname")
_CONTAINERD_CONFIGURATION = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "mirror.example.com/pause:3.1"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false"""
_THROTTLE = "/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device"
_CLONED_CARD = (
    "ip link add seeded address 02:00:5e:10:00:99 type veth peer name seeded-end; ip link set seeded-end up; "
    "ip link set seeded up; "
    "ip address add 198.51.100.{number}/24 dev seeded",
    "ip link delete seeded",
)
_DISK = "$(findmnt --noheadings --output MAJ:MIN --target /var/lib | tail -1 | tr -d ' ')"

_CONFINE_RUNC = "mkdir /sys/kernel/security/apparmor; echo 'runc (unconfined)' > /sys/kernel/security/apparmor/profiles"
_OVERLAY = (
    "mkdir -p /var/lib/seeded/upper /var/lib/seeded/work /var/lib/containerd; mount -t overlay -o "
    "lowerdir=/usr/share,upperdir=/var/lib/seeded/upper,workdir=/var/lib/seeded/work seeded /var/lib/containerd",
    "umount /var/lib/containerd; rmdir /var/lib/containerd; rm -r /var/lib/seeded",
)
_INSTALL_IPTABLES = (
    "command -v iptables-legacy || { apt-get update; apt-get install --yes --no-install-recommends iptables; }"
)

#: Defects that hosts can have at the same time.
TOGETHER = (
    Defect(
        "cpu-count",
        ERROR,
        MASTER,
        "taskset -pc 0 $(pgrep -o sshd)",
        "taskset -pc 0-$(($(nproc --all) - 1)) $(pgrep -o sshd)",
    ),
    Defect("memory", ERROR, MASTER, *_over("/proc/meminfo", "sed 's/^MemTotal:.*/MemTotal: 524288 kB/' /proc/meminfo")),
    Defect("disk-space", ERROR, MASTER, *_mounted("/var/log", "size=8m")),
    Defect("etcd-latency", WARNING, MASTER, f"echo {_DISK} 50 > {_THROTTLE}", f"echo {_DISK} 0 > {_THROTTLE}"),
    Defect("registry-unreachable", ERROR, MASTER, *_without_tcp(5000, 443)),
    Defect(
        "cidr-address-overlap",
        ERROR,
        MASTER,
        "ip address add 10.244.77.1/32 dev lo scope global",
        "ip address del 10.244.77.1/32 dev lo",
    ),
    Defect("hostname-form", ERROR, MASTER, _HOSTNAME[0].format(name="Seeded_1"), _HOSTNAME[1]),
    Defect(
        "port-in-use",
        ERROR,
        MASTER,
        "systemd-run --quiet --unit=seeded-port python3 -m http.server 10250 --bind 127.0.0.1; sleep 1",
        "systemctl stop seeded-port",
    ),
    Defect("resolv-conf", WARNING, MASTER, *_appended("/etc/resolv.conf", "nameserver 127.0.0.1")),
    Defect("foreign-programs", WARNING, MASTER, *_program("/usr/local/bin/kubeadm", "kubeadm version")),
    Defect(
        "swap-active",
        WARNING,
        MASTER,
        *_over("/proc/swaps", "printf 'Filename Type Size Used Priority\\n/dev/seeded partition 1 0 -2\\n'"),
    ),
    Defect("duplicate-mac", ERROR, MASTER, _CLONED_CARD[0].format(number=1), _CLONED_CARD[1]),
    Defect(
        "operating-system",
        WARNING,
        FIRST_WORKER,
        *_over("/usr/lib/os-release", "sed 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' /usr/lib/os-release"),
    ),
    Defect("kernel-features", ERROR, FIRST_WORKER, *_file("/lib/modules/$(uname -r)/modules.dep")),
    Defect("kernel-modules", ERROR, FIRST_WORKER, *_over("/proc/filesystems", "grep -v overlay /proc/filesystems")),
    Defect("kernel-modules", ERROR, FIRST_WORKER, *_mounted("/sys/module", "size=1m")),
    Defect("package-version", ERROR, FIRST_WORKER, *_without_tcp(8080, 443)),
    Defect(
        "cidr-route-overlap", ERROR, FIRST_WORKER, "ip route add 10.96.128.0/24 dev eth0", "ip route del 10.96.128.0/24"
    ),
    Defect("machine-id", ERROR, FIRST_WORKER, *_over("/etc/machine-id", "true")),
    Defect(
        "container-runtime",
        ERROR,
        FIRST_WORKER,
        *_program("/usr/bin/containerd", "containerd example.com/containerd v1.5.9 0"),
    ),
    Defect("apparmor-runc", WARNING, FIRST_WORKER, *_mounted("/sys/kernel/security", "size=1m", _CONFINE_RUNC)),
    Defect("leftovers", WARNING, FIRST_WORKER, *_file("/etc/cni/net.d/10-seeded.conf", "{}")),
    Defect("firewall-active", WARNING, FIRST_WORKER, *_file("/etc/ufw/ufw.conf", "ENABLED=yes")),
    Defect("hosts-file", WARNING, FIRST_WORKER, *_appended("/etc/hosts", "192.0.2.99 $(hostname)")),
    Defect("read-only", ERROR, FIRST_WORKER, *_mounted("/etc/kubernetes", "ro")),
    Defect("containerd-file-system", ERROR, FIRST_WORKER, *_OVERLAY),
    Defect("duplicate-mac", ERROR, FIRST_WORKER, _CLONED_CARD[0].format(number=2), _CLONED_CARD[1]),
    Defect(
        "service-route",
        ERROR,
        SECOND_WORKER,
        f"ip route show default > {_SCRATCH}/route; ip route del default",
        f"ip route add $(cat {_SCRATCH}/route)",
    ),
    Defect("duplicate-hostname", ERROR, SECOND_WORKER, _HOSTNAME[0].format(name="{first_worker}"), _HOSTNAME[1]),
    Defect("mtu-mismatch", WARNING, SECOND_WORKER, *_SMALL_PACKETS),
    Defect("path-mtu", ERROR, SECOND_WORKER, *_SMALL_PACKETS),
    Defect("package-manager", ERROR, SECOND_WORKER, *_file("/var/lib/dpkg/updates/0001")),
    Defect("cgroup-driver", WARNING, SECOND_WORKER, *_file("/etc/containerd/config.toml", _CONTAINERD_CONFIGURATION)),
    Defect("sandbox-image", WARNING, SECOND_WORKER, *_file("/etc/containerd/config.toml", _CONTAINERD_CONFIGURATION)),
    Defect("firewall-persistence", WARNING, SECOND_WORKER, *_file("/etc/nftables.conf", "flush ruleset")),
    Defect(
        "firewall-persistence",
        WARNING,
        SECOND_WORKER,
        "ln -s /usr/lib/systemd/system/nftables.service /etc/systemd/system/sysinit.target.wants/",
        "rm /etc/systemd/system/sysinit.target.wants/nftables.service",
    ),
    Defect(
        "proxy-exceptions", WARNING, SECOND_WORKER, *_over("/etc/environment", "echo https_proxy=http://192.0.2.3:3128")
    ),
    Defect("inotify-limits", WARNING, SECOND_WORKER, *_over("/proc/sys/fs/inotify/max_user_instances", "echo 16")),
    Defect("mount-options", ERROR, SECOND_WORKER, *_mounted("/opt", "noexec")),
    Defect(
        "inodes",
        ERROR,
        SECOND_WORKER,
        *_mounted(
            "/var/lib/kubelet",
            "nr_inodes=16",
            "i=0; while touch /var/lib/kubelet/$i 2>/dev/null; do i=$((i + 1)); done",
        ),
    ),
    Defect("swap-returns", WARNING, SECOND_WORKER, *_appended("/etc/fstab", "/dev/seeded none swap sw 0 0")),
    Defect(
        "iptables-mixture",
        ERROR,
        SECOND_WORKER,
        "iptables-legacy -A INPUT -s 203.0.113.9 -j DROP",
        "iptables-legacy -D INPUT -s 203.0.113.9 -j DROP",
    ),
)

#: Defects that would hide others: a host that is a node is looked at with other eyes, two defects of one file, and ways
#: between the hosts that do not exist.
APART = (
    Defect(
        "node-version", ERROR, FIRST_WORKER, *_file("/etc/kubernetes/kubelet.conf", "server: https://192.0.2.9:6443")
    ),
    Defect("node-version", ERROR, FIRST_WORKER, *_program("/usr/bin/kubelet", "Kubernetes v1.20.1")),
    Defect("duplicate-machine-id", ERROR, SECOND_WORKER, *_over("/etc/machine-id", "echo {master_machine_id}")),
    Defect("port-unreachable", ERROR, SECOND_WORKER, *_inserted("INPUT -p tcp --dport 10250 -j DROP")),
    Defect("overlay-path", ERROR, SECOND_WORKER, *_inserted("INPUT -p udp --dport 8472 -j DROP")),
    Defect(
        "node-unroutable",
        ERROR,
        SECOND_WORKER,
        "ip route add unreachable {master_address}",
        "ip route delete unreachable {master_address}",
    ),
)

BATCHES = (TOGETHER, APART)


@dataclass(frozen=True)
class Finding:
    """A row of the report, for one host."""

    id: str
    host: str
    severity: str
    remedy: str


class SeededHosts:
    """A control plane node and two workers that get defects."""

    def __init__(self, nodes: LabSet) -> None:
        """Name the hosts, and install the programs that seeds need and minimal hosts lack."""
        self._nodes = nodes
        self.names = {MASTER: nodes.masters[0], FIRST_WORKER: nodes.workers[0], SECOND_WORKER: nodes.workers[1]}
        self._words = {
            "first_worker": self.names[FIRST_WORKER],
            "master_address": nodes.address(self.names[MASTER]),
            "master_machine_id": nodes.run(self.names[MASTER], "cat /etc/machine-id").strip(),
        }
        nodes.run(self.names[SECOND_WORKER], _INSTALL_IPTABLES)

    def seed(self, defects: Iterable[Defect]) -> None:
        """Make the defects."""
        self._run(defects, lambda defect: defect.seed, strict=True)

    def undo(self, defects: Sequence[Defect]) -> None:
        """Take them away, the last one first; the rest of them also when one of them was never made."""
        self._run(reversed(defects), lambda defect: defect.undo, strict=False)

    def _run(self, defects: Iterable[Defect], shell: Any, *, strict: bool) -> None:
        scripts: dict[str, list[str]] = {}
        for defect in defects:
            command = shell(defect)
            for word, value in self._words.items():
                command = command.replace("{" + word + "}", value)
            # Several defects of one file have the same undo.
            if command not in scripts.setdefault(self.names[defect.where], []):
                scripts[self.names[defect.where]].append(command)
        for host, commands in scripts.items():
            lines = [f"mkdir -p {_SCRATCH}", *commands] if strict else [f"{{ {command}; }}" for command in commands]
            self._nodes.run(host, "\n".join(["set -e" if strict else "set +e", *lines, "true"]))


def read_report(path: Path) -> list[Finding]:
    """Findings by host from the JSON report of a run."""
    report: Mapping[str, Any] = json.loads(path.read_text())
    return [
        Finding(row["id"], host, row["severity"], row["remedy"]) for row in report["findings"] for host in row["hosts"]
    ]
