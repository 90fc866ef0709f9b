# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the administrator's kubeconfig: for users of a node and for the controller."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any, Mapping

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import not_after

# Less than what a renewal adds, more than lies between the joins of one cluster's control plane nodes as a rule.
_ABOUT_AS_LONG = timedelta(days=30)

_AUTHORITY = re.compile(r"^[\s-]*certificate-authority-data:\s*(?P<data>\S+)\s*$", re.MULTILINE)
_ENTRY = re.compile(r"^(?:[\s-]*)(?:server|user|token|client-certificate|client-certificate-data):", re.MULTILINE)


def certificate_authorities(kubeconfig: str) -> frozenset[str]:
    """Base64 data of the certificate authorities that a kubeconfig trusts.

    Read by pattern, because a target need not have a YAML library; kubeadm and kubectl write one entry per line.
    """
    return frozenset(match.group("data") for match in _AUTHORITY.finditer(kubeconfig))


def may_replace(existing: str | None, wanted: str) -> bool:
    """Whether replacing a user's kubeconfig loses nothing: it is empty, or knows our cluster and as much as our own.

    A file of another shape, with further contexts, or whose cluster is trusted in another way, is the user's.
    """
    if existing is None or not existing.strip():
        return True
    same_authority = certificate_authorities(existing) == certificate_authorities(wanted)
    return same_authority and len(_ENTRY.findall(existing)) == len(_ENTRY.findall(wanted))


def is_copy(existing: str, source: str) -> bool:
    """Whether a user's kubeconfig is a copy of another one, whose credentials may have been renewed meanwhile."""
    return bool(certificate_authorities(existing)) and may_replace(existing, source)


def is_as_good(existing: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a copy on the controller need not be replaced, though its administrator's certificate is another one.

    Every control plane node has a certificate of its own for the administrator. A copy from one is as good as that from
    another while it lives about as long; a renewed one lives longer by a year.
    """
    if not isinstance(existing, Mapping) or {**existing, "users": None} != {**wanted, "users": None}:
        return False
    try:
        ends = [
            not_after(base64.b64decode(kubeconfig["users"][0]["user"]["client-certificate-data"]).decode("ascii"))
            for kubeconfig in (existing, wanted)
        ]
        names = [kubeconfig["users"][0]["name"] for kubeconfig in (existing, wanted)]
    except (GroundplaneError, KeyError, IndexError, TypeError, ValueError):
        return False
    return names[0] == names[1] and ends[0] > ends[1] - _ABOUT_AS_LONG


def for_controller(kubeconfig: Mapping[str, Any], *, cluster_name: str, server: str) -> dict[str, Any]:
    """The administrator's kubeconfig with a context, cluster and user named after the cluster.

    Several such files merge without clashes, which kubeadm's fixed user name kubernetes-admin would cause.

    :arg kubeconfig: what kubeadm wrote to admin.conf.
    :arg cluster_name: name of the context and the cluster.
    :arg server: URL of the API as the controller reaches it.
    :raises GroundplaneError: when the file does not have exactly one cluster and one user.
    """
    clusters, users = kubeconfig.get("clusters") or [], kubeconfig.get("users") or []
    if len(clusters) != 1 or len(users) != 1:
        raise GroundplaneError(
            f"The kubeconfig has {len(clusters)} clusters and {len(users)} users",
            expected="one of each, as kubeadm writes admin.conf",
            remedy="restore the file with 'kubeadm init phase kubeconfig admin'",
        )
    user_name = f"{cluster_name}-admin"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster_name, "cluster": {**clusters[0]["cluster"], "server": server}}],
        "users": [{"name": user_name, "user": users[0]["user"]}],
        "contexts": [{"name": cluster_name, "context": {"cluster": cluster_name, "user": user_name}}],
        "current-context": cluster_name,
        "preferences": {},
    }
