# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text files as documents: what is there, what shall be there, and the only place that writes."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


@dataclass(frozen=True)
class Document:
    """One file before and after; None means that it does not exist."""

    path: str
    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        """Whether the file has to be written or removed."""
        return self.before != self.after

    def diff(self) -> dict[str, str]:
        """The entry for a module's diff list."""
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": self.before or "",
            "after": self.after or "",
        }


def read_text(path: str | Path) -> str | None:
    """Content of a file, None when it does not exist."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_document(module: AnsibleModule, document: Document, mode: int) -> None:
    """Bring a file to its wanted text in one atomic step; missing parent folders are made.

    The owner of an existing file stays. A file that is a mount point of its own cannot be replaced.

    :arg mode: permissions, set before the content is written.
    """
    target = Path(document.path)
    if document.after is None:
        target.unlink()
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=str(target.parent), prefix=f".{target.name}.")
    module.add_cleanup_file(temporary)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        os.fchmod(stream.fileno(), mode)
        if target.exists():
            status = target.stat()
            os.fchown(stream.fileno(), status.st_uid, status.st_gid)
        stream.write(document.after)
        stream.flush()
        # Some file systems write the new name before the content, and an empty fstab keeps a machine from booting.
        os.fsync(stream.fileno())
    # Not atomic_move: it widens the mode of a new file to what the umask allows.
    Path(temporary).replace(target)
    module.set_context_if_different(str(target), module.selinux_default_context(str(target)), False)
