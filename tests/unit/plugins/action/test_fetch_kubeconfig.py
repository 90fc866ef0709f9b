# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's kubeconfig reaches the controller whole, private and unseen."""

from __future__ import annotations

import base64

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.groundplane.kubeadm.plugins.action.fetch_kubeconfig import ActionModule

ADMIN = """\
apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://api.lab.internal:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
users:
- name: kubernetes-admin
  user:
    client-key-data: U0VDUkVU
"""


@pytest.fixture
def fetch(tmp_path, monkeypatch, make_action):
    """Run the action against a host that has the given admin.conf, or none."""
    destination = tmp_path / "artifacts" / "lab.conf"

    def run(admin=ADMIN, *, check_mode=False, diff=False, failure=None):
        arguments = {"destination": str(destination), "cluster_name": "lab", "server": "https://192.0.2.10:6443"}
        action = make_action(ActionModule, arguments, check_mode=check_mode, diff=diff)
        monkeypatch.setattr(action, "_execute_remote_stat", lambda *_args, **_kwargs: {"exists": admin is not None})
        slurped = {"content": base64.b64encode((admin or "").encode())}
        monkeypatch.setattr(action, "_execute_module", lambda **_kwargs: failure or slurped)
        return action.run(task_vars={})

    run.destination = destination
    return run


def test_the_copy_is_private_and_named_after_the_cluster(fetch):
    assert fetch()["changed"]
    assert fetch.destination.stat().st_mode & 0o777 == 0o600
    assert fetch.destination.parent.stat().st_mode & 0o777 == 0o700
    assert yaml.safe_load(fetch.destination.read_text())["current-context"] == "lab"


def test_a_second_run_changes_nothing(fetch):
    fetch()
    assert not fetch()["changed"]


def test_a_copy_that_others_can_read_is_written_anew(fetch):
    fetch()
    fetch.destination.chmod(0o644)
    assert fetch()["changed"]
    assert fetch.destination.stat().st_mode & 0o777 == 0o600


def test_check_mode_predicts_and_shows_no_secret(fetch):
    result = fetch(check_mode=True, diff=True)
    assert result["changed"]
    assert "U0VDUkVU" not in str(result)
    assert not fetch.destination.exists()


def test_check_mode_predicts_before_there_is_a_cluster(fetch):
    assert fetch(admin=None, check_mode=True)["changed"]


def test_a_host_without_kubeconfig_is_an_error(fetch):
    with pytest.raises(AnsibleActionFail, match="initialise the control plane first"):
        fetch(admin=None)


def test_a_file_that_cannot_be_read_is_an_error(fetch):
    with pytest.raises(AnsibleActionFail, match="permission denied"):
        fetch(failure={"failed": True, "msg": "permission denied"})


def test_a_file_that_kubeadm_did_not_write_is_an_error(fetch):
    with pytest.raises(AnsibleActionFail, match="0 clusters"):
        fetch(admin="apiVersion: v1\nclusters: []\nusers: []\n")


def test_a_failed_write_leaves_no_rest(fetch, monkeypatch):
    def refuse(*_args):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        fetch()
    assert list(fetch.destination.parent.iterdir()) == []
