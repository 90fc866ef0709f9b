# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of package managers and the decisions of package_set."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._packages import (
    Apt,
    Dnf,
    Installed,
    PackagePlan,
    after_plan,
    choose_alternatives,
    describe,
    outdated_packages,
    package_manager,
    plan_absence,
    plan_presence,
    refuse_changes,
    version_matches,
)

from tests.unit.fake_runner import FakeRunner

APT_GET = [
    "apt-get",
    "--yes",
    "--quiet",
    "--option=DPkg::Lock::Timeout=300",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
]
DPKG_QUERY = ["dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Abbrev}\t${Version}\n"]
DONE = Result(0, "", "")
KUBELET = {"kubelet": Installed("1.36.3-1.1", held=True)}


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        pytest.param("1.36.3-1.1", "1.36.3-1.1", True, id="full version"),
        pytest.param("1.36.3-1.1", "1.36.3", True, id="any revision"),
        pytest.param("1.7.24~ds1-6", "1.7.24", True, id="repacked by the distribution"),
        pytest.param("2.1.9+ds1-1", "2.1.9", True, id="repacked with a plus"),
        pytest.param("1.36.30-1.1", "1.36.3", False, id="only the beginning of a number"),
        pytest.param("1.36.3-1.1", "1.36.4", False, id="another version"),
        pytest.param("1.36.3-1.1", "", True, id="any version"),
    ],
)
def test_version_matches(version: str, wanted: str, expected: bool) -> None:
    assert version_matches(version, wanted) is expected


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        pytest.param({}, "systemd-timesyncd", id="first when there is none"),
        pytest.param({"chrony": Installed("4.6")}, "chrony", id="the installed one"),
    ],
)
def test_choose_alternatives(installed: dict[str, Installed], chosen: str) -> None:
    assert choose_alternatives({"systemd-timesyncd | chrony": ""}, installed) == {chosen: ""}


def test_outdated_packages_are_missing_or_of_another_version() -> None:
    wanted = {"kubelet": "1.36.3", "kubeadm": "1.36.3", "cri-tools": ""}
    installed = {"kubelet": Installed("1.36.3-1.1"), "kubeadm": Installed("1.36.2-1.1"), "cri-tools": Installed("1.36")}
    assert outdated_packages(wanted, installed) == {"kubeadm": "1.36.3"}


@pytest.mark.parametrize(
    ("installed", "available", "hold", "expected"),
    [
        pytest.param(
            {},
            {"kubelet": "1.36.3-1.1"},
            True,
            PackagePlan({"kubelet": "1.36.3-1.1"}, ["kubelet"], (), {"kubelet": "1.36.3-1.1"}),
            id="fresh machine",
        ),
        pytest.param(
            {},
            {},
            True,
            PackagePlan({"kubelet": "1.36.3"}, ["kubelet"], (), {"kubelet": "1.36.3"}),
            id="predicted without an index",
        ),
        pytest.param(KUBELET, {}, True, PackagePlan(hold=[], versions={"kubelet": "1.36.3-1.1"}), id="as wanted"),
        pytest.param(
            {"kubelet": Installed("1.36.3-1.1")},
            {},
            True,
            PackagePlan(hold=["kubelet"], versions={"kubelet": "1.36.3-1.1"}),
            id="not held yet",
        ),
        pytest.param(
            {"kubelet": Installed("1.36.3-1.1")},
            {},
            False,
            PackagePlan(versions={"kubelet": "1.36.3-1.1"}),
            id="holding not asked for",
        ),
    ],
)
def test_plan_presence(
    installed: dict[str, Installed], available: dict[str, str], hold: bool, expected: PackagePlan
) -> None:
    plan = plan_presence({"kubelet": "1.36.3"}, installed, available, hold=hold)
    assert plan == expected
    assert plan.changed is bool(expected.install or expected.hold)


def test_plan_absence_removes_what_is_installed() -> None:
    assert plan_absence(["kubelet", "kubeadm"], KUBELET) == PackagePlan(remove=["kubelet"])


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        pytest.param(PackagePlan(install={"kubelet": "1.36.4-1.1"}), "kubelet 1.36.4-1.1", id="another version"),
        pytest.param(PackagePlan(remove=["kubelet"]), "kubelet (removed)", id="removal"),
    ],
)
def test_machines_in_use_keep_their_versions(plan: PackagePlan, expected: str) -> None:
    with pytest.raises(GroundplaneError) as caught:
        refuse_changes(plan, KUBELET, "/etc/kubernetes/kubelet.conf")
    assert "/etc/kubernetes/kubelet.conf exists" in caught.value.found
    assert "kubelet 1.36.3-1.1" in caught.value.found
    assert caught.value.expected == expected
    assert "upgrade" in caught.value.remedy


def test_machines_in_use_may_get_further_packages() -> None:
    refuse_changes(PackagePlan(install={"kubectl": "1.36.3-1.1"}), KUBELET, "/etc/kubernetes/kubelet.conf")


def test_diff_shows_versions_and_holds() -> None:
    plan = PackagePlan(install={"kubectl": "1.36.3-1.1", "kubeadm": ""}, hold=["kubectl"])
    assert describe(after_plan(KUBELET, plan)) == (
        "kubeadm (newest)\nkubectl 1.36.3-1.1 (held)\nkubelet 1.36.3-1.1 (held)\n"
    )
    assert describe(after_plan(KUBELET, PackagePlan(remove=["kubelet"]))) == ""


