# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether kube-proxy of this node runs in a mode, and whether Services answer there."""

from __future__ import annotations

import http.client
import ipaddress
from pathlib import Path
from typing import Iterator

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kube_proxy_rules import serves
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import OPEN, OURS, Answer, ask
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import wait_until

_METRICS_PORT = "10249"
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_HTTPS = 443
_SECONDS = 3.0
_LOOK = "look at its log (kubectl --namespace kube-system logs --selector k8s-app=kube-proxy), and run again"
# The next run waits for pods that were started for the change; it does not start them a second time.
_RESTART = "start it anew (kubectl --namespace kube-system rollout restart daemonset kube-proxy), and run again"


def metrics_endpoints(address: str) -> Iterator[tuple[str, int]]:
    """Where kube-proxy's metrics are on its own host.

    :arg address: address and port in its configuration, where the port may be missing; empty for the default, which
        follows the cluster's family.
    """
    for text in [address] if address else [f"{loopback}:{_METRICS_PORT}" for loopback in _LOOPBACKS.values()]:
        try:
            host, port = str(ipaddress.ip_address(text)), _METRICS_PORT
        except ValueError:
            host, _colon, port = text.rpartition(":")
        host = host.strip("[]")
        yield _LOOPBACKS.get(host, host), int(port)


def running_mode(address: str) -> str:
    """The mode that kube-proxy says it runs in, empty when it does not answer.

    It listens only after it has removed what it removes of other modes.
    """
    for host, port in metrics_endpoints(address):
        connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
        try:
            connection.request("GET", "/proxyMode")
            return connection.getresponse().read().decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return ""


def wait_for_mode(mode: str, address: str, timeout: float) -> None:
    """Wait until kube-proxy runs in a mode."""
    found = ""

    def runs() -> bool:
        nonlocal found
        found = running_mode(address)
        return found == mode

    if not wait_until(runs, timeout):
        said = f"it says {found}" if found else "it does not answer"
        raise GroundplaneError(
            f"kube-proxy of this node does not run in mode {mode} after {timeout:g} s: {said}",
            expected="a pod that was started with the new configuration",
            remedy=_RESTART if found else _LOOK,
        )


def wait_for_rules(runner: Runner, mode: str, timeout: float, root: Path = Path("/")) -> None:
    """Wait until the rules of a mode are there, so that those of another one can go."""
    if not wait_until(lambda: serves(runner, mode, root), timeout):
        raise GroundplaneError(
            f"kube-proxy of this node has made no rules of mode {mode} within {timeout:g} s",
            expected="those of the Service kubernetes at least, and none of another mode in its chains",
            remedy=_LOOK,
        )


def first_service(service_cidr: str) -> str:
    """Address of the Service kubernetes, which leads to the API servers: the first one of the first range."""
    return str(ipaddress.ip_network(service_cidr.partition(",")[0].strip())[1])


def prove_service(service_cidr: str, authority: str, timeout: float) -> None:
    """Wait until an API server answers at the address of its Service.

    :arg authority: PEM of the cluster's CA.
    """
    address = first_service(service_cidr)
    answer = Answer("")

    def answered() -> bool:
        nonlocal answer
        answer = ask(address, _HTTPS, seconds=_SECONDS, authority=authority)
        return answer.outcome in (OURS, OPEN)

    if not wait_until(answered, timeout):
        raise GroundplaneError(
            f"No API server answers from this node at the Service kubernetes, {address}:{_HTTPS}, after {timeout:g} s: "
            f"{answer.reason}",
            expected="rules of kube-proxy that lead there",
            remedy=_LOOK,
        )
