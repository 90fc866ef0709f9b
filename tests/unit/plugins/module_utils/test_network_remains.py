# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Kubernetes has left in a host's network, on hosts made of files and recorded answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._iptables_remains import TableRemains
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ipvs import VirtualServer
from ansible_collections.groundplane.kubeadm.plugins.module_utils._network_remains import (
    NetworkRemains,
    read_network_remains,
    remove_network_remains,
)

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

SBIN = "/usr/sbin/"
DONE = Result(0, "", "")
POD = "cni-af54efbf-1cfe-4ca1-36c3-591281617f7f"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host without anything."""
    return tmp_path


def write(root: Path, path: str, text: str = "") -> Path:
    """A file of the host."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def read(root: Path, *commands: Any) -> NetworkRemains:
    """What is left on a host where exactly these programs are installed."""
    programs = {command[0][0].rsplit("/", 1)[-1]: command[0][0] for command in commands}
    runner = FakeRunner(commands, programs)
    remains = read_network_remains(runner, root)
    runner.assert_finished()
    return remains


def said(command: str, text: str) -> tuple[list[str], Result]:
    """A program and what it prints."""
    return command.split(), Result(0, text, "")


def test_fresh_host_costs_no_command(root: Path) -> None:
    assert read(root) == NetworkRemains()
    assert not NetworkRemains(notes=("a file of somebody else",))


@pytest.mark.parametrize(
    "link",
    [
        *("flannel.1", "flannel.4096", "flannel-v6.1", "flannel.ipip", "flannel-wg", "flannel-wg-v6"),
        *("vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali", "cali0123456789a"),
        *("kube-ipvs0", "nodelocaldns"),
    ],
)
def test_links_that_prove_themselves(root: Path, link: str) -> None:
    write(root, f"/sys/class/net/{link}/ifindex")
    remains = read(root)
    assert remains.links == (link,)
    assert list(remains.describe()) == [f"link {link}"]


@pytest.mark.parametrize("link", ["cni0", "docker0", "calico-lab", "flannel", "tunl0", "veth14887fa9", "xflannel.1"])
def test_links_that_prove_nothing(root: Path, link: str) -> None:
    write(root, f"/sys/class/net/{link}/ifindex")
    assert not read(root)


def test_bridge_beside_flannel(root: Path) -> None:
    for path in (
        "cni0/brif/veth14887fa9/state",
        "cni0/brif/eth1/state",
        "flannel.1/ifindex",
        "docker0/brif/veth9/state",
    ):
        write(root, "/sys/class/net/" + path)
    assert read(root).links == ("veth14887fa9", "cni0", "flannel.1")


def test_bridge_beside_calico_is_somebody_elses(root: Path) -> None:
    write(root, "/sys/class/net/cni0/ifindex")
    write(root, "/sys/class/net/vxlan.calico/ifindex")
    assert read(root).links == ("vxlan.calico",)


def test_files(root: Path) -> None:
    own = [
        write(root, "/etc/cni/net.d/10-flannel.conflist"),
        write(root, "/run/flannel/subnet.env").parent,
        write(root, "/var/lib/cni/networks/cbr0/10.244.1.2").parent,
        write(root, "/etc/cni/net.d/10-canal.conflist"),
        write(root, "/etc/cni/net.d/calico-kubeconfig"),
    ]
    write(root, "/var/lib/cni/networks/podman/10.88.0.5")
    foreign = write(root, "/etc/cni/net.d/87-podman.conflist")
    write(root, "/etc/cni/net.d/.kubernetes-cni-keep")
    remains = read(root)
    assert remains.files == tuple(map(str, own))
    assert remains.notes == (
        f"{foreign} is neither flannel's nor Calico's and stays; kubelet uses the first file by name",
    )


