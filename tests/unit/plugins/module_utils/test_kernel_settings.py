# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules and sysctls against a file system made to look like a kernel's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import CommandError, Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import Document
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_settings import (
    Kernel,
    LaterValue,
    Plan,
    Settings,
    State,
    apply_running,
    decide_absent,
    decide_present,
    later_values,
    parse_modules_file,
    parse_sysctl_file,
    read_state,
    running_kernel,
    settings,
    sysctl_path,
)

from tests.unit.fake_runner import FakeRunner

RELEASE = "6.12.48+deb13-amd64"
MODULES_PATH = "/etc/modules-load.d/groundplane-kubeadm.conf"
SYSCTLS_PATH = "/etc/sysctl.d/99-groundplane-kubeadm.conf"
HEADER = "# Managed by groundplane.kubeadm: changes made here are overwritten.\n"

WriteFile = Callable[[str, str], Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Write a file below the root of the made-up machine."""

    def write(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def kernel(tmp_path: Path, write_file: WriteFile) -> Kernel:
    """A kernel with one loaded module, one file system, one built-in module and three sysctls."""
    (tmp_path / "sys/module/nf_conntrack").mkdir(parents=True)
    write_file("proc/filesystems", "nodev\tsysfs\n\text4\nnodev\toverlay\n\n")
    write_file(f"lib/modules/{RELEASE}/modules.builtin", "kernel/net/ipv4/netfilter/nf_defrag-ipv4.ko\n")
    write_file(
        f"lib/modules/{RELEASE}/modules.dep",
        "kernel/net/llc/llc.ko.xz:\n"
        "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz kernel/net/802/stp.ko.xz\n",
    )
    write_file("proc/sys/net/ipv4/ip_forward", "0\n")
    write_file("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n")
    write_file("proc/sys/vm/swappiness", "60\n")
    return Kernel(tmp_path, RELEASE)


def wanted_settings(modules: list[str] | None = None, sysctls: dict[str, Any] | None = None) -> Settings:
    return settings(modules or [], sysctls or {}, MODULES_PATH, SYSCTLS_PATH)


def state_with(**changes: Any) -> State:
    values: dict[str, Any] = {
        "missing_modules": [],
        "unloadable_modules": [],
        "running": {},
        "later": {},
        "modules_text": None,
        "sysctls_text": None,
    }
    return State(**{**values, **changes})


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        pytest.param("nf_conntrack", True, id="loaded"),
        pytest.param("nf-conntrack", True, id="dash-means-underscore"),
        pytest.param("overlay", True, id="file-system"),
        pytest.param("nf_defrag_ipv4", True, id="built-in-by-index"),
        pytest.param("br_netfilter", False, id="loadable-is-not-there-yet"),
        pytest.param("nothing", False, id="unknown"),
    ],
)
def test_kernel_has_module(kernel: Kernel, module: str, expected: bool) -> None:
    assert kernel.has(module) is expected


def test_built_in_bridge_filter_is_known_by_its_sysctls(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "proc/sys/net/bridge").mkdir()

    assert kernel.has("br_netfilter")


def test_kernel_without_any_trace_of_modules(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, RELEASE)

    assert not kernel.has("overlay")
    assert not kernel.can_load("overlay")


@pytest.mark.parametrize(("module", "expected"), [("br-netfilter", True), ("llc", True), ("bridge", False)])
def test_kernel_can_load(kernel: Kernel, module: str, expected: bool) -> None:
    assert kernel.can_load(module) is expected


def test_value_is_read_with_single_spaces(kernel: Kernel) -> None:
    assert kernel.value("net/ipv4/tcp_rmem") == "4096 131072 6291456"
    assert kernel.value("net/ipv4/nothing") is None


def test_value_that_cannot_be_read(kernel: Kernel) -> None:
    with pytest.raises(GroundplaneError, match="does not let .*/proc/sys/net/ipv4 be read: Is a directory"):
        kernel.value("net/ipv4")


def test_value_is_set(kernel: Kernel) -> None:
    kernel.set_value("net/ipv4/ip_forward", "1")

    assert kernel.value("net/ipv4/ip_forward") == "1"


def test_value_that_the_kernel_refuses(kernel: Kernel) -> None:
    with pytest.raises(GroundplaneError, match="refuses 1 for .*/proc/sys/net/ipv4: Is a directory"):
        kernel.set_value("net/ipv4", "1")


def test_value_that_the_kernel_changes(kernel: Kernel, tmp_path: Path) -> None:
    device = tmp_path / "proc/sys/vm/swappiness"
    device.unlink()
    device.symlink_to("/dev/null")

    with pytest.raises(GroundplaneError, match=r"was given 10 for .*/vm/swappiness and keeps \. "):
        kernel.set_value("vm/swappiness", "10")


def test_running_kernel_is_this_one() -> None:
    kernel = running_kernel()

    assert kernel.root == Path("/")
    assert kernel.value("kernel/osrelease") == kernel.release


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net.bridge.bridge-nf-call-iptables", "net/bridge/bridge-nf-call-iptables"),
        ("panic", "panic"),
    ],
)
def test_sysctl_path(key: str, path: str) -> None:
    assert sysctl_path(key) == path


@pytest.mark.parametrize("key", ["", "net..ipv4", "net/../../etc/passwd", ".net", "net ipv4", "net/ipv4/", "a\nb"])
def test_key_that_is_no_sysctl(key: str) -> None:
    with pytest.raises(GroundplaneError, match="is no sysctl"):
        sysctl_path(key)


@pytest.mark.parametrize(
    ("value", "expected"), [(1, "1"), ("1", "1"), (True, "1"), (False, "0"), (" 4096\t87380  1 ", "4096 87380 1")]
)
def test_sysctl_values(value: Any, expected: str) -> None:
    assert wanted_settings(sysctls={"net.ipv4.tcp_rmem": value}).sysctls == {"net.ipv4.tcp_rmem": expected}


@pytest.mark.parametrize("value", [None, "", "1\n2", [1], {"a": 1}])
def test_value_that_is_none(value: Any) -> None:
    with pytest.raises(GroundplaneError, match=r"The value of sysctl vm\.swappiness is"):
        wanted_settings(sysctls={"vm.swappiness": value})


def test_key_in_two_spellings() -> None:
    with pytest.raises(GroundplaneError, match="named twice"):
        wanted_settings(sysctls={"vm.swappiness": 1, "vm/swappiness": 2})


def test_modules_are_named_once() -> None:
    assert wanted_settings(["overlay", "overlay"]).modules == ["overlay"]


@pytest.mark.parametrize("name", ["", "-a", "../evil", "two words", "a;b"])
def test_name_that_is_no_module(name: str) -> None:
    with pytest.raises(GroundplaneError, match="is no name of a kernel module"):
        wanted_settings([name])


def test_modules_file_is_parsed() -> None:
    assert parse_modules_file("# comment\n; comment\n\n overlay \nbr_netfilter\n") == ["overlay", "br_netfilter"]


def test_sysctl_file_is_parsed() -> None:
    text = """
        # comment = 1
        ; comment = 2
        net.ipv4.ip_forward=1
        net/ipv4/tcp_rmem = 4096   87380 6291456
        -vm.swappiness = 0
        net.ipv4.conf.*.rp_filter = 1
        -net.ipv4.conf.all.rp_filter
        no such line = 3
    """

    assert parse_sysctl_file(text) == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/tcp_rmem": "4096 87380 6291456",
        "vm/swappiness": "0",
    }


def test_later_values_follow_the_order_of_boot(kernel: Kernel, tmp_path: Path, write_file: WriteFile) -> None:
    write_file("usr/lib/sysctl.d/10-early.conf", "net.ipv4.ip_forward = 0\n")
    write_file("etc/sysctl.d/99-zz.conf", "vm.swappiness = 1\n")
    write_file("usr/lib/sysctl.d/99-zz.conf", "vm.swappiness = 2\nkernel.panic = 2\n")
    write_file("run/sysctl.d/99-sysctl.conf", "vm.swappiness = 3\nnet.ipv4.tcp_rmem = 3\n")
    write_file("etc/sysctl.d/ignored.txt", "vm.swappiness = 4\n")

    assert later_values(kernel, SYSCTLS_PATH) == {
        "vm/swappiness": LaterValue(f"{tmp_path}/etc/sysctl.d/99-zz.conf", "1"),
        "net/ipv4/tcp_rmem": LaterValue(f"{tmp_path}/run/sysctl.d/99-sysctl.conf", "3"),
    }


def test_sysctl_conf_is_read_last(kernel: Kernel, tmp_path: Path, write_file: WriteFile) -> None:
    write_file("etc/sysctl.d/99-zz.conf", "vm.swappiness = 1\n")
    write_file("etc/sysctl.conf", "vm.swappiness = 5\n")

    assert later_values(kernel, SYSCTLS_PATH) == {"vm/swappiness": LaterValue(f"{tmp_path}/etc/sysctl.conf", "5")}


def test_sysctl_conf_that_is_linked_keeps_the_place_of_its_link(
    kernel: Kernel, tmp_path: Path, write_file: WriteFile
) -> None:
    file = write_file("etc/sysctl.conf", "vm.swappiness = 5\n")
    write_file("etc/sysctl.d/99-zz.conf", "vm.swappiness = 1\n")
    (tmp_path / "etc/sysctl.d/99-sysctl.conf").symlink_to(file)

    assert later_values(kernel, SYSCTLS_PATH)["vm/swappiness"].value == "1"


def test_state_is_read(kernel: Kernel, tmp_path: Path) -> None:
    wanted = settings(
        ["overlay", "br_netfilter", "nothing"],
        {"net.ipv4.ip_forward": 1, "net.bridge.bridge-nf-call-iptables": 1},
        str(tmp_path / "modules.conf"),
        str(tmp_path / "sysctls.conf"),
    )

    assert read_state(kernel, wanted) == state_with(
        missing_modules=["br_netfilter", "nothing"],
        unloadable_modules=["nothing"],
        running={"net.ipv4.ip_forward": "0", "net.bridge.bridge-nf-call-iptables": None},
    )


def test_everything_is_planned_on_a_fresh_machine() -> None:
    wanted = wanted_settings(["overlay", "br_netfilter"], {"net.bridge.bridge-nf-call-iptables": 1})
    state = state_with(missing_modules=["br_netfilter"], running={"net.bridge.bridge-nf-call-iptables": None})

    plan = decide_present(wanted, state, RELEASE)

    assert plan.changed
    assert plan.load == ["br_netfilter"]
    assert plan.write == {"net.bridge.bridge-nf-call-iptables": "1"}
    assert plan.documents == (
        Document(MODULES_PATH, None, HEADER + "overlay\nbr_netfilter\n"),
        Document(SYSCTLS_PATH, None, HEADER + "net.bridge.bridge-nf-call-iptables = 1\n"),
    )
    assert [entry["after"] for entry in plan.diff()][2] == (
        "module br_netfilter: loaded\nnet.bridge.bridge-nf-call-iptables = 1\n"
    )
    assert (
        plan.diff()[2]["before"] == "module br_netfilter: not loaded\nnet.bridge.bridge-nf-call-iptables: not there\n"
    )


def test_nothing_is_planned_when_all_is_there_in_other_words() -> None:
    wanted = wanted_settings(["overlay"], {"net.ipv4.tcp_rmem": "4096 87380 6291456", "vm.swappiness": 0})
    state = state_with(
        running={"net.ipv4.tcp_rmem": "4096 87380 6291456", "vm.swappiness": "0"},
        modules_text="overlay\n",
        sysctls_text="# ours\nvm/swappiness=0\nnet.ipv4.tcp_rmem =4096\t87380 6291456\n",
    )

    plan = decide_present(wanted, state, RELEASE)

    assert not plan.changed
    assert plan.diff() == []


def test_only_the_value_that_differs_is_written() -> None:
    wanted = wanted_settings(sysctls={"net.ipv4.ip_forward": 1, "vm.swappiness": 0})
    state = state_with(
        running={"net.ipv4.ip_forward": "0", "vm.swappiness": "0"},
        sysctls_text="net.ipv4.ip_forward = 1\nvm.swappiness = 0\n",
    )

    plan = decide_present(wanted, state, RELEASE)

    assert plan.write == {"net.ipv4.ip_forward": "1"}
    assert plan.diff() == [
        Document("running kernel", "net.ipv4.ip_forward = 0\n", "net.ipv4.ip_forward = 1\n").diff(),
    ]


def test_files_with_nothing_to_say_are_removed() -> None:
    plan = decide_present(wanted_settings(), state_with(modules_text="overlay\n", sysctls_text=None), RELEASE)

    assert plan.changed_documents == [Document(MODULES_PATH, "overlay\n", None)]


def test_absent_removes_the_files_only() -> None:
    wanted = wanted_settings(["nothing"], {"vm.nothing": 1})
    state = state_with(unloadable_modules=["nothing"], modules_text="overlay\n", sysctls_text="vm.swappiness = 0\n")

    plan = decide_absent(wanted, state)

    assert [document.after for document in plan.changed_documents] == [None, None]
    assert (list(plan.load), dict(plan.write)) == ([], {})


def test_module_that_no_package_brought() -> None:
    state = state_with(missing_modules=["br_netfilter"], unloadable_modules=["br_netfilter"])

    with pytest.raises(GroundplaneError, match=f"no module br_netfilter: .*linux-modules-extra-{RELEASE[:4]}"):
        decide_present(wanted_settings(["br_netfilter"]), state, RELEASE)


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("net.bridge.bridge-nf-call-iptables", "load the kernel module br_netfilter"),
        ("net.ipv6.conf.all.forwarding", "switch IPv6 on"),
        ("net.netfilter.nf_conntrack_max", "load the kernel module nf_conntrack"),
        ("vm.swapiness", "check the spelling"),
    ],
)
def test_sysctl_that_the_kernel_lacks(key: str, remedy: str) -> None:
    with pytest.raises(GroundplaneError, match=remedy):
        decide_present(wanted_settings(sysctls={key: 1}), state_with(running={key: None}), RELEASE)


def test_warns_of_values_that_another_file_changes_at_boot() -> None:
    wanted = wanted_settings(sysctls={"net.ipv4.ip_forward": 1, "vm.swappiness": 0})
    state = state_with(
        running={"net.ipv4.ip_forward": "1", "vm.swappiness": "0"},
        later={
            "net/ipv4/ip_forward": LaterValue("/etc/sysctl.d/99-sysctl.conf", "0"),
            "vm/swappiness": LaterValue("/etc/sysctl.d/99-sysctl.conf", "0"),
        },
    )

    (warning,) = decide_present(wanted, state, RELEASE).warnings

    assert warning.startswith("/etc/sysctl.d/99-sysctl.conf sets net.ipv4.ip_forward = 0 and is read after")


def test_modules_are_loaded_before_values_are_written(kernel: Kernel) -> None:
    runner = FakeRunner(
        [(["/sbin/modprobe", "--all", "br_netfilter"], Result(0, "", ""))], {"modprobe": "/sbin/modprobe"}
    )

    apply_running(Plan((), load=["br_netfilter"], write={"net.ipv4.ip_forward": "1"}), kernel, runner)

    runner.assert_finished()
    assert kernel.value("net/ipv4/ip_forward") == "1"


def test_sysctl_that_is_missing_after_its_module_was_loaded(kernel: Kernel) -> None:
    plan = Plan((), write={"net.bridge.bridge-nf-call-iptables": "1"})

    with pytest.raises(GroundplaneError, match="has no sysctl net.bridge"):
        apply_running(plan, kernel, FakeRunner())


def test_machine_without_modprobe(kernel: Kernel) -> None:
    with pytest.raises(GroundplaneError, match="install the package kmod"):
        apply_running(Plan((), load=["br_netfilter"]), kernel, FakeRunner())


def test_module_that_does_not_load(kernel: Kernel) -> None:
    refused = Result(1, "", "modprobe: ERROR: could not insert 'br_netfilter': Operation not permitted\n")
    runner = FakeRunner([(["/sbin/modprobe", "--all", "br_netfilter"], refused)], {"modprobe": "/sbin/modprobe"})

    with pytest.raises(CommandError, match="Operation not permitted.*To do: look for lines that forbid the module"):
        apply_running(Plan((), load=["br_netfilter"]), kernel, runner)
