# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel's backend as far as all nodes have to have the same one."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping, NamedTuple

#: The key of the ConfigMap under which the configuration stands.
KEY = "net-conf.json"

# Options in which nodes have to agree, with flannel's defaults; the port of vxlan is the kernel's. With GBP a node puts
# the mark of a packet into its header, and nodes without it drop such a packet. Nodes tell each other their ports of
# wireguard, and nobody tells a firewall. DirectRouting and the size of packets are each node's own.
_SHARED: dict[str, dict[str, Any]] = {
    "vxlan": {"VNI": 1, "Port": 8472, "GBP": False},
    "wireguard": {"ListenPort": 51820, "ListenPortV6": 51821, "Mode": "separate", "PSK": ""},
}
_SECRET = "PSK"
# What flannel takes when its configuration names none.
_NO_BACKEND = {"Type": "udp"}


class Backend(NamedTuple):
    """What nodes that talk with each other have in common.

    :ivar options: complete, with flannel's defaults; of a secret it has the beginning of a digest.
    """

    type: str
    options: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As modules return it."""
        return {"type": self.type, "options": dict(self.options)}


def backend_of(config_map: Mapping[str, Any]) -> Backend | None:
    """What a ConfigMap says, None where it is none of flannel's."""
    try:
        configuration = json.loads(str((config_map.get("data") or {}).get(KEY) or ""))
    except ValueError:
        return None
    return backend_from(_folded(configuration).get("backend", _NO_BACKEND)) if isinstance(configuration, dict) else None


def backend_from(given: Any) -> Backend | None:
    """The backend of a field Backend in flannel's configuration, None where it names none."""
    values = _folded(given) if isinstance(given, Mapping) else {}
    if not values.get("type") or not isinstance(values["type"], str):
        return None
    kind = values["type"].lower()
    shared = _SHARED.get(kind, {})
    return Backend(kind, {name: _option(name, values.get(name.lower()), default) for name, default in shared.items()})


def option_text(name: str, value: Any) -> str:
    """An option in a sentence."""
    if name == _SECRET:
        return f"a {name} whose SHA-256 begins with {value}" if value else f"no {name}"
    return f"{name} {str(value).lower() if isinstance(value, bool) else value}"


def _folded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by their names in small letters, since Go's decoder takes any, and passes by those that are null."""
    return {str(name).lower(): value for name, value in values.items() if value is not None}


def _option(name: str, value: Any, default: Any) -> Any:
    """The value that is in force, of a secret too little to guess it by."""
    if name == _SECRET:
        return hashlib.sha256(str(value).encode()).hexdigest()[:8] if value else default
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    # 0 leaves the port to the kernel.
    return default if value is None or (name == "Port" and value == 0) else value
