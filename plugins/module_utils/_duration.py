# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as Go writes them (1h30m, 90s), the form of kubeadm's flags."""

from __future__ import annotations

import re
from datetime import timedelta

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_SECONDS = {"h": 3600.0, "ms": 1e-3, "m": 60.0, "s": 1.0, "us": 1e-6, "\u00b5s": 1e-6}
_PART = rf"(?P<number>\d+(?:\.\d+)?)(?P<unit>{'|'.join(_SECONDS)})"
_DURATION = re.compile(rf"(?:\d+(?:\.\d+)?(?:{'|'.join(_SECONDS)}))+")


def parse_duration(text: str, name: str) -> timedelta:
    """Length of a duration such as 30m or 1h30m0s.

    :arg name: the option that it was given for, named in the error.
    """
    if text == "0":
        return timedelta()
    if not _DURATION.fullmatch(text):
        raise GroundplaneError(
            f"{name} is {text!r}",
            expected="a duration in hours, minutes and seconds",
            remedy="write it like 30m, 90s or 1h30m",
        )
    return timedelta(
        seconds=sum(float(part.group("number")) * _SECONDS[part.group("unit")] for part in re.finditer(_PART, text))
    )


def format_duration(duration: timedelta) -> str:
    """A duration as Go prints it, in whole seconds."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (seconds, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return "".join(f"{number}{unit}" for number, unit in parts)
