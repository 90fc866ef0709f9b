# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others have installed and configured on a host that Kubernetes will share with it."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._iptables_remains import parse_save

CONTAINERD_CONFIGURATION = "/etc/containerd/config.toml"
# The header of every file that role containerd writes.
_OUR_MARK = "Managed by groundplane.kubeadm"
_KUBELET_CONFIGURATION = "var/lib/kubelet/config.yaml"
_KUBELET_FLAGS = ("var/lib/kubelet/kubeadm-flags.env", "etc/default/kubelet", "etc/sysconfig/kubelet")

# Folders that are searched before /usr/bin or that hold what is no package of Kubernetes' repository.
_FOREIGN_FOLDERS = ("usr/local/bin", "usr/local/sbin", "snap/bin", "opt/bin")
_PROGRAMS = ("kubeadm", "kubelet", "kubectl", "containerd", "runc")

_DPKG_UPDATES = "var/lib/dpkg/updates"
_PACKAGE_LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
)
# struct flock of 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi4x"

_PROFILES = "sys/kernel/security/apparmor/profiles"
_CONFINED_RUNC = re.compile(r"^(?:/usr/s?bin/)?runc \(", re.MULTILINE)
# The rule in containerd's own profile for containers that lets such a runc stop them.
_SIGNAL_RULE = b"peer=runc"

# Chains of Kubernetes and of pod networks, which their owners make anew and nobody else may keep.
_CLUSTER_CHAIN = re.compile(r"^:((?:KUBE|CNI|FLANNEL)-\S+|cali-\S+) ", re.MULTILINE)
_BASE_CHAINS = ("INPUT", "FORWARD", "OUTPUT")
NFT = "nft"
LEGACY = "legacy"


class RuntimeConfiguration(NamedTuple):
    """What containerd's configuration says about pods.

    :arg ours: role containerd has written it.
    :arg systemd_cgroup: None when it says nothing.
    """

    ours: bool
    sandbox_image: str = ""
    systemd_cgroup: bool | None = None


class Persistence(NamedTuple):
    """A mechanism of the distribution that restores saved packet filter rules.

    :arg chains: chains of a cluster that are among the saved rules.
    """

    service: str
    file: str
    chains: tuple[str, ...] = ()


class ForeignRules(NamedTuple):
    """Rules of iptables in the backend that the host's iptables does not use.

    :arg drops: some of them can drop packets that Kubernetes lets through in the other backend.
    """

    default: str
    rules: int = 0
    drops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Software:
    """Everything about foreign software.

    :arg kubelet_cgroup_driver: what kubelet's configuration or arguments on the host say, empty without any.
    :arg candidate: version of containerd that the distribution would install, empty when nobody asked.
    :arg interrupted_packages: files that dpkg left when it was interrupted.
    :arg package_lock: program that holds the lock of the package manager, empty while it is free.
    :arg signals_denied: AppArmor would deny containers the signals by which runc stops them.
    """

    runtime: RuntimeConfiguration | None = None
    kubelet_cgroup_driver: str = ""
    candidate: str = ""
    programs: tuple[str, ...] = ()
    interrupted_packages: tuple[str, ...] = ()
    package_lock: str = ""
    signals_denied: bool = False
    persistence: tuple[Persistence, ...] = ()
    foreign_rules: ForeignRules | None = None


def read_software(runner: Runner, root: Path, *, ask_candidate: bool) -> Software:
    """Read the host; programs are started only where files say that there is something to ask.

    :arg ask_candidate: look up which containerd the distribution would install.
    """
    interrupted, lock = _read_package_manager(root)
    return Software(
        runtime=_read_runtime(root),
        kubelet_cgroup_driver=_read_kubelet_driver(root),
        candidate=_read_candidate(runner) if ask_candidate else "",
        programs=tuple(
            f"/{folder}/{name}" for folder in _FOREIGN_FOLDERS for name in _PROGRAMS if (root / folder / name).exists()
        ),
        interrupted_packages=interrupted,
        package_lock=lock,
        signals_denied=_read_signals_denied(runner, root),
        persistence=tuple(_read_persistence(root)),
        foreign_rules=_read_foreign_rules(runner, root),
    )


