# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the packet filter from recorded outputs of both backends."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import (
    Found,
    Host,
    Tool,
    chain_lines,
    find_tools,
    normal_form,
    parse_filter,
    read_kernel,
    refuse_mixture,
    refused,
    table,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import (
    ChainText,
    RuleSet,
    parse_chains,
    render,
)

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

NFT = Tool("ipv4", "nft", "/sbin/iptables", "/sbin/iptables-save", "/sbin/iptables-restore")
LEGACY = NFT._replace(backend="legacy")
PROGRAMS = {
    f"{family}{suffix}": f"/sbin/{family}{suffix}"
    for family in ("iptables", "ip6tables")
    for suffix in ("", "-save", "-restore", "-nft-save", "-legacy-save")
}
#: What the recordings were loaded from.
CHAINS: list[dict[str, Any]] = [
    {
        "name": "GROUNDPLANE-INPUT",
        "hook": True,
        "rules": [
            {"target": "accept", "states": ["related", "ESTABLISHED"], "comment": "known connections"},
            {"target": "accept", "interface": "lo", "comment": "the host itself"},
            {
                "target": "accept",
                "protocol": "icmp",
                "icmp_types": ["echo-request", "3"],
                "comment": 'it\'s "quoted" \\ text',
            },
            {"target": "accept", "protocol": "ipv6-icmp", "icmp_types": ["echo-request"], "comment": "echo"},
            {
                "target": "accept",
                "protocol": "tcp",
                "ports": ["22"],
                "sources": ["10.0.0.5/8", "fd00::1"],
                "comment": "SSH",
            },
            {
                "target": "GROUNDPLANE-NODES",
                "sources": ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
                "comment": "nodes",
            },
            {"target": "drop", "sources": [], "comment": "never there"},
            {
                "target": "reject",
                "protocol": "tcp",
                "ports": ["113"],
                "family": "ipv4",
                "destinations": ["192.0.2.9"],
                "comment": "ident",
            },
            {"target": "drop", "comment": "everything else"},
        ],
    },
    {
        "name": "GROUNDPLANE-NODES",
        "text": [
            "-p tcp -m multiport --dports 6443,30000:32767 -j ACCEPT",
            "-p vrrp -j RETURN",
            "-4 -s 198.51.100.0/24 -j ACCEPT",
            "-6 -p udp --dport 546 -j ACCEPT",
        ],
    },
]


def version(backend: str) -> Result:
    """What iptables says of itself."""
    return Result(0, f"iptables v1.8.9 ({backend})\n", "")


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize(("program", "family"), [("iptables", "ipv4"), ("ip6tables", "ipv6")])
def test_the_kernel_has_what_was_loaded(backend: str, program: str, family: str, fixture_text: FixtureText) -> None:
    """The recordings were made of these very rules, beside chains of others."""
    found = parse_filter(fixture_text(f"iptables/firewall-{backend}-{program}-save"))
    wanted = render(parse_chains(CHAINS), family)
    assert found.foreign == ()
    assert found.own.jumps == wanted.jumps
    assert found.own.names == wanted.names
    assert [len(chain.rules) for chain in found.own.chains] == [len(chain.rules) for chain in wanted.chains]
    assert "KUBE-" not in found.own.describe()


def test_rules_that_lead_to_us_from_elsewhere() -> None:
    saved = (
        "*filter\n:INPUT ACCEPT [0:0]\n:GROUNDPLANE-A - [0:0]\n:OTHER - [0:0]\n"
        "-A INPUT -i eth0 -g GROUNDPLANE-A\n-A INPUT -j OTHER\n-A OTHER -j GROUNDPLANE-A\n"
        '-A OTHER -m comment --comment "-j GROUNDPLANE-A" -j DROP\nCOMMIT\n'
    )
    assert parse_filter(saved) == Found(
        RuleSet((ChainText("GROUNDPLANE-A", ()),), ("-A INPUT -i eth0 -g GROUNDPLANE-A",)),
        ("-A OTHER -j GROUNDPLANE-A",),
    )


def earlier(*rules: str, chains: str = "") -> tuple[str, ...]:
    """What lets packets in before our jump, which comes after these rules of INPUT."""
    lines = ["*filter", *(f"-A INPUT {rule}" for rule in rules), "-A INPUT -j GROUNDPLANE-A", "-A INPUT -j ACCEPT"]
    return tuple(rule.replace("-A INPUT ", "") for rule in parse_filter("\n".join([*lines, chains])).earlier)


@pytest.mark.parametrize(
    "rule",
    [
        "-j ACCEPT",
        "-p tcp -m tcp --dport 22 -j ACCEPT",
        "! -i lo -j ACCEPT",
        "-i eth0 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
        "-m conntrack ! --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-s 192.0.2.0/24 -j SITE",
        "-g SITE",
    ],
)
def test_rules_that_let_in_what_ours_never_see(rule: str) -> None:
    assert earlier("-j DROP", rule, chains="-A SITE -p tcp -j ACCEPT") == (rule,)


