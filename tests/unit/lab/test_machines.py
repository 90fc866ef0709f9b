# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines: what they are started with, what is read back, what stays when a making was killed."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import machine_image, machines, members, nodes
from tests.lab.archive import Archive
from tests.lab.machine_image import MachineImage, Recipe
from tests.lab.machines import Files, Machines
from tests.lab.nodes import MACHINES, WORKERS, FoundNode
from tests.lab.process import LabError, has_ended, wait_until
from tests.lab.settings import Paths
from tests.unit.lab.test_node_image import RECIPE as NODE_RECIPE

RECIPE = Recipe(NODE_RECIPE)
FIRST, SECOND = nodes.plan_set("vm", 7, {MACHINES: 2}, "trixie", "1.7", "built")
OTHER = nodes.plan_set("other", 8, {MACHINES: 1}, "trixie", "1.7", "built")[0]
KEY = "ssh-ed25519 AAAA groundplane-lab"


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def image(tmp_path):
    """An image whose files are small."""
    found = MachineImage(tmp_path / "image")
    found.folder.mkdir()
    for file in (found.disk, found.kernel, found.initial_file_system):
        file.write_text(file.name)
    return found


@pytest.fixture
def running(monkeypatch):
    """Marks of emulators by process id, as the lab sees them; a killed one is gone."""
    marks = {}
    monkeypatch.setattr(machines, "marked_processes", lambda variable: dict(marks))
    monkeypatch.setattr(machines, "send_signal", lambda process, number: marks.pop(process))
    monkeypatch.setattr(machines, "has_ended", lambda process: process not in marks)
    return marks


@pytest.fixture
def started(monkeypatch, running):
    """Machines by the commands that switched them on; nothing is really started."""
    commands = []

    def run(argv, *, environment=None):
        if argv[0] == machines.EMULATOR:
            commands.append(argv)
            running[1000 + len(commands)] = environment[machines.MARK]
        else:
            subprocess.run(argv, check=True, capture_output=True)

    monkeypatch.setattr(machines, "run", run)
    monkeypatch.setattr(machines.ssh, "ensure_key_pair", lambda paths: KEY)
    monkeypatch.setattr(machines.network, "plug_in", lambda device: None)
    monkeypatch.setattr(machines.network, "device_exists", lambda name: True)
    return commands


def test_machines_have_names_and_addresses_of_their_own():
    planned = nodes.plan_set("vm", 7, {WORKERS: 200, MACHINES: 9}, "trixie", "1.7", "built")
    assert (FIRST.name, str(FIRST.address)) == ("vm-machine-1", "10.77.7.231")
    assert len({node.address for node in planned}) == len({node.name for node in planned}) == len(planned)


def test_the_longest_name_of_a_device_is_one_that_the_kernel_takes():
    (largest,) = nodes.plan_set("vm", 254, {MACHINES: 9}, "trixie", "1.7", "built")[-1:]
    assert machines.device(largest) == "gplab-254-239"
    assert len(machines.device(largest)) <= 15


def test_a_shell_reads_the_identity_back():
    text = machines.identity(FIRST, "ssh-ed25519 AAAA it's me") + 'echo "$name $address $gateway $authorized_key"'
    told = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    assert told == "vm-machine-1 10.77.7.231/16 10.77.0.1 ssh-ed25519 AAAA it's me\n"


def test_a_machine_is_told_who_it_is_without_writing_to_its_disk():
    command = machines.emulator_command(FIRST, Files(Path("/m")), KEY)
    argument = command[command.index("-append") + 1].rpartition(":")[2]
    assert base64.b64decode(argument).decode() == machines.identity(FIRST, KEY)


def test_a_machine_has_one_port_on_the_bridge_and_no_other_network():
    command = machines.emulator_command(FIRST, Files(Path("/m")), KEY)
    assert command.count("-netdev") == 1
    assert "-nodefaults" in command
    assert command[command.index("-netdev") + 1].startswith("tap,id=lab,ifname=gplab-7-231,script=no,")
    assert f"virtio-net-pci,netdev=lab,mac={FIRST.mac_address},romfile=" in command


