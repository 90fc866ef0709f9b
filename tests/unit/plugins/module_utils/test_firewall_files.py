# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts run in a real shell, with programs that note how they were called and answer as told."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_files import (
    documents,
    rollback_files,
    unit_differs,
    wanted_files,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import Found, Tool
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_plan import FamilyPlan, decide
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import ChainText, RuleSet
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import exclusive

A = ChainText("GROUNDPLANE-A", ("-A GROUNDPLANE-A -j ACCEPT",))
NEW_A = ChainText("GROUNDPLANE-A", ("-A GROUNDPLANE-A -j DROP",))
B = ChainText("GROUNDPLANE-B", ())
JUMP = "-A INPUT -j GROUNDPLANE-A"
RULES = {"ipv4": RuleSet((A,), (JUMP,)), "ipv6": RuleSet((A,), (JUMP,))}

_STUB = """\
#!/bin/sh
command="$(basename "$0") $*"
echo "$command" >>"$CALLS"
case "$command" in
    *-restore*) cat >>"$CALLS" ;;
    *-save*) printf '%s\\n' '[1:60] -A GROUNDPLANE-A -j DROP' '[2:120] -A KUBE-FIREWALL -j DROP' ;;
esac
! grep -qxF -e "$command" "$FAILING"
"""


class Shell:
    """Runs a script whose programs are stubs."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.failing = folder / "failing"
        self.failing.touch()
        self.calls = folder / "calls"
        for name in ("iptables", "ip6tables"):
            for suffix in ("", "-restore", "-save"):
                program = self.programs / f"{name}{suffix}"
                program.write_text(_STUB)
                program.chmod(0o755)

    def fails(self, *commands: str) -> None:
        """Let commands fail, told with all their arguments."""
        self.failing.write_text("".join(f"{command}\n" for command in commands))

    def run(self, script: Path) -> tuple[int, list[str]]:
        """Exit code and calls of a script."""
        text = script.read_text()
        path = f"PATH={self.programs}:{os.environ['PATH']}"
        script.write_text("\n".join(path if line.startswith("PATH=") else line for line in text.splitlines()) + "\n")
        self.calls.write_text("")
        environment = {**os.environ, "CALLS": str(self.calls), "FAILING": str(self.failing)}
        result = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
        self.output = result.stderr
        return result.returncode, self.calls.read_text().splitlines()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Programs that all succeed."""
    return Shell(tmp_path)


def restore_script(folder: Path) -> Path:
    """The script of the unit, with its files below a folder."""
    files = wanted_files(RULES).files
    for path, (text, _mode) in files.items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.replace("/etc/", f"{folder}/etc/"))
    return folder / "etc/groundplane/firewall/restore"


def test_boot_loads_both_families_and_keeps_a_jump_that_is_there(shell: Shell, tmp_path: Path) -> None:
    code, calls = shell.run(restore_script(tmp_path))
    assert code == 0
    assert calls == [
        "iptables-restore --noflush --wait=30",
        "# Written by groundplane.kubeadm, which overwrites it.",
        "*filter",
        ":GROUNDPLANE-A - [0:0]",
        "-A GROUNDPLANE-A -j ACCEPT",
        "COMMIT",
        "iptables --wait=30 -C INPUT -j GROUNDPLANE-A",
        "ip6tables-restore --noflush --wait=30",
        "# Written by groundplane.kubeadm, which overwrites it.",
        "*filter",
        ":GROUNDPLANE-A - [0:0]",
        "-A GROUNDPLANE-A -j ACCEPT",
        "COMMIT",
        "ip6tables --wait=30 -C INPUT -j GROUNDPLANE-A",
    ]


def test_boot_makes_the_jump(shell: Shell, tmp_path: Path) -> None:
    shell.fails("ip6tables --wait=30 -C INPUT -j GROUNDPLANE-A")
    code, calls = shell.run(restore_script(tmp_path))
    assert code == 0
    assert calls[-1] == "ip6tables --wait=30 -I INPUT 1 -j GROUNDPLANE-A"


