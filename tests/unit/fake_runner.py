# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner that replays recorded results instead of running commands."""

from __future__ import annotations

from typing import Mapping, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result


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