def test_apt_reads_versions_and_holds(fixture_text: Any) -> None:
    names = ["kubelet", "kubeadm", "containerd", "chrony", "systemd-timesyncd"]
    runner = FakeRunner([([*DPKG_QUERY, *names], Result(0, fixture_text("apt/dpkg-query"), ""))])
    assert Apt(runner).installed(names) == {
        "containerd": Installed("1.7.24~ds1-6+deb13u1"),
        "kubeadm": Installed("1.36.3-1.1", held=True),
        "kubelet": Installed("1.36.3-1.1", held=True),
        "systemd-timesyncd": Installed("257.13-1~deb13u1"),
    }


def test_apt_accepts_names_that_dpkg_never_heard_of() -> None:
    said = "dpkg-query: no packages found matching kubelet\n"
    assert Apt(FakeRunner([([*DPKG_QUERY, "kubelet"], Result(1, "", said))])).installed(["kubelet"]) == {}


def test_apt_finds_candidates_and_revisions(fixture_text: Any) -> None:
    wanted = {
        "containerd": "",
        "chrony": "",
        "time-daemon": "",
        "nosuchpackage": "",
        "kubelet": "1.36.3",
        "kubeadm": "9",
    }
    runner = FakeRunner(
        [
            (
                ["apt-cache", "policy", "containerd", "chrony", "time-daemon", "nosuchpackage"],
                Result(0, fixture_text("apt/policy"), ""),
            ),
            (["apt-cache", "madison", "kubelet", "kubeadm"], Result(0, fixture_text("apt/madison"), "")),
        ]
    )
    assert Apt(runner).available(wanted) == {
        "containerd": "1.7.24~ds1-6+deb13u1",
        "chrony": "4.6.1-3+deb13u2",
        "kubelet": "1.36.3-1.1",
    }
    runner.assert_finished()


def test_apt_refreshes_the_index_of_the_machine() -> None:
    runner = FakeRunner([([*APT_GET, "update"], DONE)])
    Apt(runner).refresh()
    runner.assert_finished()


def test_apt_asks_a_private_index_once_there_is_one() -> None:
    options = [
        "--option=Dir::State::Lists=/tmp/lists",
        "--option=Dir::Cache::PkgCache=",
        "--option=Dir::Cache::SrcPkgCache=",
        "--option=APT::Sandbox::User=root",
    ]
    runner = FakeRunner(
        [
            ([*APT_GET, *options, "update"], DONE),
            (["apt-cache", *options, "policy", "containerd"], DONE),
            (["apt-cache", *options, "madison", "kubelet"], DONE),
        ]
    )
    apt = Apt(runner)
    apt.refresh("/tmp/lists")
    assert apt.available({"containerd": "", "kubelet": "1.36.3"}) == {}
    runner.assert_finished()


def test_apt_changes() -> None:
    runner = FakeRunner(
        [
            (
                [
                    *APT_GET,
                    "--no-install-recommends",
                    "--allow-downgrades",
                    "--allow-change-held-packages",
                    "--no-remove",
                    "install",
                    "kubelet=1.36.3-1.1",
                ],
                DONE,
            ),
            (["apt-mark", "hold", "kubelet"], DONE),
            ([*APT_GET, "--allow-change-held-packages", "purge", "kubelet"], DONE),
        ]
    )
    apt = Apt(runner)
    apt.install({"kubelet": "1.36.3-1.1"})
    apt.hold(["kubelet"])
    apt.remove(["kubelet"])
    runner.assert_finished()


def test_dnf_reads_versions() -> None:
    listing = "kubelet\t1.36.3-150500.1.1\npackage kubeadm is not installed\n"
    argv = ["rpm", "--query", "--queryformat=%{NAME}\t%{VERSION}-%{RELEASE}\n", "kubelet", "kubeadm"]
    assert Dnf(FakeRunner([(argv, Result(1, listing, ""))])).installed(["kubelet", "kubeadm"]) == {
        "kubelet": Installed("1.36.3-150500.1.1")
    }


def test_dnf_finds_the_newest_of_each() -> None:
    argv = [
        "dnf",
        "--quiet",
        "repoquery",
        "--available",
        "--disableexcludes=all",
        "--latest-limit=1",
        "--queryformat=%{name}\t%{version}-%{release}",
        "kubelet-1.36.3",
        "containerd.io",
    ]
    listing = "kubelet\t1.36.3-150500.1.1\n\ncontainerd.io\t2.1.5-1.el9\n"
    runner = FakeRunner([(argv, Result(0, listing, ""))])
    assert Dnf(runner).available({"kubelet": "1.36.3", "containerd.io": ""}) == {
        "kubelet": "1.36.3-150500.1.1",
        "containerd.io": "2.1.5-1.el9",
    }


def test_dnf_changes() -> None:
    dnf = ["dnf", "--quiet", "--assumeyes"]
    runner = FakeRunner(
        [
            ([*dnf, "makecache"], DONE),
            (
                [
                    *dnf,
                    "--disableexcludes=all",
                    "--setopt=install_weak_deps=False",
                    "install",
                    "kubelet-1.36.3-150500.1.1",
                    "iptables-nft",
                ],
                DONE,
            ),
            ([*dnf, "--disableexcludes=all", "remove", "kubelet"], DONE),
        ]
    )
    manager = Dnf(runner)
    manager.refresh()
    manager.install({"kubelet": "1.36.3-150500.1.1", "iptables-nft": ""})
    manager.hold(["kubelet"])
    manager.remove(["kubelet"])
    runner.assert_finished()


def test_the_machine_decides_on_the_package_manager() -> None:
    assert isinstance(package_manager(FakeRunner(programs={"apt-get": "/usr/bin/apt-get"})), Apt)
    assert isinstance(package_manager(FakeRunner(programs={"dnf": "/usr/bin/dnf"})), Dnf)
    with pytest.raises(GroundplaneError, match="neither apt-get nor dnf"):
        package_manager(FakeRunner())