def test_folders_and_mounts_of_calico(root: Path) -> None:
    for path in ("/var/lib/calico/nodename", "/var/log/calico/cni/cni.log", "/run/calico/bird.pid", "/run/nodeagent/x"):
        write(root, path)
    mounts = (
        "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
        "cgroup2 /run/calico/cgroup cgroup2 rw 0 0",
        "tmpfs /run/calico/cgroup/inner tmpfs rw 0 0",
        "tmpfs /run/calicoctl tmpfs rw 0 0",
    )
    write(root, "/proc/self/mounts", "\n".join(mounts) + "\n")
    remains = read(root)
    folders = ("var/lib/calico", "var/log/calico", "run/calico", "run/nodeagent")
    assert remains.files == tuple(str(root / folder) for folder in folders)
    assert remains.mounts == ("/run/calico/cgroup/inner", "/run/calico/cgroup")
    assert list(remains.describe())[:2] == ["mount /run/calico/cgroup/inner", "mount /run/calico/cgroup"]


def test_mounts_go_before_the_folders_that_they_are_in(tmp_path: Path) -> None:
    folder = write(tmp_path, "/run/calico/bird.pid").parent
    runner = FakeRunner([(["umount", "/run/calico/cgroup"], Result(0, "", ""))], {})
    remove_network_remains(runner, NetworkRemains(mounts=("/run/calico/cgroup",), files=(str(folder),)))
    runner.assert_finished()
    assert not folder.exists()


def test_cache_tells_pods_from_other_containers(root: Path, fixture_text: FixtureText) -> None:
    cached = json.loads(fixture_text("cni/cached-pod.json"))
    pod = write(root, "/var/lib/cni/results/cbr0-a3b7-eth0", json.dumps(cached))
    write(root, "/var/lib/cni/results/bridge-0815-eth0", json.dumps({**cached, "cniArgs": None, "containerId": "0815"}))
    write(root, "/var/lib/cni/results/cut-off-eth0", '{"kind"')
    write(root, "/var/lib/cni/results/old-eth0", '["a"]')
    write(root, "/sys/class/net/cni0/ifindex")
    remains = read(root)
    assert (remains.files, remains.links) == ((str(pod),), ("cni0",))


def test_network_of_a_pod_is_no_network_of_others(root: Path, fixture_text: FixtureText) -> None:
    cached = {**json.loads(fixture_text("cni/cached-pod.json")), "networkName": "podman"}
    write(root, "/var/lib/cni/results/podman-a3b7-eth0", json.dumps(cached))
    save = said(SBIN + "iptables-nft-save", fixture_text("iptables/shared-save-after"))
    (nat,) = read(root, save).tables
    assert nat.chains[:2] == ("CNI-0123456789abcdef01234567", "CNI-DN-0123456789abcdef01234")


def test_namespaces_whose_pods_have_gone(root: Path) -> None:
    write(root, "/sys/class/net/flannel.1/ifindex")
    write(root, f"/run/netns/{POD}")
    write(root, "/run/netns/vpn")
    in_use = write(root, "/run/netns/cni-00000000-1cfe-4ca1-36c3-591281617f7f")
    (root / "proc/4711/ns").mkdir(parents=True)
    (root / "proc/4711/ns/net").symlink_to(in_use)
    (root / "proc/4712").mkdir()
    assert read(root).namespaces == (POD,)


def test_namespaces_alone_prove_nothing(root: Path) -> None:
    write(root, f"/run/netns/{POD}")
    assert not read(root)


def test_both_backends_and_families(root: Path, fixture_text: FixtureText) -> None:
    write(root, "/proc/net/ip_tables_names", "raw\nfilter\n")
    write(root, "/proc/net/ip6_tables_names")
    runner = FakeRunner(
        [
            said(SBIN + "iptables-nft-save", fixture_text("iptables/node-save")),
            said(SBIN + "iptables-legacy-save", fixture_text("iptables/calico-legacy-save")),
            said(SBIN + "ip6tables-nft-save", ""),
        ],
        {
            f"{family}-{backend}": f"{SBIN}{family}-{backend}"
            for family in ("iptables", "ip6tables")
            for backend in ("nft-save", "legacy-save", "save")
        },
    )
    remains = read_network_remains(runner, root)
    runner.assert_finished()
    assert [(table.program, table.name) for table in remains.tables] == [
        (SBIN + "iptables-nft-save", "mangle"),
        (SBIN + "iptables-nft-save", "filter"),
        (SBIN + "iptables-nft-save", "nat"),
        (SBIN + "iptables-legacy-save", "raw"),
        (SBIN + "iptables-legacy-save", "filter"),
    ]


