# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules and sysctl values: in the running kernel now, and in files for the next boot."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document, read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_HEADER = "# Managed by groundplane.kubeadm: changes made here are overwritten.\n"

_MODULE_NAME = re.compile(r"^\w[\w-]*$", re.ASCII)
_SYSCTL_PATH = re.compile(r"^[\w-][\w.@:-]*(?:/[\w-][\w.@:-]*)*$", re.ASCII)

#: Traces of modules that leave none in /sys/module when they are built into the kernel.
_TRACES = {"br_netfilter": "proc/sys/net/bridge", "ip_vs": "proc/net/ip_vs"}

#: Where systemd-sysctl looks; a file hides those of the same name in the later folders.
_SYSCTL_FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")

_REMEDIES_FOR_MISSING_KEYS = {
    "net/bridge/": "load the kernel module br_netfilter (prereqs_kernel_modules)",
    "net/ipv6/": "switch IPv6 on in this kernel (ipv6.disable=0), or give the cluster IPv4 ranges only",
    "net/netfilter/": "load the kernel module nf_conntrack (prereqs_kernel_modules)",
}


@dataclass(frozen=True)
class Kernel:
    """The running kernel, as far as the file systems that it offers below root tell."""

    root: Path
    release: str

    def has(self, module: str) -> bool:
        """Whether a module is loaded or built in."""
        name = _underscored(module)
        traces = [self.root / "sys/module" / name]
        if name in _TRACES:
            traces.append(self.root / _TRACES[name])
        return any(trace.exists() for trace in traces) or name in self._file_systems() or name in self._built_in()

    def can_load(self, module: str) -> bool:
        """Whether the tree of modules of this very kernel has the module."""
        return _underscored(module) in _module_names(read_text(self._tree / "modules.dep") or "")

    def value(self, path: str) -> str | None:
        """Running value of a sysctl, None when the kernel does not have it.

        :arg path: of the sysctl below /proc/sys.
        """
        try:
            text = read_text(self._sysctl(path))
        except OSError as error:
            raise GroundplaneError(
                f"The kernel does not let {self._sysctl(path)} be read: {error.strerror}",
                remedy="run as root, and set only sysctls that have a value",
            ) from error
        return None if text is None else _one_spaced(text)

    def set_value(self, path: str, value: str) -> None:
        """Write a sysctl and make sure that the kernel took it."""
        file = self._sysctl(path)
        try:
            with file.open("w", encoding="ascii") as stream:
                stream.write(value + "\n")
        except OSError as error:
            raise GroundplaneError(
                f"The kernel refuses {value} for {file}: {error.strerror}",
                remedy="run as root on the machine itself (a container may not write there), and check the value",
            ) from error
        kept = self.value(path)
        if kept != value:
            raise GroundplaneError(
                f"The kernel was given {value} for {file} and keeps {kept}",
                remedy="choose a value that this kernel accepts",
            )

    @property
    def _tree(self) -> Path:
        return self.root / "lib/modules" / self.release

    def _sysctl(self, path: str) -> Path:
        return self.root / "proc/sys" / path

    def _file_systems(self) -> set[str]:
        """File systems that the kernel knows; each is named as its module is."""
        return {line.split()[-1] for line in (read_text(self.root / "proc/filesystems") or "").splitlines() if line}

    def _built_in(self) -> set[str]:
        return _module_names(read_text(self._tree / "modules.builtin") or "")


def running_kernel() -> Kernel:
    """The kernel under this program."""
    return Kernel(Path("/"), os.uname().release)


def _underscored(module: str) -> str:
    """Name as the kernel writes it: for modules, - and _ are the same."""
    return module.replace("-", "_")


def _module_names(index: str) -> set[str]:
    """Names of the modules in modules.dep or modules.builtin, whose lines begin with the path of a .ko file."""
    return {_underscored(match) for match in re.findall(r"^(?:\S*/)?([^/\s:]+?)\.ko", index, re.MULTILINE)}


def _one_spaced(value: str) -> str:
    return " ".join(value.split())


@dataclass(frozen=True)
class Settings:
    """What is wanted: module names and sysctl values, and the files that keep them for the next boot."""

    modules: Sequence[str]
    sysctls: Mapping[str, str]
    modules_path: str
    sysctls_path: str

    @property
    def paths(self) -> dict[str, str]:
        """Place below /proc/sys of each sysctl, by its key."""
        return {key: sysctl_path(key) for key in self.sysctls}


