# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of text files that belongs to one owner: what is there, what shall be there, what is left over."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document, read_text


class WantedFile(NamedTuple):
    """One file of the set.

    :arg secret: whether the content may appear in no output.
    :arg validate: argument list of a program that accepts the content, with %s for the file's path.
    """

    path: str
    content: str
    mode: int = 0o644
    secret: bool = False
    validate: Sequence[str] = ()


@dataclass(frozen=True)
class FileChange:
    """One file that has to be written or removed."""

    document: Document
    mode: int = 0o644
    secret: bool = False
    validate: Sequence[str] = ()

    def diff(self) -> dict[str, str]:
        """The entry for a module's diff list, without the content of secret files."""
        entry = self.document.diff()
        if self.secret:
            entry["before"] = "(secret content)\n" if entry["before"] else ""
            entry["after"] = "(other secret content)\n" if entry["after"] else ""
        return entry


def read_mode(path: str) -> int | None:
    """Permissions of a file, None when it does not exist."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def changes_to_write(files: Iterable[WantedFile]) -> list[FileChange]:
    """Those wanted files whose content or permissions are not as wanted."""
    changes = []
    for wanted in files:
        document = Document(wanted.path, read_text(wanted.path), wanted.content)
        if document.changed or read_mode(wanted.path) != wanted.mode:
            changes.append(FileChange(document, wanted.mode, wanted.secret, wanted.validate))
    return changes


def changes_to_remove(files: Iterable[WantedFile], directories: Iterable[str], marker: str) -> list[FileChange]:
    """Files below the directories that bear the marker in their first line and are wanted no longer."""
    wanted = {item.path for item in files}
    changes = []
    for directory in directories:
        for path in _files_below(directory):
            text = read_text(path)
            if str(path) not in wanted and text is not None and marker in text.partition("\n")[0]:
                # A file that was secret cannot be told from others any more.
                changes.append(FileChange(Document(str(path), text, None), secret=True))
    return changes


def remove_empty_parents(path: str, directories: Sequence[str]) -> None:
    """Remove the folders that a removed file has left empty, up to and including one of the directories.

    Of several files in one folder, the last to be removed takes the folder along; the others find it gone.
    """
    for parent in Path(path).parents:
        if not any(parent == Path(top) or Path(top) in parent.parents for top in directories):
            return
        if parent.exists():
            if any(parent.iterdir()):
                return
            parent.rmdir()


def reader_is_outdated(runner: Runner, unit: str, files: Iterable[WantedFile]) -> bool:
    """Whether a running unit has been started, or last reloaded, before one of the files was written.

    That is what a run which was killed between writing and restarting leaves behind. A reload is a change of state,
    too; it is no entry into the active one.
    """
    argv = ["systemctl", "show", "--property=StateChangeTimestampMonotonic", "--property=ActiveState", unit]
    properties = dict(line.partition("=")[::2] for line in runner.run(argv).stdout.splitlines())
    if properties.get("ActiveState") != "active":
        return False
    age = time.monotonic() - int(properties["StateChangeTimestampMonotonic"]) / 1_000_000
    times = [Path(item.path).stat().st_mtime for item in files if Path(item.path).exists()]
    return max(times, default=0.0) > time.time() - age


def _files_below(directory: str) -> Iterator[Path]:
    """Regular files below a directory, in a stable order."""
    for parent, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path
