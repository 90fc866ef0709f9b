# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' chains and rules between those of others, in recorded outputs of iptables-save."""

from __future__ import annotations

from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._iptables_remains import (
    Containers,
    TableRemains,
    own_part,
    parse_save,
)

from tests.unit.iptables_restore import carried_out, comparable

FixtureText = Callable[[str], str]

SAVE = "/usr/sbin/iptables-nft-save"
CONTAINERS = Containers(frozenset(["cbr0"]), frozenset())
PODMAN_CHAIN = "CNI-0123456789abcdef01234567"


def parts_of(text: str, containers: Containers = CONTAINERS, *, evidence: bool = True) -> list[TableRemains]:
    """What of a whole output is Kubernetes'."""
    parts = (own_part(table, containers, evidence=evidence) for table in parse_save(SAVE, text))
    return [part for part in parts if part]


def table(*lines: str) -> str:
    """Output for one table."""
    return "\n".join(["*nat", ":POSTROUTING ACCEPT [0:0]", *lines, "COMMIT", ""])


@pytest.mark.parametrize("recorded", ["shared-save", "calico-legacy-save"])
def test_rules_of_others_stay_byte_for_byte(recorded: str, fixture_text: FixtureText) -> None:
    """The second recording was made by the real iptables-restore from the scripts of the first."""
    before = fixture_text(f"iptables/{recorded}")
    after = carried_out(before, {f"*{part.name}": part.script for part in parts_of(before)})
    assert after == comparable(fixture_text(f"iptables/{recorded}-after"))
    assert parts_of(fixture_text(f"iptables/{recorded}-after")) == []


def test_node_without_others_is_empty_afterwards(fixture_text: FixtureText) -> None:
    before = fixture_text("iptables/node-save")
    after = carried_out(before, {f"*{part.name}": part.script for part in parts_of(before)})
    assert {line[0] for line in after.splitlines()} == {"*", ":", "C"}
    assert all(line.endswith(" ACCEPT") for line in after.splitlines() if line.startswith(":"))


def test_order_of_a_script() -> None:
    text = table(
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-SVC-X - [0:0]",
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-SERVICES',
        "-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE",
        "-A KUBE-SERVICES -j KUBE-SVC-X",
    )
    (part,) = parts_of(text)
    assert part.script == (
        "*nat\n"
        '-D POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-SERVICES\n'
        "-F KUBE-SERVICES\n-F KUBE-SVC-X\n-X KUBE-SERVICES\n-X KUBE-SVC-X\n"
        "COMMIT\n"
    )


@pytest.mark.parametrize(
    ("save", "restore"),
    [
        ("/usr/sbin/ip6tables-legacy-save", "/usr/sbin/ip6tables-legacy-restore"),
        ("/sbin/iptables-save", "/sbin/iptables-restore"),
    ],
)
def test_nothing_is_flushed(save: str, restore: str) -> None:
    part = TableRemains(save, "nat", ("KUBE-SERVICES",), ())
    assert part.restore_argv == [restore, "--noflush", "--wait=60"]


def test_rules_that_are_ours_by_their_comment() -> None:
    rules = (
        '-A POSTROUTING -s 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE',
        '-A POSTROUTING -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy accepts." -j ACCEPT',
        '-A POSTROUTING -s 169.254.20.10/32 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK',
    )
    (part,) = parts_of(table(*rules), evidence=False)
    assert (part.chains, part.rules) == ((), rules)


@pytest.mark.parametrize(
    "rule",
    [
        '-A POSTROUTING -m comment --comment "see -j KUBE-SERVICES \\"KUBE-\\" below" -j ACCEPT',
        "-A POSTROUTING -m comment --comment -j -j ACCEPT",
        '-A POSTROUTING -j LOG --log-prefix "KUBE-DROP: "',
        '-A POSTROUTING -m comment --comment "not flanneld masq" -j MASQUERADE',
        '-A POSTROUTING -m comment --comment "cali:fornia" -j ACCEPT',
        "-A POSTROUTING -j KUBECTL-NAT",
        "-A POSTROUTING -j MY-KUBE-CHAIN",
    ],
)
def test_rules_that_only_look_like_ours(rule: str) -> None:
    assert parts_of(table(":KUBECTL-NAT - [0:0]", ":MY-KUBE-CHAIN - [0:0]", rule)) == []


def container_rules(network: str, container: str = "5f70bf18a086") -> tuple[str, ...]:
    """Masquerading for a container, as the CNI plugin bridge sets it up."""
    comment = f'-m comment --comment "name: \\"{network}\\" id: \\"{container}\\""'
    return (
        f":{PODMAN_CHAIN} - [0:0]",
        f"-A POSTROUTING -s 10.88.0.5/32 {comment} -j {PODMAN_CHAIN}",
        f"-A {PODMAN_CHAIN} -d 10.88.0.0/16 {comment} -j ACCEPT",
    )


def test_masquerading_of_a_pod_is_evidence() -> None:
    (part,) = parts_of(table(*container_rules("cbr0")), evidence=False)
    assert part.chains == (PODMAN_CHAIN,)
    assert [rule[:34] for rule in part.rules] == ["-A POSTROUTING -s 10.88.0.5/32 -m "]


def test_masquerading_of_others_stays() -> None:
    assert parts_of(table(*container_rules("podman"))) == []


def test_container_in_a_network_of_pods_that_is_no_pod() -> None:
    foreign = Containers(frozenset(["cbr0"]), frozenset(["5f70bf18a086"]))
    assert parts_of(table(*container_rules("cbr0")), foreign) == []


PORT_MAPPINGS = (
    ":CNI-HOSTPORT-DNAT - [0:0]",
    ":CNI-HOSTPORT-SETMARK - [0:0]",
    "-A POSTROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
)


def test_chains_of_port_mappings_need_evidence() -> None:
    assert parts_of(table(*PORT_MAPPINGS), evidence=False) == []
    (part,) = parts_of(table(*PORT_MAPPINGS))
    assert part.chains == ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK")
    assert part.rules == PORT_MAPPINGS[-1:]


def test_chains_of_port_mappings_that_others_use() -> None:
    assert parts_of(table(*PORT_MAPPINGS, ":CNI-DN-0123456789abcdef01234 - [0:0]")) == []


def test_evidence(fixture_text: FixtureText) -> None:
    tables = parse_save(SAVE, fixture_text("iptables/calico-legacy-save"))
    assert [(table.name, table.has_evidence) for table in tables] == [("raw", True), ("filter", True)]
    after = parse_save(SAVE, fixture_text("iptables/calico-legacy-save-after"))
    assert not any(table.has_evidence for table in after)


def test_description() -> None:
    part = TableRemains(SAVE, "nat", tuple(f"KUBE-SEP-{number}" for number in range(14)), ("-A OUTPUT -j KUBE-SEP-1",))
    first, second = part.describe()
    assert first.startswith("iptables-nft, table nat: chains KUBE-SEP-0, KUBE-SEP-1, ")
    assert first.endswith("KUBE-SEP-11 and 2 more")
    assert second == "iptables-nft, table nat: rule -A OUTPUT -j KUBE-SEP-1"
