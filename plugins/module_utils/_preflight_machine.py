# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of the machine: its size, its operating system, its kernel, swap, clock and name."""

from __future__ import annotations

import re
from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    MISSING,
    PACKET_FILTERS,
    UNKNOWN,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Snapshot

_SUPPORTED_RELEASES = {
    "debian": ("12", "13"),
    "ubuntu": ("22.04", "24.04"),
    "rhel": ("9",),
    "rocky": ("9",),
    "almalinux": ("9",),
}
_SUPPORTED_FAMILIES = {"debian", "rhel"}
_SUPPORTED_MACHINES = {"x86_64", "aarch64"}
_PACKAGED_MACHINES = {"ppc64le", "s390x"}

_NAMESPACES = frozenset({"ipc", "mnt", "net", "pid", "uts"})
_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})
# kubelet refuses cgroup v1 unless failCgroupV1 is false.
_CGROUP_V1_REFUSED_SINCE = (1, 35)
_HOSTNAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# A Node carries its name as the value of a label.
_HOSTNAME_LENGTH = 63
_NOBODYS_NAMES = ("localhost", "localhost.localdomain", "(none)")


def check_root_privileges(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Nothing of what follows can be done without root, and part of it cannot even be read."""
    if snapshot.user_id != 0:
        yield Observation(f"the session has user id {snapshot.user_id}", "root")


def check_operating_system(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the release with the ones that the collection is written for."""
    identifier = snapshot.os_release.get("ID", "")
    version = snapshot.os_release.get("VERSION_ID", "")
    found = snapshot.os_release.get("PRETTY_NAME", "") or "no /etc/os-release"
    expected = "Debian 12 or 13, Ubuntu 22.04 or 24.04, or RHEL, Rocky Linux or AlmaLinux 9"
    families = {identifier, *snapshot.os_release.get("ID_LIKE", "").split()}
    if not families & _SUPPORTED_FAMILIES:
        yield Observation(found, expected)
    elif not any(
        version == release or version.startswith(release + ".") for release in _SUPPORTED_RELEASES.get(identifier, ())
    ):
        yield Observation(
            found,
            expected,
            severity=WARNING,
            remedy="It may well work, but nobody has tried it. Try it on a machine that you can lose.",
        )


def check_architecture(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Packages and images exist for few architectures."""
    if snapshot.machine in _SUPPORTED_MACHINES:
        return
    packaged = snapshot.machine in _PACKAGED_MACHINES
    yield Observation(
        snapshot.machine,
        "x86_64 or aarch64",
        severity=WARNING if packaged else ERROR,
        remedy="Make sure that every image in use exists for this architecture." if packaged else "",
    )


def check_systemd(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Kubelet and containerd are started by systemd."""
    if not snapshot.systemd_running:
        yield Observation("/run/systemd/system does not exist", "systemd as the init system")


def check_cpu_count(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the usable CPUs with the minimum."""
    if snapshot.cpus < wanted.thresholds.cpus:
        yield Observation(f"{snapshot.cpus} CPU", f"at least {wanted.thresholds.cpus}")


def check_memory(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the physical memory with the minimum."""
    if snapshot.memory_mib < wanted.thresholds.memory_mib:
        yield Observation(f"{snapshot.memory_mib} MiB", f"at least {wanted.thresholds.memory_mib} MiB")


def check_disk_space(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the free space with what images and state take.

    Where they already take it, too little left is a warning: a run that was interrupted must be able to go on.
    """
    for disk in snapshot.disks:
        found = f"{disk.free_mib} MiB free for {', '.join(disk.folders)}"
        if disk.free_mib < wanted.thresholds.disk_mib:
            severity = WARNING if snapshot.cluster.prepared else ERROR
            yield Observation(found, f"at least {wanted.thresholds.disk_mib} MiB", severity=severity)
        elif disk.free_mib < wanted.thresholds.recommended_disk_mib and not snapshot.cluster.prepared:
            yield Observation(found, f"{wanted.thresholds.recommended_disk_mib} MiB or more", severity=WARNING)


def check_kernel_modules(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A module has to be there or loadable; one that is built in is there."""
    states = {module: snapshot.kernel.state(module) for module in wanted.kernel_modules}
    missing = [module for module, state in states.items() if state == MISSING]
    unknown = [module for module, state in states.items() if state == UNKNOWN]
    release = snapshot.kernel.release
    if missing:
        yield Observation(f"{', '.join(missing)} neither in kernel {release} nor loadable", "built in or loadable")
    if unknown:
        yield Observation(
            f"{', '.join(unknown)} not loaded, and kernel {release} tells nothing about what it has",
            "built in or loadable",
            severity=WARNING,
            remedy="Load the modules on the machine underneath; this looks like a container.",
        )


def check_kernel_features(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Namespaces, control group controllers and packet filters that no container or Service works without."""
    lacking = [f"namespace {name}" for name in sorted(_NAMESPACES - snapshot.namespaces)]
    lacking += [f"cgroup controller {name}" for name in sorted(_CONTROLLERS - snapshot.cgroups.controllers)]
    lacking += [
        " or ".join(modules)
        for modules in PACKET_FILTERS
        if all(snapshot.kernel.state(module) == MISSING for module in modules)
    ]
    if lacking:
        yield Observation(f"kernel {snapshot.kernel.release} lacks {', '.join(lacking)}", "all of them")


def check_cgroup_version(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Compare the version of the control groups with what kubelet accepts."""
    if snapshot.cgroups.version == 1 and not wanted.cgroup_v1_allowed:
        refused = wanted.kubernetes_minor >= _CGROUP_V1_REFUSED_SINCE
        yield Observation(
            "cgroup v1",
            f"cgroup v2 for Kubernetes {wanted.kubernetes_version}",
            severity=ERROR if refused else WARNING,
        )


def check_swap_active(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Kubelet does not start while swap is on, unless it is told to."""
    if snapshot.swaps and not wanted.swap_allowed:
        yield Observation(f"swap on {', '.join(snapshot.swaps)}", "no swap")


def check_swap_returns(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Swap that comes back with the next boot stops kubelet when nobody is looking."""
    if snapshot.swap_sources and not wanted.swap_allowed:
        yield Observation(", ".join(snapshot.swap_sources), "nothing that turns swap on at boot")


def check_clock_unsynchronised(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Certificates and leases need clocks that agree."""
    if snapshot.clock_synchronised is not False:
        return
    expected = "a clock kept in step by NTP or by the hypervisor"
    if snapshot.time_services:
        yield Observation(f"{snapshot.time_services[0]} is installed, but the clock is not synchronised", expected)
    else:
        yield Observation(
            "no time service is installed and the clock is not synchronised",
            expected,
            remedy="Nothing, when role prereqs runs: it installs a time service (prereqs_time_service_enabled).",
        )


def check_hostname_form(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The Node's name is the hostname in lower case and has to be a DNS name."""
    name = snapshot.hostname.lower()
    if name in _NOBODYS_NAMES or len(name) > _HOSTNAME_LENGTH or not _HOSTNAME.fullmatch(name):
        yield Observation(f'hostname "{snapshot.hostname}"', "a name of letters, digits, hyphens and dots (RFC 1123)")
    elif name != snapshot.hostname:
        yield Observation(
            f'hostname "{snapshot.hostname}"',
            f'lower case; the Node will be called "{name}"',
            severity=WARNING,
        )


def check_selinux_enforcing(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """SELinux works with containers only where their policy is installed."""
    if snapshot.selinux_enforcing:
        yield Observation("SELinux is enforcing", "its container policy, or permissive mode")


MACHINE_CHECKS = (
    Check(
        Description(
            id="root-privileges",
            severity=ERROR,
            purpose="The session has root's rights. Without them much of the host cannot be read and nothing changed.",
            remedy="Connect as root, or set ansible_become to true.",
        ),
        check_root_privileges,
    ),
    Check(
        Description(
            id="operating-system",
            severity=ERROR,
            purpose="The release is one that the roles know. A relative or another release of one is a warning.",
            remedy="Install a supported release.",
        ),
        check_operating_system,
    ),
    Check(
        Description(
            id="architecture",
            severity=ERROR,
            purpose="Packages and images of Kubernetes exist for the machine. ppc64le and s390x, which have packages "
            "but not every image, are a warning.",
            remedy="Use a 64-bit Intel, AMD or Arm machine with a 64-bit system.",
        ),
        check_architecture,
    ),
    Check(
        Description(
            id="systemd",
            severity=ERROR,
            purpose="systemd runs as the init system; kubelet and containerd are units of it and share its control "
            "groups.",
            remedy="Use a system that boots with systemd; a container needs /sbin/init as its first process.",
        ),
        check_systemd,
    ),
    Check(
        Description(
            id="cpu-count",
            severity=ERROR,
            purpose="The host has enough CPUs: 2 for a control plane node, at which kubeadm itself insists, and 1 for "
            "a worker.",
            remedy="Give the machine more CPUs.",
            variables=("prereqs_preflight_minimum_cpus",),
        ),
        check_cpu_count,
    ),
    Check(
        Description(
            id="memory",
            severity=ERROR,
            purpose="The host has enough memory: 1700 MiB for a control plane node, at which kubeadm itself insists, "
            "and 900 MiB for a worker.",
            remedy="Give the machine more memory.",
            variables=("prereqs_preflight_minimum_memory_mib",),
        ),
        check_memory,
    ),
    Check(
        Description(
            id="disk-space",
            severity=ERROR,
            purpose="Images, container file systems and etcd find room: below 4096 MiB is an error, below 10240 MiB a "
            "warning. On a host that already holds images or state only the first is looked at, as a warning.",
            remedy="Enlarge the file system or give these folders their own; kubelet evicts pods when space runs out.",
            variables=("prereqs_preflight_minimum_disk_mib", "prereqs_preflight_recommended_disk_mib"),
        ),
        check_disk_space,
    ),
    Check(
        Description(
            id="kernel-modules",
            severity=ERROR,
            purpose="Each module of prereqs_kernel_modules is built into the running kernel, loaded or loadable. "
            "Where neither module files nor a kernel configuration can be read, this is a warning.",
            remedy="Install the rest of the distribution's kernel (linux-modules-extra, kernel-modules-extra), or "
            "reboot when the kernel was updated since the last boot.",
            variables=("prereqs_kernel_modules",),
        ),
        check_kernel_modules,
    ),
    Check(
        Description(
            id="kernel-features",
            severity=ERROR,
            purpose="The kernel has the namespaces, control group controllers and packet filters that containers and "
            "Services need.",
            remedy="Boot the distribution's full kernel, with its extra modules installed; a controller may be "
            "switched off on the kernel's command line (cgroup_disable).",
        ),
        check_kernel_features,
    ),
    Check(
        Description(
            id="cgroup-version",
            severity=ERROR,
            purpose="Control groups are version 2. Kubernetes 1.35 and later refuse version 1 unless told otherwise; "
            "before, it is a warning.",
            remedy="Boot with systemd.unified_cgroup_hierarchy=1, or set cluster_cgroup_v1_allowed to true.",
            variables=("cluster_cgroup_v1_allowed",),
        ),
        check_cgroup_version,
    ),
    Check(
        Description(
            id="swap-active",
            severity=WARNING,
            purpose="No swap is in use. Kubelet does not start otherwise.",
            remedy="Nothing, when role prereqs runs: it turns swap off. To keep it set cluster_swap_allowed to true.",
            variables=("cluster_swap_allowed",),
        ),
        check_swap_active,
    ),
    Check(
        Description(
            id="swap-returns",
            severity=WARNING,
            purpose="Nothing turns swap on at the next boot: fstab, swap units, zram-generator, zram-tools, "
            "dphys-swapfile.",
            remedy="Role prereqs comments fstab lines out, masks swap units and switches zram-generator off. Disable "
            "other services yourself, or set cluster_swap_allowed to true.",
            variables=("cluster_swap_allowed",),
        ),
        check_swap_returns,
    ),
    Check(
        Description(
            id="clock-unsynchronised",
            severity=WARNING,
            purpose="The kernel holds its clock for synchronised.",
            remedy="Start the time service and give it a server that it can reach.",
            variables=("prereqs_time_service_enabled",),
        ),
        check_clock_unsynchronised,
    ),
    Check(
        Description(
            id="hostname-form",
            severity=ERROR,
            purpose="The hostname can be the name of a Node: letters, digits, hyphens and dots (RFC 1123). kubeadm "
            "turns capitals into lower case, which is a warning.",
            remedy="Set another name with hostnamectl set-hostname NAME before the host joins.",
        ),
        check_hostname_form,
    ),
    Check(
        Description(
            id="selinux-enforcing",
            severity=WARNING,
            purpose="SELinux is not enforcing, or the operator knows that it is.",
            remedy="Install container-selinux and let containerd label containers (enable_selinux), then waive this "
            "check; or run setenforce 0 and set SELINUX=permissive in /etc/selinux/config.",
        ),
        check_selinux_enforcing,
    ),
)
