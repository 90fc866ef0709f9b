# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy's configuration as the cluster keeps it."""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

IPTABLES = "iptables"
NFTABLES = "nftables"
IPVS = "ipvs"
MODES = (IPTABLES, NFTABLES, IPVS)

#: Annotation of the ConfigMap while a change is under way, and of the pods that were started for one.
MARK = "groundplane.kubeadm/proxy-change"
#: The key of the ConfigMap under which the configuration stands.
KEY = "config.conf"

# kubeadm writes fields in lines of their own, those of the whole without indentation.
_KIND = re.compile(r"^kind: *KubeProxyConfiguration *$", re.MULTILINE)
_MODE = re.compile(r"^mode:(?P<value>.*)$", re.MULTILINE)
_METRICS = re.compile(r"^metricsBindAddress:(?P<value>.*)$", re.MULTILINE)
_IPVS = re.compile(r"^ipvs:", re.MULTILINE)
_IPVS_FIELDS = re.compile(r"^ipvs:[ \t]*\n(?P<indent>[ \t]+)(?:\S.*(?:\n(?P=indent).*)*)", re.MULTILINE)
_STRICT_ARP = re.compile(r"^[ \t]+strictARP:(?P<value>.*)$", re.MULTILINE)
_BY_HAND = (
    "change it by hand (kubectl --namespace kube-system edit configmap kube-proxy) and start kube-proxy anew "
    "(kubectl --namespace kube-system rollout restart daemonset kube-proxy)"
)


class Configuration(NamedTuple):
    """A KubeProxyConfiguration as kubeadm writes it. It is edited line by line, so that everything else stays."""

    text: str

    @property
    def mode(self) -> str:
        """The mode; on Linux nothing stands for iptables."""
        return _value(_MODE, self.text) or IPTABLES

    @property
    def strict_arp(self) -> bool:
        """Whether a node answers ARP only for addresses of its interfaces."""
        fields = _IPVS_FIELDS.search(self.text)
        return fields is not None and _value(_STRICT_ARP, fields.group()) == "true"

    @property
    def metrics_address(self) -> str:
        """Address and port of the metrics, empty for kube-proxy's default."""
        return _value(_METRICS, self.text)

    def with_mode(self, mode: str) -> Configuration:
        """The same in another mode."""
        if _MODE.search(self.text):
            return Configuration(_MODE.sub(f"mode: {mode}", self.text))
        return Configuration(f"{self.text.rstrip()}\nmode: {mode}\n")

    def with_strict_arp(self) -> Configuration:
        """The same with strictARP."""
        fields = _IPVS_FIELDS.search(self.text)
        if fields is None and _IPVS.search(self.text):
            raise GroundplaneError(
                "The field ipvs of kube-proxy's configuration is not written as kubeadm writes it",
                expected="its fields in lines of their own below it",
                remedy="set ipvs.strictARP to true there: " + _BY_HAND,
            )
        if fields is None:
            return Configuration(f"{self.text.rstrip()}\nipvs:\n  strictARP: true\n")
        block, indent = fields.group(), fields.group("indent")
        line = f"{indent}strictARP: true"
        wanted = _STRICT_ARP.sub(line, block) if _STRICT_ARP.search(block) else f"{block}\n{line}"
        return Configuration(self.text.replace(block, wanted, 1))


class Change(NamedTuple):
    """A change that is under way.

    :ivar former: the mode that the pods may still run in.
    :ivar moment: when it was begun, which tells it from every other one.
    """

    former: str
    moment: str

    def __str__(self) -> str:
        return f"{self.former} {self.moment}"


class KubeProxy(NamedTuple):
    """What the ConfigMap says.

    :ivar change: None when everything that was written there is in force.
    """

    configuration: Configuration
    change: Change | None = None

    def as_dict(self) -> dict[str, Any]:
        """As modules return it."""
        return {
            "mode": self.configuration.mode,
            "strict_arp": self.configuration.strict_arp,
            "former_mode": self.change.former if self.change else "",
        }


def kube_proxy_of(config_map: Mapping[str, Any]) -> KubeProxy | None:
    """What a ConfigMap says, None where it is none of kubeadm's."""
    text = str((config_map.get("data") or {}).get(KEY) or "")
    if not _KIND.search(text):
        return None
    former, space, moment = mark_of(config_map).partition(" ")
    return KubeProxy(Configuration(text), Change(former, moment) if space else None)


def mark_of(definition: Mapping[str, Any]) -> str:
    """The mark of an object or of a template of pods, empty where it has none."""
    return str(((definition.get("metadata") or {}).get("annotations") or {}).get(MARK) or "")


def _value(pattern: re.Pattern[str], text: str) -> str:
    """A plain value, without quotes and a comment that may stand behind it; empty for none."""
    match = pattern.search(text)
    value = match.group("value").partition(" #")[0].strip().strip("\"'") if match else ""
    return "" if value in ("null", "~") else value