def test_host_with_one_backend(root: Path, fixture_text: FixtureText) -> None:
    remains = read(root, said("/sbin/iptables-save", fixture_text("iptables/node-save")))
    assert {table.program for table in remains.tables} == {"/sbin/iptables-save"}


def test_rules_of_others_alone(root: Path, fixture_text: FixtureText) -> None:
    assert not read(root, said(SBIN + "iptables-nft-save", fixture_text("iptables/shared-save-after")))


def test_port_mappings_beside_other_evidence(root: Path) -> None:
    text = "*nat\n:CNI-HOSTPORT-MASQ - [0:0]\nCOMMIT\n"
    save = said(SBIN + "iptables-nft-save", text)
    assert not read(root, save)
    write(root, "/sys/class/net/flannel.1/ifindex")
    assert [table.chains for table in read(root, save).tables] == [("CNI-HOSTPORT-MASQ",)]


def nft(fixture_text: FixtureText) -> list[Any]:
    """Answers of a host with tables of kube-proxy, flannel, CNI plugins and others."""
    return [
        said("nft list tables", fixture_text("nft/tables")),
        said("nft list table ip cni_hostport", fixture_text("nft/cni_hostport")),
        said("nft list table inet cni_plugins_masquerade", fixture_text("nft/cni_plugins_masquerade")),
    ]


OWN_NFT_TABLES = ("ip kube-proxy", "ip6 kube-proxy", "ip flannel-ipv4")


def test_tables_of_nftables(root: Path, fixture_text: FixtureText) -> None:
    assert read(root, *nft(fixture_text)).nft_tables == (*OWN_NFT_TABLES, "ip cni_hostport")


def test_shared_table_with_a_container_that_is_no_pod(root: Path, fixture_text: FixtureText) -> None:
    cached = json.loads(fixture_text("cni/cached-pod.json"))
    write(root, "/var/lib/cni/results/bridge-a3b7-eth0", json.dumps({**cached, "cniArgs": None}))
    assert read(root, *nft(fixture_text)).nft_tables == OWN_NFT_TABLES


def test_shared_tables_alone_prove_nothing(root: Path) -> None:
    assert not read(root, said("nft list tables", "table ip cni_hostport\ntable inet cni_plugins_masquerade\n"))


