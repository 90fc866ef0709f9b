# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of ports in docs/firewall.md says what the rules do."""

from __future__ import annotations

from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_policy import (
    API_CLIENTS,
    ICMP_TYPES,
    ICMPV6_TYPES,
    LOAD_BALANCERS,
    NODE_PORT_CLIENTS,
    SERVICES,
    Ports,
    Service,
)

from tests.unit.conftest import ROOT

PAGE = ROOT / "docs/firewall.md"


def row(service: Service) -> str:
    """Row of a service; variables are set in code."""
    ports = ", ".join(text.format(**Ports()._asdict()) for text in service.ports)
    protocol = service.protocol if service.ports else f"IP protocol {service.protocol}"
    variables = (API_CLIENTS, LOAD_BALANCERS, NODE_PORT_CLIENTS)
    sources = ", ".join(f"`{source}`" if source in variables else source for source in service.sources)
    features = ", ".join(f"`{feature}`" for feature in service.features) or "always"
    return f"| {service.name} | {protocol} {ports}".rstrip() + f" | {service.host} | {sources} | {features} |"


def test_the_table_has_every_service_in_its_order():
    table = "\n".join(row(service) for service in SERVICES)
    assert table in PAGE.read_text(encoding="utf-8"), f"docs/firewall.md needs this table:\n{table}"


def test_the_types_of_icmp_are_named():
    text = PAGE.read_text(encoding="utf-8")
    assert f"ICMP {', '.join(ICMP_TYPES)}" in text
    assert f"ICMPv6 {', '.join(ICMPV6_TYPES)}" in text
