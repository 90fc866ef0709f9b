# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding Ansible's session: /proc as recorded from a module on its way through sshd of Debian 12 and sudo."""

from __future__ import annotations

import shutil

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._ssh_session import (
    Session,
    parse_session,
    read_session,
)

from tests.unit.conftest import FIXTURES

CLIENT = "2001:db8:ff::5"
CONNECTION = f"{CLIENT} 35128 2001:db8:5:0:9886:5dff:fed2:13ff 22"
# Processes of the session, from sshd to the module.
LISTENER, SHELL, INNER_SHELL, SUDO, SHELL_OF_ROOT = "102", "118", "119", "120", "121"
WITH_CONNECTION = (SUDO, INNER_SHELL, SHELL)


@pytest.fixture
def root(tmp_path):
    """The processes from the module up to the first one of the machine, which a test may change."""
    shutil.copytree(FIXTURES / "proc/sudo-session", tmp_path / "proc")
    return tmp_path


def change(root, processes, old, new):
    """Replace a text in the environment of processes, each of which has it."""
    for process in processes:
        path = root / "proc" / process / "environ"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("198.51.100.5 50022 192.0.2.11 22", Session("198.51.100.5", 22)),
        ("198.51.100.5 50022 192.0.2.11 2022", Session("198.51.100.5", 2022)),
        (CONNECTION, Session(CLIENT, 22)),
        ("2001:DB8:0:0::5 50022 2001:db8::11 22", Session("2001:db8::5", 22)),
        ("fe80::5%eth0 50022 fe80::11%eth0 22", Session("fe80::5", 22)),
        ("::ffff:198.51.100.5 50022 ::ffff:192.0.2.11 22", Session("198.51.100.5", 22)),
        ("", None),
        ("UNKNOWN 0 UNKNOWN 65535", None),
        ("198.51.100.5 50022 192.0.2.11", None),
        ("198.51.100.5 50022 192.0.2.11 ssh", None),
    ],
)
def test_what_the_variable_says(text, expected):
    assert parse_session(text) == expected


def test_a_session_behind_sudo(root):
    assert read_session(root) == Session(CLIENT, 22)


@pytest.mark.parametrize(
    ("connection", "client"),
    [
        ("198.51.100.5 50022 192.0.2.11 22", "198.51.100.5"),
        ("::ffff:198.51.100.5 50022 ::ffff:192.0.2.11 22", "198.51.100.5"),
        ("fe80::5%eth0 50022 fe80::11%eth0 22", "fe80::5"),
    ],
    ids=["IPv4", "IPv4 at a socket of both families", "link-local"],
)
def test_sessions_of_other_kinds(root, connection, client):
    change(root, WITH_CONNECTION, CONNECTION, connection)
    assert read_session(root) == Session(client, 22)


def test_a_session_of_root(root):
    change(root, WITH_CONNECTION, "SSH_CONNECTION=", "")
    change(root, ["self"], "USER=root\0", f"USER=root\0SSH_CONNECTION={CONNECTION}\0")
    assert read_session(root) == Session(CLIENT, 22)


def test_the_innermost_session_counts(root):
    change(root, (SUDO, INNER_SHELL), CLIENT, "2001:db8:ff::6")
    assert read_session(root) == Session("2001:db8:ff::6", 22)


def test_a_session_that_tells_no_address_hides_those_around_it(root):
    change(root, (SUDO,), CONNECTION, "UNKNOWN 0 UNKNOWN 65535")
    assert read_session(root) is None


def test_only_a_variable_of_its_own_counts(root):
    change(root, WITH_CONNECTION, "\0SSH_CONNECTION=", "\0OLD_SSH_CONNECTION=")
    change(root, (SHELL,), "USER=admin\0", f"USER=admin\0NOTE=a\nSSH_CONNECTION={CONNECTION}\0")
    assert read_session(root) is None


def test_no_session_of_ssh(root):
    change(root, WITH_CONNECTION, "SSH_CONNECTION=", "CONNECTION=")
    assert read_session(root) is None


def test_the_first_process_of_the_machine_has_no_session(root):
    change(root, WITH_CONNECTION, "SSH_CONNECTION=", "CONNECTION=")
    first = root / "proc/1"
    shutil.copytree(root / "proc" / LISTENER, first)
    (first / "environ").write_text(f"SSH_CONNECTION={CONNECTION}\0", encoding="utf-8")
    assert read_session(root) is None


@pytest.mark.parametrize("file", ["environ", "status"])
def test_a_process_that_may_not_be_read_ends_the_search(root, file):
    (root / "proc" / SHELL_OF_ROOT / file).unlink()
    assert read_session(root) is None


@pytest.mark.parametrize("parent", ["PPid:\t0\n", ""])
def test_a_parent_outside_of_the_container_ends_the_search(root, parent):
    status = root / "proc" / SHELL_OF_ROOT / "status"
    text = status.read_text(encoding="utf-8")
    assert f"PPid:\t{SUDO}\n" in text
    status.write_text(text.replace(f"PPid:\t{SUDO}\n", parent), encoding="utf-8")
    assert read_session(root) is None


def test_a_machine_without_proc(tmp_path):
    assert read_session(tmp_path) is None
