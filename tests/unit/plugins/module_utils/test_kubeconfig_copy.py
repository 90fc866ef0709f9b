# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the administrator's kubeconfig lose nobody's access and carry the cluster's name."""

from __future__ import annotations

import base64
import copy
import subprocess

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeconfig_copy import (
    for_controller,
    is_as_good,
    is_copy,
    may_replace,
)

ADMIN = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "kubernetes",
            "cluster": {"certificate-authority-data": "Q0E=", "server": "https://api.kubernetes.internal:6443"},
        }
    ],
    "users": [{"name": "kubernetes-admin", "user": {"client-key-data": "S0VZ"}}],
    "contexts": [
        {"name": "kubernetes-admin@kubernetes", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}
    ],
    "current-context": "kubernetes-admin@kubernetes",
}


def _kubeconfig(*authorities):
    return "clusters:\n" + "".join(
        f"- cluster:\n    certificate-authority-data: {authority}\n" for authority in authorities
    )


@pytest.mark.parametrize(
    ("existing", "replaceable"),
    [
        pytest.param(None, True, id="no file"),
        pytest.param("", True, id="an empty file"),
        pytest.param(_kubeconfig("Q0E="), True, id="the same cluster"),
        pytest.param(_kubeconfig("T1RIRVI="), False, id="another cluster"),
        pytest.param(_kubeconfig("Q0E=", "T1RIRVI="), False, id="ours and another"),
        pytest.param("clusters:\n- cluster:\n    certificate-authority: /home/a/ca.crt\n", False, id="a CA in a file"),
        pytest.param("clusters:\n- cluster:\n    server: https://192.0.2.1\n", False, id="a publicly trusted cluster"),
        pytest.param(_kubeconfig("Q0E=") + "users:\n- user:\n    token: abc\n", False, id="a further user"),
    ],
)
def test_only_files_that_know_no_other_cluster_are_replaced(existing, replaceable):
    assert may_replace(existing, _kubeconfig("Q0E=")) is replaceable


@pytest.mark.parametrize(
    ("existing", "copied"),
    [
        pytest.param(_kubeconfig("Q0E="), True, id="the same cluster"),
        pytest.param("", False, id="an empty file"),
        pytest.param(_kubeconfig("T1RIRVI="), False, id="another cluster"),
        pytest.param(_kubeconfig("Q0E=", "T1RIRVI="), False, id="ours and another"),
        pytest.param(_kubeconfig("Q0E=") + "users:\n- user:\n    token: abc\n", False, id="a further user"),
    ],
)
def test_only_certain_copies_count_as_copies(existing, copied):
    assert is_copy(existing, _kubeconfig("Q0E=")) is copied


def test_a_file_without_certificate_authority_has_no_copies():
    assert not is_copy("kind: Config\n", "kind: Config\n")


def test_context_cluster_and_user_are_named_after_the_cluster():
    copy = for_controller(ADMIN, cluster_name="production", server="https://192.0.2.10:6443")
    assert copy["current-context"] == "production"
    assert copy["contexts"] == [
        {"name": "production", "context": {"cluster": "production", "user": "production-admin"}}
    ]
    assert copy["clusters"][0]["cluster"] == {
        "certificate-authority-data": "Q0E=",
        "server": "https://192.0.2.10:6443",
    }
    assert copy["users"] == [{"name": "production-admin", "user": {"client-key-data": "S0VZ"}}]


def test_a_file_with_two_clusters_is_refused():
    with pytest.raises(GroundplaneError, match="2 clusters and 1 users"):
        for_controller({**ADMIN, "clusters": ADMIN["clusters"] * 2}, cluster_name="x", server="https://192.0.2.10:6443")


def fetched(tmp_path, days, server="https://192.0.2.10:6443"):
    """The controller's copy with a certificate of this many days for the administrator."""
    made = ["-keyout", "/dev/null", "-out", str(tmp_path / "admin.crt"), "-days", str(days)]
    argv = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=admin", "-newkey", "ec", "-pkeyopt"]
    subprocess.run([*argv, "ec_paramgen_curve:P-256", *made], check=True, capture_output=True)
    user = {"client-certificate-data": base64.b64encode((tmp_path / "admin.crt").read_bytes()).decode()}
    admin = {**ADMIN, "users": [{"name": "kubernetes-admin", "user": user}]}
    return for_controller(admin, cluster_name="production", server=server)


def test_a_copy_from_another_control_plane_node_is_as_good(tmp_path):
    assert is_as_good(fetched(tmp_path, 365), fetched(tmp_path, 366))


def test_a_copy_does_not_outlive_a_renewal(tmp_path):
    assert not is_as_good(fetched(tmp_path, 60), fetched(tmp_path, 365))


@pytest.mark.parametrize("damage", ["server", "certificate", "user", "shape"])
def test_a_copy_that_says_anything_else_is_not_as_good(tmp_path, damage):
    wanted = fetched(tmp_path, 365)
    existing = copy.deepcopy(wanted)
    if damage == "server":
        existing["clusters"][0]["cluster"]["server"] = "https://192.0.2.11:6443"
    elif damage == "certificate":
        existing["users"][0]["user"]["client-certificate-data"] = "bm9uZQ=="
    elif damage == "user":
        existing["users"][0]["name"] = "somebody"
    else:
        existing = "kind: Config"
    assert not is_as_good(existing, wanted)
