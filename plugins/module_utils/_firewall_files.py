# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and the unit that bring our rules back at boot, and the script that takes a change back."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document, read_text, write_document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import WAIT, chain_lines, table
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_plan import FamilyPlan
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import (
    FAMILIES,
    IPV4,
    IPV6,
    OWN_PREFIX,
    RuleSet,
    words,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner

UNIT = "groundplane-firewall.service"
FOLDER = "etc/groundplane/firewall"
_UNIT_FILE = f"etc/systemd/system/{UNIT}"
_ENABLED_LINK = f"etc/systemd/system/multi-user.target.wants/{UNIT}"
_SUFFIX = {IPV4: "v4", IPV6: "v6"}
_PROGRAM = {IPV4: "iptables", IPV6: "ip6tables"}
#: Files in a change's folder that its script opens: what it holds while it is at work, and what it prints.
SCRIPT_LOCK = "busy"
SCRIPT_LOG = "rollback.log"
#: Longer than a script takes in which a few calls of iptables wait as long as they may.
SCRIPT_SECONDS = 100
_HEADER = "# Written by groundplane.kubeadm, which overwrites it."
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# After: whatever fills the tables at boot with a flush has to come first. The shell is named, because a policy of
# SELinux lets nothing below /etc be the program of a unit.
_UNIT_TEXT = f"""\
{_HEADER}
[Unit]
Description=Packet filter rules of groundplane.kubeadm
DefaultDependencies=no
Wants=network-pre.target
After=local-fs.target systemd-modules-load.service
After=netfilter-persistent.service iptables.service ip6tables.service nftables.service ufw.service firewalld.service
Before=network-pre.target containerd.service kubelet.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /{FOLDER}/restore

[Install]
WantedBy=multi-user.target
"""

_RESTORE_HEAD = f"""\
#!/bin/sh
{_HEADER}
# Loads our chains beside those of others, and makes INPUT lead to them once. The rules reach iptables-restore through a
# pipe, since a policy of SELinux may keep it from files here.
{_PATH}
failed=0

restore() {{ # PROGRAM FILE HOOK
    cat "$2" | "$1-restore" --noflush {WAIT} || return 1
    "$1" {WAIT} -C INPUT -j "$3" 2>/dev/null || "$1" {WAIT} -I INPUT 1 -j "$3"
}}

"""

_RESTORE_FAMILY = """\
restore {program} /{file} {hook} || {{
    echo "The rules of /{file} could not be loaded." >&2
    failed=1
}}
"""

# Nothing of Ansible may be needed here: the controller and its connection can be gone.
_ROLLBACK_HEAD = f"""\
#!/bin/sh
# Takes a change back unless it was confirmed. Whoever renames this marker first decides.
{_PATH}
cd "$(dirname "$0")" || exit 1
# Whoever holds this lock is at work, as are the programs that it has started. Without the program it goes on.
[ -e {SCRIPT_LOCK} ] && exec 9<{SCRIPT_LOCK} && flock -w {SCRIPT_SECONDS} 9 2>/dev/null
mv pending rolling-back 2>/dev/null || exit 0
# A shell ends when exec cannot open a file.
[ -f {SCRIPT_LOG} ] && [ -w {SCRIPT_LOG} ] && exec >{SCRIPT_LOG} 2>&1
failed=0

"""

_ROLLBACK_FAMILY = """\
[ -s counters.{suffix} ] || {program}-save -c -t filter | sed -n '/^\\[[0-9:]*\\] -A {prefix}/p' >counters.{suffix}
cat rollback.{suffix} | {program}-restore --noflush {wait} || failed=1
"""

_ROLLBACK_TAIL = """\
if [ "$failed" = 0 ]; then
    mv rolling-back rolled-back
else
    mv rolling-back rollback-failed
fi
exit "$failed"
"""


class WantedFiles(NamedTuple):
    """Everything that shall lie on the disk.

    :arg files: text and mode by path below the root; no text for a file that has to go.
    :arg enabled: whether the unit runs at boot.
    """

    files: Mapping[str, tuple[str | None, int]]
    enabled: bool


def wanted_files(rules: Mapping[str, RuleSet]) -> WantedFiles:
    """Files for rules by family; nothing but their absence for no family."""
    files: dict[str, tuple[str | None, int]] = {}
    restore = _RESTORE_HEAD
    for family in FAMILIES:
        path = rules_path(family)
        if family in rules:
            files[path] = (f"{_HEADER}\n{table(chain_lines(rules[family].chains))}", 0o600)
            hook = words(rules[family].jumps[0])[-1]
            restore += _RESTORE_FAMILY.format(program=_PROGRAM[family], file=path, hook=hook)
        else:
            files[path] = (None, 0o600)
    files[f"{FOLDER}/restore"] = (f'{restore}\nexit "$failed"\n' if rules else None, 0o700)
    files[_UNIT_FILE] = (_UNIT_TEXT if rules else None, 0o644)
    return WantedFiles(files, bool(rules))


def rules_path(family: str) -> str:
    """Where the rules of a family are kept, below the root."""
    return f"{FOLDER}/rules.{_SUFFIX[family]}"


def documents(root: Path, wanted: WantedFiles) -> list[tuple[Document, int]]:
    """Files that are not as wanted, with their modes."""
    found = []
    for path, (text, mode) in wanted.files.items():
        file = root / path
        document = Document(str(file), read_text(file), text)
        if document.changed or (text is not None and file.stat().st_mode & 0o7777 != mode):
            found.append((document, mode))
    return found


def unit_differs(root: Path, wanted: WantedFiles) -> bool:
    """Whether the unit has to be enabled or disabled."""
    return (root / _ENABLED_LINK).is_symlink() != wanted.enabled


def persist(module: AnsibleModule, runner: Runner, root: Path, wanted: WantedFiles) -> None:
    """Bring files and unit to what is wanted."""
    changes = documents(root, wanted)
    differs = unit_differs(root, wanted)
    systemctl = runner.find("systemctl") or "systemctl"
    if differs and not wanted.enabled:
        # Stopping it changes no rule; it has no ExecStop.
        runner.run([systemctl, "disable", "--now", UNIT])
    folder = root / FOLDER
    if wanted.enabled:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    for document, mode in changes:
        write_document(module, document, mode)
    if any(document.path.endswith(UNIT) for document, _mode in changes):
        runner.run([systemctl, "daemon-reload"])
    if differs and wanted.enabled:
        runner.run([systemctl, "enable", UNIT])
    if not wanted.enabled:
        for empty in (folder, folder.parent):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
    # Even without a change: one that was killed may have come no further than to the change.
    link = root / _ENABLED_LINK
    for names in (folder, folder.parent, folder.parent.parent, link.parent, link.parent.parent):
        _sync(names)


def _sync(folder: Path) -> None:
    """Have the names in a folder survive a power cut in the next seconds; a file's own content is synced already."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rollback_files(plans: Sequence[FamilyPlan]) -> dict[str, str]:
    """The script that undoes what the plans change, and what it reads, by name."""
    files = {}
    script = _ROLLBACK_HEAD
    for plan in plans:
        suffix = _SUFFIX[plan.tool.family]
        program = shlex.quote(plan.tool.iptables)
        files[f"rollback.{suffix}"] = plan.rollback_text()
        script += _ROLLBACK_FAMILY.format(program=program, prefix=OWN_PREFIX, suffix=suffix, wait=WAIT)
        # Whatever the change has got to, and whoever else has inserted rules since: only presence counts.
        for jump in dict.fromkeys([*plan.before.jumps, *plan.after.jumps]):
            rule = " ".join(shlex.quote(word) for word in words(jump)[2:])
            check = f"{program} {WAIT} -C INPUT {rule} 2>/dev/null"
            if jump in plan.before.jumps:
                script += f"{check} || {program} {WAIT} -I INPUT 1 {rule} || failed=1\n"
            else:
                script += f"while {check}; do {program} {WAIT} -D INPUT {rule} || {{ failed=1; break; }}; done\n"
        for name in plan.new:
            # It may never have come into being.
            script += f"{program} {WAIT} -S {name} >/dev/null 2>&1 && {{ {program} {WAIT} -X {name} || failed=1; }}\n"
        script += "\n"
    files["rollback"] = script + _ROLLBACK_TAIL
    files[SCRIPT_LOCK] = files[SCRIPT_LOG] = ""
    return files
