# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the playbooks as a user does, and reading what a run came to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.lab.settings import REPOSITORY_ROOT

CALLBACK_PLUGINS = Path(__file__).resolve().parents[1] / "callback_plugins"
PROGRAMS = Path(sys.executable).parent
RUN_SECONDS = 1200

KUBEADM_NODE = "groundplane.kubeadm.kubeadm_node"
PREFLIGHT = "playbooks/preflight.yml"
REMOVE_NODE = "playbooks/remove_node.yml"
RESET = "playbooks/reset.yml"

#: Exit code of a run in which nothing failed but some hosts did not answer.
UNREACHABLE_EXIT_CODE = 4


@dataclass(frozen=True)
class Controller:
    """A place from which ansible-playbook is started, and what it calls the playbook there."""

    folder: Path
    playbook: str
    environment: Mapping[str, str] = field(default_factory=dict)


def checkout(playbook: str = "site.yml") -> Controller:
    """This checkout with the ansible.cfg it ships."""
    return Controller(REPOSITORY_ROOT, playbook, {"ANSIBLE_CONFIG": str(REPOSITORY_ROOT / "ansible.cfg")})


@dataclass(frozen=True)
class Run:
    """A run that has ended by itself."""

    command: str
    returncode: int
    output: str
    seconds: float
    record: Mapping[str, Any]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Every task on every host with its outcome."""
        return list(self.record.get("evaluations", []))

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Ansible's own counts for each host."""
        return dict(self.record.get("recap", {}))

    def changes(self) -> list[str]:
        """Every change as `host: task`."""
        return [f"{item['host']}: {item['task']}" for item in self.evaluations if item["outcome"] == "changed"]

    def changed_by(self, module: str) -> list[str]:
        """Hosts that a module changed, or would change in check mode."""
        return sorted(
            {item["host"] for item in self.evaluations if (item["module"], item["outcome"]) == (module, "changed")}
        )

    def count(self, hosts: Iterable[str] | None = None) -> int:
        """Host-task evaluations on the given hosts, or on all."""
        chosen = set(self.recap) if hosts is None else set(hosts)
        counted = ("ok", "skipped", "failures", "rescued", "unreachable")
        return sum(recap[kind] for host, recap in self.recap.items() for kind in counted if host in chosen)

    def play_seconds(self) -> list[tuple[str, float]]:
        """Duration of each play."""
        starts = [(play["name"], play["started"]) for play in self.record.get("plays", [])]
        ends = [started for _name, started in starts[1:]] + [self.record.get("ended")]
        return [(name, end - started) for (name, started), end in zip(starts, ends, strict=False) if end]

    def require_success(self) -> Run:
        """Fail with the end of the output unless the run succeeded."""
        assert self.returncode == 0, f"{self.command} ended with {self.returncode}:\n{self.tail()}"
        return self

    def require_success_without_silent_hosts(self) -> Run:
        """Fail unless the run succeeded on every host that answers."""
        accepted = (0, UNREACHABLE_EXIT_CODE)
        assert self.returncode in accepted, f"{self.command} ended with {self.returncode}:\n{self.tail()}"
        return self

    def require_refusal(self, *words: str) -> Run:
        """Fail unless the run stopped with a message that holds the words, and before it had changed anything."""
        assert self.returncode != 0, f"{self.command} was expected to stop:\n{self.tail()}"
        missing = [word for word in words if word not in self.message]
        assert not missing, f"The message of {self.command} does not say {missing}:\n{self.tail()}"
        assert not self.changes(), f"{self.command} changed something: {self.changes()}\n{self.tail()}"
        return self

    def require_unchanged(self) -> Run:
        """Fail unless the run succeeded and changed nothing."""
        self.require_success()
        changed = Counter(self.changes())
        assert not changed, f"{self.command} changed something: {dict(changed)}\n{self.tail()}"
        assert all(recap["changed"] == 0 for recap in self.recap.values()), self.recap
        return self

    def tail(self, lines: int = 60) -> str:
        """End of the output."""
        return "\n".join(self.output.splitlines()[-lines:])

    @cached_property
    def message(self) -> str:
        """The output with every run of white space, also where YAML wraps lines, as one space."""
        return re.sub(r"\s+", " ", self.output)


