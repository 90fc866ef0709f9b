# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight checks of software that is on the host already: runtime, packet filter, packages, programs, registries."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_software import (
    CONTAINERD_CONFIGURATION,
    NFT,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Check,
    Description,
    Observation,
    Wanted,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import (
    DRIVER_FROM_RUNTIME_SINCE,
    Snapshot,
)

_CGROUPFS = "cgroupfs"
# containerd answers kubelet's question for its cgroup driver.
_DRIVER_ANSWERED_SINCE = (2, 0)
_SHOWN = 4


def _listed(items: tuple[str, ...]) -> str:
    """The first of many."""
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def check_cgroup_driver(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """kubelet and containerd have to put pods into the same control groups, those of systemd."""
    software = snapshot.software
    runtime = software.runtime
    by_runtime = bool(runtime and runtime.systemd_cgroup is False)
    if software.kubelet_cgroup_driver == _CGROUPFS and not by_runtime:
        yield Observation(
            "kubelet on the host is configured with the cgroup driver cgroupfs",
            "systemd, as in containerd's configuration by role containerd",
            severity=ERROR if snapshot.cluster.known else WARNING,
            remedy="Set cgroupDriver to systemd in /var/lib/kubelet/config.yaml and take --cgroup-driver out of "
            "kubelet's arguments; drain a node in use first. On a host that is no node, remove these files.",
        )
    if by_runtime and runtime and not runtime.ours:
        yield Observation(
            f"{CONTAINERD_CONFIGURATION} says SystemdCgroup = false", "SystemdCgroup = true, the driver of kubelet"
        )


def check_sandbox_image(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A configuration of somebody else's names the image that every pod begins with."""
    runtime = snapshot.software.runtime
    if runtime is None or runtime.ours or not runtime.sandbox_image:
        return
    image = runtime.sandbox_image
    expected = wanted.sandbox_image or f"{wanted.image_repository}/pause"
    if image != expected and not image.startswith((f"{expected}:", f"{expected}@")):
        yield Observation(f"{CONTAINERD_CONFIGURATION} names the sandbox image {image}", expected)


def check_runtime_config(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A containerd that cannot tell kubelet its cgroup driver."""
    version = snapshot.runtime_version or snapshot.software.candidate
    if wanted.kubernetes_minor < DRIVER_FROM_RUNTIME_SINCE or not version:
        return
    if tuple(int(number) for number in version.split(".")[:2]) < _DRIVER_ANSWERED_SINCE:
        origin = "is installed" if snapshot.runtime_version else "is what the distribution would install"
        yield Observation(f"containerd {version} {origin}", f"2.0 or newer for Kubernetes {wanted.kubernetes_version}")


def check_apparmor_runc(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Containers refuse signals of a confined runc, unless their own profile allows them."""
    if snapshot.software.signals_denied:
        yield Observation(
            f"AppArmor confines runc, and the profile in containerd {snapshot.runtime_version} lets no signal of it "
            "reach a container",
            "containerd 1.7.16 or newer, or no profile for runc",
        )


def check_foreign_programs(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """A program beside the packages is found first, or is updated by nobody."""
    if snapshot.software.programs:
        yield Observation(_listed(snapshot.software.programs), "programs from packages only, in /usr/bin")


def check_package_manager(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Packages can be installed now."""
    software = snapshot.software
    if software.interrupted_packages:
        yield Observation(f"dpkg was interrupted and left {_listed(software.interrupted_packages)}", "an empty journal")
    if software.package_lock:
        yield Observation(
            f"{software.package_lock} holds the lock of the package manager",
            "a free lock",
            severity=WARNING,
            remedy="Wait until it has finished; unattended upgrades run right after the first boot.",
        )


def check_firewall_persistence(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Saved rules come back over those that kube-proxy and the pod network have made since."""
    for mechanism in snapshot.software.persistence:
        if mechanism.chains:
            yield Observation(
                f"{mechanism.service} restores {mechanism.file}, which holds chains of a cluster: "
                f"{_listed(mechanism.chains)}",
                "saved rules without chains of a cluster",
            )
        else:
            yield Observation(
                f"{mechanism.service} is enabled and replaces all rules by {mechanism.file} whenever it starts",
                "a mechanism that touches its own chains only",
            )


def check_iptables_mixture(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """The kernel asks the rules of both kinds of iptables, and a packet has to pass both."""
    rules = snapshot.software.foreign_rules
    if rules is None or not (rules.rules or rules.drops):
        return
    other = "legacy" if rules.default == NFT else "nft"
    expected = f"no rules of iptables-{other}, because iptables is iptables-{rules.default} here"
    if rules.drops:
        yield Observation(
            f"rules of iptables-{other} that drop packets: {_listed(rules.drops)}",
            expected,
            severity=WARNING if snapshot.cluster.known else ERROR,
        )
    else:
        yield Observation(f"{rules.rules} rules of iptables-{other}, none of which drops packets", expected)


def check_registry_unreachable(snapshot: Snapshot, wanted: Wanted) -> Iterator[Observation]:
    """Images can be pulled from one of the places that containerd asks."""
    for registry in snapshot.registries:
        failures = "; ".join(registry.failures)
        if not registry.reachable:
            yield Observation(
                failures,
                "an answer of a registry",
                severity=WARNING if snapshot.cluster.prepared else ERROR,
            )
        elif failures:
            yield Observation(
                f"{registry.name} is reached only after a mirror that fails: {failures}",
                "an answer of the first mirror",
                severity=WARNING,
                remedy="Repair the mirror or take it out of containerd_registry_mirrors; every pull waits for it.",
            )


SOFTWARE_CHECKS = (
    Check(
        Description(
            id="cgroup-driver",
            severity=WARNING,
            purpose="containerd and kubelet use the cgroup driver systemd. A configuration of containerd that is not "
            "this collection's and says otherwise is a warning, because it is replaced; a node whose kubelet uses "
            "cgroupfs is an error, because its pods would fail then.",
            remedy="Nothing, when role containerd runs: it writes this file anew. Move settings that you need into "
            "containerd_configuration first.",
            variables=("containerd_configuration",),
        ),
        check_cgroup_driver,
    ),
    Check(
        Description(
            id="sandbox-image",
            severity=WARNING,
            purpose="A configuration of containerd that is not this collection's names no other sandbox image than "
            "the one that kubeadm expects; else somebody needed another one here, and role containerd replaces it.",
            remedy="Nothing, when the image of kubeadm can be pulled. To keep the other one set "
            "containerd_sandbox_image.",
            variables=("containerd_sandbox_image", "cluster_image_repository"),
        ),
        check_sandbox_image,
    ),
    Check(
        Description(
            id="runtime-config",
            severity=ERROR,
            purpose="From Kubernetes 1.38 on, containerd can tell kubelet its cgroup driver (RuntimeConfig), which it "
            "does since 2.0; the installed one counts, else the one in the distribution. Before 1.38 kubelet is told "
            "by its configuration.",
            remedy="Upgrade containerd, or take it from Docker's repository (containerd_source: docker).",
            variables=("containerd_source", "cluster_kubernetes_version"),
        ),
        check_runtime_config,
    ),
    Check(
        Description(
            id="apparmor-runc",
            severity=WARNING,
            purpose="Where AppArmor confines runc, as on Ubuntu 24.04, the profile that containerd gives to containers "
            "accepts its signals. Otherwise no container can be stopped, and pods stay in Terminating.",
            remedy="Upgrade containerd, or run: ln -s /etc/apparmor.d/runc /etc/apparmor.d/disable/ and "
            "apparmor_parser -R /etc/apparmor.d/runc.",
        ),
        check_apparmor_runc,
    ),
    Check(
        Description(
            id="foreign-programs",
            severity=WARNING,
            purpose="No kubeadm, kubelet, kubectl, containerd or runc lies in /usr/local, /opt/bin or a snap, where "
            "it would be started instead of the package's.",
            remedy="Remove these programs, and the units in /etc/systemd/system that start them.",
        ),
        check_foreign_programs,
    ),
    Check(
        Description(
            id="package-manager",
            severity=ERROR,
            purpose="dpkg was not interrupted, which makes every installation fail. A package manager that is at work "
            "at the moment is a warning.",
            remedy="Run dpkg --configure -a.",
        ),
        check_package_manager,
    ),
    Check(
        Description(
            id="firewall-persistence",
            severity=WARNING,
            purpose="Nothing of the distribution restores a whole set of packet filter rules: netfilter-persistent, "
            "iptables-services, or nftables with flush ruleset. It would remove the chains of kube-proxy and the pod "
            "network, or bring back old ones. netfilter-persistent that neither saves nor flushes is fine.",
            remedy="Disable the service and put rules of your own into chains of their own, or set "
            "IPTABLES_SKIP_SAVE=yes and IPTABLES_RESTORE_NOFLUSH=yes in /etc/default/netfilter-persistent; remove "
            "chains of a cluster from the saved files.",
        ),
        check_firewall_persistence,
    ),
    Check(
        Description(
            id="iptables-mixture",
            severity=WARNING,
            purpose="Rules of iptables are all of one kind, nft or legacy. The kernel applies both, and what the rules "
            "of the other kind drop, kube-proxy cannot let through: an error on a host that is no node yet.",
            remedy="Delete the rules with the iptables-legacy or iptables-nft that made them, or let the tool that "
            "makes them use the same kind (update-alternatives --config iptables), then reboot.",
        ),
        check_iptables_mixture,
    ),
    Check(
        Description(
            id="registry-unreachable",
            severity=ERROR,
            purpose="The registry of Kubernetes' images answers, or one of its mirrors, through the proxies that "
            "containerd gets. Not asked on a node; a warning where images lie on the host already.",
            remedy="Allow this host to reach the registry, give it a proxy (cluster_http_proxy, cluster_https_proxy), "
            "or name a mirror that it can reach in containerd_registry_mirrors.",
            variables=("cluster_image_repository", "containerd_registry_mirrors"),
        ),
        check_registry_unreachable,
    ),
)
