# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about bootstrap tokens."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._bootstrap_token import (
    TokenPlan,
    apply_tokens,
    decide_absent,
    decide_present,
    result_of,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    Token,
    token_create_argv,
    token_delete_argv,
)

from tests.unit.fake_runner import FakeRunner

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
HALF_AN_HOUR, TEN_MINUTES = timedelta(minutes=30), timedelta(minutes=10)
BOTH = ("authentication", "signing")


def token(token_id: str, minutes: int | None, description: str = "ours", usages: tuple[str, ...] = BOTH) -> Token:
    """A token with so much life left."""
    expires = None if minutes is None else NOW + timedelta(minutes=minutes)
    return Token(f"{token_id}.0123456789abcdef", description, expires, usages)


def present(*tokens: Token) -> TokenPlan:
    """Plan for a token of half an hour."""
    return decide_present(tokens, "ours", ttl=HALF_AN_HOUR, minimum_ttl=TEN_MINUTES, now=NOW)


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (token("aaaaaa", 9),),
        (token("aaaaaa", -1),),
        (token("aaaaaa", 20, "theirs"),),
        (token("aaaaaa", 20, usages=("signing",)),),
        (token("aaaaaa", None),),
    ],
    ids=["none", "short", "over", "of others", "of little use", "without an end"],
)
def test_created(tokens: tuple[Token, ...]) -> None:
    plan = present(*tokens)
    assert (plan.changed, plan.reused, plan.created_until) == (True, None, NOW + HALF_AN_HOUR)


def test_the_longest_is_reused() -> None:
    plan = present(token("aaaaaa", 10), token("bbbbbb", 20), token("cccccc", 5))
    assert not plan.changed
    assert result_of(plan, "") == {
        "token": "bbbbbb.0123456789abcdef",
        "token_id": "bbbbbb",
        "expires": "2026-01-31T12:20:00Z",
    }


@pytest.mark.parametrize(
    ("ttl", "minimum_ttl"), [(timedelta(), timedelta()), (TEN_MINUTES, HALF_AN_HOUR)], ids=["no end", "reversed"]
)
def test_senseless_lives(ttl: timedelta, minimum_ttl: timedelta) -> None:
    with pytest.raises(GroundplaneError, match="a token that ends"):
        decide_present((), "ours", ttl=ttl, minimum_ttl=minimum_ttl, now=NOW)


def test_created_token_is_returned() -> None:
    runner = FakeRunner([(token_create_argv("K", HALF_AN_HOUR, "ours"), Result(0, "dddddd.0123456789abcdef\n", "W"))])
    created = apply_tokens(runner, "K", present(), description="ours", ttl=HALF_AN_HOUR)
    assert result_of(present(), created)["token_id"] == "dddddd"
    assert result_of(present(), "") == {"token": "", "token_id": "", "expires": "2026-01-31T12:30:00Z"}


def test_absent_by_description_or_id() -> None:
    tokens = (token("aaaaaa", 10), token("bbbbbb", None), token("cccccc", 10, "theirs"))
    assert decide_absent(tokens, "ours", None).deleted == tokens[:2]
    assert decide_absent(tokens, "ours", "cccccc").deleted == tokens[2:]
    assert not decide_absent(tokens, "ours", "zzzzzz").changed
    runner = FakeRunner([(token_delete_argv("K", ["aaaaaa", "bbbbbb"]), Result(0, "", ""))])
    plan = decide_absent(tokens, "ours", None)
    assert apply_tokens(runner, "K", plan, description="ours", ttl=HALF_AN_HOUR) == ""
    runner.assert_finished()


def test_diffs_hold_no_secret() -> None:
    old = token("aaaaaa", 5)
    assert present(old).diff("ours") == {
        "before_header": "bootstrap tokens ours",
        "after_header": "bootstrap tokens ours",
        "before": "aaaaaa expires 2026-01-31T12:05:00Z\n",
        "after": "aaaaaa expires 2026-01-31T12:05:00Z\n(new) expires 2026-01-31T12:30:00Z\n",
    }
    gone = decide_absent((old, token("bbbbbb", None)), "ours", None)
    assert gone.diff("ours")["before"].endswith("bbbbbb expires never\n")
    assert gone.diff("ours")["after"] == ""
    assert "0123456789abcdef" not in repr(gone)
