# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change ends in exactly one way, whoever is killed."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any, Callable, Mapping, Sequence, cast

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _firewall_transaction
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_files import WantedFiles
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import Found, Tool
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_plan import FamilyPlan, decide
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import ChainText, RuleSet
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_transaction import (
    Change,
    begin,
    change_of,
    check_systemd,
    confirm,
    forget_old,
    turn,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import exclusive

NAME = "0a1b2c3d4e5f"
AFTER = RuleSet((ChainText("GROUNDPLANE-A", ("-A GROUNDPLANE-A -j DROP",)),), ("-A INPUT -j GROUNDPLANE-A",))
FILES = WantedFiles({"etc/groundplane/firewall/rules.v4": ("rules\n", 0o600)}, False)


class Machine:
    """Notes what is run; a program fails when it is told so, and the rollback script ends as told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[list[str]] = []
        self.bound: list[str] = []
        self.failing: dict[str, Result] = {}
        self.rollback_ends = "rolled-back"
        self.meanwhile: dict[str, Callable[[], object]] = {}

    def find(self, program: str) -> str | None:
        """Every program is there."""
        return f"/bin/{program}"

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Note a call, apart whether it ends with its caller; the script's is carried out."""
        if list(argv[:3]) == ["/bin/setpriv", "--pdeathsig", "KILL"]:
            argv = argv[3:]
            self.bound.append(argv[0])
        self.calls.append(list(argv))
        self.meanwhile.get(" ".join(argv[:2]), list)()
        if argv[0] == "sh" and self.rollback_ends:
            (Path(argv[1]).parent / "pending").rename(Path(argv[1]).parent / self.rollback_ends)
        result = self.failing.get(" ".join(argv[:2]), Result(0, "", ""))
        if check and result.rc:
            raise CommandError(argv, result)
        return result

    @property
    def programs(self) -> list[str]:
        """Calls without their folders, shortened."""
        return [" ".join([argv[0].rpartition("/")[2], *argv[1:3]]) for argv in self.calls]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine where everything works."""
    return Machine(tmp_path)


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """A change that has not begun."""
    return change_of(tmp_path, NAME)


def made(change: Change, state: str, *, seconds: float = 60, files: WantedFiles = FILES) -> Change:
    """A change in some state, whose timer ends in some seconds."""
    change.folder.mkdir(parents=True)
    (change.folder / "deadline").write_text(str(time.monotonic() + seconds))
    (change.folder / "files").write_text(json.dumps({"files": files.files, "enabled": files.enabled}))
    (change.folder / state).touch()
    return change


def plans(*families: str) -> list[FamilyPlan]:
    """A first change of one family or of several."""
    programs = {"ipv4": "/bin/iptables", "ipv6": "/bin/ip6tables"}
    return [
        decide(
            Tool(family, "nft", programs[family], f"{programs[family]}-save", f"{programs[family]}-restore"),
            Found(RuleSet(), ()),
            AFTER,
            AFTER,
        )
        for family in families or ["ipv4"]
    ]


def test_the_timer_is_armed_before_anything_is_loaded(machine: Machine, change: Change) -> None:
    begin(machine, change, plans(), FILES, 30)
    assert machine.programs == [
        "iptables-restore --test --noflush",
        "systemd-run --quiet --collect",
        "iptables-restore --noflush --wait=30",
    ]
    assert machine.calls[1][3:] == [
        f"--unit=groundplane-firewall-rollback-{NAME}",
        f"--description=Takes back change {NAME} of the packet filter",
        "--on-active=30s",
        "--timer-property=AccuracySec=1s",
        "/bin/sh",
        str(change.folder / "rollback"),
    ]
    assert change.state == "pending"
    assert 29 < change.deadline - time.monotonic() <= 30
    assert change.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in change.folder.iterdir()} == {0o600}


def test_a_restore_does_not_outlive_a_killed_module(machine: Machine, change: Change) -> None:
    """It may wait for the lock of the rules, and would get it after the timer has come."""
    begin(machine, change, plans("ipv4", "ipv6"), FILES, 30)
    assert machine.bound == ["/bin/iptables-restore", "/bin/ip6tables-restore"]


def test_refused_by_the_host_before_anything_is_armed(machine: Machine, change: Change) -> None:
    machine.failing["/bin/iptables-restore --test"] = Result(2, "", "Error occurred at line: 3")
    with pytest.raises(GroundplaneError, match='at "-A GROUNDPLANE-A -j DROP".*Nothing was changed'):
        begin(machine, change, plans(), FILES, 30)
    assert len(machine.calls) == 1
    assert change.state == "unknown"


def test_without_a_timer_nothing_is_loaded(machine: Machine, change: Change) -> None:
    machine.failing["/bin/systemd-run --quiet"] = Result(1, "", "Failed to connect to bus")
    with pytest.raises(CommandError, match="Failed to connect to bus"):
        begin(machine, change, plans(), FILES, 30)
    assert change.state == "rolled-back"
    assert machine.programs[-1] == "systemd-run --quiet --collect"


def test_what_cannot_be_loaded_is_taken_back_at_once(machine: Machine, change: Change) -> None:
    machine.failing["/bin/iptables-restore --noflush"] = Result(4, "", "line 4: RULE_APPEND failed (Too many links)")
    with pytest.raises(GroundplaneError, match="Too many links.*Nothing was changed"):
        begin(machine, change, plans(), FILES, 30)
    assert machine.programs[-2:] == [
        f"sh {change.folder / 'rollback'}",
        f"systemctl stop groundplane-firewall-rollback-{NAME}.timer",
    ]
    assert change.state == "rolled-back"


@pytest.mark.parametrize("end", ["rollback-failed", "rolling-back", ""])
def test_taking_back_may_fail_too(end: str, machine: Machine, change: Change) -> None:
    machine.failing["/bin/iptables-restore --noflush"] = Result(4, "", "no")
    machine.rollback_ends = end
    with pytest.raises(GroundplaneError, match="Taking it back has failed: nothing was printed"):
        begin(machine, change, plans(), FILES, 30)
    assert change.state == "rollback-failed"


@pytest.mark.parametrize("came", ["rolling-back", "rolled-back", "rollback-failed"])
def test_what_is_loaded_after_the_timer_came_is_taken_back(came: str, machine: Machine, change: Change) -> None:
    """The first family is loaded by a process that stalled; the second one is not even tried."""
    machine.meanwhile["/bin/iptables-restore --noflush"] = lambda: change.claim("pending", came)
    with pytest.raises(GroundplaneError, match="the 30 seconds of the timer over.*rules from before are in") as caught:
        begin(machine, change, plans("ipv4", "ipv6"), FILES, 30)
    assert machine.programs[3:] == [
        "iptables-restore --noflush --wait=30",
        f"sh {change.folder / 'rollback'}",
        f"systemctl stop groundplane-firewall-rollback-{NAME}.timer",
    ]
    assert change.state == "rolled-back"
    assert caught.value.facts == {"rolled_back": True}


def test_a_second_family_that_fails_late_takes_the_first_one_back(machine: Machine, change: Change) -> None:
    machine.meanwhile["/bin/ip6tables-restore --noflush"] = lambda: change.claim("pending", "rolled-back")
    machine.failing["/bin/ip6tables-restore --noflush"] = Result(4, "", "no")
    with pytest.raises(GroundplaneError, match="ip6tables-restore refuses"):
        begin(machine, change, plans("ipv4", "ipv6"), FILES, 30)
    assert f"sh {change.folder / 'rollback'}" in machine.programs


def test_a_script_at_work_is_waited_for_before_it_runs_anew(
    machine: Machine, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_firewall_transaction, "SCRIPT_SECONDS", 0.0)

    def start() -> None:
        change.claim("pending", "rolling-back")
        script.enter_context(exclusive(change.folder / "busy", 0))

    machine.meanwhile["/bin/iptables-restore --noflush"] = start
    with ExitStack() as script, pytest.raises(GroundplaneError, match="at work on this host"):
        begin(machine, change, plans(), FILES, 30)
    assert change.state == "rolling-back"
    assert machine.calls[-1][0] == "/bin/iptables-restore"


def test_only_one_of_confirmation_and_timer_wins(change: Change) -> None:
    made(change, "pending")
    assert change.claim("pending", "rolling-back")
    assert not change.claim("pending", "confirming")
    assert change.state == "rolling-back"


def confirmed(machine: Machine, change: Change) -> dict[str, Any]:
    """Answer to a confirmation; the module is needed for writing only."""
    return confirm(cast(Any, Writer()), machine, machine.root, change)


class Writer:
    """What of AnsibleModule writing a file needs."""

    def add_cleanup_file(self, path: str) -> None:
        """Nothing is left over."""

    def selinux_default_context(self, path: str) -> list[str]:
        """There is none."""
        return []

    def set_context_if_different(self, path: str, context: list[str], changed: bool) -> bool:
        """There is none."""
        return changed


def test_confirming_stops_the_timer_then_saves(machine: Machine, change: Change) -> None:
    made(change, "pending")
    assert confirmed(machine, change)["outcome"] == "confirmed"
    assert machine.programs == [f"systemctl stop groundplane-firewall-rollback-{NAME}.timer"]
    assert (machine.root / "etc/groundplane/firewall/rules.v4").read_text() == "rules\n"
    assert confirmed(machine, change)["outcome"] == "confirmed"
    assert len(machine.calls) == 1


def test_a_confirmation_that_died_is_finished_by_the_next(machine: Machine, change: Change) -> None:
    made(change, "confirming")
    assert confirmed(machine, change)["outcome"] == "confirmed"
    assert machine.programs == [f"systemctl stop groundplane-firewall-rollback-{NAME}.timer"]
    assert (machine.root / "etc/groundplane/firewall/rules.v4").read_text() == "rules\n"


@pytest.mark.parametrize("state", ["rolling-back", "rolled-back", "rollback-failed"])
def test_confirming_too_late_saves_nothing(state: str, machine: Machine, change: Change) -> None:
    made(change, state)
    (change.folder / "counters.v4").write_text("[1:60] -A GROUNDPLANE-A -j DROP\n")
    (change.folder / "rollback.log").write_text("said\n")
    assert confirmed(machine, change) == {
        "outcome": state,
        "counters": {"ipv4": ["[1:60] -A GROUNDPLANE-A -j DROP"], "ipv6": []},
        "log": "said",
    }
    assert not (machine.root / "etc").exists()


def test_confirming_another_change_confirms_nothing(machine: Machine, change: Change) -> None:
    made(change, "pending")
    assert confirmed(machine, change_of(machine.root, "ffffffffffff"))["outcome"] == "unknown"
    assert change.state == "pending"


def test_a_disk_that_cannot_be_written(machine: Machine, change: Change) -> None:
    made(change, "pending")
    (machine.root / "etc").write_text("in the way")
    with pytest.raises(GroundplaneError, match="in force, but could not be saved") as caught:
        confirmed(machine, change)
    assert caught.value.facts == {"outcome": "unsaved"}
    assert change.state == "confirmed"


@pytest.mark.parametrize("name", ["", "../../etc", "0a1b2c3d4e5f/..", "short", "0A1B2C3D4E5F"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(GroundplaneError, match="hexadecimal"):
        change_of(tmp_path, name)


def test_a_run_alone_waits_for_nobody(machine: Machine) -> None:
    with turn(machine, machine.root, check_mode=False) as taken_back:
        assert not taken_back
    assert (machine.root / "run/groundplane/firewall").stat().st_mode & 0o777 == 0o700


def test_check_mode_leaves_nothing_behind(machine: Machine) -> None:
    with turn(machine, machine.root, check_mode=True):
        pass
    assert list(machine.root.iterdir()) == []


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("end", ["rolled-back", "confirmed"])
def test_the_change_of_another_run_is_waited_for(end: str, check_mode: bool, machine: Machine, change: Change) -> None:
    made(change, "pending")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            change.claim("pending", end)

    with turn(machine, machine.root, check_mode=check_mode, sleep=pause) as taken_back:
        assert taken_back is (end == "rolled-back")
    assert len(pauses) == 3
    assert machine.calls == []


def test_a_timer_that_never_came_is_made_up_for(machine: Machine, change: Change) -> None:
    made(change, "pending", seconds=-16)
    with turn(machine, machine.root, check_mode=True) as taken_back:
        assert not taken_back
    assert machine.calls == []
    with turn(machine, machine.root, check_mode=False) as taken_back:
        assert taken_back
    assert machine.programs[0] == f"sh {change.folder / 'rollback'}"


def test_a_script_that_died_is_made_up_for(machine: Machine, change: Change) -> None:
    made(change, "rolling-back", seconds=-16)
    with turn(machine, machine.root, check_mode=False) as taken_back:
        assert taken_back
    assert machine.programs[0] == f"sh {change.folder / 'rollback'}"


def test_a_script_that_is_still_at_work_is_waited_for(machine: Machine, change: Change) -> None:
    """It is slow, not dead: what it does later would wipe the rules of the next run."""
    made(change, "rolling-back", seconds=-16)

    def end() -> None:
        with exclusive(change.folder / "busy", 0):
            working.set()
            time.sleep(0.5)
            change.claim("rolling-back", "rolled-back")

    working = Event()
    script = Thread(target=end)
    script.start()
    working.wait()
    with turn(machine, machine.root, check_mode=False) as taken_back:
        assert taken_back
    script.join()
    assert not any(call.startswith("sh ") for call in machine.programs)


@pytest.mark.parametrize("state", ["pending", "rolling-back"])
def test_a_script_that_does_not_start_holds_nobody_up(state: str, machine: Machine, change: Change) -> None:
    made(change, state, seconds=-16)
    machine.rollback_ends = ""
    with turn(machine, machine.root, check_mode=False) as taken_back:
        assert not taken_back
    assert change.state == "rollback-failed"


def test_a_confirmation_that_died_stays_confirmed(machine: Machine, change: Change) -> None:
    made(change, "confirming")
    with turn(machine, machine.root, check_mode=False) as taken_back:
        assert not taken_back
    assert change.state == "confirmed"
    assert machine.programs == [f"systemctl stop groundplane-firewall-rollback-{NAME}.timer"]


def test_two_runs_take_turns(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_firewall_transaction, "_LOCK_TIMEOUT", 0.0)
    first = turn(machine, machine.root, check_mode=False)
    second = turn(machine, machine.root, check_mode=False)
    with first, pytest.raises(GroundplaneError, match="one run at a time"), second:
        pass


def test_old_changes_are_forgotten(machine: Machine) -> None:
    old = made(change_of(machine.root, "aaaaaaaa"), "confirmed")
    recent = made(change_of(machine.root, "bbbbbbbb"), "confirmed")
    pending = made(change_of(machine.root, "cccccccc"), "pending")
    for one in (old, pending):
        os.utime(one.folder, (0, 0))
    forget_old(machine.root)
    assert not old.folder.exists()
    assert recent.folder.exists()
    assert pending.folder.exists()


def test_a_machine_without_systemd(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GroundplaneError, match="systemd not running.*Nothing was changed"):
        check_systemd(machine, machine.root)
    (machine.root / "run/systemd/system").mkdir(parents=True)
    check_systemd(machine, machine.root)
    monkeypatch.setattr(machine, "find", lambda program: None)
    with pytest.raises(GroundplaneError, match="Found no systemd-run"):
        check_systemd(machine, machine.root)
