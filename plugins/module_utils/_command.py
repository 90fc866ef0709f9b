# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to run programs: argument lists, C locale, standard input as data."""

from __future__ import annotations

import contextlib
from threading import Thread
from typing import IO, TYPE_CHECKING, Mapping, NamedTuple, Protocol, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

if TYPE_CHECKING:
    from subprocess import Popen

    from ansible.module_utils.basic import AnsibleModule

_C_LOCALE = {"LANG": "C", "LC_ALL": "C", "LC_MESSAGES": "C", "LANGUAGE": "C"}


class Result(NamedTuple):
    """What a program returned."""

    rc: int
    stdout: str
    stderr: str


class CommandError(GroundplaneError):
    """A program ended with an exit code that its caller did not allow."""

    def __init__(self, argv: Sequence[str], result: Result, remedy: str = "") -> None:
        self.argv = tuple(argv)
        self.result = result
        said = (result.stderr or result.stdout).strip()
        super().__init__(
            "{} ended with exit code {}: {}".format(" ".join(argv), result.rc, said or "(it printed nothing)"),
            remedy=remedy,
            facts={"cmd": list(argv), "rc": result.rc},
        )


class Runner(Protocol):
    """Runs programs on the target; tests replace it by one that replays recorded results."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run argv and return its result.

        :arg stdin: text for standard input, the place for anything secret.
        :arg check: raise CommandError when the exit code is not 0.
        :arg environment: variables added to the C locale.
        """

    def find(self, program: str) -> str | None:
        """Path of a program on the target, None when it is not installed."""


class _Feeder:
    """Standard input of a program that is written while the program's output is read.

    AnsibleModule.run_command writes everything before it reads anything. A program that answers each part of a large
    input at once, as kubectl does, would wait for its output to be read, and the module for its input to be taken.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> None:
        """Begin to write; whoever reads the output does not wait for the end of it."""
        Thread(target=self._feed, args=(data,), daemon=True).start()

    def close(self) -> None:
        """Nothing, because the thread closes the pipe behind the last byte."""

    def _feed(self, data: bytes) -> None:
        # A program that ends without having read everything says by its exit code whether that is an error.
        with contextlib.suppress(BrokenPipeError), self._pipe:
            self._pipe.write(data)


def _feed_while_reading(process: Popen[bytes]) -> None:
    if process.stdin:
        process.stdin = _Feeder(process.stdin)  # type: ignore[assignment]


class ModuleRunner:
    """Runner on top of AnsibleModule.run_command."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run argv as described by Runner."""
        rc, stdout, stderr = self._module.run_command(
            list(argv),
            data=stdin,
            binary_data=True,
            environ_update={**_C_LOCALE, **(environment or {})},
            expand_user_and_vars=False,
            handle_exceptions=True,
            before_communicate_callback=_feed_while_reading,
        )
        result = Result(rc, stdout, stderr)
        if check and rc != 0:
            raise CommandError(argv, result)
        return result

    def find(self, program: str) -> str | None:
        """Path of a program, searched also where root's PATH may not look."""
        path: str | None = self._module.get_bin_path(program, required=False, opt_dirs=["/usr/sbin", "/sbin"])
        return path
