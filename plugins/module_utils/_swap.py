# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap: what is active now and everything that would activate it at the next boot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document, read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

#: Put before a line of fstab to take it out, so that it can be told from the comments of others.
FSTAB_PREFIX = "# groundplane.kubeadm: "

_ETC_UNITS = "etc/systemd/system"

#: Where systemd finds unit files at boot; the first folder that has a name decides. What systemctl itself keeps below
#: /run is left out: it is gone after a reboot.
_UNIT_FOLDERS = (
    "run/systemd/generator.early",
    _ETC_UNITS,
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
)

#: Services of distributions that make swap without a swap unit: zram-tools, zram-config, dphys-swapfile, swapspace.
_SWAP_SERVICES = ("zramswap.service", "zram-config.service", "dphys-swapfile.service", "swapspace.service")

#: Folders of zram-generator.conf and its drop-ins, the strongest first.
_ZRAM_FOLDERS = ("run/systemd", "etc/systemd", "usr/local/lib/systemd", "usr/lib/systemd")
_ZRAM_GENERATORS = ("usr/lib/systemd/system-generators", "lib/systemd/system-generators")


@dataclass(frozen=True)
class Unit:
    """A unit that brings swap at boot unless something is done.

    :arg administrators: whether its file lies where systemctl mask would put the mask.
    """

    name: str
    administrators: bool

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of systemctl that turn it off for good; a service has to be stopped as well."""
        verb = "disable" if self.administrators else "mask"
        return (verb, "--now") if self.name.endswith(".service") else (verb,)


@dataclass(frozen=True)
class State:
    """All swap of a machine."""

    devices: Sequence[str]
    fstab: str | None
    units: Sequence[Unit]


@dataclass(frozen=True)
class Plan:
    """What has to be done for a machine without swap, now and after a reboot."""

    fstab: Document
    fstab_entries: Sequence[str]
    devices: Sequence[str]
    units: Sequence[Unit]

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.fstab.changed or self.devices or self.units)

    def diff(self) -> list[dict[str, str]]:
        """Entries of the module's diff: fstab, then devices and units."""
        entries = [self.fstab.diff()] if self.fstab.changed else []
        if self.devices or self.units:
            before = [f"{device}: active" for device in self.devices] + [f"{unit.name}: on" for unit in self.units]
            after = [f"{device}: inactive" for device in self.devices] + [f"{unit.name}: off" for unit in self.units]
            entries.append(Document("swap", "\n".join(before) + "\n", "\n".join(after) + "\n").diff())
        return entries


def read_state(root: Path) -> State:
    """Read all swap of the machine whose files lie below root, without starting a program."""
    return State(
        devices=parse_proc_swaps(read_text(root / "proc/swaps") or ""),
        fstab=_read_verbatim(root / "etc/fstab"),
        units=list(_swap_units(root)),
    )


def decide_absent(state: State, fstab_path: str = "/etc/fstab") -> Plan:
    """Plan for a machine without swap."""
    after, entries = without_swap(state.fstab) if state.fstab is not None else (None, [])
    return Plan(
        fstab=Document(fstab_path, state.fstab, after),
        fstab_entries=entries,
        devices=state.devices,
        units=state.units,
    )


def parse_proc_swaps(text: str) -> list[str]:
    """Active devices and files; the kernel writes spaces in their names as octal numbers."""
    names = [line.split()[0] for line in text.splitlines()[1:] if line.strip()]
    return [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), name) for name in names]


def without_swap(fstab: str) -> tuple[str, list[str]]:
    """Text of fstab with its lines of type swap commented out, and these lines; every other byte stays."""
    entries = []
    lines = fstab.split("\n")
    for number, line in enumerate(lines):
        fields = line.split()
        if len(fields) >= 3 and fields[2] == "swap" and not fields[0].startswith("#"):
            entries.append(line)
            lines[number] = FSTAB_PREFIX + line
    return "\n".join(lines), entries


