# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else on a machine brings packet filter rules at boot, and would flush or freeze those of Kubernetes.

A frozen chain is one that was saved with the addresses of that minute and comes back at every boot, long after its pods
are gone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import NFT

_FAMILIES = (("IPTABLES", "rules.v4"), ("IP6TABLES", "rules.v6"))
_FOREIGN_CHAIN = re.compile(r"^:(?:KUBE|CNI|FLANNEL|GROUNDPLANE)-|^:cali-", re.MULTILINE)
_SHOWN_RULES = 3


class Note(NamedTuple):
    """One thing to know, and what to do about it."""

    id: str
    found: str
    remedy: str


def read_notes(root: Path, backend: str) -> list[Note]:
    """All notes on the machine whose files lie below root."""
    return [
        *_netfilter_persistent(root),
        *_iptables_services(root),
        *_nftables(root, backend),
        *_ufw(root),
        *_firewalld(root),
    ]


def accepted_before(program: str, jump: str, rules: Sequence[str]) -> Iterator[Note]:
    """Note on rules of INPUT that let packets in before they come to our chains.

    :arg jump: our rule of INPUT.
    """
    if rules:
        more = f" and {len(rules) - _SHOWN_RULES} more" if len(rules) > _SHOWN_RULES else ""
        yield Note(
            "accepted-before",
            f"rules of {program} let packets in before these come to our chains: "
            f"{'; '.join(rules[:_SHOWN_RULES])}{more}",
            f"remove them, or `{program} {jump.replace('-A', '-D', 1)}` and run this again, which puts ours first",
        )


def _netfilter_persistent(root: Path) -> Iterator[Note]:
    """Of Debian and Ubuntu, with the plugins of iptables-persistent."""
    plugins = root / "usr/share/netfilter-persistent/plugins.d"
    if not any(plugins.glob("*ip*tables")):
        return
    settings = _shell_settings(root / "etc/default/netfilter-persistent")
    for prefix, name in _FAMILIES:
        saved = read_text(root / "etc/iptables" / name)
        if saved is not None and _enabled(root, "netfilter-persistent.service"):
            if settings.get(f"{prefix}_RESTORE_NOFLUSH") != "yes":
                yield Note(
                    "netfilter-persistent-flush",
                    f"netfilter-persistent empties all chains when it loads /etc/iptables/{name}",
                    f"set {prefix}_RESTORE_NOFLUSH=yes in /etc/default/netfilter-persistent",
                )
            if _FOREIGN_CHAIN.search(saved):
                yield Note(
                    "netfilter-persistent-frozen",
                    f"/etc/iptables/{name} holds chains that Kubernetes or this collection makes by itself",
                    f"take them out of /etc/iptables/{name}",
                )
        if settings.get(f"{prefix}_SKIP_SAVE") != "yes":
            yield Note(
                "netfilter-persistent-save",
                f"`netfilter-persistent save` would freeze the chains of Kubernetes in /etc/iptables/{name}",
                f"set {prefix}_SKIP_SAVE=yes in /etc/default/netfilter-persistent",
            )


def _iptables_services(root: Path) -> Iterator[Note]:
    """Of the RHEL family."""
    for program in ("iptables", "ip6tables"):
        unit = f"{program}.service"
        if not _enabled(root, unit):
            continue
        yield Note(
            "iptables-services-flush",
            f"{unit} empties all chains when it starts, stops or restarts",
            f"disable {unit} and let this collection keep the rules, or restart kubelet after it",
        )
        settings = _shell_settings(root / f"etc/sysconfig/{program}-config")
        saving = [name for name in ("STOP", "RESTART") if settings.get(f"{program.upper()}_SAVE_ON_{name}") == "yes"]
        if saving:
            yield Note(
                "iptables-services-save",
                f"{unit} freezes the chains of Kubernetes in /etc/sysconfig/{program}",
                " and ".join(f"set {program.upper()}_SAVE_ON_{name}=no" for name in saving)
                + f" in /etc/sysconfig/{program}-config",
            )


def _nftables(root: Path, backend: str) -> Iterator[Note]:
    if backend != NFT or not _enabled(root, "nftables.service"):
        return
    for main in (root / "etc/nftables.conf", root / "etc/sysconfig/nftables.conf"):
        for file in [main, *_included(root, main)]:
            if re.search(r"^[^#]*\bflush\s+ruleset\b", read_text(file) or "", re.MULTILINE):
                yield Note(
                    "nftables-flush",
                    f"nftables.service begins with `flush ruleset` (/{file.relative_to(root)}), which removes the "
                    "chains of Kubernetes too when it is restarted or reloaded",
                    "flush only your own tables there (`flush table inet filter`), or disable nftables.service",
                )


def _included(root: Path, main: Path) -> Iterator[Path]:
    for pattern in re.findall(r'^\s*include\s+"([^"]+)"', read_text(main) or "", re.MULTILINE):
        yield from sorted(root.glob(pattern.lstrip("/")))


def _ufw(root: Path) -> Iterator[Note]:
    if _shell_settings(root / "etc/ufw/ufw.conf").get("ENABLED") != "yes":
        return
    yield Note(
        "ufw-active",
        "ufw is active and filters beside these rules; what it drops stays dropped",
        "allow the ports of the cluster in ufw as well, or `ufw disable`",
    )
    if _shell_settings(root / "etc/default/ufw").get("MANAGE_BUILTINS") == "yes":
        yield Note(
            "ufw-flush",
            "ufw empties the built-in chains when it starts or reloads",
            "set MANAGE_BUILTINS=no in /etc/default/ufw",
        )


def _firewalld(root: Path) -> Iterator[Note]:
    if not _enabled(root, "firewalld.service"):
        return
    yield Note(
        "firewalld-active",
        "firewalld is enabled and filters beside these rules; what it drops stays dropped",
        "open the ports of the cluster in firewalld as well, or disable it",
    )
    if _shell_settings(root / "etc/firewalld/firewalld.conf").get("FirewallBackend") == "iptables":
        yield Note(
            "firewalld-flush",
            "firewalld uses iptables and empties all chains when it starts or reloads",
            "set FirewallBackend=nftables in /etc/firewalld/firewalld.conf, or disable firewalld",
        )


def _enabled(root: Path, unit: str) -> bool:
    """Whether a unit starts at boot, told by the links that enable it."""
    units = root / "etc/systemd/system"
    folders = (folder for kind in ("wants", "requires") for folder in units.glob(f"*.{kind}"))
    return any((folder / unit).is_symlink() for folder in folders)


def _shell_settings(file: Path) -> dict[str, str]:
    """Assignments of a file that a shell would read."""
    found = re.findall(r"^\s*(\w+)=[\"']?([^\"'#\s]*)", read_text(file) or "", re.MULTILINE)
    return {name: value.lower() for name, value in found}
