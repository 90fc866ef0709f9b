# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a host: files recorded on a lab node with Debian 13, and made-up ones for what such a node does not have."""

from __future__ import annotations

import ctypes
import shutil
import socket
import sys
from dataclasses import replace

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _firewall_files, _preflight_snapshot
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_software import Software
from ansible_collections.groundplane.kubeadm.plugins.module_utils._node_address import Source
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hashes
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Wanted
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import (
    OPEN,
    OURS,
    REFUSED,
    SILENT,
    Answer,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import (
    ClusterFiles,
    Inotify,
    Ipv6,
    Listener,
    VipHolder,
    clock_synchronised,
    parse_arguments,
    parse_fstab_swaps,
    parse_listening_sockets,
    parse_memory_mib,
    parse_swaps,
    parse_version,
    read_snapshot,
    resolve,
    socket_path,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ssh_session import Session

from tests.unit.conftest import FIXTURES
from tests.unit.fake_runner import FakeRunner

DECIDED = Wanted(node_cidr="10.77.0.0/16")
VIP = "192.0.2.100"
WITH_VIP = Wanted(node_cidr="10.77.0.0/16", load_balancer="keepalived", vip=VIP)
HOLDER_MAC = "d6:a9:bc:2b:08:5a"
NEIGHBOURS = ["ip", "-json", "-4", "neigh", "show", "to"]
MANIFEST = """\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.77.7.11
    - --permit-port-sharing{sharing}
    - "--oidc-claim=groups=all"
    image: registry.k8s.io/kube-apiserver:v1.36.2
"""


@pytest.fixture
def recorded(tmp_path):
    """Tree of a fresh node that a test may change."""
    root = tmp_path / "root"
    shutil.copytree(FIXTURES / "hosts/trixie", root)
    return root


@pytest.fixture
def ip(fixture_text):
    """Answers of ip on the same node, and programs that the test adds."""

    def runner(*more, programs=None):
        answers = [
            (["ip", "-json", "address"], Result(0, fixture_text("iproute2/trixie-address.json"), "")),
            (["ip", "-json", "-4", "route"], Result(0, fixture_text("iproute2/trixie-route-4.json"), "")),
            (["ip", "-json", "-6", "route"], Result(0, fixture_text("iproute2/trixie-route-6.json"), "")),
        ]
        return FakeRunner([*answers, *more], {"ip": "/usr/sbin/ip", **(programs or {})})

    return runner


def write(root, path, content=""):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")


def link(root, path, destination):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(destination)


def test_reads_a_fresh_node(recorded, ip):
    runner = ip()
    snapshot = read_snapshot(runner, DECIDED, root=recorded)
    runner.assert_finished()
    assert snapshot.os_release["PRETTY_NAME"] == "Debian GNU/Linux 13 (trixie)"
    assert len(snapshot.machine_id) == 32
    assert snapshot.product_uuid == ""
    assert snapshot.memory_mib > 16000
    assert snapshot.cgroups.version == 1
    assert {"cpu", "cpuset", "memory", "pids"} <= snapshot.cgroups.controllers
    assert snapshot.kernel.state("overlay") == "present"
    assert (snapshot.swaps, snapshot.swap_sources) == ((), ())
    assert (snapshot.listeners, snapshot.firewalls, snapshot.time_services) == ((), (), ())
    assert snapshot.nameservers == ("10.77.0.1",)
    assert snapshot.cluster == ClusterFiles()
    assert not snapshot.systemd_running
    assert [interface.name for interface in snapshot.network.links] == ["lo", "eth0"]
    assert len(snapshot.storage.disks) == 1
    assert snapshot.storage.write_seconds is not None
    assert snapshot.software == Software()
    assert snapshot.registries == ()
    assert (snapshot.vip_holder, snapshot.endpoint, snapshot.endpoint_resolvable) == (None, None, True)


def test_unified_control_groups(recorded, ip):
    write(recorded, "proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
    write(recorded, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
    cgroups = read_snapshot(ip(), DECIDED, root=recorded).cgroups
    assert cgroups.version == 2
    assert "pids" in cgroups.controllers


def test_swap_and_whatever_brings_it_back(recorded, ip):
    write(recorded, "proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1 0 100\n")
    write(recorded, "etc/fstab", "UUID=1 none swap sw 0 0\n")
    write(recorded, "etc/systemd/system/swap.img.swap", "[Swap]\n")
    link(recorded, "etc/systemd/system/swap.target.wants/swap.img.swap", "../swap.img.swap")
    write(recorded, "run/systemd/generator.late/dev-vda3.swap", "[Swap]\n")
    link(recorded, "etc/systemd/system/masked.swap", "/dev/null")
    link(
        recorded, "etc/systemd/system/multi-user.target.wants/zramswap.service", "/lib/systemd/system/zramswap.service"
    )
    write(recorded, "usr/lib/systemd/system/zramswap.service", "[Service]\n")
    write(recorded, "usr/lib/systemd/system-generators/zram-generator")
    write(recorded, "etc/systemd/zram-generator.conf", "[zram0]\n")
    snapshot = read_snapshot(ip(), DECIDED, root=recorded)
    assert snapshot.swaps == ("/dev/zram0",)
    assert snapshot.swap_sources == (
        "/etc/fstab (UUID=1)",
        "unit dev-vda3.swap",
        "unit dev-zram0.swap",
        "unit swap.img.swap",
        "unit zramswap.service",
    )


def test_zram_generator_that_is_switched_off(recorded, ip):
    write(recorded, "usr/lib/systemd/system-generators/zram-generator")
    write(recorded, "etc/systemd/zram-generator.conf", "")
    assert read_snapshot(ip(), DECIDED, root=recorded).swap_sources == ()


@pytest.mark.parametrize(
    ("fstab", "expected"),
    [
        ("", []),
        ("# /dev/vda2 none swap sw 0 0\n  # /dev/vda3 none swap sw\n", []),
        (
            "/dev/vda1 / ext4 defaults 0 1\n\n/dev/vda2 none swap sw 0 0\n/swap.img none swap\n",
            ["/dev/vda2", "/swap.img"],
        ),
        ("/dev/vda2 none swap noauto,pri=1 0 0\n", []),
        ("broken line\n", []),
    ],
)
def test_fstab(fstab, expected):
    assert parse_fstab_swaps(fstab) == expected


def test_listeners_and_their_programs(recorded, ip):
    row = "   {0}: 00000000:{1:04X} 00000000:0000 {2} 00000000:00000000 00:00000000 00000000     0        0 {3} 1 0\n"
    table = "  sl  local_address\n" + "".join(
        row.format(*values) for values in ((0, 10250, "0A", 111), (1, 6443, "01", 222), (2, 22, "0A", 333))
    )
    write(recorded, "proc/net/tcp", table)
    write(recorded, "proc/net/tcp6", "  sl  local_address\n" + row.format(0, 2379, "0A", 444))
    write(recorded, "proc/77/cmdline", "/usr/bin/kubelet\0--config=/var/lib/kubelet/config.yaml\0")
    for number, destination in ((0, "/dev/null"), (1, "socket:[111]"), (2, "socket:[999]")):
        link(recorded, f"proc/77/fd/{number}", destination)
    write(recorded, "proc/77/fd/3")
    write(recorded, "proc/78/cmdline", "bash")
    assert read_snapshot(ip(), DECIDED, root=recorded).listeners == (
        Listener(2379, "", "0.0.0.0"),
        Listener(10250, "kubelet", "0.0.0.0"),
    )


def test_listeners_of_a_control_plane_node(fixture_text):
    tables = (fixture_text(f"proc/control-plane-{family}") for family in ("tcp", "tcp6"))
    sockets = {socket for table in tables for socket in parse_listening_sockets(table).values()}
    assert set(Wanted().ports) <= {port for _address, port in sockets}
    assert {("::", 6443), ("127.0.0.1", 2379), ("10.77.0.11", 2379)} <= sockets


@pytest.mark.skipif(sys.byteorder == "big", reason="recorded on a little-endian machine")
def test_a_port_that_two_programs_share(fixture_text):
    assert parse_listening_sockets(fixture_text("proc/shared-port-tcp")) == {"406679": ("192.0.2.100", 6443)}
    assert parse_listening_sockets(fixture_text("proc/shared-port-tcp6")) == {
        "406678": ("::", 6443),
        "406680": ("fd00:2::100", 6443),
        "406681": ("192.0.2.12", 7443),
    }


@pytest.mark.parametrize(("answer", "expected"), [("active\n", ("ufw", "firewalld")), ("inactive\n", ("ufw",))])
def test_firewalls(recorded, ip, answer, expected):
    write(recorded, "etc/ufw/ufw.conf", "# /etc/ufw/ufw.conf\nENABLED=yes\nLOGLEVEL=low\n")
    write(recorded, "usr/lib/systemd/system/firewalld.service", "[Unit]\n")
    runner = ip((["systemctl", "is-active", "firewalld.service"], Result(0, answer, "")))
    assert read_snapshot(runner, DECIDED, root=recorded).firewalls == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PATH=/usr/bin\n", {}),
        ("# http_proxy=http://192.0.2.3:3128\nhttp_proxy=\n", {}),
        (
            "HTTPS_PROXY='http://192.0.2.3:3128'\nexport no_proxy=\"localhost,10.0.0.0/8\"\n",
            {"https_proxy": "http://192.0.2.3:3128", "no_proxy": "localhost,10.0.0.0/8"},
        ),
    ],
)
def test_proxies_of_every_session(recorded, ip, text, expected):
    write(recorded, "etc/environment", text)
    assert read_snapshot(ip(), DECIDED, root=recorded).proxies == expected


def test_a_node_of_a_cluster(recorded, ip, fixture_text):
    write(recorded, "etc/kubernetes/kubelet.conf", fixture_text("kubeadm/worker_kubelet.conf"))
    write(recorded, "etc/kubernetes/pki/ca.crt", "PEM")
    write(recorded, "etc/kubernetes/manifests/etcd.yaml")
    write(recorded, "etc/kubernetes/manifests/.etcd.yaml.swp")
    write(recorded, "var/lib/etcd/member/wal/0.wal")
    write(recorded, "var/lib/kubelet/pki/kubelet.crt")
    write(recorded, "etc/cni/net.d/10-flannel.conflist")
    write(recorded, "etc/cni/net.d/README")
    write(recorded, "var/lib/groundplane/kubeadm-init.json", "{}")
    cluster = read_snapshot(ip(), DECIDED, root=recorded).cluster
    assert cluster == ClusterFiles(
        record=True,
        credentials=("kubelet.conf",),
        manifests=("etcd.yaml",),
        etcd_data=True,
        kubelet_certificates=True,
        cni_configurations=("10-flannel.conflist",),
        server="https://10.77.5.11:6443",
        ca_hash=ca_cert_hashes(fixture_text("kubeadm/ca.crt"))[0],
        prepared=True,
        authority="PEM",
    )


def test_a_control_plane_before_its_kubelet(recorded, ip, fixture_text):
    write(recorded, "etc/kubernetes/admin.conf", fixture_text("kubeadm/worker_kubelet.conf"))
    cluster = read_snapshot(ip(), DECIDED, root=recorded).cluster
    assert (cluster.server, cluster.ca_hash) == (
        "https://10.77.5.11:6443",
        ca_cert_hashes(fixture_text("kubeadm/ca.crt"))[0],
    )


@pytest.mark.parametrize(
    ("kubeconfig", "server"),
    [
        pytest.param("clusters:\n- clus", "", id="cut off"),
        pytest.param("- cluster:\n    server: https://a\n- cluster:\n    server: https://b\n", "", id="two clusters"),
        pytest.param("    certificate-authority-data: LS0tL\n    server: https://a\n", "", id="half of a CA"),
        pytest.param("    certificate-authority-data: UEVN\n    server: https://a\n", "https://a", id="no certificate"),
        pytest.param("    server: https://a\n", "https://a", id="without a CA"),
    ],
)
def test_a_kubeconfig_that_cannot_be_read(recorded, ip, kubeconfig, server):
    write(recorded, "etc/kubernetes/kubelet.conf", kubeconfig)
    cluster = read_snapshot(ip(), DECIDED, root=recorded).cluster
    assert (cluster.known, cluster.server, cluster.ca_hash) == (True, server, "")


@pytest.mark.parametrize(("sharing", "expected"), [("=true", "true"), ("=false", "false"), ("", "true")])
def test_arguments_of_the_api_server(recorded, ip, sharing, expected):
    write(recorded, "etc/kubernetes/manifests/kube-apiserver.yaml", MANIFEST.format(sharing=sharing))
    cluster = read_snapshot(ip(), DECIDED, root=recorded).cluster
    assert cluster.api_server == {
        "advertise-address": "10.77.7.11",
        "permit-port-sharing": expected,
        "oidc-claim": "groups=all",
    }


def test_writes_are_measured_only_where_a_member_of_etcd_is_to_come(recorded, ip):
    def measured(**changes):
        wanted = replace(DECIDED, **changes)
        return read_snapshot(ip(), wanted, root=recorded).storage.write_seconds is not None

    assert measured()
    assert not measured(role="worker")
    assert not measured(local_etcd=False)
    write(recorded, "var/lib/etcd/member/wal/0.wal")
    assert not measured()


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, True),
        ({"kubernetes_version": "1.37"}, False),
        ({"containerd_source": "docker"}, False),
        ({"cri_socket": "unix:///run/crio/crio.sock"}, False),
    ],
    ids=["1.38", "1.37", "from Docker", "another runtime"],
)
def test_the_containerd_to_come_is_asked_for_only_where_it_matters(recorded, ip, fixture_text, changes, asked):
    policy = (["/usr/bin/apt-cache", "policy", "containerd"], Result(0, fixture_text("apt/policy-containerd"), ""))
    runner = ip(*([policy] if asked else []), programs={"apt-cache": "/usr/bin/apt-cache"})
    wanted = replace(DECIDED, **{"kubernetes_version": "1.38", **changes})
    assert read_snapshot(runner, wanted, root=recorded).software.candidate == ("1.7.24" if asked else "")
    runner.assert_finished()