def test_machines_differ_in_their_hardware_id():
    first, second = (machines.emulator_command(node, Files(Path("/m")), KEY) for node in (FIRST, SECOND))
    assert first[first.index("-uuid") + 1] != second[second.index("-uuid") + 1]


def test_host_keys_count_when_the_last_one_has_arrived():
    text = "ecdsa-sha2-nistp256 AAAAE vm-machine-1\r\nssh-ed25519 AAAAC vm-machine-1\r\n"
    assert machines.host_keys(text) == []
    assert machines.host_keys(text + "end-of-host-keys\r\n") == ["ecdsa-sha2-nistp256 AAAAE", "ssh-ed25519 AAAAC"]


def test_host_keys_that_a_reboot_sends_again_count_once():
    once = "ssh-ed25519 AAAAC vm-machine-1\r\nend-of-host-keys\r\n"
    assert machines.host_keys(once + once) == ["ssh-ed25519 AAAAC"]


def test_a_machine_is_read_back_with_its_state(paths, image, started, running):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    assert keeper.found() == keeper.found("vm") == [FoundNode(FIRST, "", "running")]
    assert keeper.devices() == ["gplab-7-231"]
    assert keeper.found("other") == []
    running.clear()
    assert keeper.found() == [FoundNode(FIRST, "", "off")]
    assert keeper.devices() == []


def test_a_machine_starts_from_files_that_a_newer_image_does_not_take_away(paths, image, started):
    Machines(paths).ensure([FIRST], image, print)
    for file in image.folder.iterdir():
        file.unlink()
    files = Files(paths.machines / FIRST.name)
    assert [file.read_text() for file in (files.disk, files.kernel, files.initial_file_system)] == [
        "root.ext4",
        "vmlinuz",
        "initrd.img",
    ]
    assert files.swap.stat().st_size == machine_image.SWAP_MEBIBYTES * 1024 * 1024


def test_a_finished_machine_keeps_its_disk(paths, image, started, running):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    files = Files(paths.machines / FIRST.name)
    files.ready.touch()
    files.disk.write_text("used")
    running.clear()
    keeper.ensure([FIRST], image, print)
    assert files.disk.read_text() == "used"
    assert len(started) == 2


def test_a_machine_that_was_never_finished_is_made_anew(paths, image, started, running):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    files = Files(paths.machines / FIRST.name)
    files.disk.write_text("half")
    keeper.ensure([FIRST], image, print)
    assert files.disk.read_text() == "root.ext4"
    assert list(running) == [1002]


def test_remains_without_a_word_of_whose_they_are_are_in_nobodys_way(paths, image, started):
    (paths.machines / FIRST.name).mkdir(parents=True)
    keeper = Machines(paths)
    assert keeper.found() == []
    keeper.ensure([FIRST], image, print)
    assert [found.node for found in keeper.found()] == [FIRST]


def test_a_running_machine_is_left_alone(paths, image, started):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    Files(paths.machines / FIRST.name).ready.touch()
    keeper.ensure([FIRST], image, print)
    assert len(started) == 1


def test_a_running_machine_that_lost_its_device_is_started_again(paths, image, started, running, monkeypatch):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    Files(paths.machines / FIRST.name).ready.touch()
    monkeypatch.setattr(machines.network, "device_exists", lambda name: False)
    keeper.ensure([FIRST], image, print)
    assert list(running) == [1002]


def test_host_keys_of_an_earlier_start_are_forgotten(paths, image, started, running):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    files = Files(paths.machines / FIRST.name)
    files.host_keys.write_text("ssh-ed25519 OLD\nend-of-host-keys\n")
    keeper.kill([FIRST])
    keeper.start([FIRST])
    assert not files.host_keys.exists()


def test_a_removed_set_leaves_nothing_and_takes_nothing_of_others(paths, image, started, running):
    keeper = Machines(paths)
    keeper.ensure([FIRST, SECOND, OTHER], image, print)
    keeper.remove_set("vm")
    assert [found.node for found in keeper.found()] == [OTHER]
    assert list(running.values()) == ["other other-machine-1"]
    keeper.remove_set(None)
    assert not list(paths.machines.iterdir())
    assert not running


def test_an_emulator_whose_folder_is_gone_is_still_removed(paths, running):
    running[7] = machines.mark(FIRST)
    Machines(paths).remove_set("vm")
    assert not running


