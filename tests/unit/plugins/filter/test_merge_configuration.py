# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration dictionaries are merged the way an operator expects."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.filter.merge_configuration import FilterModule, merge_configuration


@pytest.mark.parametrize(
    ("below", "over", "expected"),
    [
        pytest.param({"a": 1}, {}, {"a": 1}, id="nothing over"),
        pytest.param({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}, id="values win"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}, id="at every depth"),
        pytest.param({"a": {"b": 1}}, {"a": None}, {"a": None}, id="a null replaces"),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="plain lists replace"),
        pytest.param({"a": [{"name": "x"}]}, {"a": []}, {"a": []}, id="an empty list replaces"),
        pytest.param(
            {"args": [{"name": "node-ip", "value": "192.0.2.1"}, {"name": "v", "value": "2"}]},
            {"args": [{"name": "v", "value": "4"}]},
            {"args": [{"name": "node-ip", "value": "192.0.2.1"}, {"name": "v", "value": "4"}]},
            id="named items by name",
        ),
    ],
)
def test_merge(below, over, expected):
    assert merge_configuration(below, over) == expected


def test_inputs_are_left_as_they_are():
    below, over = {"a": {"b": [{"name": "x"}]}}, {"a": {"b": [{"name": "y"}]}}
    merge_configuration(below, over)
    assert below == {"a": {"b": [{"name": "x"}]}}
    assert over == {"a": {"b": [{"name": "y"}]}}


def test_filter_is_offered():
    assert FilterModule().filters()["merge_configuration"] is merge_configuration