def test_names_and_limits(recorded, ip):
    write(recorded, "etc/hosts", "127.0.0.1 localhost # loopback\n\n# 192.0.2.9 old\n::1 LOCALHOST ip6-localhost\n")
    write(recorded, "proc/sys/fs/inotify/max_user_instances", "8192\n")
    write(recorded, "proc/sys/fs/inotify/max_user_watches", "many\n")
    snapshot = read_snapshot(ip(), DECIDED, root=recorded)
    assert snapshot.hosts == {"localhost": ("127.0.0.1", "::1"), "ip6-localhost": ("::1",)}
    assert snapshot.inotify == Inotify(8192, None)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, Ipv6(present=False)),
        ({"all": (0, 1), "default": (0, 1), "eth0": (0, 1)}, Ipv6(heeding=frozenset({"all", "default", "eth0"}))),
        ({"default": (1, 2), "eth0": (1, 0), "lo": (0, 2)}, Ipv6(disabled=frozenset({"default", "eth0"}))),
    ],
    ids=["not there", "as the kernel begins", "switched off"],
)
def test_ipv6_of_the_kernel(recorded, ip, entries, expected):
    for entry, (disabled, accept_ra) in entries.items():
        write(recorded, f"proc/sys/net/ipv6/conf/{entry}/disable_ipv6", f"{disabled}\n")
        write(recorded, f"proc/sys/net/ipv6/conf/{entry}/accept_ra", f"{accept_ra}\n")
    wanted = replace(DECIDED, pod_cidr="10.244.0.0/16,fd00:10::/56")
    assert read_snapshot(ip(), wanted, root=recorded).ipv6 == expected
    assert read_snapshot(ip(), DECIDED, root=recorded).ipv6 == Ipv6()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("2", False)])
