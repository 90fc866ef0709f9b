# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of the machine: its size, its operating system, its kernel, swap, clock and name."""

from __future__ import annotations

import ipaddress
import re
from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_support import (
    MISSING,
    NEEDED_FEATURES,
    UNKNOWN,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import IPAddress
from ansible_collections.groundplane.kubeadm.plugins.module_utils._operating_system import families_of
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
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_INOTIFY_INSTANCES = 128
_INOTIFY_WATCHES = 8192
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
    if not families_of(snapshot.os_release) & _SUPPORTED_FAMILIES:
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
    """Namespaces, control group controllers, packet filters and devices that no container or Service works without."""
    lacking = [f"namespace {name}" for name in sorted(_NAMESPACES - snapshot.namespaces)]
    lacking += [f"cgroup controller {name}" for name in sorted(_CONTROLLERS - snapshot.cgroups.controllers)]
    lacking += [
        " or ".join(modules)
        for modules in NEEDED_FEATURES
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


def check_hosts_file(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Programs on the node find the node itself and the loopback interface by their names."""
    own = {address.ip for link in snapshot.network.links for address in link.addresses}
    for name in ("localhost", snapshot.hostname.lower()):
        elsewhere = [
            address
            for address, ip in ((address, _ip(address)) for address in snapshot.hosts.get(name, ()))
            if ip is not None and not ip.is_loopback and (name == "localhost" or ip not in own)
        ]
        if elsewhere:
            yield Observation(
                f"/etc/hosts leads {name} to {', '.join(elsewhere)}",
                "127.0.0.1 and ::1" if name == "localhost" else "an address of this host",
                severity=ERROR if name == "localhost" else WARNING,
            )


def _ip(address: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


def check_machine_id(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """systemd and kubelet tell machines apart by it."""
    if not _MACHINE_ID.fullmatch(snapshot.machine_id):
        found = f'/etc/machine-id holds "{snapshot.machine_id}"' if snapshot.machine_id else "no or an empty machine-id"
        yield Observation(found, "32 hexadecimal digits")


def check_inotify_limits(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """kubelet, containerd and pods of root share one allowance."""
    low = [
        f"{name} = {value}"
        for name, value, least in (
            ("fs.inotify.max_user_instances", snapshot.inotify.instances, _INOTIFY_INSTANCES),
            ("fs.inotify.max_user_watches", snapshot.inotify.watches, _INOTIFY_WATCHES),
        )
        if value is not None and value < least
    ]
    if low:
        yield Observation(
            ", ".join(low), f"{_INOTIFY_INSTANCES} instances and {_INOTIFY_WATCHES} watches, the kernel's own defaults"
        )


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
            id="kernel-modules",
            severity=ERROR,
            purpose="Each module of prereqs_kernel_modules is built into the running kernel, loaded or loadable, and "
            "with canal what Calico's felix filters with (ip_set, xt_set, ipt_rpfilter). Where neither module files "
            "nor a kernel configuration can be read, this is a warning.",
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
            purpose="The kernel has, or can load, the namespaces, control group controllers, packet filters and "
            "network devices (veth, bridge, vxlan) that containers, Services and the pod network need.",
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
            purpose="Nothing turns swap on at the next boot: fstab, swap units, those that systemd makes of swap "
            "partitions among them, zram-generator, zram-tools, zram-config, dphys-swapfile, swapspace.",
            remedy="Nothing, when role prereqs runs: it comments the lines of fstab out and disables or masks the "
            "units. To keep swap set cluster_swap_allowed to true.",
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
    Check(
        Description(
            id="hosts-file",
            severity=WARNING,
            purpose="/etc/hosts leads localhost to the loopback interface and the hostname, where it is named there, "
            "to this host. A localhost elsewhere is an error: kubelet and kubeadm ask for health there.",
            remedy="Correct these lines of /etc/hosts; cloned machines often keep those of their original.",
        ),
        check_hosts_file,
    ),
    Check(
        Description(
            id="machine-id",
            severity=ERROR,
            purpose="The host has a machine-id, which systemd, kubelet and DHCP clients need.",
            remedy="Run systemd-machine-id-setup and reboot.",
        ),
        check_machine_id,
    ),
    Check(
        Description(
            id="inotify-limits",
            severity=WARNING,
            purpose="Root's programs may watch as many files as the kernel allows by default; fewer end in "
            '"too many open files" from kubelet, containerd and pods that follow logs.',
            remedy="Raise them in prereqs_sysctls, and remove the lines in /etc/sysctl.d that lower them.",
            variables=("prereqs_sysctls",),
        ),
        check_inotify_limits,
    ),
)
