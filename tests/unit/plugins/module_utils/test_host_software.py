# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Software of others on a host, by files and by recorded output of the real programs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils import _host_software
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_software import (
    ForeignRules,
    Persistence,
    RuntimeConfiguration,
    Software,
    contains,
    foreign_rules,
    parse_runtime_configuration,
    read_software,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_checks import run_checks
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import Wanted
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import ClusterFiles

from tests.unit.fake_runner import FakeRunner
from tests.unit.preflight_samples import host

SAVES = {
    "iptables-legacy-save": "/usr/sbin/iptables-legacy-save",
    "ip6tables-legacy-save": "/usr/sbin/ip6tables-legacy-save",
    "iptables-nft-save": "/usr/sbin/iptables-nft-save",
}
OURS = """\
# Managed by groundplane.kubeadm, role containerd; what is changed here is lost.
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
sandboxer = "podsandbox"
# SystemdCgroup = false
SystemdCgroup = true
"""
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def write(root, path, content=""):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")


def link(root, path, destination):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(destination)


def enable(root, unit):
    link(root, f"etc/systemd/system/multi-user.target.wants/{unit}", f"/usr/lib/systemd/system/{unit}")


def read(root, runner=None, *, ask_candidate=False):
    runner = runner or FakeRunner()
    software = read_software(runner, root, ask_candidate=ask_candidate)
    runner.assert_finished()
    return software


def test_a_fresh_host_has_nothing_and_no_program_is_started(tmp_path):
    assert read(tmp_path) == Software()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("config-debian-1.7.toml", RuntimeConfiguration(ours=False)),
        (
            "config-default-1.7.toml",
            RuntimeConfiguration(ours=False, sandbox_image="registry.k8s.io/pause:3.8", systemd_cgroup=False),
        ),
    ],
)
def test_recorded_configurations_of_containerd(tmp_path, fixture_text, name, expected):
    write(tmp_path, "etc/containerd/config.toml", fixture_text(f"containerd/{name}"))
    assert read(tmp_path).runtime == expected


def test_a_configuration_of_ours_and_one_of_version_3():
    assert parse_runtime_configuration(OURS) == RuntimeConfiguration(
        ours=True, sandbox_image="registry.k8s.io/pause:3.10.2", systemd_cgroup=True
    )


def test_a_running_node_of_ours(tmp_path):
    write(tmp_path, "etc/containerd/config.toml", OURS)
    write(tmp_path, "var/lib/kubelet/config.yaml", "cgroupDriver: systemd\n")
    write(tmp_path, "var/lib/dpkg/lock-frontend")
    write(tmp_path, "proc/net/ip_tables_names", "")
    link(tmp_path, "etc/alternatives/iptables", "/usr/sbin/iptables-nft")
    for unit in ("containerd.service", "kubelet.service", "systemd-timesyncd.service"):
        enable(tmp_path, unit)
    node = host(software=read(tmp_path), cluster=ClusterFiles(credentials=("admin.conf", "kubelet.conf")))
    assert node.software.runtime == RuntimeConfiguration(
        ours=True, sandbox_image="registry.k8s.io/pause:3.10.2", systemd_cgroup=True
    )
    assert run_checks(node, Wanted()) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\ncgroupDriver: systemd\n"}, "systemd"),
        (
            {
                "var/lib/kubelet/config.yaml": "cgroupDriver: systemd\n",
                "etc/default/kubelet": 'KUBELET_EXTRA_ARGS="--cgroup-driver=cgroupfs"\n',
            },
            "cgroupfs",
        ),
        ({"var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"}, ""),
    ],
    ids=["a file", "an argument", "neither"],
)
def test_cgroup_driver_of_kubelet(tmp_path, files, expected):
    for path, content in files.items():
        write(tmp_path, path, content)
    assert read(tmp_path).kubelet_cgroup_driver == expected