@pytest.mark.parametrize(
    "rule",
    [
        "-i lo -j ACCEPT",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m state --state ESTABLISHED -j ACCEPT",
        "-p tcp -m tcp --dport 22 -j DROP",
        "-i lo -j SITE",
        "-j OTHER",
        "-j cali-INPUT",
        "-i eth1 -j GROUNDPLANE-A",
        '-m comment --comment "-j ACCEPT" -j LOG',
    ],
)
def test_rules_that_let_in_nothing_of_ours(rule: str) -> None:
    chains = [
        "-A SITE -p tcp -j ACCEPT",
        "-A OTHER -i lo -j ACCEPT",
        "-A OTHER -j DROP",
        "-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT",
        "-A GROUNDPLANE-A -j ACCEPT",
    ]
    assert earlier(rule, chains="\n".join(chains)) == ()


def test_a_jump_that_is_not_there_has_nothing_before_it() -> None:
    assert parse_filter("-A INPUT -j ACCEPT\n-A INPUT -i eth1 -j GROUNDPLANE-A\n").earlier == ()


def test_a_cluster_node_lets_in_nothing_before_us(fixture_text: FixtureText) -> None:
    saved = fixture_text("iptables/node-save") + (
        # What kube-proxy adds for a Service with externalTrafficPolicy Local.
        '-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web health check node port" '
        "-m tcp --dport 30123 -j ACCEPT\n-A INPUT -j GROUNDPLANE-INPUT\n"
    )
    assert parse_filter(saved).earlier == ()


def test_backend_of_the_default_programs() -> None:
    runner = FakeRunner(
        [
            (["/sbin/iptables", "--version"], version("nf_tables")),
            (["/sbin/ip6tables", "--version"], version("legacy")),
        ],
        PROGRAMS,
    )
    with pytest.raises(GroundplaneError, match="iptables of the backend nft and ip6tables of the backend legacy"):
        find_tools(Host(runner), ["ipv4", "ipv6"])
    runner = FakeRunner([(["/sbin/iptables", "--version"], version("nf_tables"))], PROGRAMS)
    assert find_tools(Host(runner), ["ipv4"]) == (NFT,)


def test_a_host_without_iptables() -> None:
    with pytest.raises(GroundplaneError, match="install the package iptables"):
        find_tools(Host(FakeRunner()), ["ipv4"])


def legacy_tables(root: Path, names: str) -> None:
    """Tables of the backend legacy that the kernel has."""
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/net/ip_tables_names").write_text(names)


@pytest.mark.parametrize(
    ("saved", "evidence"),
    [
        ("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n", "legacy has 1 rules"),
        ("*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n", "legacy has the chains KUBE-IPTABLES-HINT"),
        ("*filter\n:GROUNDPLANE-A - [0:0]\n-A INPUT -j X\nCOMMIT\n", "1 rules and the chains GROUNDPLANE-A"),
    ],
)
def test_a_mixture_of_backends_is_refused(saved: str, evidence: str, tmp_path: Path) -> None:
    legacy_tables(tmp_path, "filter\n")
    runner = FakeRunner([(["/sbin/iptables-legacy-save"], Result(0, saved, ""))], PROGRAMS)
    with pytest.raises(GroundplaneError, match=evidence):
        refuse_mixture(Host(runner, tmp_path), [NFT], only_ours=False)


def test_empty_tables_of_the_other_backend_are_no_mixture(tmp_path: Path) -> None:
    legacy_tables(tmp_path, "filter\n")
    empty = Result(0, "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", "")
    runner = FakeRunner([(["/sbin/iptables-legacy-save"], empty)], PROGRAMS)
    refuse_mixture(Host(runner, tmp_path), [NFT], only_ours=False)
    runner.assert_finished()


def test_only_our_own_chains_keep_ours_from_going(tmp_path: Path) -> None:
    saved = "*filter\n:KUBE-FIREWALL - [0:0]\n{}-A INPUT -j KUBE-FIREWALL\nCOMMIT\n"
    for ours in ("", ":GROUNDPLANE-A - [0:0]\n"):
        runner = FakeRunner([(["/sbin/iptables-nft-save"], Result(0, saved.format(ours), ""))], PROGRAMS)
        with pytest.raises(GroundplaneError, match=r"has the chains GROUNDPLANE-A\. ") if ours else nullcontext():
            refuse_mixture(Host(runner, tmp_path), [LEGACY], only_ours=True)