def test_forwarding_as_it_is_wanted(recorded, ip, value, expected):
    write(recorded, "proc/sys/net/ipv6/conf/all/forwarding", f"{value}\n")
    wanted = replace(DECIDED, pod_cidr="10.244.0.0/16,fd00:10::/56")
    assert read_snapshot(ip(), wanted, root=recorded).ipv6 == Ipv6(forwarding=expected)


def test_the_session_is_looked_for_where_the_cluster_has_ipv6(recorded, ip):
    shutil.copytree(FIXTURES / "proc/sudo-session", recorded / "proc", dirs_exist_ok=True)
    wanted = replace(DECIDED, pod_cidr="10.244.0.0/16,fd00:10::/56")
    assert read_snapshot(ip(), wanted, root=recorded).session == Session("2001:db8:ff::5", 22)
    assert read_snapshot(ip(), DECIDED, root=recorded).session is None


def test_a_manifest_without_arguments():
    assert parse_arguments("apiVersion: v1\nkind: Pod\n") == {}


@pytest.fixture
def asked(monkeypatch):
    """Replace connections by the given answers, and record what was asked."""

    def answering(answers):
        questions = []

        def ask(address, port, **options):
            questions.append((address, port, options.get("authority", "")))
            return answers[address]

        monkeypatch.setattr(_preflight_snapshot, "ask", ask)
        return questions

    return answering


