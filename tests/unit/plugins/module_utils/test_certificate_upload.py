# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploading the shared certificates and removing what uploads leave."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._certificate_upload import (
    Uploaded,
    UploadPlan,
    UploadSource,
    decide_absent,
    decide_present,
    delete,
    delete_argv,
    new_key,
    read_source,
    read_uploaded,
    upload,
    upload_argv,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._cluster import objects_argv
from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Result
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import Token, token_list_argv

from tests.unit.fake_runner import FakeRunner

FixtureText = Callable[[str], str]

KEY = "0123456789abcdef" * 4
OBJECTS = objects_argv("K", "kube-system", ["configmap/kubeadm-config", "secret/kubeadm-certs"])
CERTIFICATES = objects_argv("K", "kube-system", ["secret/kubeadm-certs"])
OWNER = "Proxy for managing TTL for the kubeadm-certs secret"
SOURCE = UploadSource("apiVersion: kubeadm.k8s.io/v1beta4\nkubernetesVersion: v1.36.3\n", "192.0.2.11", 6443, False)


@pytest.fixture
def manifest(tmp_path: Path, fixture_text: FixtureText) -> Path:
    """The recorded manifest of an API server."""
    path = tmp_path / "kube-apiserver.yaml"
    path.write_text(fixture_text("kubeadm/kube-apiserver.manifest"))
    return path


def token(token_id: str, description: str = OWNER) -> Token:
    """A token of some description."""
    return Token(f"{token_id}.0123456789abcdef", description, None, ())


def test_argument_lists() -> None:
    assert upload_argv("K") == [
        *("kubeadm", "init", "phase", "upload-certs", "--upload-certs", "--config", "/dev/stdin"),
        *("--kubeconfig", "K", "--skip-certificate-key-print"),
    ]
    assert delete_argv("K", ["a", "b"]) == [
        *("kubectl", "--kubeconfig", "K", "--request-timeout=20s", "delete", "secret"),
        *("--namespace", "kube-system", "--ignore-not-found", "a", "b"),
    ]


def test_recorded_source(manifest: Path, fixture_text: FixtureText) -> None:
    runner = FakeRunner([(OBJECTS, Result(0, fixture_text("kubectl/kubeadm_config_and_certs.json"), ""))])
    source = read_source(runner, "K", manifest)
    assert (source.address, source.port, source.uploaded) == ("10.77.4.11", 6443, True)
    assert "clusterName: lab\n" in source.cluster_configuration


def test_recorded_source_without_an_earlier_upload(manifest: Path, fixture_text: FixtureText) -> None:
    text = manifest.read_text().replace("10.77.4.11:6443", "'[2001:db8::11]:8443'", 1)
    manifest.write_text(text)
    runner = FakeRunner([(OBJECTS, Result(0, fixture_text("kubectl/kubeadm_config.json"), ""))])
    source = read_source(runner, "K", manifest)
    assert (source.address, source.port, source.uploaded) == ("2001:db8::11", 8443, False)


def test_no_control_plane_node(tmp_path: Path) -> None:
    with pytest.raises(GroundplaneError, match="kube-apiserver.yaml does not exist or does not tell"):
        read_source(FakeRunner(), "K", tmp_path / "kube-apiserver.yaml")


def test_not_made_by_kubeadm(manifest: Path) -> None:
    with pytest.raises(GroundplaneError, match="no ConfigMap kubeadm-config"):
        read_source(FakeRunner([(OBJECTS, Result(0, "", ""))]), "K", manifest)


def test_every_upload_is_a_change() -> None:
    first = decide_present(SOURCE)
    assert first.changed
    assert (first.diff()["before"], first.diff()["after"]) == ("", "kubeadm-certs (encrypted with a new key)\n")
    again = decide_present(SOURCE._replace(uploaded=True))
    assert again.changed
    assert again.diff()["before"] == "kubeadm-certs\n"
    assert decide_present(None) == first