@pytest.mark.parametrize(("program", "file"), [("iptables", "rules.v4"), ("ip6tables", "rules.v6")])
def test_one_family_does_not_keep_the_other_from_loading(program: str, file: str, shell: Shell, tmp_path: Path) -> None:
    shell.fails(f"{program}-restore --noflush --wait=30")
    code, calls = shell.run(restore_script(tmp_path))
    other = "ip6tables" if program == "iptables" else "iptables"
    assert code == 1
    assert f"{file} could not be loaded" in shell.output
    assert f"{other} --wait=30 -C INPUT -j GROUNDPLANE-A" in calls
    assert f"{program} --wait=30 -C INPUT -j GROUNDPLANE-A" not in calls


def plan(program: str, before: RuleSet, after: RuleSet) -> FamilyPlan:
    """Plan for one family."""
    family = "ipv4" if program == "iptables" else "ipv6"
    tool = Tool(family, "nft", program, f"{program}-save", f"{program}-restore")
    return decide(tool, Found(before, ()), after, after)


def rollback(folder: Path, *plans: FamilyPlan) -> Path:
    """The folder of a change that was loaded."""
    change = folder / "change"
    change.mkdir()
    for name, text in rollback_files(plans).items():
        (change / name).write_text(text)
    (change / "pending").touch()
    return change


def test_rolling_back_restores_text_and_jump(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,), (JUMP,)), RuleSet((NEW_A,), (JUMP,))))
    shell.fails("iptables --wait=30 -C INPUT -j GROUNDPLANE-A")
    code, calls = shell.run(change / "rollback")
    assert code == 0
    assert calls == [
        "iptables-save -c -t filter",
        "iptables-restore --noflush --wait=30",
        "*filter",
        ":GROUNDPLANE-A - [0:0]",
        "-A GROUNDPLANE-A -j ACCEPT",
        "COMMIT",
        "iptables --wait=30 -C INPUT -j GROUNDPLANE-A",
        "iptables --wait=30 -I INPUT 1 -j GROUNDPLANE-A",
    ]
    assert (change / "rolled-back").exists()
    assert not (change / "pending").exists()


def test_counters_hold_no_chain_of_others(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,)), RuleSet((NEW_A,))))
    shell.run(change / "rollback")
    assert (change / "counters.v4").read_text() == "[1:60] -A GROUNDPLANE-A -j DROP\n"


def test_what_was_counted_first_is_kept_when_the_script_runs_again(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,)), RuleSet((NEW_A,))))
    (change / "counters.v4").write_text("[9:540] -A GROUNDPLANE-A -j DROP\n")
    code, calls = shell.run(change / "rollback")
    assert code == 0
    assert calls[0] == "iptables-restore --noflush --wait=30"
    assert (change / "counters.v4").read_text() == "[9:540] -A GROUNDPLANE-A -j DROP\n"


def test_one_script_waits_for_the_other(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,)), RuleSet((NEW_A,))))
    with ThreadPoolExecutor() as pool:
        with exclusive(change / "busy", 0):
            script = pool.submit(shell.run, change / "rollback")
            time.sleep(0.5)
            assert (change / "pending").exists()
            # What another script does before it lets go.
            (change / "pending").rename(change / "rolled-back")
        assert script.result() == (0, [])


def test_without_the_program_flock_it_is_rolled_back_all_the_same(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,)), RuleSet((NEW_A,))))
    (shell.programs / "flock").write_text("#!/bin/sh\nexit 127\n")
    (shell.programs / "flock").chmod(0o755)
    assert shell.run(change / "rollback")[0] == 0
    assert (change / "rolled-back").exists()


def test_a_log_that_cannot_be_written_does_not_end_the_script(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,)), RuleSet((NEW_A,))))
    (change / "rollback.log").unlink()
    (change / "rollback.log").mkdir()
    assert shell.run(change / "rollback")[0] == 0
    assert (change / "rolled-back").exists()


def test_rolling_back_removes_what_was_new(shell: Shell, tmp_path: Path) -> None:
    """The jump and one chain are missing, as when the second half was never loaded."""
    change = rollback(tmp_path, plan("ip6tables", RuleSet(), RuleSet((NEW_A, B), (JUMP,))))
    shell.fails("ip6tables --wait=30 -C INPUT -j GROUNDPLANE-A", "ip6tables --wait=30 -S GROUNDPLANE-B")
    code, calls = shell.run(change / "rollback")
    assert code == 0
    assert calls[2:] == [
        "*filter",
        ":GROUNDPLANE-A - [0:0]",
        ":GROUNDPLANE-B - [0:0]",
        "COMMIT",
        "ip6tables --wait=30 -C INPUT -j GROUNDPLANE-A",
        "ip6tables --wait=30 -S GROUNDPLANE-A",
        "ip6tables --wait=30 -X GROUNDPLANE-A",
        "ip6tables --wait=30 -S GROUNDPLANE-B",
    ]