def neighbour(fixture_text, state="REACHABLE"):
    return Result(0, fixture_text("iproute2/neigh-4.json").replace("REACHABLE", state), "")


def test_a_virtual_address_that_is_free(recorded, ip, asked, fixture_text):
    questions = asked({VIP: Answer(SILENT)})
    runner = ip(([*NEIGHBOURS, VIP], Result(0, fixture_text("iproute2/neigh-nobody.json"), "")))
    assert read_snapshot(runner, WITH_VIP, root=recorded).vip_holder == VipHolder(VIP)
    runner.assert_finished()
    assert questions == [(VIP, 6443, "")]


@pytest.mark.parametrize(
    ("answer", "state", "mac"),
    [
        (Answer(SILENT), "REACHABLE", HOLDER_MAC),
        (Answer(REFUSED), "STALE", HOLDER_MAC),
        (Answer(OPEN), "DELAY", HOLDER_MAC),
        (Answer(SILENT), "DELAY", ""),
    ],
    ids=["a machine behind a firewall", "a port without program", "a server", "a machine that may be gone"],
)
def test_a_virtual_address_that_another_machine_has(recorded, ip, asked, fixture_text, answer, state, mac):
    asked({VIP: answer})
    runner = ip(([*NEIGHBOURS, VIP], neighbour(fixture_text, state)))
    assert read_snapshot(runner, WITH_VIP, root=recorded).vip_holder == VipHolder(VIP, mac=mac)