def parse_runtime_configuration(text: str) -> RuntimeConfiguration:
    """The settings that matter, wherever in the file they stand: their tables differ from release to release."""
    settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    image = re.search(r"""^\s*(?:sandbox_image|sandbox)\s*=\s*["']([^"']+)["']""", settings, re.MULTILINE)
    driver = re.search(r"^\s*SystemdCgroup\s*=\s*(true|false)\b", settings, re.MULTILINE)
    return RuntimeConfiguration(
        ours=_OUR_MARK in text,
        sandbox_image=image.group(1) if image else "",
        systemd_cgroup=driver.group(1) == "true" if driver else None,
    )


def _read_runtime(root: Path) -> RuntimeConfiguration | None:
    text = _text(root / CONTAINERD_CONFIGURATION.lstrip("/"))
    return parse_runtime_configuration(text) if text else None


def _read_kubelet_driver(root: Path) -> str:
    """cgroupfs or systemd; an argument wins over the file."""
    arguments = " ".join(_text(root / path) for path in _KUBELET_FLAGS)
    given = re.findall(r"--cgroup-driver[= ](\w+)", arguments)
    configured = re.findall(r"^cgroupDriver:\s*[\"']?(\w+)", _text(root / _KUBELET_CONFIGURATION), re.MULTILINE)
    drivers: list[str] = [*configured, *given]
    return drivers[-1] if drivers else ""


def _read_candidate(runner: Runner) -> str:
    """Version of containerd in the distribution's archive."""
    program = runner.find("apt-cache")
    if program is None:
        return ""
    match = re.search(
        r"^\s+Candidate: (\d+\.\d+\.\d+)", runner.run([program, "policy", "containerd"]).stdout, re.MULTILINE
    )
    return match.group(1) if match else ""


def _read_package_manager(root: Path) -> tuple[tuple[str, ...], str]:
    """The journal of an interrupted dpkg, and who holds the lock.

    A dpkg at work has a journal as well, so that it means something only while nobody has the lock, before and after.
    """
    lock = _read_package_lock(root)
    if lock:
        return (), lock
    journal = _read_interrupted_packages(root)
    lock = _read_package_lock(root)
    return ((), lock) if lock else (journal, "")


def _read_interrupted_packages(root: Path) -> tuple[str, ...]:
    """Journal of dpkg, whose files have numbers for names; it is empty between two runs."""
    return tuple(f"/{_DPKG_UPDATES}/{name}" for name in _names(root / _DPKG_UPDATES) if name.isdigit())


def _read_package_lock(root: Path) -> str:
    """Who holds a lock of the package manager, asked without taking it."""
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    for path in _PACKAGE_LOCKS:
        try:
            with (root / path).open("rb") as lock:
                answer = struct.unpack(_FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, question))
        except OSError:
            continue
        if answer[0] != fcntl.F_UNLCK:
            return _text(root / "proc" / str(answer[4]) / "comm").strip() or "another program"
    return ""


def _read_signals_denied(runner: Runner, root: Path) -> bool:
    """Whether runc is confined by a profile of which the installed containerd does not know."""
    if not _CONFINED_RUNC.search(_text(root / _PROFILES)):
        return False
    program = runner.find("containerd")
    return program is not None and not contains(Path(program), _SIGNAL_RULE)