def test_a_machine_that_is_off_needs_no_shutdown(paths, running):
    Machines(paths).stop([FIRST])


def test_a_machine_that_does_not_boot_is_shown_with_its_last_words(paths, image, started, running):
    keeper = Machines(paths)
    keeper.ensure([FIRST], image, print)
    running.clear()
    Files(paths.machines / FIRST.name).console.write_text("Kernel panic - not syncing\n")
    with pytest.raises(LabError, match=r"vm-machine-1 has not told its host keys(?s:.)* off(?s:.)*Kernel panic"):
        keeper.wait_ready([FIRST])


def test_a_process_has_ended_when_it_only_waits_to_be_fetched():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not has_ended(process.pid)
        process.kill()
        assert wait_until(lambda: has_ended(process.pid), seconds=10)
    assert has_ended(process.pid)


def test_marks_are_found_in_the_environment_of_processes():
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    environment = {**os.environ, "GROUNDPLANE_LAB_UNIT_TEST": "set name"}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert machines.marked_processes("GROUNDPLANE_LAB_UNIT_TEST") == {process.pid: "set name"}


@pytest.mark.parametrize(
    "change",
    [
        {"containerd": "2.x"},
        {"nameservers": ["192.0.2.1"]},
        {"archives": [Archive("http://b.example/d", "trixie")]},
        {"apt_settings": 'Acquire::Check-Date "false";\n'},
    ],
)
def test_a_changed_recipe_is_another_image(change, paths):
    changed = Recipe(replace(NODE_RECIPE, **change))
    assert changed.image(paths).folder != RECIPE.image(paths).folder


def test_a_machine_has_swap_to_turn_off():
    (entry,) = [line for line in RECIPE.files()["/etc/fstab"].splitlines() if line.split()[2] == "swap"]
    assert entry.split()[0] == f"UUID={machine_image.SWAP_UUID}"


def test_a_machine_has_nothing_of_containers():
    assert not {path for path in RECIPE.files() if "lab-init" in path or "journald" in path}


def test_an_image_that_is_there_is_not_made_again(paths, monkeypatch):
    monkeypatch.setattr(machine_image, "_build", lambda recipe, image: pytest.fail("made again"))
    monkeypatch.setattr(machine_image.platform, "machine", lambda: machine_image.ARCHITECTURE)
    RECIPE.image(paths).folder.mkdir(parents=True)
    assert machine_image.ensure_image(RECIPE, paths, print) == RECIPE.image(paths)


def test_a_new_image_takes_the_place_of_an_earlier_one_of_its_kind_only(paths, monkeypatch):
    earlier = paths.machine_images / RECIPE.kind / "earlier"
    other = paths.machine_images / "trixie-containerd-2.x" / "other"
    for folder in (earlier, other):
        folder.mkdir(parents=True)
    monkeypatch.setattr(machine_image, "_build", lambda recipe, image: image.disk.write_text(""))
    monkeypatch.setattr(machine_image.platform, "machine", lambda: machine_image.ARCHITECTURE)
    image = machine_image.ensure_image(RECIPE, paths, print)
    assert image.disk.exists()
    assert other.exists()
    assert not earlier.exists()


def test_no_image_is_made_on_another_architecture(paths, monkeypatch):
    monkeypatch.setattr(machine_image.platform, "machine", lambda: "aarch64")
    with pytest.raises(LabError, match="aarch64.*--machines"):
        machine_image.ensure_image(RECIPE, paths, print)


def test_no_image_is_made_of_a_release_that_does_not_start(paths, monkeypatch):
    monkeypatch.setattr(machine_image.platform, "machine", lambda: machine_image.ARCHITECTURE)
    with pytest.raises(LabError, match=r"bookworm.*trixie.*--os"):
        machine_image.ensure_image(Recipe(replace(NODE_RECIPE, release="bookworm")), paths, print)


def test_members_are_told_apart_by_kind():
    worker, machine = nodes.plan_set("vm", 7, {WORKERS: 1, MACHINES: 1}, "trixie", "1.7", "built")
    assert members.of_kind([worker, machine], machines=True) == [machine]
    assert members.of_kind([worker, machine], machines=False) == [worker]