def test_a_configuration_without_version_is_refused() -> None:
    source = SOURCE._replace(cluster_configuration="apiVersion: kubeadm.k8s.io/v1beta4\nclusterName: lab\n")
    with pytest.raises(GroundplaneError, match="has no kubernetesVersion.*ask the internet"):
        decide_present(source)


def test_key_is_what_kubeadm_wants() -> None:
    assert re.fullmatch("[0-9a-f]{64}", new_key())
    assert new_key() != new_key()


def test_upload_keeps_the_key_out_of_the_argument_list() -> None:
    command = ["timeout", "300", *upload_argv("K")]
    runner = FakeRunner([(command, Result(0, "", ""))])
    upload(runner, "K", SOURCE, KEY)
    runner.assert_finished()
    assert KEY not in str(command)
    first, _separator, second = (runner.stdin[0] or "").partition("\n---\n")
    assert json.loads(first) == {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": "192.0.2.11", "bindPort": 6443},
        "nodeRegistration": {"name": "localhost"},
        "certificateKey": KEY,
    }
    assert second == SOURCE.cluster_configuration


def test_failed_upload() -> None:
    said = "error: can't use upload-certs with an external CA or an external front-proxy CA\nTo see the stack trace\n"
    runner = FakeRunner([(["timeout", "300", *upload_argv("K")], Result(1, "", said))])
    with pytest.raises(GroundplaneError, match=r"exit code 1\): error: can't use upload-certs.*external, copy"):
        upload(runner, "K", SOURCE, KEY)
    runner = FakeRunner([(["timeout", "300", *upload_argv("K")], Result(1, "", f"error: bad key {KEY}\n"))])
    with pytest.raises(GroundplaneError, match="certificate key removed"):
        upload(runner, "K", SOURCE, KEY)


def test_recorded_remains_of_two_uploads(fixture_text: FixtureText) -> None:
    names = ("kubeadm-certs", "bootstrap-token-fyaq3w", "bootstrap-token-jpm61d")
    runner = FakeRunner(
        [
            (CERTIFICATES, Result(0, fixture_text("kubectl/kubeadm_certs.json"), "")),
            (token_list_argv("K"), Result(0, fixture_text("kubeadm/token_list_certs.json"), "")),
            (delete_argv("K", names), Result(0, "", "")),
        ]
    )
    plan = decide_absent(read_uploaded(runner, "K"))
    assert plan.diff() == {
        "before_header": "Secrets in kube-system",
        "after_header": "Secrets in kube-system",
        "before": "".join(f"{name}\n" for name in names),
        "after": "",
    }
    delete(runner, "K", plan)
    runner.assert_finished()


def test_recorded_tokens_of_others_stay(fixture_text: FixtureText) -> None:
    runner = FakeRunner(
        [
            (CERTIFICATES, Result(0, "", "")),
            (token_list_argv("K"), Result(0, fixture_text("kubeadm/token_list.json"), "")),
        ]
    )
    plan = decide_absent(read_uploaded(runner, "K"))
    assert not plan.changed
    delete(runner, "K", plan)
    runner.assert_finished()


@pytest.mark.parametrize(
    ("uploaded", "deleted"),
    [
        (Uploaded(False, (), ()), ()),
        (Uploaded(False, (), (token("aaaaaa"), token("bbbbbb", "join"))), ("bootstrap-token-aaaaaa",)),
        (
            Uploaded(True, ("bootstrap-token-aaaaaa",), (token("aaaaaa", "described anew"), token("bbbbbb", "join"))),
            ("kubeadm-certs", "bootstrap-token-aaaaaa"),
        ),
        (Uploaded(True, ("bootstrap-token-gone00",), (token("bbbbbb", OWNER + " of mine"),)), ("kubeadm-certs",)),
        (Uploaded(True, (), ()), ("kubeadm-certs",)),
    ],
    ids=["nothing", "orphaned token", "owner by name", "owner that has ended", "certificates without owner"],
)
def test_what_is_deleted(uploaded: Uploaded, deleted: tuple[str, ...]) -> None:
    assert decide_absent(uploaded) == UploadPlan(before=deleted, deleted=deleted)
