# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bootstrap tokens to reuse, create or delete."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    Token,
    format_time,
    parse_tokens,
    token_create_argv,
    token_delete_argv,
    token_list_argv,
)

# kubeadm join signs the discovery with the one and authenticates the kubelet with the other.
_NEEDED_USAGES = {"signing", "authentication"}


@dataclass(frozen=True)
class TokenPlan:
    """What becomes of the tokens of one description.

    :arg before: tokens that are there.
    :arg reused: one of them that lives long enough.
    :arg created_until: end of the life of a token that has to be created.
    :arg deleted: tokens that have to go.
    """

    before: tuple[Token, ...] = field(repr=False)
    reused: Token | None = field(default=None, repr=False)
    created_until: datetime | None = None
    deleted: tuple[Token, ...] = field(default=(), repr=False)

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.created_until or self.deleted)

    def diff(self, description: str) -> dict[str, str]:
        """The tokens before and after, without their secrets."""
        after = [_line(token.token_id, token.expires) for token in self.before if token not in self.deleted]
        if self.created_until:
            after.append(_line("(new)", self.created_until))
        before = [_line(token.token_id, token.expires) for token in self.before]
        header = f"bootstrap tokens {description}"
        return {
            "before_header": header,
            "after_header": header,
            "before": "".join(before),
            "after": "".join(after),
        }


def read_tokens(runner: Runner, kubeconfig: str) -> list[Token]:
    """All bootstrap tokens of the cluster."""
    return parse_tokens(runner.run(token_list_argv(kubeconfig)).stdout)


def decide_present(
    tokens: Sequence[Token], description: str, *, ttl: timedelta, minimum_ttl: timedelta, now: datetime
) -> TokenPlan:
    """Reuse the token that lives longest, if that is long enough; otherwise create one."""
    if not timedelta(seconds=1) <= minimum_ttl <= ttl:
        raise GroundplaneError(
            f"ttl is {ttl} and minimum_ttl is {minimum_ttl} (hours, minutes, seconds)",
            expected="a token that ends, and that is good for at least as long as is asked of one that is reused",
            remedy="set ttl to something like 30m and minimum_ttl to a part of it",
        )
    own = tuple(token for token in tokens if token.description == description)
    usable = [token for token in own if token.expires and set(token.usages) >= _NEEDED_USAGES]
    longest = max(usable, key=lambda token: token.expires or now, default=None)
    if longest is not None and longest.expires is not None and longest.expires - now >= minimum_ttl:
        return TokenPlan(own, reused=longest)
    return TokenPlan(own, created_until=now + ttl)


def decide_absent(tokens: Sequence[Token], description: str, token_id: str | None) -> TokenPlan:
    """Delete the token of an id, or without one, all of a description."""
    if token_id:
        own = tuple(token for token in tokens if token.token_id == token_id)
    else:
        own = tuple(token for token in tokens if token.description == description)
    return TokenPlan(own, deleted=own)


def apply_tokens(runner: Runner, kubeconfig: str, plan: TokenPlan, *, description: str, ttl: timedelta) -> str:
    """Carry out a plan; the created token is returned, it is secret."""
    if plan.deleted:
        runner.run(token_delete_argv(kubeconfig, [token.token_id for token in plan.deleted]))
    if plan.created_until is None:
        return ""
    return runner.run(token_create_argv(kubeconfig, ttl, description)).stdout.strip()


def result_of(plan: TokenPlan, created: str) -> dict[str, Any]:
    """What the module returns about the token to use; check mode cannot know one that would be created."""
    value = plan.reused.value if plan.reused else created
    expires = plan.reused.expires if plan.reused else plan.created_until
    return {
        "token": value,
        "token_id": value.partition(".")[0],
        "expires": format_time(expires) if expires else "",
    }


def _line(token_id: str, expires: datetime | None) -> str:
    """A token in a diff."""
    return "{} expires {}\n".format(token_id, format_time(expires) if expires else "never")
