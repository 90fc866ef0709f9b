# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter to_toml."""

from __future__ import annotations

from typing import Any

import pytest
import tomllib
from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.filter.to_toml import FilterModule, to_toml


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param({"version": 2, "ratio": 0.5, "root": "/var/lib", "on": True, "off": False}, id="scalars"),
        pytest.param({"plugins": {"io.containerd.grpc.v1.cri": {"cni": {"bin_dir": "/opt"}}}}, id="dotted keys"),
        pytest.param({"host": {"https://mirror:5000/v2": {"skip_verify": True}}}, id="URL as key"),
        pytest.param({'a "b" c': {"ключ": 1}, "": 2}, id="quotes, other scripts, empty key"),
        pytest.param({"text": 'back\\slash "quote"\nline\ttab\x7f\x01 ü'}, id="escapes"),
        pytest.param({"list": ["a", 1, [True, []]], "client": [["cert", "key"]]}, id="nested lists"),
        pytest.param({"list": [{"a": 1, "b.c": {"d": "e"}}, {}]}, id="dictionaries in lists"),
        pytest.param({"empty": {}, "outer": {"inner": {}}}, id="empty tables"),
        pytest.param({"table": {"a": 1}, "late": 2, "other": {"deep": {"b": 3}, "c": 4}}, id="values after tables"),
    ],
)
def test_a_toml_reader_gets_the_same_document(document: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_text_is_readable() -> None:
    document = {"version": 2, "plugins": {"io.containerd.grpc.v1.cri": {"sandbox_image": "pause", "cni": {"max": 1}}}}
    assert to_toml(document) == (
        "version = 2\n"
        "\n"
        '[plugins."io.containerd.grpc.v1.cri"]\n'
        'sandbox_image = "pause"\n'
        "\n"
        '[plugins."io.containerd.grpc.v1.cri".cni]\n'
        "max = 1\n"
    )


@pytest.mark.parametrize("value", [None, float("nan"), object(), b"bytes"])
def test_values_that_toml_lacks_are_named(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="outer.inner is .*which TOML cannot express"):
        to_toml({"outer": {"inner": value}})


def test_only_dictionaries_are_documents() -> None:
    with pytest.raises(AnsibleFilterError, match="found list"):
        to_toml([])


def test_filter_is_registered() -> None:
    assert FilterModule().filters() == {"to_toml": to_toml}
