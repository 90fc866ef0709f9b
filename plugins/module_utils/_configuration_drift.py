# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the configuration that a cluster keeps differs from what the operator has written for kubeadm."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._duration import parse_duration
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError

_NONE = "none"
_ABSENT: Any = object()
_LONGEST_VALUE = 60
_MAY_BE_SECRET = re.compile(r"extraEnvs |(?:header|passw|secret|token|credential)(?!.*file$)", re.IGNORECASE)
# A URL with a login or a query.
_TELLING_URL = re.compile(r"://\S*[@?]")


class Document(NamedTuple):
    """A document of kubeadm's configuration, one for the whole cluster.

    :arg variable: where the operator writes fields of it.
    :arg result: what control_plane_info calls the one that the cluster keeps.
    :arg api_version: the version in which the role writes it.
    :arg remedy: how a field gets into force in a running cluster.
    :arg left_out: fields that other checks judge, or of which the cluster's own does not tell what was asked for.
    :arg set_later: values that fields may have because a run has set them, whatever the operator has written.
    :arg kept_when_empty: fields that are kept also when they are false or 0, because their default is not.
    """

    variable: str
    result: str
    api_version: str
    remedy: str
    left_out: tuple[str, ...] = ()
    set_later: tuple[tuple[str, Any], ...] = ()
    kept_when_empty: tuple[str, ...] = ()


DOCUMENTS = (
    Document(
        variable="control_plane_cluster_configuration",
        result="cluster_configuration",
        api_version="kubeadm.k8s.io/v1beta4",
        remedy="Write it into the ConfigMap kubeadm-config in kube-system, and run kubeadm upgrade node phase "
        "control-plane on one control plane node after the other; or set the variable back. Further names for the "
        "API's certificate belong into cluster_extra_sans.",
        # An upgrade changes the version, kubeadm adds a port to the endpoint, and other ranges stop the run.
        left_out=(
            "kubernetesVersion",
            "controlPlaneEndpoint",
            "networking.dnsDomain",
            "networking.podSubnet",
            "networking.serviceSubnet",
        ),
    ),
    Document(
        variable="control_plane_kubelet_configuration",
        result="kubelet_configuration",
        api_version="kubelet.config.k8s.io/v1beta1",
        remedy="Write it into the ConfigMap kubelet-config in kube-system, then run kubeadm upgrade node phase "
        "kubelet-config and systemctl restart kubelet on one node after the other; or set the variable back.",
        # kubeadm itself decides on the rotation and on each node's socket, and quantities are written anew (1Gi for
        # 1024Mi).
        left_out=("rotateCertificates", "containerRuntimeEndpoint", "reservedMemory", "logging.options"),
        # kubernetes: pkg/kubelet/apis/config/v1beta1/defaults.go
        kept_when_empty=(
            "cgroupsPerQOS",
            "containerLogMaxFiles",
            "containerLogMaxWorkers",
            "cpuCFSQuota",
            "enableControllerAttachDetach",
            "enableDebugFlagsHandler",
            "enableDebuggingHandlers",
            "enableProfilingHandler",
            "enableServer",
            "enableSystemLogHandler",
            "eventRecordQPS",
            "failCgroupV1",
            "failSwapOn",
            "healthzPort",
            "imageGCHighThresholdPercent",
            "imageGCLowThresholdPercent",
            "iptablesDropBit",
            "iptablesMasqueradeBit",
            "kubeAPIQPS",
            "localStorageCapacityIsolation",
            "makeIPTablesUtilChains",
            "memoryThrottlingFactor",
            "nodeStatusMaxImages",
            "oomScoreAdj",
            "podPidsLimit",
            "registerNode",
            "registryPullQPS",
            "serializeImagePulls",
        ),
    ),
    Document(
        variable="control_plane_kube_proxy_configuration",
        result="kube_proxy_configuration",
        api_version="kubeproxy.config.k8s.io/v1alpha1",
        remedy="Write it into the ConfigMap kube-proxy in kube-system, and start kube-proxy anew (kubectl --namespace "
        "kube-system rollout restart daemonset kube-proxy); or set the variable back.",
        # The mode is cluster_proxy_mode's; strictARP is set for MetalLB.
        left_out=("mode", "logging.options"),
        set_later=(("ipvs.strictARP", True),),
    ),
)


