# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy's configuration as kubeadm writes it, read and edited line by line."""

from __future__ import annotations

import difflib
from typing import Any, Callable

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy import (
    MARK,
    Change,
    Configuration,
    KubeProxy,
    kube_proxy_of,
)

FixtureText = Callable[[str], str]

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


@pytest.fixture
def configuration(fixture_text: FixtureText) -> Configuration:
    """What kubeadm has written for mode iptables."""
    return Configuration(fixture_text("kubeadm/kube_proxy_config.conf"))


def edited(before: Configuration, after: Configuration) -> list[str]:
    """Lines that were taken away and added."""
    lines = difflib.ndiff(before.text.splitlines(), after.text.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("mode: nftables", "nftables"),
        ('mode: "ipvs"', "ipvs"),
        ("mode: 'ipvs'   # as in the old days", "ipvs"),
        ('mode: ""', "iptables"),
        ("mode:", "iptables"),
        ("mode: null", "iptables"),
        ("", "iptables"),
    ],
)
def test_mode(line: str, mode: str) -> None:
    assert Configuration(f"{HEAD}{line}\nnftables:\n  mode: inner\n").mode == mode


def test_what_kubeadm_writes(configuration: Configuration) -> None:
    assert (configuration.mode, configuration.strict_arp, configuration.metrics_address) == ("iptables", False, "")
    assert Configuration(HEAD + "metricsBindAddress: 0.0.0.0:10249\n").metrics_address == "0.0.0.0:10249"


def test_the_mode_is_all_that_changes(configuration: Configuration) -> None:
    after = configuration.with_mode("nftables")
    assert edited(configuration, after) == ["- mode: iptables", "+ mode: nftables"]
    assert after.mode == "nftables"


@pytest.mark.parametrize("text", [HEAD, HEAD.rstrip(), HEAD + "ipvs:\n  scheduler: rr\n"])
def test_a_mode_where_none_was_written(text: str) -> None:
    after = Configuration(text).with_mode("nftables")
    assert yaml.safe_load(after.text) == {**yaml.safe_load(text), "mode": "nftables"}


def test_strict_arp_is_all_that_changes(configuration: Configuration) -> None:
    after = configuration.with_strict_arp()
    assert edited(configuration, after) == ["-   strictARP: false", "+   strictARP: true"]
    assert after.strict_arp


@pytest.mark.parametrize(
    "ipvs", ["", "ipvs:\n  scheduler: rr\n", "ipvs:\n    scheduler: rr\n    excludeCIDRs:\n    - 192.0.2.0/24\n"]
)
def test_strict_arp_where_none_was_written(ipvs: str) -> None:
    text = f"{HEAD}{ipvs}nftables:\n  syncPeriod: 0s\n"
    wanted: dict[str, Any] = yaml.safe_load(text)
    wanted["ipvs"] = {**wanted.get("ipvs", {}), "strictARP": True}
    assert yaml.safe_load(Configuration(text).with_strict_arp().text) == wanted


def test_strict_arp_of_another_field_is_none() -> None:
    assert not Configuration(HEAD + "ipvs:\n  scheduler: rr\nother:\n  strictARP: true\n").strict_arp


def test_fields_that_kubeadm_would_write_in_lines() -> None:
    with pytest.raises(GroundplaneError, match="is not written as kubeadm writes it.*edit configmap kube-proxy"):
        Configuration(HEAD + "ipvs: {scheduler: rr}\n").with_strict_arp()


def config_map(text: str, **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "kube-proxy", "annotations": annotations}, "data": {"config.conf": text}}


def test_config_map(configuration: Configuration) -> None:
    assert kube_proxy_of(config_map(configuration.text)) == KubeProxy(configuration)
    change = Change("ipvs", "2026-11-21T07:48:52Z")
    under_way = kube_proxy_of(config_map(configuration.text, **{MARK: str(change)}))
    assert under_way == KubeProxy(configuration, change)
    assert under_way.as_dict() == {"mode": "iptables", "strict_arp": False, "former_mode": "ipvs"}


@pytest.mark.parametrize(
    "found", [{}, {"data": None}, config_map(""), config_map('{"kind": "KubeProxyConfiguration"}')]
)
def test_a_config_map_that_is_none_of_kubeadms(found: dict[str, Any]) -> None:
    assert kube_proxy_of(found) is None