def _read_verbatim(path: Path) -> str | None:
    """Content of a file with its line ends as they are."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _swap_units(root: Path) -> Iterator[Unit]:
    """Units that bring swap at boot.

    Those made from fstab are left out: they vanish with its lines, and a mask would outlive a change of mind there.
    """
    from_zram = _names_from_zram_generator(root)
    from_files = {file.name for folder in _UNIT_FOLDERS for file in (root / folder).glob("*.swap")}
    for name in sorted({*from_zram, *from_files, *_SWAP_SERVICES}):
        file = _unit_file(root, name)
        if file is None:
            if name in from_zram:
                yield Unit(name, administrators=False)
        elif file.parent == root / _ETC_UNITS:
            # A real file there cannot be masked; without the links that enable it, it stays off.
            if not _is_masked(file) and _is_enabled(root, name):
                yield Unit(name, administrators=True)
        elif not _is_masked(file) and not _is_made_from_fstab(file):
            yield Unit(name, administrators=False)


def _unit_file(root: Path, name: str) -> Path | None:
    """File that defines a unit."""
    for folder in _UNIT_FOLDERS:
        file = root / folder / name
        if file.is_symlink() or file.exists():
            return file
    return None


def _is_masked(file: Path) -> bool:
    """Whether a unit file says that there is no such unit: a link to /dev/null, or empty."""
    if file.is_symlink():
        return str(file.resolve()) == "/dev/null"
    return file.stat().st_size == 0


def _is_enabled(root: Path, name: str) -> bool:
    """Whether a target or another unit pulls a unit in by a link, wherever that link points to."""
    folders = (folder for kind in ("wants", "requires") for folder in (root / _ETC_UNITS).glob(f"*.{kind}"))
    return any((folder / name).is_symlink() for folder in folders)


def _is_made_from_fstab(file: Path) -> bool:
    return "\nSourcePath=/etc/fstab\n" in (read_text(file) or "")


def _names_from_zram_generator(root: Path) -> set[str]:
    """Swap units that zram-generator makes of its configuration, also before it has run for the first time."""
    if not any((root / folder / "zram-generator").exists() for folder in _ZRAM_GENERATORS):
        return set()
    sections: dict[str, dict[str, str]] = {}
    for file in _zram_files(root):
        for name, keys in parse_zram_configuration(read_text(file) or "").items():
            sections.setdefault(name, {}).update(keys)
    devices = [name for name, keys in sections.items() if re.match(r"^zram\d+$", name) and _is_for_swap(keys)]
    return {f"dev-{device}.swap" for device in devices}


def _zram_files(root: Path) -> Iterator[Path]:
    """Configuration of zram-generator, the weakest first: one main file, then the drop-ins in order of their names."""
    mains = [root / folder / "zram-generator.conf" for folder in _ZRAM_FOLDERS]
    yield from [main for main in mains if main.exists()][:1]
    drop_ins: dict[str, Path] = {}
    for folder in _ZRAM_FOLDERS:
        for file in (root / folder / "zram-generator.conf.d").glob("*.conf"):
            drop_ins.setdefault(file.name, file)
    yield from [drop_ins[name] for name in sorted(drop_ins)]


def parse_zram_configuration(text: str) -> dict[str, dict[str, str]]:
    """Keys of each section in a configuration of zram-generator; a section is named as its device."""
    sections: dict[str, dict[str, str]] = {}
    keys: dict[str, str] = {}
    for line in (line.strip() for line in text.splitlines()):
        header = re.match(r"^\[(.+)\]$", line)
        if header:
            keys = sections.setdefault(header.group(1), {})
        elif "=" in line and line[0] not in "#;":
            key, _equals, value = line.partition("=")
            keys[key.strip()] = value.strip()
    return sections


def _is_for_swap(keys: dict[str, str]) -> bool:
    return "mount-point" not in keys and keys.get("fs-type", "swap") == "swap"


def turn_off(plan: Plan, runner: Runner, root: Path) -> Plan:
    """Turn off what a plan names, after its fstab was written; returns the plan with what came to light on the way.

    Once fstab has no swap, systemd's generator begins to make units of GPT partitions: hence the second look.
    """
    units = list(plan.units)
    if (root / "run/systemd/system").is_dir():
        runner.run([_program(runner, "systemctl", "systemd"), "daemon-reload"])
        units = list(_swap_units(root))
    for command in sorted({unit.command for unit in units}):
        names = [unit.name for unit in units if unit.command == command]
        runner.run([_program(runner, "systemctl", "systemd"), *command, "--", *names])
    # Stopping a service may have taken its device away.
    _swap_off([name for name in parse_proc_swaps(read_text(root / "proc/swaps") or "") if name in plan.devices], runner)
    return Plan(fstab=plan.fstab, fstab_entries=plan.fstab_entries, devices=plan.devices, units=units)


def _swap_off(devices: Iterable[str], runner: Runner) -> None:
    names = list(devices)
    if not names:
        return
    argv = [_program(runner, "swapoff", "mount (Debian, Ubuntu) or util-linux (RHEL family)"), *names]
    result = runner.run(argv, check=False)
    if result.rc != 0:
        raise CommandError(
            argv,
            result,
            remedy=(
                "free memory first when it says that it cannot allocate memory; "
                "in a container, turn swap off on the machine underneath; "
                "or let nodes have swap (cluster_swap_allowed)"
            ),
        )


def _program(runner: Runner, name: str, package: str) -> str:
    path = runner.find(name)
    if path is None:
        raise GroundplaneError(f"The program {name} is not installed", remedy=f"install the package {package}")
    return path
