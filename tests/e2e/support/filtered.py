# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes without a cluster whose packet filters are changed, some of each backend of iptables."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.support.lab import LabSet
from tests.e2e.support.packet_filter import OURS, Rules, everything
from tests.e2e.support.site import Run, Site, StartedRun
from tests.lab.nodes import PREFIX
from tests.lab.podman import Podman
from tests.lab.process import run
from tests.lab.settings import BRIDGE_NAME, paths

PLAYBOOK = Path(__file__).resolve().parents[1] / "playbooks/packet_filter.yml"

NFT = "nft"
LEGACY = "legacy"

PENDING = "pending"
ROLLED_BACK = "rolled-back"

_INSTALL = (
    "export DEBIAN_FRONTEND=noninteractive; "
    "{ apt-get update && apt-get install --yes --no-install-recommends iptables; } >/tmp/apt.log 2>&1 || "
    "{ cat /tmp/apt.log; false; }"
)
_SWITCH = " && ".join(
    f"update-alternatives --quiet --set {program} /usr/sbin/{program}-legacy" for program in ("iptables", "ip6tables")
)

#: What kubelet, kube-proxy, a CNI plugin, flannel and Calico leave, in their own words.
_FOREIGN = """\
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
:cali-INPUT - [0:0]
-A INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A INPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-SERVICES -p tcp -m comment --comment "default/web has no endpoints" -m tcp --dport 30999 -j REJECT
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:FLANNEL-POSTRTG - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 8080
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
-A KUBE-SERVICES -p tcp -m tcp --dport 30998 -j RETURN
COMMIT
"""
CHAINS_OF_OTHERS = ("KUBE-FIREWALL", "KUBE-SERVICES", "CNI-HOSTPORT-DNAT", "FLANNEL-POSTRTG", "cali-INPUT")

# Everything a change may leave on the disk, with times and links, and the timers that take one back.
_KEPT = """\
find /etc/groundplane /etc/systemd/system -printf '%p %y %m %U:%G %T@ %l\\n' 2>/dev/null | sort
find /etc/groundplane -type f -exec sha256sum {} + 2>/dev/null | sort -k 2
systemctl list-units --all --plain --no-legend 'groundplane-firewall-rollback-*'
"""