def test_ipsets(root: Path) -> None:
    (root / "sys/module/ip_set").mkdir(parents=True)
    listed = "KUBE-CLUSTER-IP\nKUBE-6-CLUSTER-IP\nsite\ncali40s:X\ncalifornia\ninet6:KUBE-SRC-X\n"
    remains = read(root, said("ipset list -name", listed))
    assert remains.ipsets == ("KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "cali40s:X", "inet6:KUBE-SRC-X")


def test_ipset_does_not_make_the_kernel_load_anything(root: Path) -> None:
    runner = FakeRunner(programs={"ipset": "/usr/sbin/ipset"})
    assert not read_network_remains(runner, root)


def test_program_that_fails_stops_nobody(root: Path) -> None:
    write(root, "/sys/class/net/flannel.1/ifindex")
    refusal = Result(1, "", "netlink: Error: cache initialization failed: Operation not supported\n")
    remains = read(root, (["nft", "list", "tables"], refusal))
    assert remains.links == ("flannel.1",)
    assert "`nft list tables` failed" in remains.notes[0]
    assert "Operation not supported" in remains.notes[0]


def test_shared_table_that_cannot_be_read_stays(root: Path, fixture_text: FixtureText) -> None:
    listed, _hostports, masquerading = nft(fixture_text)
    refusal = (["nft", "list", "table", "ip", "cni_hostport"], Result(1, "", "Error: No such file or directory\n"))
    remains = read(root, listed, refusal, masquerading)
    assert remains.nft_tables == OWN_NFT_TABLES
    assert "`nft list table ip cni_hostport` failed" in remains.notes[0]


def test_table_that_iptables_cannot_show(root: Path) -> None:
    save = SBIN + "iptables-nft-save"
    remains = read(root, said(save, "# Table `nat' is incompatible, use 'nft' tool.\n"))
    assert not remains
    assert remains.notes == (f"`{save}` cannot show it: # Table `nat' is incompatible, use 'nft' tool.",)


def test_tunnel_of_the_kernel_with_an_address_of_calico(root: Path) -> None:
    write(root, "/sys/class/net/tunl0/ifindex")
    write(root, "/sys/class/net/cali0123456789a/ifindex")
    shown = "4: tunl0    inet 10.1.2.3/32 scope global tunl0\\       valid_lft forever preferred_lft forever\n"
    remains = read(root, said("ip -oneline -4 address show dev tunl0", shown))
    assert (remains.addresses, remains.links) == (("10.1.2.3/32",), ("cali0123456789a",))
    assert "address 10.1.2.3/32 of tunl0" in remains.describe()


def test_routes_of_flannel_without_a_tunnel(root: Path) -> None:
    write(
        root, "/run/flannel/subnet.env", "FLANNEL_NETWORK=10.244.0.0/16,10.250.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n"
    )
    routes = [
        {"dst": "default", "gateway": "10.77.0.1", "dev": "eth0", "flags": []},
        {"dst": "10.77.0.0/16", "dev": "eth0", "protocol": "kernel", "prefsrc": "10.77.6.21", "flags": []},
        {"dst": "10.244.2.0/24", "gateway": "10.77.6.12", "dev": "eth0", "flags": []},
        {"dst": "10.244.3.0/24", "gateway": "10.244.3.0", "dev": "flannel.1", "flags": ["onlink"]},
        {"dst": "10.244.4.0/24", "gateway": "10.77.6.14", "dev": "eth0", "protocol": "static", "flags": []},
        {"dst": "10.250.1.0/24", "gateway": "10.77.6.13", "dev": "eth0", "flags": []},
        {"dst": "10.245.0.0/24", "gateway": "10.77.6.14", "dev": "eth0", "flags": []},
        {"dst": "10.244.0.0/16", "gateway": "10.77.6.14", "dev": "eth0", "flags": []},
    ]
    remains = read(root, said("ip -json -4 route", json.dumps(routes)))
    assert remains.routes == ("10.244.2.0/24 via 10.77.6.12 dev eth0", "10.250.1.0/24 via 10.77.6.13 dev eth0")


def test_what_cannot_be_seen_or_told(root: Path) -> None:
    write(root, "/sys/module/nf_tables/refcnt", "412\n")
    write(root, "/sys/module/ip_set/refcnt", "2\n")
    head = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"
    write(
        root, "/proc/net/ip_vs", head + "TCP  0A600001:01BB rr\n  -> 0A4D060B:192B      Masq    1      0          0\n"
    )
    remains = read(root, said("ipset list -name", ""))
    assert not remains
    assert [note.split()[0:2] for note in remains.notes] == [["1", "virtual"], ["what", "nf_tables"]]


@pytest.mark.parametrize("installed", [True, False])
def test_virtual_servers_of_kube_proxy(root: Path, installed: bool) -> None:
    write(root, "/sys/class/net/kube-ipvs0/ifindex")
    write(root, "/proc/net/ip_vs", "TCP  0A600001:01BB rr\nTCP  C6336464:0050 rr\nFWM  00000001 rr\n")
    address = {"family": "inet", "local": "10.96.0.1", "prefixlen": 32, "scope": "global"}
    link = {"ifname": "kube-ipvs0", "mtu": 1500, "address": "", "flags": [], "addr_info": [address]}
    runner = FakeRunner(
        [said("ip -json address", json.dumps([link]))],
        {"ip": "/usr/sbin/ip", **({"ipvsadm": "/usr/sbin/ipvsadm"} if installed else {})},
    )
    remains = read_network_remains(runner, root)
    assert remains.links == ("kube-ipvs0",)
    assert ("virtual server TCP 10.96.0.1:443" in remains.describe()) is installed
    assert remains.notes[0].startswith("2 virtual servers of IPVS stay")
    assert len(remains.notes) == (1 if installed else 2)


def test_kernel_modules_that_nobody_uses(root: Path) -> None:
    write(root, "/sys/module/nf_tables/refcnt", "0\n")
    (root / "sys/module/ip_set").mkdir()
    assert read(root).notes == ()


def test_removal_ends_with_what_proves_most(root: Path) -> None:
    conflist = write(root, "/etc/cni/net.d/10-flannel.conflist")
    folder = write(root, "/run/flannel/subnet.env").parent
    link = root / "etc/cni/net.d/calico-kubeconfig"
    link.symlink_to(folder)
    table = TableRemains("/sbin/iptables-save", "nat", ("KUBE-SERVICES",), ("-A OUTPUT -j KUBE-SERVICES",))
    runner = FakeRunner(
        [
            (["ip", "netns", "delete", POD], DONE),
            (["ip", "route", "delete", "10.244.2.0/24", "via", "10.77.6.12", "dev", "eth0"], DONE),
            (["ip", "address", "delete", "10.1.2.3/32", "dev", "tunl0"], DONE),
            (["ip", "link", "delete", "veth14887fa9"], Result(1, "", 'Cannot find device "veth14887fa9"\n')),
            (["ip", "link", "delete", "cni0"], DONE),
            (["/sbin/iptables-restore", "--noflush", "--wait=60"], DONE),
            (["nft", "-f", "-"], DONE),
            (["ipset", "restore"], DONE),
            (["ipvsadm", "--delete-service", "--tcp-service", "10.96.0.1:443"], DONE),
            (["ip", "link", "delete", "flannel.1"], DONE),
        ]
    )
    remove_network_remains(
        runner,
        NetworkRemains(
            namespaces=(POD,),
            links=("veth14887fa9", "cni0", "flannel.1"),
            addresses=("10.1.2.3/32",),
            routes=("10.244.2.0/24 via 10.77.6.12 dev eth0",),
            tables=(table,),
            nft_tables=("ip kube-proxy", "ip6 kube-proxy"),
            ipsets=("KUBE-L", "KUBE-IP"),
            virtual_servers=(VirtualServer("TCP", "10.96.0.1", 443),),
            files=(str(conflist), str(folder), str(link)),
        ),
    )
    runner.assert_finished()
    assert runner.stdin[5:8] == [
        "*nat\n-D OUTPUT -j KUBE-SERVICES\n-F KUBE-SERVICES\n-X KUBE-SERVICES\nCOMMIT\n",
        "delete table ip kube-proxy\ndelete table ip6 kube-proxy\n",
        "flush KUBE-L\nflush KUBE-IP\ndestroy KUBE-L\ndestroy KUBE-IP\n",
    ]
    assert list(conflist.parent.iterdir()) == []
    assert not folder.exists()


def test_folders_of_others_stay(root: Path) -> None:
    own = write(root, "/var/lib/cni/networks/cbr0/10.244.1.2").parent
    foreign = write(root, "/var/lib/cni/networks/podman/10.88.0.5")
    empty = root / "var/lib/cni/results"
    empty.mkdir()
    remove_network_remains(FakeRunner(), read(root))
    assert (own.exists(), empty.exists(), foreign.exists()) == (False, False, True)
    assert not read(root)


def test_link_that_cannot_be_deleted() -> None:
    refusal = Result(2, "", "RTNETLINK answers: Operation not permitted\n")
    runner = FakeRunner([(["ip", "link", "delete", "flannel.1"], refusal)])
    with pytest.raises(CommandError, match="Operation not permitted"):
        remove_network_remains(runner, NetworkRemains(links=("flannel.1",)))


def test_nothing_to_remove() -> None:
    remove_network_remains(FakeRunner(), NetworkRemains())