def settings(modules: Iterable[str], sysctls: Mapping[str, Any], modules_path: str, sysctls_path: str) -> Settings:
    """Settings from options, checked."""
    names = list(dict.fromkeys(modules))
    for name in names:
        if not _MODULE_NAME.match(name):
            raise GroundplaneError(
                f"{name!r} is no name of a kernel module",
                expected="letters, digits, - and _",
                remedy="correct the list of modules",
            )
    values = {key: _sysctl_value(key, value) for key, value in sysctls.items()}
    wanted = Settings(names, values, modules_path, sysctls_path)
    if len(set(wanted.paths.values())) < len(values):
        raise GroundplaneError(
            "The same sysctl is named twice, once with dots and once with slashes: " + ", ".join(values),
            remedy="keep one of the two spellings",
        )
    return wanted


def _sysctl_value(key: str, value: Any) -> str:
    """A value as the kernel reads it; YAML's yes and true mean 1."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, str)) and "\n" not in str(value).strip() and str(value).strip():
        return _one_spaced(str(value))
    raise GroundplaneError(
        f"The value of sysctl {key} is {value!r}",
        expected="a number or a line of text",
        remedy="correct the value",
    )


def sysctl_path(key: str) -> str:
    """Place of a sysctl below /proc/sys; both spellings of systemd and procps are understood.

    When the first separator of a key is a slash, its dots are dots (net/ipv4/conf/eth0.100/forwarding); else dots and
    slashes are exchanged (net.ipv4.conf.eth0/100.forwarding).
    """
    separator = re.search(r"[./]", key)
    exchanged = separator is not None and separator.group() == "."
    path = key.translate(str.maketrans("./", "/.")) if exchanged else key
    if not _SYSCTL_PATH.match(path):
        raise GroundplaneError(
            f"{key!r} is no sysctl", expected="a key such as net.ipv4.ip_forward", remedy="correct the key"
        )
    return path


def parse_modules_file(text: str) -> list[str]:
    """Names in a file of modules-load.d."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in "#;"]


def parse_sysctl_file(text: str) -> dict[str, str]:
    """Values in a file of sysctl.d by place below /proc/sys.

    Patterns are left out: for systemd-sysctl a value given for the key itself always wins over them.
    """
    values = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        key = key.strip().lstrip("-").strip()
        if equals and key and key[0] not in "#;" and not re.search(r"[*?\[]", key):
            try:
                values[sysctl_path(key)] = _one_spaced(value)
            except GroundplaneError:
                # Files of others may hold anything; what is no sysctl sets none of ours.
                continue
    return values


@dataclass(frozen=True)
class LaterValue:
    """A value that another file gives to a sysctl after ours was read."""

    file: str
    value: str


def later_values(kernel: Kernel, sysctls_path: str) -> dict[str, LaterValue]:
    """What files read after sysctls_path set, by place below /proc/sys.

    At boot, systemd-sysctl reads the files of all folders together in the order of their names; sysctl --system reads
    /etc/sysctl.conf after them.
    """
    files: dict[str, Path] = {}
    for folder in _SYSCTL_FOLDERS:
        for file in (kernel.root / folder).glob("*.conf"):
            files.setdefault(file.name, file)
    own_name = Path(sysctls_path).name
    ordered = [files[name] for name in sorted(files) if name > own_name]
    last = kernel.root / "etc/sysctl.conf"
    if last.resolve() not in [file.resolve() for file in ordered]:
        ordered.append(last)
    values = {}
    for file in ordered:
        for path, value in parse_sysctl_file(read_text(file) or "").items():
            values[path] = LaterValue(str(file), value)
    return values


@dataclass(frozen=True)
class State:
    """What is there, as far as the wanted settings need it."""

    missing_modules: Sequence[str]
    unloadable_modules: Sequence[str]
    running: Mapping[str, str | None]
    later: Mapping[str, LaterValue]
    modules_text: str | None
    sysctls_text: str | None


def read_state(kernel: Kernel, wanted: Settings) -> State:
    """Read what the wanted settings are compared with."""
    missing = [module for module in wanted.modules if not kernel.has(module)]
    return State(
        missing_modules=missing,
        unloadable_modules=[module for module in missing if not kernel.can_load(module)],
        running={key: kernel.value(path) for key, path in wanted.paths.items()},
        later=later_values(kernel, wanted.sysctls_path),
        modules_text=read_text(wanted.modules_path),
        sysctls_text=read_text(wanted.sysctls_path),
    )


@dataclass(frozen=True)
class Plan:
    """What has to be done."""

    documents: Sequence[Document]
    load: Sequence[str] = ()
    write: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, str | None] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def changed_documents(self) -> list[Document]:
        """Files to write or remove."""
        return [document for document in self.documents if document.changed]

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changed_documents or self.load or self.write)

    def diff(self) -> list[dict[str, str]]:
        """Entries of the module's diff: the files, then the running kernel."""
        entries = [document.diff() for document in self.changed_documents]
        if self.load or self.write:
            before = [f"module {name}: not loaded" for name in self.load]
            after = [f"module {name}: loaded" for name in self.load]
            for key, value in self.write.items():
                current = self.running[key]
                before.append(f"{key}: not there" if current is None else f"{key} = {current}")
                after.append(f"{key} = {value}")
            entries.append(Document("running kernel", _lines(before), _lines(after)).diff())
        return entries


