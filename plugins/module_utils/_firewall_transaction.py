# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of the packet filter that takes itself back unless it is confirmed.

Each change has a folder in /run with one marker, whose name is its state. Whoever renames the marker decides: the
confirmation and the timer's script may come in the same moment, and a rename has one winner. /run is empty after a
restart, and then the files of the last confirmed change are loaded.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_files import (
    SCRIPT_LOCK,
    SCRIPT_LOG,
    SCRIPT_SECONDS,
    WantedFiles,
    persist,
    rollback_files,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import WAIT, refused, table
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_plan import FamilyPlan
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import exclusive

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

RUN_FOLDER = "run/groundplane/firewall"

PENDING = "pending"
CONFIRMING = "confirming"
CONFIRMED = "confirmed"
ROLLING_BACK = "rolling-back"
ROLLED_BACK = "rolled-back"
ROLLBACK_FAILED = "rollback-failed"
#: No such change: never begun, or the machine was restarted since.
UNKNOWN = "unknown"

#: Confirmed, but only in the kernel.
UNSAVED = "unsaved"

_STATES = (PENDING, CONFIRMING, CONFIRMED, ROLLING_BACK, ROLLED_BACK, ROLLBACK_FAILED)
_ENDED = (CONFIRMED, ROLLED_BACK, ROLLBACK_FAILED, UNKNOWN)
#: How long after its moment a timer may come, and its script may take.
_GRACE = 15.0
#: Finished changes are kept so that their controller can still ask how they ended.
_KEPT_SECONDS = 3600.0
_LOCK_TIMEOUT = 120.0


@dataclass(frozen=True)
class Change:
    """One change, by its folder."""

    folder: Path

    @property
    def identity(self) -> str:
        """Its name, which the controller has made up."""
        return self.folder.name

    @property
    def unit(self) -> str:
        """The transient units that take it back, without their suffix."""
        return f"groundplane-firewall-rollback-{self.identity}"

    @property
    def state(self) -> str:
        """What has become of it."""
        found = [state for state in _STATES if (self.folder / state).exists()]
        return found[0] if found else UNKNOWN

    @property
    def deadline(self) -> float:
        """When its timer ends, by the clock that systemd counts with."""
        return float(read_text(self.folder / "deadline") or 0)

    @property
    def overdue(self) -> bool:
        """Whether its timer should have ended it long since."""
        return time.monotonic() > self.deadline + _GRACE

    def claim(self, before: str, after: str) -> bool:
        """Go from one state to another; False when somebody else was faster."""
        try:
            (self.folder / before).rename(self.folder / after)
        except FileNotFoundError:
            return False
        return True

    def report(self) -> dict[str, Any]:
        """What the controller is told."""
        state = self.state
        return {
            "outcome": state,
            "counters": {
                family: (read_text(self.folder / f"counters.{suffix}") or "").splitlines()
                for family, suffix in (("ipv4", "v4"), ("ipv6", "v6"))
            },
            "log": (read_text(self.folder / SCRIPT_LOG) or "").strip(),
        }


def change_of(root: Path, identity: str) -> Change:
    """The change of a name; the name becomes part of paths and of unit names."""
    if not re.fullmatch(r"[0-9a-f]{8,32}", identity):
        raise GroundplaneError(f'Found the change "{identity}"', expected="8 to 32 hexadecimal digits")
    return Change(root / RUN_FOLDER / identity)


def check_systemd(runner: Runner, root: Path) -> None:
    """Raise when nothing here could take a change back."""
    missing = [program for program in ("systemd-run", "systemctl") if runner.find(program) is None]
    if missing or not (root / "run/systemd/system").is_dir():
        raise GroundplaneError(
            f"Found no {missing[0]}" if missing else "Found systemd not running",
            expected="a machine with systemd, whose timer takes rules back that lock everybody out",
            remedy="run this on the node itself, not in a container without systemd. Nothing was changed",
        )


@contextlib.contextmanager
def turn(
    runner: Runner, root: Path, *, check_mode: bool, sleep: Callable[[float], None] = time.sleep
) -> Iterator[bool]:
    """Be the only one at work, after the changes of all others have ended; tells whether one was taken back.

    A change of another run that still waits for its confirmation is waited for, and not taken back at once: nobody here
    can tell a controller that was killed from one that is about to confirm, and the timer ends both in a time that
    somebody has chosen.
    """
    folder = root / RUN_FOLDER
    if not check_mode:
        _private_folder(folder)
    awaited: dict[str, Change] = {}
    while True:
        with contextlib.ExitStack() as stack:
            if not check_mode:
                stack.enter_context(exclusive(folder / "lock", _LOCK_TIMEOUT, 0.2))
            waiting = [change for change in _changes(folder) if change.state not in _ENDED]
            awaited.update({change.identity: change for change in waiting})
            if check_mode:
                waiting = [change for change in waiting if not change.overdue]
            else:
                for change in waiting:
                    _settle(runner, change)
            if all(change.state in _ENDED for change in waiting):
                yield any(change.state == ROLLED_BACK for change in awaited.values())
                return
        # Others need the lock to confirm.
        sleep(0.5)


def _settle(runner: Runner, change: Change) -> None:
    """End what nobody else will end any more; the lock is held."""
    if change.state == CONFIRMING:
        # Whoever confirms holds the lock, so that one is dead; its files are compared with what is wanted anyhow.
        change.claim(CONFIRMING, CONFIRMED)
        _stop_timer(runner, change)
    elif change.overdue:
        # A script that is only slow would wipe the next rules; it is waited for, and one that died is made up for.
        _take_back(runner, change, (ROLLING_BACK,))


def _changes(folder: Path) -> list[Change]:
    return [Change(path) for path in sorted(folder.glob("*")) if path.is_dir()]


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def forget_old(root: Path) -> None:
    """Remove what is left of changes that ended long ago."""
    for change in _changes(root / RUN_FOLDER):
        age = time.time() - change.folder.stat().st_mtime
        if change.state in _ENDED and age > _KEPT_SECONDS:
            shutil.rmtree(str(change.folder))


def begin(runner: Runner, change: Change, plans: Sequence[FamilyPlan], wanted: WantedFiles, seconds: int) -> None:
    """Arm the timer, then load the rules; whatever fails here is taken back at once.

    :arg plans: those of the families that change; with none, the timer only ends the wait for a confirmation.
    :arg wanted: what lies on the disk after the confirmation.
    """
    _test(runner, plans)
    _private_folder(change.folder)
    for name, text in rollback_files(plans).items():
        _write(change.folder / name, text)
    _write(change.folder / "files", json.dumps({"files": wanted.files, "enabled": wanted.enabled}))
    _write(change.folder / "deadline", str(time.monotonic() + seconds))
    _write(change.folder / PENDING, "")
    try:
        runner.run(
            [
                runner.find("systemd-run") or "systemd-run",
                "--quiet",
                "--collect",
                f"--unit={change.unit}",
                f"--description=Takes back change {change.identity} of the packet filter",
                f"--on-active={seconds}s",
                "--timer-property=AccuracySec=1s",
                "/bin/sh",
                str(change.folder / "rollback"),
            ]
        )
    except GroundplaneError:
        change.claim(PENDING, ROLLED_BACK)
        raise
    try:
        for plan in plans:
            if change.state == PENDING:
                _load(runner, plan)
        if change.state != PENDING:
            raise GroundplaneError(
                f"Found the {seconds} seconds of the timer over before all rules were loaded",
                expected="the rules loaded and confirmed within that time",
                remedy="run again, with more rollback_seconds where the host is this slow. The rules from before are "
                "in force",
                facts={"rolled_back": True},
            )
    except GroundplaneError as error:
        # The timer may have come before something was loaded, and nobody else will take that back.
        _take_back(runner, change, (ROLLING_BACK, ROLLED_BACK, ROLLBACK_FAILED))
        if change.state != ROLLED_BACK:
            log = change.report()["log"]
            raise GroundplaneError(
                f"{error.found.rstrip('.')}. Taking it back has failed: {log or 'nothing was printed'}",
                remedy="look at the rules with iptables-save and ip6tables-save",
            ) from error
        raise


def _take_back(runner: Runner, change: Change, again: Sequence[str]) -> None:
    """Run the script of a change to its end; the lock is held, so that nobody confirms meanwhile.

    :arg again: states in which the work of an earlier script does not count.
    """
    with exclusive(change.folder / SCRIPT_LOCK, SCRIPT_SECONDS, 0.2):
        for state in again:
            change.claim(state, PENDING)
    if change.state == PENDING:
        runner.run(["sh", str(change.folder / "rollback")], check=False)
    for state in (PENDING, ROLLING_BACK):
        change.claim(state, ROLLBACK_FAILED)
    _stop_timer(runner, change)


def _test(runner: Runner, plans: Sequence[FamilyPlan]) -> None:
    """Let iptables-restore read everything on the host itself, where the chains of others are."""
    for plan in plans:
        lines = plan.restore_lines()
        result = runner.run([plan.tool.restore, "--test", "--noflush", WAIT], stdin=table(lines), check=False)
        if result.rc != 0:
            raise refused(plan.tool, lines, result.stderr or result.stdout)


def _load(runner: Runner, plan: FamilyPlan) -> None:
    lines = plan.restore_lines()
    # A restore that waits for the lock must not outlive a killed module: it would load the rules after the timer.
    setpriv = runner.find("setpriv")
    bound = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    result = runner.run([*bound, plan.tool.restore, "--noflush", WAIT], stdin=table(lines), check=False)
    if result.rc != 0:
        raise refused(plan.tool, lines, result.stderr or result.stdout)


def confirm(module: AnsibleModule, runner: Runner, root: Path, change: Change) -> dict[str, Any]:
    """Make a change last; the outcome says whether it was in time."""
    if change.state == UNKNOWN:
        return change.report()
    with exclusive(root / RUN_FOLDER / "lock", _LOCK_TIMEOUT, 0.2):
        # Whoever confirms holds the lock, so that one that has begun before is dead, and this one goes on for it.
        if change.claim(PENDING, CONFIRMING) or change.state == CONFIRMING:
            _stop_timer(runner, change)
            kept = json.loads(read_text(change.folder / "files") or "")
            files = {path: (text, mode) for path, (text, mode) in kept["files"].items()}
            try:
                persist(module, runner, root, WantedFiles(files, kept["enabled"]))
            except (GroundplaneError, OSError) as error:
                raise GroundplaneError(
                    f"The new rules are in force, but could not be saved for the next boot: {error}",
                    remedy="correct this and run again",
                    facts={"outcome": UNSAVED},
                ) from error
            finally:
                change.claim(CONFIRMING, CONFIRMED)
    return change.report()


def _stop_timer(runner: Runner, change: Change) -> None:
    """Stop it for tidiness; without its marker its script does nothing."""
    runner.run([runner.find("systemctl") or "systemctl", "stop", f"{change.unit}.timer"], check=False)


def _write(path: Path, text: str) -> None:
    """Write a file that only root reads; it is new, in a folder that only root enters."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
