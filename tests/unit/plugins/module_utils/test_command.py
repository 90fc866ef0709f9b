# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are really run here, by the runner that modules have on the target."""

from __future__ import annotations

import sys

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, ModuleRunner

#: More than pipes hold, which is 64 KiB on Linux.
LARGE = "line\n" * 100_000

ECHO = "import sys\nfor line in sys.stdin: print(line, end='')"


@pytest.fixture
def runner() -> ModuleRunner:
    """The runner of a module without options."""
    with patch_module_args({}):
        return ModuleRunner(AnsibleModule({}))


def test_a_program_may_answer_a_large_input_while_it_reads_it(runner: ModuleRunner) -> None:
    assert runner.run([sys.executable, "-c", ECHO], stdin=LARGE).stdout == LARGE


def test_a_program_may_end_without_reading_its_input(runner: ModuleRunner) -> None:
    assert runner.run(["true"], stdin=LARGE) == (0, "", "")
    with pytest.raises(CommandError, match="exit code 1"):
        runner.run(["false"], stdin=LARGE)


def test_input_is_text_and_ends_where_it_ends(runner: ModuleRunner) -> None:
    assert runner.run(["cat"], stdin="Grüße").stdout == "Grüße"


def test_a_program_without_input_reads_nothing(runner: ModuleRunner) -> None:
    assert runner.run(["echo", "here"]) == (0, "here\n", "")


def test_arguments_arrive_as_they_are(runner: ModuleRunner) -> None:
    assert runner.run(["echo", "$HOME", "~", "*"]).stdout == "$HOME ~ *\n"


def test_programs_speak_the_language_that_is_read(runner: ModuleRunner) -> None:
    found = runner.run(["sh", "-c", "echo $LC_ALL $GREETING"], environment={"GREETING": "hello"})
    assert found.stdout == "C hello\n"
