# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ca_cert_hash."""

from __future__ import annotations

from typing import Callable

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.filter.ca_cert_hash import FilterModule

CA_CERT_HASH = FilterModule().filters()["ca_cert_hash"]


def test_hash_of_a_cluster(fixture_text: Callable[[str], str]) -> None:
    # openssl x509 -pubkey -noout -in ca.crt | openssl pkey -pubin -outform der | sha256sum
    expected = "sha256:98897eb5f3b2376a81d7015bf216156c9196508c6f93a092887eb5ae8717bac4"
    assert CA_CERT_HASH(fixture_text("kubeadm/ca.crt")) == expected


@pytest.mark.parametrize(("value", "reason"), [(7, "found int"), ("", "found no certificate")], ids=["type", "text"])
def test_errors_name_the_filter(value: object, reason: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"ca_cert_hash: .*{reason}"):
        CA_CERT_HASH(value)