@pytest.mark.parametrize(("programs", "expected"), [({"apt-cache": "/usr/bin/apt-cache"}, "1.7.24"), ({}, "")])
def test_the_containerd_to_come(tmp_path, fixture_text, programs, expected):
    answer = (["/usr/bin/apt-cache", "policy", "containerd"], Result(0, fixture_text("apt/policy-containerd"), ""))
    runner = FakeRunner([answer] if programs else [], programs)
    assert read(tmp_path, runner, ask_candidate=True).candidate == expected


def test_a_containerd_that_the_distribution_does_not_have(tmp_path):
    answer = (["/usr/bin/apt-cache", "policy", "containerd"], Result(0, "", ""))
    assert read(tmp_path, FakeRunner([answer], {"apt-cache": "/usr/bin/apt-cache"}), ask_candidate=True).candidate == ""


def test_programs_beside_the_packages(tmp_path):
    write(tmp_path, "usr/local/bin/kubelet")
    write(tmp_path, "usr/local/bin/k9s")
    write(tmp_path, "usr/bin/kubeadm")
    write(tmp_path, "snap/bin/kubectl")
    assert read(tmp_path).programs == ("/usr/local/bin/kubelet", "/snap/bin/kubectl")


def test_dpkg_that_was_interrupted(tmp_path):
    write(tmp_path, "var/lib/dpkg/updates/0001")
    write(tmp_path, "var/lib/dpkg/updates/tmp.i")
    assert read(tmp_path).interrupted_packages == ("/var/lib/dpkg/updates/0001",)


def test_a_package_manager_at_work(tmp_path):
    write(tmp_path, "var/lib/dpkg/lock-frontend")
    assert read(tmp_path).package_lock == ""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "var/lib/dpkg/lock-frontend")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        # The journal of a dpkg that is simply at work.
        write(tmp_path, "var/lib/dpkg/updates/0001")
        assert read(tmp_path).interrupted_packages == ()
        assert read(tmp_path).package_lock == "another program"
        write(tmp_path, f"proc/{holder.pid}/comm", "unattended-upgr\n")
        assert read(tmp_path).package_lock == "unattended-upgr"
    finally:
        holder.communicate()


def test_a_package_manager_that_begins_while_it_is_asked(tmp_path, monkeypatch):
    write(tmp_path, "var/lib/dpkg/updates/0001")
    locks = ["", "apt-get"]
    monkeypatch.setattr(_host_software, "_read_package_lock", lambda root: locks.pop(0))
    software = read(tmp_path)
    assert (software.interrupted_packages, software.package_lock) == ((), "apt-get")


@pytest.mark.parametrize(
    ("profiles", "program", "expected"),
    [
        ("cri-containerd.apparmor.d (enforce)\nrunc (unconfined)\n", b"signal (receive) peer=unconfined", True),
        ("/usr/sbin/runc (unconfined)\n", b"signal (receive) peer=unconfined", True),
        ("runc (unconfined)\n", b"signal (receive) peer=runc", False),
        ("crun (unconfined)\n", b"signal (receive) peer=unconfined", False),
        ("runc (unconfined)\n", None, False),
    ],
    ids=["an old containerd", "an older name", "a new containerd", "another runtime", "no containerd"],
)
def test_a_confined_runc(tmp_path, profiles, program, expected):
    write(tmp_path, "sys/kernel/security/apparmor/profiles", profiles)
    path = tmp_path / "containerd"
    if program:
        path.write_bytes(bytes(5000) + program + bytes(5000))
    runner = FakeRunner((), {"containerd": str(path)} if program else {})
    assert read(tmp_path, runner).signals_denied is expected


def test_a_program_that_cannot_be_read_is_not_accused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert contains(tmp_path / "empty", b"x")
    assert contains(tmp_path / "absent", b"x")


