# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel's backend as its configuration has it, read as flannel reads it."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._flannel import (
    Backend,
    backend_from,
    backend_of,
    option_text,
)

FixtureText = Callable[[str], str]

VXLAN = {"VNI": 1, "Port": 8472, "GBP": False}
WIREGUARD = {"ListenPort": 51820, "ListenPortV6": 51821, "Mode": "separate", "PSK": ""}
#: A key of nobody, 32 bytes as wireguard takes them.
PSK = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def test_the_official_manifest(fixture_text: FixtureText) -> None:
    config_map = {"data": {"cni-conf.json": "{}", "net-conf.json": fixture_text("flannel/net-conf.json")}}
    assert backend_of(config_map) == Backend("vxlan", VXLAN)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, VXLAN),
        ({"VNI": 1, "Port": 8472, "GBP": False}, VXLAN),
        ({"Port": 0}, VXLAN),
        ({"Port": None, "VNI": None, "GBP": None}, VXLAN),
        ({"MTU": 1400, "DirectRouting": True, "Learning": True}, VXLAN),
        ({"Port": 4790}, {**VXLAN, "Port": 4790}),
        ({"port": "4790", "vni": 7}, {**VXLAN, "Port": 4790, "VNI": 7}),
        ({"VNI": 0}, {**VXLAN, "VNI": 0}),
        ({"GBP": True}, {**VXLAN, "GBP": True}),
        ({"ListenPort": 1024}, VXLAN),
    ],
    ids=[
        *("nothing", "the defaults", "the kernel's port", "null", "what each node has for itself", "a port"),
        *("as Go reads it", "no number is none", "marked packets", "of another backend"),
    ],
)
def test_vxlan(given: dict[str, Any], options: dict[str, Any]) -> None:
    assert backend_from({"Type": "vxlan", **given}) == Backend("vxlan", options)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, WIREGUARD),
        ({"Mode": "separate", "ListenPort": 51820, "ListenPortV6": 51821, "PSK": None}, WIREGUARD),
        ({"MTU": 1300, "PersistentKeepaliveInterval": 25}, WIREGUARD),
        ({"Mode": "auto", "ListenPort": 1024}, {**WIREGUARD, "Mode": "auto", "ListenPort": 1024}),
        ({"PSK": ""}, WIREGUARD),
    ],
    ids=["nothing", "the defaults", "what each node has for itself", "others", "no key"],
)
def test_wireguard(given: dict[str, Any], options: dict[str, Any]) -> None:
    assert backend_from({"Type": "wireguard", **given}) == Backend("wireguard", options)


@pytest.mark.parametrize("kind", ["host-gw", "udp", "ipsec"])
def test_others_are_known_by_their_name(kind: str) -> None:
    assert backend_from({"Type": kind.upper(), "PSK": PSK, "Port": 1024}) == Backend(kind, {})


def test_a_key_is_told_from_another_one_and_not_told() -> None:
    one, other = (backend_from({"Type": "wireguard", "PSK": key}) for key in (PSK, PSK.lower()))
    assert one is not None
    assert one != other
    assert one == backend_from({"type": "wireguard", "psk": PSK})
    assert PSK not in json.dumps(one.as_dict())
    assert len(one.options["PSK"]) == 8


@pytest.mark.parametrize(
    "config_map",
    [
        {},
        {"data": None},
        {"data": {"cni-conf.json": "{}"}},
        {"data": {"net-conf.json": None}},
        {"data": {"net-conf.json": '{"Network": "10.244.0.0/16", "Backend": {"Type"'}},
        {"data": {"net-conf.json": '["vxlan"]'}},
        {"data": {"net-conf.json": '{"Backend": "vxlan"}'}},
        {"data": {"net-conf.json": '{"Backend": {"Port": 8472}}'}},
        {"data": {"net-conf.json": '{"Backend": {"Type": ["vxlan"]}}'}},
    ],
)
def test_none_of_flannels(config_map: dict[str, Any]) -> None:
    assert backend_of(config_map) is None


def test_without_a_backend_it_is_udp() -> None:
    assert backend_of({"data": {"net-conf.json": '{"Network": "10.244.0.0/16"}'}}) == Backend("udp", {})


@pytest.mark.parametrize("given", [None, {}, {1: 2}, "vxlan"])
def test_nothing_is_no_backend(given: Any) -> None:
    assert backend_from(given) is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("Port", 8472, "Port 8472"),
        ("GBP", False, "GBP false"),
        ("Mode", "auto", "Mode auto"),
        ("PSK", "", "no PSK"),
        ("PSK", "1a2b3c4d", "a PSK whose SHA-256 begins with 1a2b3c4d"),
    ],
)
def test_options_in_a_sentence(name: str, value: Any, text: str) -> None:
    assert option_text(name, value) == text
