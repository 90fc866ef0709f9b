# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice between official places and programs built by the lab."""

from __future__ import annotations

import pytest

from tests.lab.process import LabError
from tests.lab.source import OFFICIAL_PLACES, OVERRIDE, Source, decide


def test_official_places_are_used_when_all_of_them_answer():
    decision = decide({}, lambda url: True)
    assert decision.source is Source.UPSTREAM
    assert decision.way_out


@pytest.mark.parametrize("silent", OFFICIAL_PLACES)
def test_one_silent_place_is_enough_for_building(silent):
    decision = decide({}, lambda url: url != silent)
    assert decision.source is Source.BUILT
    assert not decision.way_out
    assert silent in decision.reason


@pytest.mark.parametrize("name", ["upstream", "built"])
def test_the_user_has_the_last_word(name):
    def never(url):
        raise AssertionError(f"{url} was asked although the user has decided")

    decision = decide({OVERRIDE: name}, never)
    assert decision.source.value == name
    assert OVERRIDE in decision.reason


def test_an_empty_override_is_none():
    assert decide({OVERRIDE: ""}, lambda url: False).source is Source.BUILT


def test_an_unknown_override_is_refused():
    with pytest.raises(LabError, match="set it to upstream or built"):
        decide({OVERRIDE: "mirror"}, lambda url: True)
