# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ca_cert_hash."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ca_cert_hash
short_description: Discovery hash of a certificate authority
version_added: 1.0.0
author:
  - groundplane.kubeadm contributors (@groundplane)
description:
  - Returns the value that C(kubeadm join) wants as C(--discovery-token-ca-cert-hash) or in C(caCertHashes), so that a
    joining host can verify the cluster it joins.
  - It is the SHA-256 over the SubjectPublicKeyInfo of the certificate. RSA, ECDSA and Ed25519 keys are all served.
positional: _input
options:
  _input:
    description:
      - A certificate in PEM, such as the content of C(/etc/kubernetes/pki/ca.crt). Of a bundle the first one counts.
    type: str
    required: true
seealso:
  - module: groundplane.kubeadm.join_info
"""

EXAMPLES = r"""
- name: Show the hash of a certificate authority
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'ca.crt') | groundplane.kubeadm.ca_cert_hash }}"
"""

RETURN = r"""
_value:
  description: The hash with the prefix C(sha256:).
  type: str
  sample: sha256:5f0e4b8a4b1d8d84b0ce2f7d6d6a2ff0c54a2e6a8e3c7f0f3d7a5f2b1c0d9e8f
"""

from typing import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import ca_cert_hash


def hash_of_certificate(pem: object) -> str:
    """Discovery hash of the first certificate in a PEM text."""
    if not isinstance(pem, str):
        raise AnsibleFilterError(
            f"groundplane.kubeadm.ca_cert_hash: found {type(pem).__name__}, expected the text of a certificate in PEM"
        )
    try:
        return ca_cert_hash(pem)
    except GroundplaneError as error:
        raise AnsibleFilterError(f"groundplane.kubeadm.ca_cert_hash: {error}") from error


class FilterModule:
    """Entry point for Ansible."""

    def filters(self) -> dict[str, Callable[[object], str]]:
        """Filters by name."""
        return {"ca_cert_hash": hash_of_certificate}