def test_a_jump_that_cannot_be_deleted_ends_the_loop_and_is_a_failure(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet(), RuleSet((NEW_A,), (JUMP,))))
    shell.fails("iptables --wait=30 -D INPUT -j GROUNDPLANE-A")
    code, calls = shell.run(change / "rollback")
    assert code == 1
    assert calls.count("iptables --wait=30 -D INPUT -j GROUNDPLANE-A") == 1
    assert (change / "rollback-failed").exists()


def test_one_family_that_fails_does_not_keep_the_other_back(shell: Shell, tmp_path: Path) -> None:
    before, after = RuleSet((A,), (JUMP,)), RuleSet((NEW_A,), (JUMP,))
    change = rollback(tmp_path, plan("iptables", before, after), plan("ip6tables", before, after))
    shell.fails("iptables-restore --noflush --wait=30")
    code, calls = shell.run(change / "rollback")
    assert code == 1
    assert "ip6tables-restore --noflush --wait=30" in calls
    assert (change / "rollback-failed").exists()


def test_words_of_a_jump_reach_iptables_whole(shell: Shell, tmp_path: Path) -> None:
    jump = '-A INPUT -m comment --comment "it\\\'s $HOME; \\"x\\"" -j GROUNDPLANE-A'
    change = rollback(tmp_path, plan("iptables", RuleSet((A,), (jump,)), RuleSet()))
    shell.run(change / "rollback")
    assert (
        'iptables --wait=30 -C INPUT -m comment --comment it\'s $HOME; "x" -j GROUNDPLANE-A' in shell.calls.read_text()
    )


def test_a_confirmed_change_is_never_rolled_back(shell: Shell, tmp_path: Path) -> None:
    change = rollback(tmp_path, plan("iptables", RuleSet((A,)), RuleSet((NEW_A,))))
    (change / "pending").rename(change / "confirming")
    assert shell.run(change / "rollback") == (0, [])
    assert (change / "confirming").exists()


def test_files_that_are_as_wanted_are_left_alone(tmp_path: Path) -> None:
    wanted = wanted_files(RULES)
    assert [document.path for document, _mode in documents(tmp_path, wanted)] == [
        str(tmp_path / path) for path in wanted.files
    ]
    for path, (text, mode) in wanted.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text or "")
        (tmp_path / path).chmod(mode)
    assert documents(tmp_path, wanted) == []
    (tmp_path / "etc/groundplane/firewall/rules.v4").chmod(0o644)
    ((document, mode),) = documents(tmp_path, wanted)
    assert (document.changed, mode) == (False, 0o600)


def test_without_rules_every_file_goes() -> None:
    wanted = wanted_files({})
    assert {text for text, _mode in wanted.files.values()} == {None}
    assert not wanted.enabled


def test_a_family_without_rules_has_no_file_and_is_not_restored() -> None:
    files = wanted_files({"ipv4": RULES["ipv4"]}).files
    assert files["etc/groundplane/firewall/rules.v6"][0] is None
    assert "ip6tables" not in (files["etc/groundplane/firewall/restore"][0] or "")


def test_a_unit_that_is_not_enabled_is_noticed(tmp_path: Path) -> None:
    assert unit_differs(tmp_path, wanted_files(RULES))
    assert not unit_differs(tmp_path, wanted_files({}))
    link = tmp_path / "etc/systemd/system/multi-user.target.wants/groundplane-firewall.service"
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc/systemd/system/groundplane-firewall.service")
    assert not unit_differs(tmp_path, wanted_files(RULES))
    assert unit_differs(tmp_path, wanted_files({}))


def test_the_unit_comes_before_everything_that_needs_it() -> None:
    unit = wanted_files(RULES).files["etc/systemd/system/groundplane-firewall.service"][0] or ""
    assert "DefaultDependencies=no\n" in unit
    assert "Before=network-pre.target containerd.service kubelet.service shutdown.target\n" in unit