@dataclass(frozen=True)
class FilteredNodes:
    """The nodes, with what is known about each."""

    nodes: LabSet
    site: Site
    backends: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Names of all nodes."""
        return list(self.backends)

    def of_backend(self, backend: str) -> list[str]:
        """Names of the nodes of one backend."""
        return [name for name, found in self.backends.items() if found == backend]

    def fresh(self) -> Rules:
        """Have chains of others everywhere and nothing of ours; the rules that are there then."""
        _seed_chains_of_others(self.nodes, self.names)
        found = everything(self.nodes, self.names)
        filled = [name for name, rules in found.items() if OURS in rules]
        if not filled:
            return found
        self.call({name: {"state": "absent", "chains": [], "rollback_seconds": 60} for name in filled})
        return everything(self.nodes, self.names)

    def kept(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """What lies on the disk, and which timers run."""
        return self.nodes.run_on(self.names if names is None else names, _KEPT)

    def start(self, calls: Mapping[str, Mapping[str, Any]], *arguments: str) -> StartedCalls:
        """Call the module on some of the nodes, each with options of its own."""
        number = len(list(self.site.work.glob("results-*"))) + 1
        self.site.work.mkdir(parents=True, exist_ok=True)
        results = self.site.work / f"results-{number:02d}.json"
        results.touch()
        variables = {"packet_filter_calls": calls, "packet_filter_results": str(results)}
        return StartedCalls(self.site.start(*arguments, playbook=str(PLAYBOOK), variables=variables), results)

    def call(self, calls: Mapping[str, Mapping[str, Any]], *arguments: str) -> Called:
        """The same to its end."""
        return self.start(calls, *arguments).wait()


@dataclass(frozen=True)
class Called:
    """A run that has ended, with the result of the module on each host."""

    run: Run
    results: Mapping[str, Mapping[str, Any]]

    def require(self, *, changed: bool) -> Called:
        """Fail unless the module succeeded everywhere and changed everything, or nothing."""
        wrong = {
            name: result
            for name, result in self.results.items()
            if result.get("failed") or result.get("unreachable") or result["changed"] is not changed
        }
        assert not wrong, f"changed should be {changed} everywhere: {wrong}\n{self.run.tail()}"
        return self


@dataclass(frozen=True)
class StartedCalls:
    """A run that goes on."""

    run: StartedRun
    results: Path

    def wait(self) -> Called:
        """Wait for its end."""
        run = self.run.wait().require_success()
        return Called(run, json.loads(self.results.read_text()))


@dataclass(frozen=True)
class Inside:
    """What a running node looks like from below: files and cable, which no packet filter is in the way of."""

    root: Path

    @property
    def changes(self) -> Path:
        """Where changes that wait for a confirmation are."""
        return self.root / "run/groundplane/firewall"

    def states(self) -> set[str]:
        """Of all changes since the node was switched on: change and state."""
        states = (PENDING, "confirming", "confirmed", "rolling-back", ROLLED_BACK, "rollback-failed")
        return {f"{found.parent.name} {state}" for state in states for found in self.changes.glob(f"*/{state}")}

    def counted(self, change: str) -> str:
        """Rules that were in force when a change was taken back."""
        folder = self.changes / change
        return "".join(path.read_text() for path in sorted(folder.glob("counters.*")))

    def applied(self) -> str:
        """Change whose rules are in force and wait for their confirmation, once the module has done its part."""
        waiting = [state.split()[0] for state in self.states() if state.endswith(f" {PENDING}")]
        if not waiting:
            return ""
        with (self.changes / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ""
        return waiting[0]

    def unplug(self) -> None:
        """Take the node off the network."""
        run(["ip", "link", "set", self._port(), "down"])

    def plug(self) -> None:
        """Put it back on the network."""
        run(["ip", "link", "set", self._port(), "up"])

    def _port(self) -> str:
        index = int((self.root / "sys/class/net/eth0/iflink").read_text())
        ports = json.loads(run(["ip", "-json", "link", "show", "master", BRIDGE_NAME]))
        return str(next(port["ifname"] for port in ports if port["ifindex"] == index))


def inside(name: str) -> Inside:
    """A node that runs, as it is until it is switched off."""
    containers = Podman(paths()).containers()
    pid = next(found["Pid"] for found in containers if found["Names"][0] == PREFIX + name)
    return Inside(Path(f"/proc/{pid}/root"))


def prepare(nodes: LabSet, work: Path) -> FilteredNodes:
    """Install iptables on nodes, switch the last two to its old backend, and let others have chains on all."""
    names = nodes.names
    backends = {**dict.fromkeys(names[:-2], NFT), **dict.fromkeys(names[-2:], LEGACY)}
    prepared = FilteredNodes(nodes, Site(nodes.inventory, work / nodes.name), backends)
    nodes.run_on(names, _INSTALL)
    nodes.run_on(prepared.of_backend(LEGACY), _SWITCH)
    _seed_chains_of_others(nodes, names)
    for name, version in nodes.run_on(names, "iptables --version; ip6tables --version").items():
        assert version.count("(legacy)" if backends[name] == LEGACY else "(nf_tables)") == 2, f"{name}: {version}"
    return prepared


def _seed_chains_of_others(nodes: LabSet, names: Iterable[str]) -> None:
    """Let Kubernetes and others have chains in both families, where they have none yet."""
    nodes.run_on(
        names,
        "iptables --wait -S KUBE-FIREWALL >/dev/null 2>&1 || for restore in iptables-restore ip6tables-restore; do "
        f"$restore --noflush <<'END' || exit 1\n{_FOREIGN}END\ndone",
    )