def test_neighbours_that_cannot_be_asked(recorded, ip, asked):
    asked({VIP: Answer(REFUSED)})
    runner = ip(([*NEIGHBOURS, VIP], Result(255, "", 'Option "-json" is unknown\n')))
    assert read_snapshot(runner, WITH_VIP, root=recorded).vip_holder == VipHolder(VIP)


def test_a_virtual_address_behind_which_the_cluster_answers(recorded, ip, asked, fixture_text):
    write(recorded, "etc/kubernetes/pki/ca.crt", "PEM")
    questions = asked({VIP: Answer(OURS)})
    runner = ip(([*NEIGHBOURS, VIP], neighbour(fixture_text)))
    wanted = replace(WITH_VIP, endpoint_port=8443)
    assert read_snapshot(runner, wanted, root=recorded).vip_holder == VipHolder(VIP, mac=HOLDER_MAC, ours=True)
    assert questions == [(VIP, 8443, "PEM")]


@pytest.mark.parametrize(("state", "ours"), [("STALE", True), ("INCOMPLETE", False)])
def test_a_virtual_address_at_a_control_plane_host_outside_of_the_run(
    recorded, ip, asked, monkeypatch, fixture_text, state, ours
):
    monkeypatch.setattr(_preflight_snapshot, "resolve", {"m1": "192.0.2.13", "m2": "192.0.2.12", "m3": ""}.get)
    asked({VIP: Answer(REFUSED), "192.0.2.13": Answer(SILENT), "192.0.2.12": Answer(REFUSED)})
    last = neighbour(fixture_text, state)
    if not ours:
        last = Result(0, fixture_text("iproute2/neigh-nobody.json"), "")
    runner = ip(
        ([*NEIGHBOURS, VIP], neighbour(fixture_text)),
        ([*NEIGHBOURS, "192.0.2.13"], Result(0, fixture_text("iproute2/neigh-nobody.json"), "")),
        ([*NEIGHBOURS, "192.0.2.12"], last),
    )
    wanted = replace(WITH_VIP, control_plane_addresses=("m3", "m1", "m2"))
    assert read_snapshot(runner, wanted, root=recorded).vip_holder == VipHolder(VIP, mac=HOLDER_MAC, ours=ours)
    runner.assert_finished()


