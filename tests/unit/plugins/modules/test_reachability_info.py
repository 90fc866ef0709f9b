# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of reachability_info."""

from __future__ import annotations

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_listener import identity
from ansible_collections.groundplane.kubeadm.plugins.module_utils._reachability_probe import Outcome, Target
from ansible_collections.groundplane.kubeadm.plugins.modules import reachability_info
from ansible_collections.groundplane.kubeadm.plugins.modules.reachability_info import targets_of

SECRET = "of this run"


def port(protocol, number, callers="node", state="listening"):
    return {"protocol": protocol, "port": number, "purpose": "program", "callers": callers, "state": state}


def listener(number, role="worker", ports=()):
    return {"address": f"192.0.2.{number}", "mtu": 1500, "role": role, "ports": list(ports), "problem": ""}


PORTS = [
    port("tcp", 6443),
    port("tcp", 2379, "control_plane"),
    port("tcp", 10250, "control_plane", "occupied"),
    port("udp", 8472),
]


@pytest.mark.parametrize(("role", "ports"), [("worker", [6443, 8472]), ("control_plane", [6443, 2379, 10250, 8472])])
def test_the_ports_that_a_role_needs(role, ports):
    targets = targets_of(role, {"m1": listener(1, "control_plane", PORTS), "w9": None})
    assert [target.port for target in targets] == ports
    assert all(target.echo == (target.port != 10250) for target in targets)


def test_a_port_of_the_pod_network_in_use_is_not_measured():
    assert targets_of("worker", {"w2": listener(2, ports=[port("udp", 8472, state="occupied")])}) == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_whose_program_may_come_is_not_measured(protocol):
    assert targets_of("worker", {"w2": listener(2, ports=[port(protocol, 8472, state="unmeasured")])}) == []


@pytest.fixture
def calls(monkeypatch):
    """What the module does, without a network."""
    done = {"answer": identity(SECRET, "192.0.2.11")}

    def measure(targets, sender):
        done["sender"] = sender
        return [Outcome("silent", "no answer") if item.protocol == "udp" else Outcome("ok") for item in targets]

    def tell(command):
        done["told"] = command
        return done["answer"]

    monkeypatch.setattr(reachability_info, "measure", measure)
    monkeypatch.setattr(reachability_info, "sign_off", lambda targets, sender: done.update(signed_off=targets))
    monkeypatch.setattr(reachability_info, "tell_listener", tell)
    return done


OPTIONS = {
    "listener": listener(11, "control_plane"),
    "targets": {"m2": listener(12, "control_plane", PORTS), "w1": listener(21, ports=[port("udp", 8472)]), "w2": None},
    "secret": SECRET,
}


@pytest.mark.parametrize("check", [False, True])
def test_measures_and_lets_the_listeners_go(run_main, calls, check):
    result = run_main(reachability_info, OPTIONS, check=check)
    assert result["changed"] is False
    assert result["listening"] is True
    assert [(probe["host"], probe["port"], probe["result"]) for probe in result["probes"]] == [
        ("m2", 6443, "ok"),
        ("m2", 2379, "ok"),
        ("m2", 10250, "ok"),
        ("m2", 8472, "silent"),
        ("w1", 8472, "silent"),
    ]
    # By the port that has answered; w1 has not answered at all.
    assert calls["signed_off"] == [Target("m2", "192.0.2.12", "tcp", 2379, "program")]
    assert calls["told"] == {"expect": ["192.0.2.12", "192.0.2.21"]}
    assert SECRET not in str(result)


@pytest.mark.parametrize("answer", ["", "of another run"])
def test_the_own_listener_has_gone(run_main, calls, answer):
    calls["answer"] = answer
    assert run_main(reachability_info, OPTIONS)["listening"] is False


@pytest.mark.parametrize(("given", "needed"), [({}, 1500), ({"overlay_mtu": 1400}, 1400)])
def test_the_mtu_that_is_needed(run_main, calls, given, needed):
    assert run_main(reachability_info, {**OPTIONS, **given})["needed_mtu"] == needed
