# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin host_facts: facts under the names of setup, from one command on the host."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.groundplane.kubeadm.plugins.action.host_facts import ActionModule

UBUNTU = 'master-1\nNAME="Ubuntu"\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n'


@pytest.fixture
def run(monkeypatch, make_action):
    """Run the action on a host that answers its command in a given way; also what it was asked."""

    def execute(rc=0, stdout="", stderr="", raises=None):
        action = make_action(ActionModule, {}, check_mode=True)
        asked = []

        def answer(command, **options):
            asked.append((command, options))
            if raises:
                raise raises
            return {"rc": rc, "stdout": stdout, "stderr": stderr}

        monkeypatch.setattr(action, "_low_level_execute_command", answer)
        return action.run(task_vars={}), asked

    return execute


def test_returns_the_facts_that_setup_would_return(run):
    result, asked = run(stdout=UBUNTU)
    assert result["ansible_facts"] == {
        "ansible_nodename": "master-1",
        "ansible_os_family": "Debian",
        "ansible_distribution": "Ubuntu",
        "ansible_distribution_release": "noble",
        "ansible_distribution_version": "24.04",
        "ansible_distribution_major_version": "24",
    }
    assert not result["changed"]
    assert asked == [("uname -n && cat /etc/os-release", {"sudoable": False})]


def test_says_what_cannot_be_read(run):
    result, _asked = run(rc=1, stdout="master-1\n", stderr="cat: /etc/os-release: No such file or directory\n")
    assert result["failed"]
    assert "ansible_facts" not in result
    assert "cat: /etc/os-release: No such file or directory" in result["msg"]
    assert "Expected" in result["msg"]


def test_a_host_that_does_not_answer_stays_unreachable(run):
    with pytest.raises(AnsibleConnectionFailure):
        run(raises=AnsibleConnectionFailure("timed out"))
