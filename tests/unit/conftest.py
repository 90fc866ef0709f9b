# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable from any checkout and offers the runner that replays recorded results."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Mapping, Sequence

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).resolve().parent / "fixtures"


def _make_collection_importable() -> None:
    """Register ansible_collections.groundplane.kubeadm for a checkout that lies in a folder of any name."""
    if importlib.util.find_spec("ansible_collections") is not None:
        try:
            if importlib.util.find_spec("ansible_collections.groundplane.kubeadm") is not None:
                return
        except ModuleNotFoundError:
            pass
    for name, path in (
        ("ansible_collections", None),
        ("ansible_collections.groundplane", None),
        ("ansible_collections.groundplane.kubeadm", ROOT),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)] if path else []
        sys.modules[name] = package


_make_collection_importable()
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import (  # noqa: E402
    CommandError,
    Result,
)


class FakeRunner:
    """Replays recorded results and insists on the exact sequence of argument lists."""

    def __init__(
        self,
        expected: Sequence[tuple[Sequence[str], Result]] = (),
        programs: Mapping[str, str] | None = None,
    ) -> None:
        self._expected = list(expected)
        self._programs = dict(programs or {})
        self.stdin: list[str | None] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Return the next recorded result if argv is the one it was recorded for."""
        assert self._expected, f"unexpected command: {list(argv)}"
        wanted, result = self._expected.pop(0)
        assert list(argv) == list(wanted)
        self.stdin.append(stdin)
        if check and result.rc != 0:
            raise CommandError(argv, result)
        return result

    def find(self, program: str) -> str | None:
        """Path of a program as the test declared it."""
        return self._programs.get(program)

    def assert_finished(self) -> None:
        """Fail when a recorded command was never run."""
        assert not self._expected, f"commands that were never run: {self._expected}"


@pytest.fixture
def fixture_text():
    """Read a recorded output below tests/unit/fixtures."""

    def read(name: str) -> str:
        return (FIXTURES / name).read_text(encoding="utf-8")

    return read