def test_the_other_backend_is_not_asked_when_that_could_make_tables(tmp_path: Path) -> None:
    legacy_tables(tmp_path, "")
    refuse_mixture(Host(FakeRunner(programs=PROGRAMS), tmp_path), [NFT], only_ours=False)
    refuse_mixture(Host(FakeRunner(), tmp_path), [LEGACY], only_ours=False)
    assert read_kernel(Host(FakeRunner(), tmp_path), LEGACY) == Found(RuleSet(), ())


def test_nft_beside_legacy_is_a_mixture(tmp_path: Path) -> None:
    runner = FakeRunner([(["/sbin/iptables-nft-save"], Result(0, ":KUBE-KUBELET-CANARY - [0:0]\n", ""))], PROGRAMS)
    with pytest.raises(GroundplaneError, match="nft has the chains KUBE-KUBELET-CANARY"):
        refuse_mixture(Host(runner, tmp_path), [LEGACY], only_ours=False)


@pytest.mark.parametrize("tool", [NFT, LEGACY])
def test_the_table_filter_is_read(tool: Tool, tmp_path: Path, fixture_text: FixtureText) -> None:
    legacy_tables(tmp_path, "nat\nfilter\n")
    saved = fixture_text("iptables/firewall-nft-iptables-save")
    runner = FakeRunner([(["/sbin/iptables-save", "-t", "filter"], Result(0, saved, ""))])
    assert read_kernel(Host(runner, tmp_path), tool).own.names == ("GROUNDPLANE-INPUT", "GROUNDPLANE-NODES")


def in_namespace(result: Result) -> tuple[FakeRunner, Host]:
    """A host whose namespace gives one result."""
    script = '"$1" --noflush --wait=30 || exit 65; "$2" -t filter || exit 66'
    argv = ["/bin/unshare", "--net", "sh", "-c", script, "normal-form", NFT.restore, NFT.save]
    runner = FakeRunner([(argv, result)], {"unshare": "/bin/unshare"})
    return runner, Host(runner)


def test_normal_form_is_what_the_kernel_prints(fixture_text: FixtureText) -> None:
    wanted = render(parse_chains(list(reversed(CHAINS))), "ipv4")
    runner, host = in_namespace(Result(0, fixture_text("iptables/firewall-nft-iptables-save"), ""))
    normal = normal_form(host, NFT, wanted)
    assert normal.names == ("GROUNDPLANE-NODES", "GROUNDPLANE-INPUT")
    assert "--icmp-type 8 " in normal.describe()
    loaded = runner.stdin[0] or ""
    assert ":INPUT" not in loaded
    assert loaded.endswith("-A INPUT -j GROUNDPLANE-INPUT\nCOMMIT\n")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ('iptables-restore v1.8.9 (legacy): unknown option "--dpport"\nError occurred at line: 4\n', "-A X -j ONE"),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (x): rule in chain X",
            "-A X -s 10.0.0.1",
        ),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): Chain 'ONE' does not exist\nError occurred at line: 6\n",
            "-A X -j ONE",
        ),
        ("iptables-restore: line 5 failed", ""),
    ],
)
def test_the_refused_rule_is_named(said: str, named: str) -> None:
    error = str(refused(NFT, [":X - [0:0]", "-A X -s 10.0.0.1", "-A X -j ONE"], said))
    assert ("refuses the rules: " in error) is (named == "")
    assert f' at "{named}"' in error or not named
    assert ('begins with "-4"' in error) is ("10.0.0.1" in named)


def test_rules_that_are_refused_in_the_namespace() -> None:
    _runner, host = in_namespace(Result(65, "", "Error occurred at line: 3"))
    with pytest.raises(GroundplaneError, match='at "-A GROUNDPLANE-INPUT.*Nothing was changed'):
        normal_form(
            host, NFT, render(parse_chains([{"name": "GROUNDPLANE-INPUT", "hook": True, "text": ["-j X"]}]), "ipv4")
        )


def test_a_host_that_allows_no_namespace() -> None:
    _runner, host = in_namespace(Result(1, "", "unshare: unshare failed: Operation not permitted"))
    with pytest.raises(CommandError, match="CAP_SYS_ADMIN.*Nothing was changed"):
        normal_form(host, NFT, RuleSet())
    with pytest.raises(GroundplaneError, match="util-linux"):
        normal_form(Host(FakeRunner()), NFT, RuleSet())


def test_ipv6_is_asked_of_the_kernel(tmp_path: Path) -> None:
    host = Host(FakeRunner(), tmp_path)
    assert not host.has_ipv6()
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/if_inet6").touch()
    assert host.has_ipv6()


def test_input_for_iptables_restore() -> None:
    assert table(chain_lines([ChainText("A", ("-A A -j DROP",))], ["B"])) == (
        "*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j DROP\nCOMMIT\n"
    )
