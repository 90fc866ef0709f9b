# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of kube_proxy_rules: the order of its steps, and what check mode leaves out."""

from __future__ import annotations

from typing import Any, Callable, Dict

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import NetworkRemains
from ansible_collections.groundplane.kubeadm.plugins.modules import kube_proxy_rules

RunMain = Callable[..., Dict[str, Any]]

REMAINS = NetworkRemains(nft_tables=("ip kube-proxy",), links=("kube-ipvs0",), notes=("a note",))
OPTIONS = {"mode": "iptables", "service_cidr": "10.96.0.0/12", "metrics_address": "0.0.0.0:10249", "timeout": 7}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was called in which order, on a node where modes nftables and ipvs have been."""
    called: list[Any] = []

    def step(name: str, answer: Any = None) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            called.append((name, *(argument for argument in arguments if isinstance(argument, (str, int)))))
            return answer

        return call

    for name in ("wait_for_mode", "wait_for_rules", "remove_network_remains", "prove_service"):
        monkeypatch.setattr(kube_proxy_rules, name, step(name))
    monkeypatch.setattr(kube_proxy_rules, "read_rules_of_other_modes", step("read", REMAINS))
    monkeypatch.setattr(kube_proxy_rules, "read_text", lambda path: "PEM")
    return called


def test_removes_once_the_new_rules_are_there_and_proves_afterwards(steps: list[Any], run_main: RunMain) -> None:
    result = run_main(kube_proxy_rules, OPTIONS, diff=True)
    assert steps == [
        ("wait_for_mode", "iptables", "0.0.0.0:10249", 7),
        ("wait_for_rules", "iptables", 7),
        ("read", "iptables"),
        ("remove_network_remains",),
        ("prove_service", "10.96.0.0/12", "PEM", 7),
    ]
    assert (result["changed"], result["notes"]) == (True, ["a note"])
    assert result["removed"] == ["link kube-ipvs0", "nftables table ip kube-proxy"]
    assert result["diff"] == {"before": "link kube-ipvs0\nnftables table ip kube-proxy\n", "after": ""}
    assert set(yaml.safe_load(kube_proxy_rules.RETURN)) == {"removed", "notes"}


def test_check_predicts_what_kube_proxy_would_leave(steps: list[Any], run_main: RunMain) -> None:
    result = run_main(kube_proxy_rules, OPTIONS, check=True)
    assert steps == [("read", "iptables")]
    assert (result["changed"], result["removed"]) == (True, ["link kube-ipvs0"])


def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch, steps: list[Any], run_main: RunMain) -> None:
    monkeypatch.setattr(kube_proxy_rules, "read_rules_of_other_modes", lambda runner, mode: NetworkRemains())
    result = run_main(kube_proxy_rules, OPTIONS)
    assert (result["changed"], result["removed"]) == (False, [])
    assert steps[-1][0] == "prove_service"
