# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the registry of Kubernetes' images and its mirrors on behalf of the preflight, in containerd's order."""

from __future__ import annotations

import http.client
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_probe import verify_as_go
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_repository import (
    has_certificate_authorities,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_snapshot import Registry
from ansible_collections.groundplane.kubeadm.plugins.module_utils._web import without_credentials

_PROXY_AUTHENTICATION = 407
_NOT_FOUND = 404
_SERVER_ERRORS = 500


class Source(NamedTuple):
    """A place to pull from.

    :arg ca: PEM of the authority of its certificate, where it is not one that the host knows.
    :arg override_path: the address holds the path of the registry already.
    :arg client_certificate: it wants one, which is not here; it is taken for reachable.
    """

    url: str
    ca: str = ""
    skip_verify: bool = False
    override_path: bool = False
    client_certificate: bool = False

    @property
    def question(self) -> str:
        """The address at which every registry answers, with or without a login; one in the address is not needed."""
        return without_credentials(self.url).rstrip("/") + ("/" if self.override_path else "/v2/")


#: Takes a source and returns why it is no place to pull from, empty when it is one.
Prober = Callable[[Source], str]


def sources_of(entries: Iterable[Mapping[str, Any]]) -> list[Source]:
    """Sources from the option of the module, which has them as the filter image_sources makes them."""
    return [Source(**{name: value for name, value in entry.items() if value is not None}) for entry in entries]


def ask_registry(sources: Iterable[Source], probe: Prober, *, root: Path = Path("/")) -> Registry | None:
    """Ask one source after the other until one answers; None where there is none.

    A minimal host has no certificate authorities until role prereqs installs them. Nothing secret is sent, so that such
    a host can ask without them.
    """
    failures: list[str] = []
    name = ""
    blind = not has_certificate_authorities(root)
    for source in sources:
        name = without_credentials(source.url)
        asked = source._replace(skip_verify=source.skip_verify or (blind and not source.ca))
        failure = "" if source.client_certificate else probe(asked)
        if not failure:
            return Registry(name, tuple(failures), reachable=True)
        failures.append(f"{name}: {failure}")
    return Registry(name, tuple(failures), reachable=False) if failures else None


def registry_prober(timeout: float, environment: Mapping[str, str] | None = None) -> Prober:
    """Prober for real addresses.

    :arg timeout: seconds without an answer after which a source counts as unreachable.
    :arg environment: where the proxies stand, by default the one of the process.
    """
    variables = {name.lower(): value for name, value in (environment or os.environ).items() if value}

    def probe(source: Source) -> str:
        proxies = proxies_for(source.url, variables)
        opener = build_opener(ProxyHandler(proxies), HTTPSHandler(context=_context(source)))
        try:
            with opener.open(Request(source.question, headers={"User-Agent": "groundplane.kubeadm"}), timeout=timeout):
                return ""
        except HTTPError as error:
            with error:
                return _judge(error.code, source)
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            return str(cause) or type(cause).__name__

    return probe


def _judge(status: int, source: Source) -> str:
    """What an answer that is no success says: a registry may want a login, and a mirror may have no start page."""
    refused = status == _PROXY_AUTHENTICATION or status >= _SERVER_ERRORS
    if refused or (status == _NOT_FOUND and not source.override_path):
        return f"HTTP status {status} at {urlsplit(source.question).path}"
    return ""


def _context(source: Source) -> ssl.SSLContext:
    """How the certificate of a source is verified."""
    try:
        context = ssl.create_default_context(cadata=source.ca or None)
    except ssl.SSLError:
        context = ssl.create_default_context()
    verify_as_go(context)
    if source.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def proxies_for(url: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Proxies for an address as containerd chooses them, which unlike Python knows networks as exceptions."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    exceptions = [entry.strip().lower() for entry in variables.get("no_proxy", "").split(",") if entry.strip()]
    if any(_is_exception(host, entry) for entry in exceptions):
        return {}
    proxy = variables.get(f"{parts.scheme}_proxy", "")
    return {parts.scheme: proxy} if proxy else {}


def _is_exception(host: str, entry: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    return entry == "*" or host == entry or host.endswith("." + entry.lstrip("."))
