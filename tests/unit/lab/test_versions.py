# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions are read out of go.mod files."""

from __future__ import annotations

import pytest

from tests.lab import programs, versions

GO_MOD = """module example.org/ours

go 1.26.0

tool example.org/theirs/cmd/one

require example.org/single v1.2.3

require (
\texample.org/theirs/v3 v3.6.8
\tgithub.com/some-one/some_thing v0.0.0-20240829085014-a3a4c1f04475 // indirect
)

replace example.org/replaced => example.org/replaced v0.1.0
"""


def test_requirements_in_every_form_are_read_and_nothing_else() -> None:
    assert versions.read_requirements(GO_MOD) == {
        "example.org/single": "v1.2.3",
        "example.org/theirs/v3": "v3.6.8",
        "github.com/some-one/some_thing": "v0.0.0-20240829085014-a3a4c1f04475",
    }


def test_a_module_that_is_not_pinned_is_named() -> None:
    with pytest.raises(LookupError, match=r"etcd/go\.mod requires no example\.org/absent"):
        versions.module_version("etcd", "example.org/absent")


@pytest.mark.parametrize("group", sum(programs.GROUPS.values(), ()), ids=lambda group: group.name)
def test_every_group_pins_the_module_that_its_version_comes_from(group: programs.Group) -> None:
    assert group.version.startswith("v")


def test_a_release_is_noted_beside_its_commit() -> None:
    assert versions.calico_version() == versions.module_release("calico", "github.com/projectcalico/api")
    assert versions.calico_version().startswith("v3.")


def test_a_module_without_a_noted_release_is_named() -> None:
    with pytest.raises(LookupError, match=r"flannel/go\.mod notes no release of example\.org/absent"):
        versions.module_release("flannel", "example.org/absent")


def test_staging_modules_are_those_of_the_same_release() -> None:
    go_mod = (versions.MODULES_FOLDER / "kubernetes" / "go.mod").read_text()
    replaced = [line.split()[-1] for line in go_mod.splitlines() if "=>" in line]
    assert set(replaced) == {versions.kubernetes_version().replace("v1.", "v0.", 1)}


def test_versions_are_rewritten_for_packages_and_addresses() -> None:
    assert versions.without_v("v1.36.3") == "1.36.3"
    assert versions.minor("v1.36.3") == "v1.36"
