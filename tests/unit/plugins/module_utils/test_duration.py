# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations in Go's form."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._duration import format_duration, parse_duration
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

DURATIONS = [
    ("0", timedelta(), "0s"),
    ("90s", timedelta(seconds=90), "1m30s"),
    ("30m", timedelta(minutes=30), "30m0s"),
    ("1h30m0s", timedelta(minutes=90), "1h30m0s"),
    ("1.5h", timedelta(minutes=90), "1h30m0s"),
    ("24h", timedelta(days=1), "24h0m0s"),
    ("1s500ms", timedelta(seconds=1.5), "1s"),
    ("1s500us", timedelta(seconds=1, microseconds=500), "1s"),
    ("2s500\u00b5s", timedelta(seconds=2, microseconds=500), "2s"),
]


@pytest.mark.parametrize(("text", "duration", "_printed"), DURATIONS, ids=[row[0] for row in DURATIONS])
def test_parse(text: str, duration: timedelta, _printed: str) -> None:
    assert parse_duration(text, "ttl") == duration


@pytest.mark.parametrize(("_text", "duration", "printed"), DURATIONS, ids=[row[0] for row in DURATIONS])
def test_format(_text: str, duration: timedelta, printed: str) -> None:
    assert format_duration(duration) == printed


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "1d", "5 m", "5m!"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(GroundplaneError, match="minimum_ttl is"):
        parse_duration(text, "minimum_ttl")
