# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of iptables_persistence_host on a machine whose programs only pretend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.modules import iptables_persistence_host

RunMain = Callable[..., Dict[str, Any]]

NAME = "0a1b2c3d4e5f"
CHAINS: list[dict[str, Any]] = [
    {"name": "GROUNDPLANE-INPUT", "hook": True, "text": ["-p tcp -m tcp --dport 22 -j ACCEPT", "-j DROP"]}
]


class Filter:
    """The table filter of both families as far as these tests need it: whole chains and the jump."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backend = "nf_tables"
        self.installed = True
        self.saved = {"iptables": "", "ip6tables": ""}
        self.calls: list[str] = []
        for folder in ("run/systemd/system", "proc/net", "etc/systemd/system/multi-user.target.wants"):
            (root / folder).mkdir(parents=True)
        (root / "proc/net/if_inet6").touch()

    def find(self, program: str) -> str | None:
        """Every program but those of the other backend."""
        if "legacy" in program or (program.startswith("iptables") and not self.installed):
            return None
        return f"/sbin/{program}"

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Pretend to be one of the programs."""
        names = [word.rpartition("/")[2] for word in argv]
        if names[:3] == ["setpriv", "--pdeathsig", "KILL"]:
            names = names[3:]
        self.calls.append(" ".join(names[:2]))
        result = self._answer(names, stdin or "")
        if check and result.rc:
            raise CommandError(argv, result)
        return result

    def _answer(self, names: Sequence[str], stdin: str) -> Result:
        program, _hyphen, kind = names[0].partition("-")
        link = self.root / "etc/systemd/system/multi-user.target.wants/groundplane-firewall.service"
        if names[0] == "sh":
            (self.root / "run/groundplane/firewall/aaaaaaaa/pending").rename(
                self.root / "run/groundplane/firewall/aaaaaaaa/rolled-back"
            )
        if names[0] == "unshare":
            return Result(65, "", "Error occurred at line: 3") if "oops" in stdin else Result(0, stdin, "")
        if names[0] == "systemctl" and names[1] == "enable":
            link.symlink_to("/dev/null")
        if names[0] == "systemctl" and names[1] == "disable":
            link.unlink()
        if names[1] == "--version":
            return Result(0, f"iptables v1.8.9 ({self.backend})\n", "")
        if kind == "save":
            return Result(0, self.saved[program], "")
        if kind == "restore" and names[1] != "--test":
            lines = [line for line in stdin.splitlines() if line[:2] in ("-A", "-I") or line[0] in "*:C"]
            removed = " -X " in stdin.replace("\n", " ")
            self.saved[program] = "" if removed else "\n".join(lines).replace("-I INPUT 1", "-A INPUT")
        return Result(0, "", "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filter:
    """A machine with systemd, iptables and IPv6, and no rules."""
    fake = Filter(tmp_path)
    monkeypatch.setattr(iptables_persistence_host, "ROOT", tmp_path)
    monkeypatch.setattr(iptables_persistence_host, "ModuleRunner", lambda module: fake)
    return fake


@pytest.fixture
def call(machine: Filter, run_main: RunMain) -> RunMain:
    """Call the module for one change."""

    def call_module(operation: str = "apply", *, change: str = NAME, check: bool = False, **options: Any) -> Any:
        machine.calls.clear()
        arguments = {"operation": operation, "change": change, "chains": CHAINS, **options}
        return run_main(iptables_persistence_host, arguments, check=check, diff=True)

    return call_module


def test_predict_load_confirm_again(machine: Filter, call: RunMain) -> None:
    predicted = call(check=True)
    assert predicted["changed"]
    assert predicted["pending"] == 0
    assert not (machine.root / "etc/groundplane").exists()
    assert not (machine.root / "run/groundplane").exists()
    assert set(machine.calls) == {
        "iptables --version",
        "ip6tables --version",
        "iptables-save -t",
        "ip6tables-save -t",
        "unshare --net",
    }

    loaded = call(rollback_seconds=30)
    assert loaded["pending"] == 30
    assert {**loaded, "pending": 0, "invocation": 0} == {**predicted, "invocation": 0}
    assert loaded["loaded"]
    assert loaded["previous"] == []
    assert loaded["backend"] == "nft"
    assert loaded["families"] == ["ipv4", "ipv6"]
    assert loaded["chains"] == ["GROUNDPLANE-INPUT"]
    assert [entry["before_header"].rpartition("/")[2] for entry in loaded["diff"]] == [
        "ipv4, table filter",
        "ipv6, table filter",
        "restore",
        "groundplane-firewall.service",
    ]
    assert not (machine.root / "etc/groundplane").exists()
    assert call("outcome")["outcome"] == "pending"
    assert call("confirm", check=True)["outcome"] == "pending"

    confirmed = call("confirm")
    assert confirmed["outcome"] == "confirmed"
    assert machine.calls == ["systemctl stop", "systemctl daemon-reload", "systemctl enable"]
    folder = machine.root / "etc/groundplane/firewall"
    assert sorted(path.name for path in folder.iterdir()) == ["restore", "rules.v4", "rules.v6"]
    assert folder.stat().st_mode & 0o777 == 0o700

    again = call(change="ffffffffffff")
    assert not again["changed"]
    assert again["diff"] == []
    assert call("outcome", change="ffffffffffff")["outcome"] == "unknown"


def test_what_only_the_disk_lacks_waits_for_a_confirmation_too(machine: Filter, call: RunMain) -> None:
    call()
    call("confirm")
    (machine.root / "etc/groundplane/firewall/rules.v6").unlink()
    written = call(change="ffffffffffff")
    assert written["changed"]
    assert written["pending"] == 60
    assert not written["loaded"]
    assert written["files"] == [str(machine.root / "etc/groundplane/firewall/rules.v6")]
    assert len(written["diff"]) == 1
    assert "systemd-run --quiet" in machine.calls
    assert not any(called.startswith(("iptables-restore", "ip6tables-restore")) for called in machine.calls)
    assert not (machine.root / "etc/groundplane/firewall/rules.v6").exists()
    assert call("confirm", change="ffffffffffff")["outcome"] == "confirmed"
    assert (machine.root / "etc/groundplane/firewall/rules.v6").exists()
    assert not call(change="eeeeeeeeeeee")["changed"]


def test_what_was_never_confirmed_is_not_saved_by_a_second_run(machine: Filter, call: RunMain) -> None:
    call()
    folder = machine.root / "run/groundplane/firewall" / NAME
    (folder / "pending").rename(folder / "rollback-failed")
    again = call(change="ffffffffffff")
    assert again["pending"] == 60
    assert not (machine.root / "etc/groundplane").exists()


def test_everything_of_ours_goes(machine: Filter, call: RunMain) -> None:
    call()
    call("confirm")
    gone = call(change="ffffffffffff", state="absent", chains=None)
    assert gone["chains"] == ["GROUNDPLANE-INPUT"]
    assert gone["families"] == []
    (chain,) = gone["previous"]
    assert chain["hook"]
    assert chain["text"] == [f"-{family} {rule}" for family in (4, 6) for rule in CHAINS[0]["text"]]
    assert gone["pending"] == 60
    assert (machine.root / "etc/groundplane/firewall/rules.v4").exists()
    call("confirm", change="ffffffffffff")
    assert machine.calls == ["systemctl stop", "systemctl disable", "systemctl daemon-reload"]
    assert not (machine.root / "etc/groundplane").exists()
    assert not call(change="eeeeeeeeeeee", state="absent", chains=None)["changed"]


def test_what_is_confirmed_survives_a_power_cut_a_second_later(
    machine: Filter, call: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names that a folder holds are written to the disk, after the last of them has changed."""
    wants = "etc/systemd/system/multi-user.target.wants"
    synced: dict[str, list[str]] = {}

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_dir():
            synced[str(path.relative_to(machine.root))] = sorted(name.name for name in path.iterdir())

    monkeypatch.setattr("os.fsync", note)
    call()
    call("confirm")
    assert synced["etc"] == ["groundplane", "systemd"]
    assert synced["etc/groundplane"] == ["firewall"]
    assert synced["etc/groundplane/firewall"] == ["restore", "rules.v4", "rules.v6"]
    assert synced["etc/systemd/system"] == ["groundplane-firewall.service", "multi-user.target.wants"]
    assert synced[wants] == ["groundplane-firewall.service"]

    synced.clear()
    call(change="ffffffffffff", state="absent")
    call("confirm", change="ffffffffffff")
    assert synced["etc"] == ["systemd"]
    assert synced["etc/systemd/system"] == ["multi-user.target.wants"]
    assert synced[wants] == []


def test_a_host_without_iptables_has_nothing_of_ours(machine: Filter, call: RunMain) -> None:
    machine.installed = False
    gone = call(state="absent", chains=[{"name": "GROUNDPLANE-INPUT"}])
    assert not gone["changed"]
    assert gone["backend"] == ""
    assert "install the package iptables" in call()["msg"]


def test_other_files_beside_ours_stay(machine: Filter, call: RunMain) -> None:
    call()
    call("confirm")
    (machine.root / "etc/groundplane/other").touch()
    call(change="ffffffffffff", state="absent")
    call("confirm", change="ffffffffffff")
    assert [path.name for path in (machine.root / "etc/groundplane").iterdir()] == ["other"]


def test_a_kernel_without_ipv6(machine: Filter, call: RunMain) -> None:
    (machine.root / "proc/net/if_inet6").unlink()
    assert call(check=True)["families"] == ["ipv4"]
    assert "a kernel without IPv6" in call(families=["ipv6"])["msg"]


def test_a_family_that_is_not_asked_for_is_cleared(machine: Filter, call: RunMain) -> None:
    machine.saved["ip6tables"] = ":GROUNDPLANE-INPUT - [0:0]\n"
    result = call(families=["ipv4"])
    assert result["families"] == ["ipv4"]
    assert machine.saved["ip6tables"] == ""


def test_a_refused_rule_changes_nothing(machine: Filter, call: RunMain) -> None:
    chains = [{"name": "GROUNDPLANE-INPUT", "hook": True, "text": ["oops"]}]
    assert 'at "-A GROUNDPLANE-INPUT oops"' in call(chains=chains)["msg"]
    assert "systemd-run --quiet" not in machine.calls
    assert [path.name for path in (machine.root / "run/groundplane/firewall").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollback_seconds": 9}, "rollback_seconds 9.*10 to 600"),
        ({"rollback_seconds": 601}, "rollback_seconds 601"),
        ({"chains": []}, "Found no chains"),
        ({"chains": None}, "Found no chains"),
        ({"families": []}, "Found no families"),
        ({"state": "absent", "chains": [{"name": "INPUT"}]}, 'the chain name "INPUT"'),
        ({"change": "x"}, "hexadecimal"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, call: RunMain) -> None:
    result = call(**options)
    assert result["failed"]
    assert re.search(message, result["msg"])


def test_a_host_without_systemd(machine: Filter, call: RunMain) -> None:
    (machine.root / "run/systemd/system").rmdir()
    assert "systemd not running" in call()["msg"]
    assert "systemd not running" in call(check=True)["msg"]
    assert machine.saved["iptables"] == ""


def test_what_would_flush_is_reported(machine: Filter, call: RunMain) -> None:
    (machine.root / "etc/systemd/system/multi-user.target.wants/firewalld.service").symlink_to("/dev/null")
    result = call(check=True)
    assert [note["id"] for note in result["persistence"]] == ["firewalld-active"]
    assert "firewalld is enabled" in str(result["warnings"])


def test_what_lets_packets_in_before_us_is_reported(machine: Filter, call: RunMain) -> None:
    call()
    call("confirm")
    rules = "".join(f"-A INPUT -p tcp -m tcp --dport {port} -j ACCEPT\n" for port in (1, 2, 3, 4, 5))
    machine.saved["ip6tables"] = machine.saved["ip6tables"].replace("-A INPUT", f"{rules}-A INPUT")
    result = call(change="ffffffffffff")
    assert not result["changed"]
    (note,) = result["persistence"]
    assert note["id"] == "accepted-before"
    assert note["found"].startswith("rules of ip6tables let packets in")
    assert note["found"].endswith(
        ": -A INPUT -p tcp -m tcp --dport 1 -j ACCEPT; "
        "-A INPUT -p tcp -m tcp --dport 2 -j ACCEPT; -A INPUT -p tcp -m tcp --dport 3 -j ACCEPT and 2 more"
    )
    assert "`ip6tables -D INPUT -j GROUNDPLANE-INPUT`" in note["remedy"]
    assert "let packets in before" in str(result["warnings"])


@pytest.mark.parametrize("state", ["pending", "rolling-back"])
def test_an_unconfirmed_change_of_another_run_is_told(state: str, machine: Filter, call: RunMain) -> None:
    """Its timer is long past: a script that never ran is run now, one that died is run anew."""
    folder = machine.root / "run/groundplane/firewall/aaaaaaaa"
    folder.mkdir(parents=True)
    (folder / "deadline").write_text("-100")
    (folder / state).touch()
    result = call()
    assert result["earlier_change_rolled_back"]
    assert "was taken back by its timer" in str(result["warnings"])
    assert (folder / "rolled-back").exists()