def drift(document: Document, wanted: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """Fields that the operator has written and the cluster has otherwise or not at all, each with both values.

    Nothing is said of a field that kubeadm may have left out or written otherwise for a reason of its own, nor of a
    document in another version of its API, as clusters of old have it.

    :arg kept: what the cluster keeps; empty where that is not known.
    """
    if kept.get("apiVersion") != (wanted.get("apiVersion") or document.api_version):
        return []
    return list(_of_value(document, "", wanted, kept))


def _of_value(document: Document, path: str, wanted: Any, found: Any) -> Iterator[str]:
    """Differences at a path and below it; nothing stands for the default, whatever that is."""
    if wanted in (None, "") or path in document.left_out or (path, found) in document.set_later:
        return
    there = None if found is _ABSENT else found
    if isinstance(wanted, Mapping):
        if there is None or isinstance(there, Mapping):
            for key, value in wanted.items():
                below = f"{path}.{key}" if path else str(key)
                yield from _of_value(document, below, value, (there or {}).get(key, _ABSENT))
    elif isinstance(wanted, list):
        if wanted and (there is None or isinstance(there, list)):
            yield from _of_list(document, path, wanted, there or [])
    elif not isinstance(there, (Mapping, list)):
        yield from _of_scalar(document, path, wanted, found)


def _of_list(document: Document, path: str, wanted: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    """Differences of lists: entries that have a name by their name, other ones by their place."""
    if all(isinstance(item, Mapping) and "name" in item for item in wanted):
        yield from _of_entries(document, path, wanted, found)
    elif any(isinstance(item, (Mapping, list)) for item in wanted):
        if len(wanted) != len(found):
            yield f"{path}: {len(found) or _NONE}, wanted {len(wanted)}"
            return
        for number, (item, its_like) in enumerate(zip(wanted, found)):
            yield from _of_value(document, f"{path}[{number}]", item, its_like)
    elif path.endswith("SANs"):
        # kubeadm writes them in lower case, and a run adds those that the roles want.
        names = {_text(name).lower() for name in found}
        missing = [_text(name) for name in wanted if _text(name).lower() not in names]
        if missing:
            yield f"{path}: without {', '.join(missing)}"
    elif sorted(map(_text, wanted)) != sorted(map(_text, found)):
        yield _line(path, list(found) or _ABSENT, list(wanted))


def _of_entries(document: Document, path: str, wanted: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    """Differences of entries with names; an argument may be given several times, and the order then counts."""
    for name in dict.fromkeys(_text(item["name"]) for item in wanted):
        place = f"{path} {name}"
        ours, theirs = (
            [item for item in items if isinstance(item, Mapping) and _text(item.get("name")) == name]
            for items in (wanted, found)
        )
        values, kept = ([item.get("value") for item in items] for items in (ours, theirs))
        if not theirs:
            yield _line(place, _ABSENT, [value for value in values if value is not None] or "one")
        elif len(ours) > 1 or len(theirs) > 1:
            if None not in values and list(map(_text, values)) != list(map(_text, kept)):
                yield _line(place, kept, values)
        else:
            for key, value in ours[0].items():
                if key == "value" and value is not None:
                    yield from _of_scalar(document, place, value, "" if kept[0] is None else kept[0])
                elif key != "name":
                    yield from _of_value(document, f"{place}.{key}", value, theirs[0].get(key, _ABSENT))


def _of_scalar(document: Document, path: str, wanted: Any, found: Any) -> Iterator[str]:
    """The difference of two values, none where they mean the same."""
    kept_when_empty = path in document.kept_when_empty or path.startswith("featureGates.")
    if found is _ABSENT and not kept_when_empty and (not wanted or _duration(wanted) == timedelta()):
        return
    if found is None or found is _ABSENT or not _mean_the_same(wanted, found):
        yield _line(path, found, wanted)


def _mean_the_same(one: Any, other: Any) -> bool:
    """Whether two values are one to kubeadm: 5m and 5m0s, 7 and "7", true and "true"."""
    length = _duration(one)
    return _text(one) == _text(other) or (length is not None and length == _duration(other))


def _duration(value: Any) -> timedelta | None:
    """Length of what may be a duration."""
    try:
        return parse_duration(_text(value), "")
    except GroundplaneError:
        return None


def _text(value: Any) -> str:
    """A value as YAML writes it, without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _line(path: str, found: Any, wanted: Any) -> str:
    """What is told of a difference; a value that may be secret is not."""
    nothing = found is None or found is _ABSENT
    if _MAY_BE_SECRET.search(path) or any(_TELLING_URL.search(str(value)) for value in (found, wanted)):
        return f"{path}: {_NONE if nothing else 'another'}, wanted one that is not shown"
    return f"{path}: {_NONE if nothing else _shown(found)}, wanted {_shown(wanted)}"


def _shown(value: Any) -> str:
    """A value in a sentence."""
    text = " ".join((", ".join(map(_text, value)) if isinstance(value, list) else _text(value)).split())
    return f"{text[: _LONGEST_VALUE - 3]}..." if len(text) > _LONGEST_VALUE else text or '""'