class StartedRun:
    """A run that is going on."""

    def __init__(self, argv: list[str], controller: Controller, environment: dict[str, str], files: _Files) -> None:
        """Start it in a session of its own, so that it can be killed with everything it started."""
        self._argv = argv
        self._files = files
        self._started = time.monotonic()
        with files.output.open("w") as output:
            self._process = subprocess.Popen(
                argv,
                cwd=controller.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended."""
        return self._process.poll() is not None

    def output(self) -> str:
        """What the run has said so far."""
        return self._files.output.read_text(errors="replace")

    def kill(self) -> None:
        """Kill ansible-playbook, all its workers and their connections at once, as when the machine is gone."""
        os.killpg(self._process.pid, signal.SIGKILL)
        # Workers have sessions of their own, and finish their task when nobody kills them.
        while left := self._files.processes():
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._process.wait()
        self._files.close_connections()

    def wait(self) -> Run:
        """Wait for the end and read what the run came to."""
        try:
            self._process.wait(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(
                f"{self._command()} had not ended after {RUN_SECONDS} s:\n{self.output()[-6000:]}"
            ) from error
        self._files.close_connections()
        record = json.loads(self._files.record.read_text()) if self._files.record.exists() else {}
        seconds = time.monotonic() - self._started
        return Run(self._command(), self._process.returncode, self.output(), seconds, record)

    def _command(self) -> str:
        return " ".join(["ansible-playbook", *self._argv[1:]])


@dataclass(frozen=True)
class _Files:
    """Files of one run, in a folder of its own."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output.log"

    @property
    def record(self) -> Path:
        return self.folder / "evaluations.json"

    @property
    def variables(self) -> Path:
        return self.folder / "variables.json"

    @property
    def sockets(self) -> Path:
        return self.folder / "ssh"

    @property
    def mark(self) -> tuple[str, str]:
        """Variable of the environment that everything has that the run started, and nothing else."""
        return "COUNT_EVALUATIONS_PATH", str(self.record)

    def processes(self) -> list[int]:
        """Processes of the run that live."""
        mark = "=".join(self.mark).encode()
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            # A process that has ended has no environment any more.
            with contextlib.suppress(OSError):
                if mark in environment.read_bytes().split(b"\0"):
                    found.append(int(environment.parent.name))
        return found

    def close_connections(self) -> None:
        """End the kept connections: nodes are killed and made anew at the same addresses."""
        for socket in self.sockets.glob("*"):
            subprocess.run(
                ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "node"],
                capture_output=True,
                check=False,
                timeout=30,
            )


class Site:
    """Starts playbooks for one inventory, each run with its files in a folder of its own below `work`."""

    def __init__(
        self,
        inventory: Path,
        work: Path,
        controller: Controller | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        """Remember where from, for which inventory and with which variables."""
        self.inventory = inventory
        self.work = work
        self._controller = controller or checkout()
        self._variables = {"control_plane_kubeconfig_directory": str(self.artifacts), **(variables or {})}

    @property
    def artifacts(self) -> Path:
        """Folder for what a run hands to the operator, kept out of the checkout."""
        return self.work / "artifacts"

    def run(
        self,
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        inventory: Path | None = None,
        playbook: str | None = None,
    ) -> Run:
        """Run to the end: site.yml, or another playbook."""
        return self.start(*arguments, variables=variables, inventory=inventory, playbook=playbook).wait()

    def start(
        self,
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        inventory: Path | None = None,
        playbook: str | None = None,
    ) -> StartedRun:
        """Start and return at once."""
        self.work.mkdir(parents=True, exist_ok=True)
        number = len(list(self.work.glob("run-*"))) + 1
        files = _Files(self.work / f"run-{number:02d}")
        files.sockets.mkdir(parents=True, mode=0o700)
        files.variables.write_text(json.dumps({**self._variables, **(variables or {})}))
        argv = [
            str(PROGRAMS / "ansible-playbook"),
            playbook or self._controller.playbook,
            f"--inventory={inventory or self.inventory}",
            f"--extra-vars=@{files.variables}",
            *arguments,
        ]
        return StartedRun(argv, self._controller, self._environment(files), files)

    def _environment(self, files: _Files) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTEST_"))}
        temporary = files.folder / "tmp"
        temporary.mkdir()
        return {
            **inherited,
            **self._controller.environment,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "TMPDIR": str(temporary),
            "ANSIBLE_LOCAL_TEMP": str(temporary / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(files.sockets),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACK_PLUGINS),
            "ANSIBLE_CALLBACKS_ENABLED": "count_evaluations",
            **dict([files.mark]),
        }