def test_a_virtual_address_of_ipv6(recorded, ip, asked, fixture_text):
    asked({"fd00:2::100": Answer(SILENT)})
    reply = Result(0, fixture_text("iproute2/neigh-6.json"), "")
    runner = ip((["ip", "-json", "-6", "neigh", "show", "to", "fd00:2::100"], reply))
    snapshot = read_snapshot(runner, replace(WITH_VIP, vip="fd00:2:0::100"), root=recorded)
    assert snapshot.vip_holder == VipHolder("fd00:2::100", mac=HOLDER_MAC)


@pytest.mark.parametrize(
    ("path", "content", "keepalived"),
    [
        ("proc/77/cmdline", "/usr/sbin/keepalived\0--dont-fork\0", True),
        ("etc/keepalived/keepalived.conf", "virtual_ipaddress {\n    10.77.7.21/16 dev eth0\n}\n", True),
        ("etc/keepalived/keepalived.conf", "virtual_ipaddress {\n    10.77.7.210\n}\n", False),
        ("proc/77/cmdline", "/usr/bin/kubelet\0", False),
    ],
    ids=["keepalived runs", "keepalived was killed", "keepalived for another address", "no keepalived"],
)
def test_a_virtual_address_on_the_host_itself(recorded, ip, asked, path, content, keepalived):
    write(recorded, path, content)
    questions = asked({})
    holder = read_snapshot(ip(), replace(WITH_VIP, vip="10.77.7.21"), root=recorded).vip_holder
    assert holder == VipHolder("10.77.7.21", "02:67:0a:4d:07:15", local=True, keepalived=keepalived)
    assert questions == []


@pytest.mark.parametrize(
    "changes",
    [{"role": "worker"}, {"load_balancer": "external", "endpoint": ""}, {"load_balancer": "none"}, {"vip": "192.0.2"}],
    ids=["a worker", "a load balancer of the operator's", "none", "half an address"],
)
def test_nobody_asks_for_the_virtual_address(recorded, ip, asked, changes):
    questions = asked({})
    snapshot = read_snapshot(ip(), replace(WITH_VIP, **changes), root=recorded)
    assert (snapshot.vip_holder, snapshot.endpoint, questions) == (None, None, [])


