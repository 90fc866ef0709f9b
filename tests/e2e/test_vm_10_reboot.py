# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A prepared machine with the distribution's own kernel is still prepared after a real reboot."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e.support import packet_filter
from tests.e2e.support.lab import LabSet
from tests.e2e.support.packet_filter import Rules
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run, Site, checkout
from tests.e2e.support.waiting import wait_for

# Minutes under emulation.
pytestmark = pytest.mark.long

#: Roles that prepare a host, without anything of Kubernetes, for which an emulated processor is too slow.
ROLES = ("groundplane.kubeadm.prereqs", "groundplane.kubeadm.firewall")

PLAYBOOK = [
    {
        "name": "Prepare the machines",
        "hosts": "machines",
        "become": True,
        "vars": {"firewall_enabled": True},
        # The machine stands for a whole cluster.
        "pre_tasks": [
            {
                "name": "Make it a control plane host",
                "ansible.builtin.group_by": {"key": "control_plane"},
                "changed_when": False,
            }
        ],
        "roles": [{"role": role} for role in ROLES],
    }
]

MODULES = ("br_netfilter", "overlay")
PARAMETERS = {
    "net.bridge.bridge-nf-call-ip6tables": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.ipv4.ip_forward": "1",
}
SEPARATOR = "--"
#: A parameter of a module that is not loaded is not there.
QUESTIONS = f" && echo {SEPARATOR} && ".join(
    (
        "cut --delimiter=' ' --fields=1 /proc/modules",
        "tail --lines=+2 /proc/swaps",
        *(f"{{ sysctl --values {parameter} 2> /dev/null || true; }}" for parameter in PARAMETERS),
    )
)
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
BOOT_SECONDS = 600
ANSWER_SECONDS = 30


@pytest.fixture(scope="module")
def name(machine: LabSet) -> str:
    """Name of the machine."""
    return machine.machines[0]


@pytest.fixture(scope="module")
def preparation(machine: LabSet, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The playbook that prepares the machine."""
    folder = tmp_path_factory.mktemp("machine")
    playbook = folder / "prepare.yml"
    playbook.write_text(yaml.safe_dump(PLAYBOOK))
    return Site(machine.inventory, folder / "runs", checkout(str(playbook)))


@pytest.fixture(scope="module")
def fresh(machine: LabSet, name: str) -> dict[str, str]:
    """What a fresh machine says of everything that the preparation shall change."""
    return _facts(machine, name)


@pytest.fixture(scope="module")
def prepared(preparation: Site, fresh: dict[str, str], phases: Phases) -> Run:
    """The run that prepares the machine."""
    with phases.phase(f"roles {', '.join(ROLES)} on a virtual machine"):
        return preparation.run().require_success()


@pytest.fixture(scope="module")
def rules(machine: LabSet, prepared: Run) -> Rules:
    """Our chains before the reboot."""
    prepared.require_success()
    return packet_filter.of_ours(packet_filter.everything(machine))


@pytest.fixture(scope="module")
def rebooted(machine: LabSet, name: str, rules: Rules, phases: Phases) -> LabSet:
    """The machine after a reboot in order."""
    before = machine.run(name, BOOT_ID)
    # The connection may end before the command does.
    with phases.phase("reboot of a virtual machine, until it answers again"):
        machine.attempt(name, "systemctl reboot")
        wait_for(f"{name} answers after its reboot", lambda: _still(machine, name, before), seconds=BOOT_SECONDS)
    with phases.phase("the rebooted machine ends its start"):
        wait_for(f"{name} has started", lambda: _unfinished(machine, name), seconds=BOOT_SECONDS)
    phases.figure(f"  boot of the prepared machine: {machine.run(name, 'systemd-analyze time').splitlines()[0]}")
    return machine


def test_the_machine_is_one_that_needs_preparing(fresh: dict[str, str]) -> None:
    assert fresh["swap"], "the machine has no swap that could be turned off"
    assert not set(MODULES) & set(fresh["modules"].split()), "the modules are loaded already"
    assert fresh["net.ipv4.ip_forward"] == "0"


def test_the_machine_has_unified_cgroups_and_a_kernel_of_its_own(machine: LabSet, name: str) -> None:
    assert machine.run(name, "stat --file-system --format=%T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert machine.run(name, "uname --kernel-release").strip() != Path("/proc/sys/kernel/osrelease").read_text().strip()


def test_the_machine_is_prepared(machine: LabSet, name: str, prepared: Run) -> None:
    assert prepared.changes()
    _require_prepared(_facts(machine, name))


def test_the_machine_is_still_prepared_after_a_reboot(rebooted: LabSet, name: str) -> None:
    _require_prepared(_facts(rebooted, name))


def test_the_same_rules_are_in_force_before_the_network_is(rebooted: LabSet, name: str, rules: Rules) -> None:
    assert rules[name]
    assert packet_filter.of_ours(packet_filter.everything(rebooted)) == rules
    times = rebooted.run(
        name,
        f"systemctl show --property=ActiveEnterTimestampMonotonic --value {packet_filter.SERVICE} network-pre.target",
    )
    ours, network = (int(time) for time in times.split())
    assert 0 < ours < network


def test_a_stranger_sees_ssh_alone(rebooted: LabSet, name: str) -> None:
    assert packet_filter.reached(rebooted, name) == {22}


def test_everything_runs_after_the_reboot(rebooted: LabSet, name: str) -> None:
    assert rebooted.attempt(name, "systemctl is-system-running").stdout.strip() == "running"


def test_the_preparation_changes_nothing_after_the_reboot(rebooted: LabSet, preparation: Site, phases: Phases) -> None:
    with phases.phase("the same roles again after the reboot"):
        preparation.run().require_unchanged()


def _facts(machine: LabSet, name: str) -> dict[str, str]:
    """What the kernel says of everything that the preparation changes."""
    modules, swap, *parameters = machine.run(name, QUESTIONS).split(SEPARATOR)
    return {"modules": modules, "swap": swap.strip(), **dict(zip(PARAMETERS, map(str.strip, parameters), strict=True))}


def _require_prepared(facts: dict[str, str]) -> None:
    assert set(MODULES) <= set(facts["modules"].split()), facts["modules"]
    assert facts["swap"] == ""
    assert {parameter: facts[parameter] for parameter in PARAMETERS} == PARAMETERS


def _still(machine: LabSet, name: str, boot: str) -> str:
    answer = machine.attempt(name, BOOT_ID, seconds=ANSWER_SECONDS)
    if answer.returncode != 0:
        return answer.stderr.strip() or "an answer"
    return "the end of the boot before" if answer.stdout == boot else ""


def _unfinished(machine: LabSet, name: str) -> str:
    state = machine.attempt(name, "systemctl is-system-running", seconds=ANSWER_SECONDS).stdout.strip()
    return "" if state in ("running", "degraded") else f"the end of `{state}`"
