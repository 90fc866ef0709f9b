# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes builds repeatable: fixed times and names, and digests that tell whether anything would differ."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: The time of every file in every package and image: 2026-01-01 00:00 UTC.
FIXED_TIME = 1767225600

#: Name under which folders are filled; a killed build leaves some, and the next one removes them.
UNFINISHED_PREFIX = ".unfinished-"


def digest(parts: Iterable[Path | str]) -> str:
    """Return one digest of texts and of the contents of files, in their order."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


@contextmanager
def finished_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder that takes its final name, and the place of its predecessors, once it is filled."""
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=final.parent, prefix=UNFINISHED_PREFIX))
    unfinished.chmod(0o755)
    yield unfinished
    unfinished.rename(final)
    for other in final.parent.iterdir():
        if other != final:
            shutil.rmtree(other)