@pytest.mark.parametrize(
    ("changes", "question"),
    [
        ({"endpoint_address": "192.0.2.200"}, ("192.0.2.200", 6443, "")),
        ({"endpoint_address": "192.0.2.200", "role": "worker", "endpoint_port": 443}, ("192.0.2.200", 443, "")),
        ({}, ("api.example.com", 6443, "")),
    ],
    ids=["its address", "a worker", "its name"],
)
def test_asks_the_load_balancer(recorded, ip, asked, monkeypatch, changes, question):
    monkeypatch.setattr(_preflight_snapshot, "resolve", {"api.example.com": "192.0.2.200"}.get)
    questions = asked({"192.0.2.200": Answer(OPEN), "api.example.com": Answer(OPEN)})
    wanted = replace(DECIDED, load_balancer="external", endpoint="api.example.com", **changes)
    assert read_snapshot(ip(), wanted, root=recorded).endpoint == Answer(OPEN)
    assert questions == [question]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"endpoint_in_hosts": False}, False),
        ({"endpoint_in_hosts": False, "endpoint": "known.example.com"}, True),
        ({}, True),
        ({"load_balancer": "external"}, False),
        ({"load_balancer": "external", "endpoint_address": "192.0.2.200"}, True),
        ({"load_balancer": "external", "endpoint_address": "192.0.2.200", "endpoint_in_hosts": False}, False),
        ({"endpoint_in_hosts": False, "endpoint": ""}, True),
    ],
)
def test_looks_the_endpoint_up_where_nobody_else_makes_it_known(recorded, ip, asked, monkeypatch, changes, expected):
    names = {"known.example.com": "192.0.2.200", "api.example.com": ""}
    monkeypatch.setattr(_preflight_snapshot, "resolve", names.__getitem__)
    asked({"api.example.com": Answer(OPEN), "192.0.2.200": Answer(OPEN)})
    wanted = replace(DECIDED, **{"endpoint": "api.example.com", **changes})
    assert read_snapshot(ip(), wanted, root=recorded).endpoint_resolvable is expected


def test_images_of_an_interrupted_run(recorded, ip):
    write(recorded, "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/0")
    assert read_snapshot(ip(), DECIDED, root=recorded).cluster.prepared


@pytest.mark.parametrize(
    ("files", "expected"), [((), False), (("rules.v4", "rules.v6"), True), (("rules.v6",), True), (("restore",), False)]
)
def test_rules_of_role_firewall(recorded, ip, files, expected):
    for name in files:
        write(recorded, f"{_firewall_files.FOLDER}/{name}")
    assert read_snapshot(ip(), DECIDED, root=recorded).own_rules is expected


@pytest.mark.parametrize(("folder", "expected"), [("/data/etcd", True), ("/var/lib/etcd", False)])
def test_data_of_etcd_elsewhere(recorded, ip, folder, expected):
    write(recorded, "data/etcd/member/snap/db")
    wanted = replace(DECIDED, etcd_folder=folder)
    assert read_snapshot(ip(), wanted, root=recorded).cluster.etcd_data is expected


def test_other_state_of_the_machine(recorded, ip):
    write(recorded, "run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n")
    write(recorded, "sys/fs/selinux/enforce", "1")
    write(recorded, "sys/class/dmi/id/product_uuid", "5F2B8A52-7B5E-4D8E-9E0F-1D2C3B4A5F60\n")
    write(recorded, "lib/systemd/system/chrony.service")
    write(recorded, "run/containerd/containerd.sock")
    version = Result(0, "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6+b4\n", "")
    runner = ip(
        (["/usr/bin/containerd", "--version"], version),
        (["/usr/bin/kubelet", "--version"], Result(0, "Kubernetes v1.36.3\n", "")),
        programs={"containerd": "/usr/bin/containerd", "kubelet": "/usr/bin/kubelet"},
    )
    snapshot = read_snapshot(runner, DECIDED, root=recorded)
    assert snapshot.resolved_nameservers == ("192.0.2.53",)
    assert snapshot.selinux_enforcing
    assert snapshot.product_uuid == "5f2b8a52-7b5e-4d8e-9e0f-1d2c3b4a5f60"
    assert snapshot.time_services == ("chrony",)
    assert snapshot.runtime_version == "1.7.24"
    assert snapshot.kubelet_version == "1.36.3"
    assert snapshot.cri_socket_exists


