# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the packet filter of a host and confirms the change over a connection that the new rules have let in."""

from __future__ import annotations

import contextlib
import signal
import time
import uuid
from types import FrameType
from typing import Any, Iterator, Mapping

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_blame import suspects
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import ARGUMENTS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_transaction import (
    CONFIRMED,
    CONFIRMING,
    PENDING,
    ROLLBACK_FAILED,
    ROLLED_BACK,
    ROLLING_BACK,
    UNKNOWN,
    UNSAVED,
)

_HOST_MODULE = "groundplane.kubeadm.iptables_persistence_host"
#: The least for one attempt while there is time; a first one gets half of what is left, for hosts that are slow.
_ATTEMPT_SECONDS = 10.0
#: The least for a connection; where more hosts lie between, Ansible's own timeout allows for them.
_CONNECT_SECONDS = 4
_PAUSE_SECONDS = 1.0
#: How long the host is asked for the end of a change after its timer has run out.
_AFTERMATH_SECONDS = 60.0
_SHOWN_SUSPECTS = 3


class _TooLate(AnsibleConnectionFailure):
    """An attempt has used up its time."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise after some time, whatever the connection plugin waits for; an alarm of others keeps its time.

    ssh itself bounds the connection and the exchange of keys, but not a server that hangs in the log-in.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _TooLate(f"no answer within {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    began = time.monotonic()
    others, _interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        passed = time.monotonic() - began
        signal.setitimer(signal.ITIMER_REAL, max(others - passed, 0.1) if others else 0)
        signal.signal(signal.SIGALRM, before)


class ActionModule(ActionBase):
    """Applies in the connection that is there, confirms in new ones."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        change = uuid.uuid4().hex[:12]
        began = time.monotonic()
        try:
            applied = self._on_host(task_vars, operation="apply", change=change, **arguments)
        except AnsibleConnectionFailure:
            if self._task.check_mode:
                raise
            # The rules may have cut the very connection that brought them.
            answer = self._wait_for_end(task_vars, change, began + arguments["rollback_seconds"])
            if answer.get("outcome") in (None, UNKNOWN):
                raise
            result.update(self._failure(answer, arguments["rollback_seconds"], "the connection broke"))
            return result
        pending = applied.pop("pending", 0)
        loaded = applied.pop("loaded", True)
        result.update(applied)
        if result.get("failed") or not pending:
            return result
        answer, error = self._settle(task_vars, change, time.monotonic() + pending)
        if answer.get("outcome") == CONFIRMED:
            result["rolled_back"] = False
        elif answer.get("outcome") == UNSAVED:
            result.update(failed=True, msg=answer["msg"], rolled_back=False)
        elif loaded:
            result.update(self._failure(answer, pending, error))
        else:
            result.update(self._nobody_came(pending, error))
        return result

    def _settle(self, task_vars: dict[str, Any] | None, change: str, deadline: float) -> tuple[dict[str, Any], str]:
        """Confirm a change, or wait until it was taken back; what the host says, and the first error on the way."""
        answer: dict[str, Any] = {}
        error = ""
        while time.monotonic() < deadline:
            left = deadline - time.monotonic()
            answer = self._attempt(task_vars, "confirm", change, min(max(_ATTEMPT_SECONDS, left / 2), left))
            if answer.get("outcome") not in (None, PENDING, CONFIRMING):
                break
            error = error or answer.get("msg", "")
            time.sleep(min(_PAUSE_SECONDS, max(deadline - time.monotonic(), 0)))
        if answer.get("outcome") in (None, PENDING, CONFIRMING, ROLLING_BACK):
            answer = self._wait_for_end(task_vars, change, deadline)
        return answer, error

    def _wait_for_end(self, task_vars: dict[str, Any] | None, change: str, deadline: float) -> dict[str, Any]:
        """What the host says once nothing more will happen to a change, or at the end of all patience."""
        seconds = 2 * _ATTEMPT_SECONDS
        while True:
            answer = self._attempt(task_vars, "outcome", change, seconds)
            # A host under load may need longer, and nothing is lost by waiting any more.
            seconds = min(2 * seconds, _AFTERMATH_SECONDS)
            ended = answer.get("outcome") not in (None, PENDING, CONFIRMING, ROLLING_BACK)
            if ended or time.monotonic() > deadline + _AFTERMATH_SECONDS:
                return answer
            time.sleep(_PAUSE_SECONDS)

    def _attempt(self, task_vars: dict[str, Any] | None, operation: str, change: str, seconds: float) -> dict[str, Any]:
        """What the host answers over a new connection; only a message when it does not."""
        try:
            with bounded(seconds), self._new_connection(seconds):
                return self._on_host(task_vars, operation=operation, change=change)
        except AnsibleError as error:
            return {"msg": str(error)}

    def _on_host(self, task_vars: dict[str, Any] | None, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=_HOST_MODULE, module_args=arguments, task_vars=task_vars
        )
        return answer

    @contextlib.contextmanager
    def _new_connection(self, seconds: float) -> Iterator[None]:
        """Let everything inside go over a connection of its own, which is made within some seconds.

        A connection that exists proves nothing: its packets belong to a connection that the rules know. For ssh, asking
        the master to stop (reset) is not enough, because another process may keep one and because ssh's own
        configuration can name it. The first value of an option wins in ssh, so these come first.
        """
        # Others than ssh connect anew when they are used after this; some of them know ssh_args as well.
        self._connection.close()
        connect_seconds = max(1, min(self._connect_seconds(), int(seconds)))
        before = {}
        for name in ("ssh_args", "reconnection_retries"):
            with contextlib.suppress(KeyError):
                before[name] = self._connection.get_option(name)
        anew = {
            "ssh_args": "-o ControlPath=none -o ControlMaster=no -o ServerAliveInterval=3 -o ServerAliveCountMax=2 "
            f"-o ConnectTimeout={connect_seconds} {before.get('ssh_args') or ''}",
            "reconnection_retries": 0,
        }
        try:
            for name in before:
                self._connection.set_option(name, anew[name])
            yield
        finally:
            for name, value in before.items():
                self._connection.set_option(name, value)

    def _connect_seconds(self) -> int:
        """How long the way to the host may take, where the plugin knows."""
        try:
            return max(_CONNECT_SECONDS, int(self._connection.get_option("timeout") or 0))
        except KeyError:
            return _CONNECT_SECONDS

    def _failure(self, answer: Mapping[str, Any], rollback_seconds: int, error: str) -> dict[str, Any]:
        """Result for a change that did not last."""
        outcome = answer.get("outcome")
        found = suspects(answer.get("counters") or {}, self._port())
        shut = f"Found no way in with the new rules within {rollback_seconds} seconds ({error or 'no answer'})"
        if outcome == ROLLED_BACK:
            said = f"{shut}. They were taken back, the rules from before are in force"
        elif outcome == ROLLBACK_FAILED:
            said = f"{shut}. Taking them back has failed: {answer.get('log') or 'nothing was printed'}"
        elif outcome == UNKNOWN:
            said = f"{shut}. The host was restarted meanwhile, and has loaded the rules that were confirmed last"
        else:
            said = f"{shut}. The host does not answer even after its timer has run out"
        if found:
            said += ". Rules that have dropped or rejected packets, the likeliest first: " + "; ".join(
                suspect.describe() for suspect in found[:_SHOWN_SUSPECTS]
            )
            remedy = "correct these rules, or let the controller in before them"
        elif outcome in (ROLLED_BACK, ROLLBACK_FAILED):
            said += ". None of the rules has dropped or rejected a packet"
            remedy = "look at the network and at other packet filters; an accepting rule may have gone"
        else:
            remedy = "look at the host's console"
        return {
            "failed": True,
            "changed": outcome not in (ROLLED_BACK, UNKNOWN),
            "rolled_back": outcome == ROLLED_BACK,
            "suspects": [suspect._asdict() for suspect in found],
            "msg": f"{said}. To do: {remedy}.",
        }

    @staticmethod
    def _nobody_came(seconds: int, error: str) -> dict[str, Any]:
        """Result when only files were to change, and no connection came to have them written."""
        return {
            "failed": True,
            "changed": False,
            "rolled_back": False,
            "suspects": [],
            "msg": f"Found no way in with the rules that are in force already within {seconds} seconds "
            f"({error or 'no answer'}). Nothing was saved for the next boot. To do: let the controller in, or restart "
            "the host, which loads the rules that were confirmed last.",
        }

    def _port(self) -> int | None:
        """TCP port of the connection, where the plugin knows one."""
        try:
            return int(self._connection.get_option("port") or 22)
        except KeyError:
            return None
