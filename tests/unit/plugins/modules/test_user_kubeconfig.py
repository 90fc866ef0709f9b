# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a node get the administrator's kubeconfig, and nobody loses another cluster's."""

from __future__ import annotations

import os
import pwd

import pytest
from ansible_collections.groundplane.kubeadm.plugins.modules import user_kubeconfig

ADMIN = "clusters:\n- cluster:\n    certificate-authority-data: Q0E=\n"
OTHER = "clusters:\n- cluster:\n    certificate-authority-data: T1RIRVI=\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Home of the user alice, who owns what the test's own user owns."""
    account = pwd.struct_passwd(("alice", "x", os.getuid(), os.getgid(), "", str(tmp_path / "alice"), "/bin/sh"))
    accounts = {"alice": account}
    monkeypatch.setattr(pwd, "getpwnam", accounts.__getitem__)
    (tmp_path / "alice").mkdir()
    return tmp_path / "alice"


@pytest.fixture
def install(home, tmp_path, run_main):
    """Run the module for alice."""
    source = tmp_path / "admin.conf"
    source.write_text(ADMIN)

    def run(*, users=("alice",), check=False, remove_source=False, state="present"):
        if remove_source:
            source.unlink()
        options = {"state": state, "source": str(source), "users": list(users)}
        return run_main(user_kubeconfig, options, check=check, diff=True)

    return run


def test_the_file_is_private_and_belongs_to_the_user(install, home):
    result = install()
    config = home / ".kube" / "config"
    assert result["files"] == [str(config)]
    assert config.read_text() == ADMIN
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.parent.stat().st_mode & 0o777 == 0o700
    assert "Q0E=" not in str(result["diff"])


def test_a_second_run_changes_nothing(install):
    install()
    assert not install()["changed"]


def test_a_file_with_loose_permissions_is_written_anew(install, home):
    install()
    (home / ".kube" / "config").chmod(0o644)
    assert install()["changed"]
    assert (home / ".kube" / "config").stat().st_mode & 0o777 == 0o600


def test_a_file_that_knows_another_cluster_is_left_alone(install, home):
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text(OTHER)
    result = install()
    assert not result["changed"]
    assert "knows another cluster" in str(result["warnings"])
    assert (home / ".kube" / "config").read_text() == OTHER


def test_check_mode_predicts(install, home):
    assert install(check=True)["changed"]
    assert not (home / ".kube").exists()


def test_check_mode_predicts_before_there_is_a_cluster(install):
    assert install(check=True, remove_source=True)["changed"]


def test_a_host_without_kubeconfig_is_an_error(install):
    assert "initialise the control plane first" in install(remove_source=True)["msg"]


def test_an_unknown_user_is_named(install):
    assert "User bob does not exist" in install(users=["bob"])["msg"]


def test_a_copy_is_taken_back(install, home):
    install()
    predicted = install(state="absent", check=True)
    assert (home / ".kube" / "config").exists()
    result = install(state="absent")
    assert predicted["files"] == result["files"] == [str(home / ".kube" / "config")]
    assert not (home / ".kube" / "config").exists()
    assert not install(state="absent")["changed"]


def test_a_link_to_the_kubeconfig_is_a_copy(install, home, tmp_path):
    (home / ".kube").mkdir()
    (home / ".kube" / "config").symlink_to(tmp_path / "admin.conf")
    assert install(state="absent")["changed"]
    assert (tmp_path / "admin.conf").exists()
    assert not (home / ".kube" / "config").is_symlink()


@pytest.mark.parametrize(("text", "warned"), [(OTHER, False), (ADMIN + OTHER, True)], ids=["another", "both"])
def test_what_is_no_copy_is_not_taken_back(install, home, text, warned):
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text(text)
    result = install(state="absent")
    assert not result["changed"]
    assert ("knows more than this cluster" in str(result.get("warnings"))) is warned
    assert (home / ".kube" / "config").read_text() == text


def test_nothing_is_taken_back_without_proof(install, home):
    install()
    assert not install(state="absent", remove_source=True)["changed"]
    assert (home / ".kube" / "config").exists()


def test_a_deleted_user_has_nothing_to_take_back(install):
    assert not install(state="absent", users=["bob"])["changed"]