@pytest.mark.parametrize(
    ("wanted", "answer", "expected"),
    [
        (
            Wanted(peer_address="10.77.7.11"),
            Result(0, '[{"dst":"10.77.7.11","dev":"eth0","prefsrc":"10.77.7.21"}]', ""),
            Source("10.77.7.21", "eth0"),
        ),
        (Wanted(peer_address="10.77.7.11"), Result(2, "", "RTNETLINK answers: Network is unreachable\n"), None),
        (Wanted(peer_address="no.such.name.invalid"), None, None),
        (Wanted(peer_address="10.77.7.11", node_ip="10.77.7.21"), None, None),
        (
            Wanted(peer_address="10.77.7.11", pod_cidr="10.244.0.0/16,fd00:10::/56", node_ip="fd77::7:21"),
            Result(0, '[{"dst":"10.77.7.11","dev":"eth0","prefsrc":"10.77.7.21"}]', ""),
            Source("10.77.7.21", "eth0"),
        ),
        (
            Wanted(peer_address="10.77.7.11", pod_cidr="10.244.0.0/16,fd00:10::/56", node_cidr="10.77.0.0/16"),
            None,
            None,
        ),
        (Wanted(), None, None),
    ],
    ids=[
        "a route",
        "no route",
        "a name that nobody knows",
        "a node address that is given",
        "that of the second family",
        "a network of the first family",
        "no peer",
    ],
)
def test_the_address_that_faces_the_peer(recorded, ip, monkeypatch, wanted, answer, expected):
    known = {"10.77.7.11": "10.77.7.11"}
    monkeypatch.setattr(_preflight_snapshot, "resolve", lambda name, version=0: known.get(name, ""))
    runner = ip(*([(["ip", "-json", "route", "get", "10.77.7.11"], answer)] if answer else []))
    assert read_snapshot(runner, wanted, root=recorded).network.peer_source == expected
    runner.assert_finished()


@pytest.mark.parametrize(
    ("pods", "known", "asked"),
    [
        ("10.244.0.0/16", {4: "10.77.7.11", 0: "fd77::7:11"}, "10.77.7.11"),
        ("fd00:10::/56,10.244.0.0/16", {6: "fd77::7:11", 0: "10.77.7.11"}, "fd77::7:11"),
        ("fd00:10::/56,10.244.0.0/16", {6: "", 0: "10.77.7.11"}, "10.77.7.11"),
    ],
    ids=["IPv4 first", "IPv6 first", "the other family alone"],
)
def test_a_peer_with_addresses_of_both_families(recorded, ip, monkeypatch, pods, known, asked):
    monkeypatch.setattr(_preflight_snapshot, "resolve", lambda name, version=0: known[version])
    answer = Result(0, f'[{{"dst":"{asked}","dev":"eth0","prefsrc":"10.77.7.21"}}]', "")
    runner = ip((["ip", "-json", "route", "get", asked], answer))
    wanted = Wanted(peer_address="master-1", pod_cidr=pods)
    assert read_snapshot(runner, wanted, root=recorded).network.peer_source == Source("10.77.7.21", "eth0")
    runner.assert_finished()


def test_needs_iproute2(recorded):
    with pytest.raises(GroundplaneError, match="install the package iproute2"):
        read_snapshot(FakeRunner(), DECIDED, root=recorded)


def test_memory_and_swaps_that_cannot_be_read():
    assert parse_memory_mib("") == 0
    assert parse_swaps("") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("containerd containerd.io v2.1.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376\n", "2.1.4"),
        ("containerd github.com/containerd/containerd/v2 2.1.9~ds1\n", "2.1.9"),
        ("Kubernetes v1.36.3\n", "1.36.3"),
        ("something else\n", ""),
    ],
)
def test_version(text, expected):
    assert parse_version(text) == expected


def test_socket_path():
    assert socket_path("unix:///run/crio/crio.sock") == socket_path("/run/crio/crio.sock") == "/run/crio/crio.sock"


class FakeLibrary:
    def __init__(self, state):
        self.adjtimex = lambda buffer: state


@pytest.mark.parametrize(("state", "expected"), [(0, True), (1, True), (5, False), (-1, None)])
def test_clock(monkeypatch, state, expected):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeLibrary(state))
    assert clock_synchronised() is expected


def test_a_library_that_cannot_be_asked(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert clock_synchronised() is None


def test_resolve(monkeypatch):
    assert resolve("192.0.2.11") == resolve("192.0.2.11", 4) == "192.0.2.11"
    assert resolve("192.0.2.11", 6) == ""
    assert resolve("2001:db8::11", 6) == "2001:db8::11"

    def nobody_knows(*arguments, **options):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    assert resolve("master-1") == ""
