# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight's report: findings of many hosts, waivers, one table and one sentence."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_across_hosts import CROSS_CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_checks import CHECKS
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_control_plane import (
    CONTROL_PLANE_CHECKS,
    Situation,
    Unreachable,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_model import (
    ERROR,
    WARNING,
    Finding,
    HostFacts,
    shorten_hosts,
)

WAIVED = "waived"

KNOWN_IDS = frozenset(entry.description.id for entry in (*CHECKS, *CROSS_CHECKS, *CONTROL_PLANE_CHECKS))

# A finding of these is about several hosts together, and cannot be waived for one of them alone.
_TOGETHER = frozenset(entry.description.id for entry in (*CROSS_CHECKS, *CONTROL_PLANE_CHECKS))
_ORDER = (ERROR, WARNING, WAIVED)
_TITLES = ("severity", "check", "hosts", "found", "expected", "what to do")
_GAP = "  "
_NARROWEST_TABLE = 110
_WIDEST_HOSTS = 24


@dataclass(frozen=True)
class Row:
    """A finding with every host that has it."""

    finding: Finding
    hosts: tuple[str, ...]
    waived: bool = False

    @property
    def status(self) -> str:
        """Severity, or that the finding was waived."""
        return WAIVED if self.waived else self.finding.severity

    def as_dict(self) -> dict[str, Any]:
        """The row as modules return it and as the JSON report has it."""
        return {**self.finding.as_dict(), "hosts": list(self.hosts), "waived": self.waived}


class Line(NamedTuple):
    """A line of the table with the status that decides its colour."""

    status: str
    text: str


@dataclass(frozen=True)
class Waivers:
    """Ids of checks that are waived, on every host and on some."""

    everywhere: tuple[str, ...]
    by_host: Mapping[str, Sequence[str]]

    def cover(self, name: str, hosts: Sequence[str]) -> bool:
        """Whether a finding of these hosts is waived; one of no host in particular is, where every host waives it."""
        concerned = hosts or tuple(self.by_host)
        by_all = bool(concerned) and all(name in self.by_host.get(host, ()) for host in concerned)
        return name in self.everywhere or by_all

    @property
    def names(self) -> tuple[str, ...]:
        """Every id once."""
        return tuple(dict.fromkeys((*self.everywhere, *(name for names in self.by_host.values() for name in names))))

    def hosts(self, name: str) -> tuple[str, ...]:
        """Hosts that waive an id, none when all of them do."""
        hosts = tuple(host for host, names in self.by_host.items() if name in names)
        return () if name in self.everywhere or len(hosts) == len(self.by_host) else hosts


@dataclass(frozen=True)
class Report:
    """Rows in the order of their urgency, and what there is to say about the waivers."""

    hosts: tuple[str, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows are errors, warnings and waived."""
        return {
            name: sum(row.status == status for row in self.rows)
            for name, status in (("errors", ERROR), ("warnings", WARNING), ("waived", WAIVED))
        }

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The rows as they are returned and written."""
        return [row.as_dict() for row in self.rows]

    @property
    def failure(self) -> str:
        """Why the run has to stop, empty when it has not."""
        errors = [row for row in self.rows if row.status == ERROR]
        if not errors:
            return ""
        hosts = [host for host in self.hosts if any(host in row.hosts for row in errors)]
        checks = dict.fromkeys(row.finding.id for row in errors)
        return (
            f"The preflight found {_count(len(errors), 'error')} on {_count(len(hosts), 'host')} "
            f"({shorten_hosts(hosts)}): {', '.join(checks)}. Nothing was changed. To do: what the table above "
            "says; an id in prereqs_preflight_ignore waives a check."
        )


def build_report(
    results: Mapping[str, Mapping[str, Any]],
    *,
    control_planes: Mapping[str, Mapping[str, Any]] | None = None,
    reachability: Mapping[str, Mapping[str, Any]] | None = None,
    guarded_hosts: Sequence[str] = (),
    unreachable: Unreachable | None = None,
    etcd_hosts: Sequence[str] = (),
    network: str = "",
    proxy_mode: str = "",
    ranges: Mapping[str, str] | None = None,
    flannel_backend: Mapping[str, Any] | None = None,
    configurations: Mapping[str, Mapping[str, Any]] | None = None,
    kept_configurations: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    extra: Iterable[Mapping[str, Any]] = (),
    ignore: Sequence[str] = (),
    host_ignore: Mapping[str, Sequence[str]] | None = None,
    maximum_skew: float,
) -> Report:
    """Put the findings of all hosts, of their comparison and of other sources together.

    :arg results: findings and facts by host, as preflight_info returns them; it may be empty.
    :arg control_planes: results of control_plane_info by host.
    :arg reachability: results of reachability_info by host.
    :arg guarded_hosts: hosts whose packet filter learns of the other hosts in this run, after the preflight.
    :arg etcd_hosts: hosts that shall run a member of etcd each, also those outside of this run.
    :arg network: the pod network that is wanted.
    :arg proxy_mode: the mode of kube-proxy that is wanted.
    :arg ranges: ranges that are wanted, by their variables.
    :arg flannel_backend: the field Backend of flannel's configuration that is wanted.
    :arg configurations: what the operator has written for kubeadm, by variable.
    :arg kept_configurations: what the cluster keeps in their place, by host and variable.
    :arg extra: further findings, each with its hosts.
    :arg ignore: ids of checks that are waived on every host.
    :arg host_ignore: further ones by host; a finding that names several hosts together is waived where all of them
        waive it.
    """
    measured = {host: {"reachability": result} for host, result in (reachability or {}).items()}
    facts = {
        host: {**result["facts"], **measured.get(host, {}), "guarded": host in guarded_hosts}
        for host, result in results.items()
    }
    situation = Situation(
        facts,
        control_planes or {},
        unreachable or Unreachable(),
        tuple(etcd_hosts),
        network,
        proxy_mode,
        ranges or {},
        flannel_backend=flannel_backend or {},
        configurations=configurations or {},
        kept_configurations=kept_configurations or {},
    )
    rows = _merge(
        [
            *_judge(situation),
            *((_finding(entry), (host,)) for host, result in results.items() for entry in result["findings"]),
            *_compare(facts, maximum_skew),
            *((_finding(entry), tuple(entry["hosts"])) for entry in extra),
        ]
    )
    found = list(dict.fromkeys(row.finding.id for row in rows))
    waivers = Waivers(tuple(ignore), host_ignore or {})
    rows = [part for row in rows for part in _waive(row, waivers)]
    rows.sort(key=lambda row: (_ORDER.index(row.status), found.index(row.finding.id)))
    hosts = dict.fromkeys((*results, *situation.control_planes, *situation.unreachable.hosts))
    return Report(tuple(hosts), tuple(rows), tuple(_remarks(waivers, rows)))


def _finding(entry: Mapping[str, Any]) -> Finding:
    return Finding(**{name: entry[name] for name in ("id", "severity", "found", "expected", "remedy")})


def _judge(situation: Situation) -> list[tuple[Finding, tuple[str, ...]]]:
    return [
        (check.description.finding(comparison.observation), comparison.hosts)
        for check in CONTROL_PLANE_CHECKS
        for comparison in check.judge(situation)
    ]


def _compare(facts: HostFacts, maximum_skew: float) -> list[tuple[Finding, tuple[str, ...]]]:
    return [
        (check.description.finding(comparison.observation), comparison.hosts)
        for check in CROSS_CHECKS
        for comparison in check.compare(facts, maximum_skew)
    ]


def _merge(findings: Iterable[tuple[Finding, tuple[str, ...]]]) -> list[Row]:
    """One row for every finding that several hosts share."""
    hosts: dict[Finding, dict[str, None]] = {}
    for finding, names in findings:
        hosts.setdefault(finding, {}).update(dict.fromkeys(names))
    return [Row(finding, tuple(names)) for finding, names in hosts.items()]


def _waive(row: Row, waivers: Waivers) -> Iterator[Row]:
    """The row, in two where some of its hosts waive its finding and others do not."""
    waiving = tuple(host for host in row.hosts if waivers.cover(row.finding.id, (host,)))
    others = tuple(host for host in row.hosts if host not in waiving)
    if waivers.cover(row.finding.id, row.hosts):
        yield replace(row, waived=True)
    elif not waiving or row.finding.id in _TOGETHER:
        yield row
    else:
        yield replace(row, hosts=others)
        yield replace(row, hosts=waiving, waived=True)


def _remarks(waivers: Waivers, rows: Sequence[Row]) -> list[str]:
    """What an operator should know about waivers that do nothing."""
    used = {(row.finding.id, host) for row in rows for host in ("", *row.hosts)}
    found = {row.finding.id for row in rows}
    remarks = []
    for name in waivers.names:
        hosts = waivers.hosts(name)
        if name not in KNOWN_IDS and name not in found:
            remarks.append(f"The waiver {name} is the id of no preflight check; docs/preflight_checks.md lists them.")
        elif not any((name, host) in used for host in hosts or ("",)):
            where = f" ({shorten_hosts(hosts)})" if hosts else ""
            remarks.append(
                f"The waiver {name}{where} matches no finding; take it out, so that it cannot hide one later."
            )
    return remarks


def render(report: Report, width: int) -> list[Line]:
    """The table, or on a narrow terminal the same content as a list."""
    counts = report.counts
    summary = (
        f"Preflight of {_count(len(report.hosts), 'host')}: {_count(counts['errors'], 'error')}, "
        f"{_count(counts['warnings'], 'warning')}, {counts['waived']} waived"
    )
    if not report.rows:
        return [Line("", summary)]
    layout = _table if width >= _NARROWEST_TABLE else _list
    return [Line("", summary), *layout(report.rows, width)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cells(row: Row) -> tuple[str, ...]:
    finding = row.finding
    return (row.status, finding.id, shorten_hosts(row.hosts), finding.found, finding.expected, finding.remedy)


def _table(rows: Sequence[Row], width: int) -> list[Line]:
    """One table row per finding; found, expected and what to do share the width that the short columns leave."""
    short = [max(len(cells[column]) for cells in [_TITLES, *map(_cells, rows)]) for column in (0, 1)]
    names = [len(host) + len(",") for row in rows for host in row.hosts]
    short.append(min(_WIDEST_HOSTS, max([len(_TITLES[2]), *names])))
    unit = (width - sum(short) - len(_GAP) * (len(_TITLES) - 1)) // 7
    widths = [*short, 2 * unit, 2 * unit, 3 * unit]
    lines = [*_wrapped("", _TITLES, widths), Line("", "-" * (sum(widths) + len(_GAP) * (len(widths) - 1)))]
    for row in rows:
        lines += _wrapped(row.status, _cells(row), widths)
    return lines


def _wrapped(status: str, cells: Sequence[str], widths: Sequence[int]) -> list[Line]:
    """The lines of one table row."""
    columns = [textwrap.wrap(cell, size, break_on_hyphens=False) or [""] for cell, size in zip(cells, widths)]
    height = max(len(column) for column in columns)
    filled = [column + [""] * (height - len(column)) for column in columns]
    return [
        Line(status, _GAP.join(cell.ljust(size) for cell, size in zip(parts, widths)).rstrip())
        for parts in zip(*filled)
    ]


def _list(rows: Sequence[Row], width: int) -> list[Line]:
    """A headline per finding and the other columns below it."""
    margin = " " * (max(len(title) for title in _TITLES[3:]) + 2 * len(_GAP))
    lines = []
    for row in rows:
        status, check, hosts, *rest = _cells(row)
        lines.append(Line(status, f"{status.upper()} {check} on {hosts}"))
        for title, text in zip(_TITLES[3:], rest):
            label = (_GAP + title).ljust(len(margin))
            wrapped = textwrap.wrap(text, width, initial_indent=label, subsequent_indent=margin, break_on_hyphens=False)
            lines += [Line(status, part) for part in wrapped]
    return lines