def contains(file: Path, words: bytes) -> bool:
    """Whether a file has these bytes; the file may be a program of many megabytes."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(words) >= 0
    except (OSError, ValueError):
        return True


def _read_persistence(root: Path) -> Iterable[Persistence]:
    """Services that restore rules of the packet filter at boot or when they are restarted."""
    if _enabled(root, "netfilter-persistent.service"):
        settings = _text(root / "etc/default/netfilter-persistent")
        keeps_out = all(
            re.search(rf"^\s*{name}=[\"']?yes", settings, re.MULTILINE)
            for name in ("IPTABLES_SKIP_SAVE", "IPTABLES_RESTORE_NOFLUSH")
        )
        if not keeps_out:
            yield _saved(root, "netfilter-persistent", "etc/iptables/rules.v4", "etc/iptables/rules.v6")
    if _enabled(root, "iptables.service"):
        yield _saved(root, "iptables", "etc/sysconfig/iptables")
    if _enabled(root, "ip6tables.service"):
        yield _saved(root, "ip6tables", "etc/sysconfig/ip6tables")
    if _enabled(root, "nftables.service"):
        for path in ("etc/nftables.conf", "etc/sysconfig/nftables.conf"):
            if re.search(r"^\s*flush\s+ruleset\b", _text(root / path), re.MULTILINE):
                yield Persistence("nftables", f"/{path}")


def _saved(root: Path, service: str, *paths: str) -> Persistence:
    chains = {chain: path for path in paths for chain in _CLUSTER_CHAIN.findall(_text(root / path))}
    return Persistence(service, f"/{next(iter(chains.values()), paths[0])}", tuple(chains))


def _enabled(root: Path, unit: str) -> bool:
    """Whether a target pulls a unit in."""
    return any((wants / unit).is_symlink() for wants in (root / "etc/systemd/system").glob("*.target.wants"))


def _read_foreign_rules(runner: Runner, root: Path) -> ForeignRules | None:
    """Rules in the backend that is not the host's default; the kernel applies those of both."""
    default = _default_backend(root)
    saves = []
    if default == NFT and _legacy_tables(root):
        saves = [runner.find(name) for name in ("iptables-legacy-save", "ip6tables-legacy-save")]
    elif default == LEGACY:
        saves = [runner.find(name) for name in ("iptables-nft-save", "ip6tables-nft-save")]
    texts = [runner.run([program], check=False).stdout for program in saves if program]
    return foreign_rules(default, texts) if texts else None


def _default_backend(root: Path) -> str:
    """Backend of the program iptables as the distribution's alternatives lead to it, empty without iptables."""
    for link in ("etc/alternatives/iptables", "usr/sbin/iptables", "sbin/iptables"):
        try:
            target = os.readlink(root / link)
        except OSError:
            continue
        if target.endswith("iptables-nft") or target.endswith("xtables-nft-multi"):
            return NFT
        if target.endswith("iptables-legacy") or target.endswith("xtables-legacy-multi"):
            return LEGACY
    return ""


def _legacy_tables(root: Path) -> bool:
    """Whether the kernel has tables of the older kind, which it makes when somebody first asks for one."""
    return any(_text(root / "proc/net" / name).strip() for name in ("ip_tables_names", "ip6_tables_names"))


def foreign_rules(default: str, texts: Iterable[str]) -> ForeignRules:
    """What the output of iptables-save holds."""
    count = 0
    drops: list[str] = []
    for text in texts:
        count += sum(len(table.rules) for table in parse_save("", text))
        drops += [line.rpartition(" ")[0] for line in text.splitlines() if _drops_by_policy(line)]
        drops += [
            rule.text for table in parse_save("", text) for rule in table.rules if _drops(rule.chain, rule.target)
        ]
    return ForeignRules(default, count, tuple(drops))


def _drops_by_policy(line: str) -> bool:
    return line.split(" ")[:2] in ([f":{chain}", "DROP"] for chain in _BASE_CHAINS)


def _drops(chain: str, target: str) -> bool:
    """Whether a rule drops; those of Kubernetes' own chains drop what nobody may send."""
    return target in ("DROP", "REJECT") and not chain.startswith("KUBE-")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
