# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubeconfig file says about the cluster it points to."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError


class Kubeconfig(NamedTuple):
    """The one cluster of a kubeconfig; empty strings stand for what the file does not say."""

    server: str
    ca_pem: str
    client_certificate: str


def parse_kubeconfig(text: str, name: str) -> Kubeconfig:
    """Read a kubeconfig of exactly one cluster, as kubeadm and kubelet write them.

    :arg name: path of the file, named in errors.
    """
    servers = _values(text, "server")
    if len(servers) != 1:
        raise GroundplaneError(
            f"{name} describes {len(servers)} clusters",
            expected="a kubeconfig of exactly one cluster",
            remedy="use /etc/kubernetes/admin.conf, or take one cluster out with `kubectl config view --minify --raw`",
        )
    return Kubeconfig(servers[0], _ca_pem(text, name), _first(text, "client-certificate"))


def _ca_pem(text: str, name: str) -> str:
    """The CA that a kubeconfig carries or refers to."""
    data = _first(text, "certificate-authority-data")
    path = _first(text, "certificate-authority")
    try:
        if data:
            return base64.b64decode(data, validate=True).decode("ascii")
        return Path(path).read_text(encoding="ascii") if path else ""
    except (binascii.Error, UnicodeDecodeError, OSError) as error:
        raise GroundplaneError(
            f"the certificate authority of {name} could not be read: {error}",
            expected="PEM, in certificate-authority-data or in the file that certificate-authority names",
            remedy="restore the file; `kubeadm init phase kubeconfig` makes those of a control plane anew",
        ) from error


def _first(text: str, key: str) -> str:
    """First value of a key, an empty string when there is none."""
    return next(iter(_values(text, key)), "")


def _values(text: str, key: str) -> list[str]:
    """All plain values of a key, in YAML's block style or in JSON."""
    return re.findall(rf"""^[-\s{{]*["']?{re.escape(key)}["']?\s*:\s*["']?([^\s"',}}]+)""", text, re.MULTILINE)