def _lines(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


def decide_present(wanted: Settings, state: State, release: str) -> Plan:
    """Plan that makes the settings true now and at the next boot."""
    if state.unloadable_modules:
        raise _no_such_module(state.unloadable_modules, release)
    write = {key: value for key, value in wanted.sysctls.items() if state.running[key] != value}
    if not state.missing_modules:
        for key in write:
            if state.running[key] is None:
                raise _no_such_sysctl(key)
    return Plan(
        documents=(_modules_document(wanted, state), _sysctls_document(wanted, state)),
        load=state.missing_modules,
        write=write,
        running=state.running,
        warnings=_warnings(wanted, state.later),
    )


def decide_absent(wanted: Settings, state: State) -> Plan:
    """Plan that removes the files; the running kernel may have other users and is left alone."""
    return Plan(
        documents=(
            Document(wanted.modules_path, state.modules_text, None),
            Document(wanted.sysctls_path, state.sysctls_text, None),
        )
    )


def _modules_document(wanted: Settings, state: State) -> Document:
    """File of modules-load.d: rewritten only when it names other modules, absent when there are none to name."""
    text = _HEADER + _lines(wanted.modules) if wanted.modules else None
    before = state.modules_text
    same = text is not None and before is not None and parse_modules_file(before) == list(wanted.modules)
    return Document(wanted.modules_path, before, before if same else text)


def _sysctls_document(wanted: Settings, state: State) -> Document:
    """File of sysctl.d: rewritten only when it means other values, absent when there are none."""
    text = _HEADER + _lines(f"{key} = {value}" for key, value in wanted.sysctls.items()) if wanted.sysctls else None
    before = state.sysctls_text
    means = {wanted.paths[key]: value for key, value in wanted.sysctls.items()}
    same = text is not None and before is not None and parse_sysctl_file(before) == means
    return Document(wanted.sysctls_path, before, before if same else text)


def _warnings(wanted: Settings, later: Mapping[str, LaterValue]) -> list[str]:
    warnings = []
    for key, value in wanted.sysctls.items():
        other = later.get(wanted.paths[key])
        if other is not None and other.value != value:
            warnings.append(
                f"{other.file} sets {key} = {other.value} and is read after {wanted.sysctls_path}, "
                f"so that {key} loses its value {value} at the next boot. Remove that line from {other.file}."
            )
    return warnings


def _no_such_module(names: Sequence[str], release: str) -> GroundplaneError:
    listed = ", ".join(names)
    return GroundplaneError(
        f"The running kernel {release} has no module {listed}: not built in, not loaded, "
        f"and not below /lib/modules/{release}",
        expected="a kernel with these modules",
        remedy=(
            "reboot if the kernel was upgraded since the last boot; else install the package that has its modules "
            f"(Ubuntu: linux-modules-extra-{release}, RHEL family: kernel-modules-extra-{release}); "
            "in a container, load them on the machine underneath"
        ),
    )


def _no_such_sysctl(key: str) -> GroundplaneError:
    path = sysctl_path(key)
    hints = [hint for prefix, hint in _REMEDIES_FOR_MISSING_KEYS.items() if path.startswith(prefix)]
    return GroundplaneError(
        f"The running kernel has no sysctl {key} (/proc/sys/{path} does not exist)",
        expected="a sysctl of this kernel",
        remedy=hints[0] if hints else "check the spelling of the key and which kernel module brings it",
    )


def apply_running(plan: Plan, kernel: Kernel, runner: Runner) -> None:
    """Load the modules and write the values of a plan."""
    if plan.load:
        _load_modules(plan.load, runner)
    for key, value in plan.write.items():
        path = sysctl_path(key)
        if kernel.value(path) is None:
            raise _no_such_sysctl(key)
        kernel.set_value(path, value)


def _load_modules(names: Sequence[str], runner: Runner) -> None:
    modprobe = runner.find("modprobe")
    if modprobe is None:
        raise GroundplaneError(
            "The program modprobe is not installed, and these modules have to be loaded: " + ", ".join(names),
            remedy="install the package kmod",
        )
    argv = [modprobe, "--all", *names]
    result = runner.run(argv, check=False)
    if result.rc != 0:
        raise CommandError(
            argv,
            result,
            remedy=(
                "look for lines that forbid the module in /etc/modprobe.d, and at kernel.modules_disabled; "
                "in a container, load it on the machine underneath"
            ),
        )