def test_saved_rules_that_freeze_a_cluster(tmp_path, fixture_text):
    enable(tmp_path, "netfilter-persistent.service")
    write(tmp_path, "etc/iptables/rules.v4", fixture_text("iptables/node-save"))
    (mechanism,) = read(tmp_path).persistence
    assert (mechanism.service, mechanism.file) == ("netfilter-persistent", "/etc/iptables/rules.v4")
    assert any(chain.startswith("KUBE-") for chain in mechanism.chains)
    assert "INPUT" not in mechanism.chains


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ("", 1),
        ("IPTABLES_SKIP_SAVE=yes\n", 1),
        ('IPTABLES_SKIP_SAVE=yes\nIPTABLES_RESTORE_NOFLUSH="yes"\n', 0),
        ("#IPTABLES_SKIP_SAVE=yes\n#IPTABLES_RESTORE_NOFLUSH=yes\n", 1),
    ],
)
def test_netfilter_persistent_that_keeps_out(tmp_path, settings, count):
    enable(tmp_path, "netfilter-persistent.service")
    write(tmp_path, "etc/default/netfilter-persistent", settings)
    assert len(read(tmp_path).persistence) == count


def test_other_persistence(tmp_path):
    for unit in ("iptables.service", "ip6tables.service", "nftables.service"):
        enable(tmp_path, unit)
    write(tmp_path, "etc/nftables.conf", "#!/usr/sbin/nft -f\n\nflush ruleset\n\ntable inet filter {\n}\n")
    write(tmp_path, "etc/sysconfig/nftables.conf", "# flush ruleset\n")
    assert read(tmp_path).persistence == (
        Persistence("iptables", "/etc/sysconfig/iptables"),
        Persistence("ip6tables", "/etc/sysconfig/ip6tables"),
        Persistence("nftables", "/etc/nftables.conf"),
    )


def test_persistence_that_is_not_enabled(tmp_path):
    write(tmp_path, "usr/lib/systemd/system/nftables.service")
    write(tmp_path, "etc/nftables.conf", "flush ruleset\n")
    assert read(tmp_path).persistence == ()


def test_legacy_rules_beside_nft(tmp_path, fixture_text):
    link(tmp_path, "etc/alternatives/iptables", "/usr/sbin/iptables-nft")
    write(tmp_path, "proc/net/ip_tables_names", "filter\nnat\n")
    runner = FakeRunner(
        [
            (["/usr/sbin/iptables-legacy-save"], Result(0, fixture_text("iptables/legacy-drops"), "")),
            (["/usr/sbin/ip6tables-legacy-save"], Result(0, "", "")),
        ],
        SAVES,
    )
    rules = read(tmp_path, runner).foreign_rules
    assert rules == ForeignRules("nft", 2, (":FORWARD DROP", "-A INPUT -s 203.0.113.9/32 -j DROP"))


def test_nft_rules_beside_legacy(tmp_path, fixture_text):
    link(tmp_path, "usr/sbin/iptables", "xtables-legacy-multi")
    runner = FakeRunner([(["/usr/sbin/iptables-nft-save"], Result(0, fixture_text("iptables/node-save"), ""))], SAVES)
    rules = read(tmp_path, runner).foreign_rules
    assert rules.default == "legacy"
    assert rules.rules > 10


@pytest.mark.parametrize(
    ("alternative", "tables", "programs"),
    [
        ("/usr/sbin/iptables-nft", "", SAVES),
        ("/usr/sbin/iptables-nft", "filter\n", {}),
        ("/usr/sbin/xtables-nft-multi", "", SAVES),
        ("/opt/iptables", "filter\n", SAVES),
    ],
    ids=["no legacy tables", "no program to ask", "a link without alternatives", "an iptables of its own"],
)
def test_nothing_to_compare(tmp_path, alternative, tables, programs):
    link(tmp_path, "etc/alternatives/iptables", alternative)
    write(tmp_path, "proc/net/ip_tables_names", tables)
    assert read(tmp_path, FakeRunner((), programs)).foreign_rules is None


def test_tables_that_are_empty_drop_nothing(fixture_text):
    assert foreign_rules("nft", [fixture_text("iptables/legacy-empty")]) == ForeignRules("nft")


def test_rules_of_kubernetes_drop_what_nobody_may_send():
    text = "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -j DROP\nCOMMIT\n"
    assert foreign_rules("nft", [text]) == ForeignRules("nft", 1)
