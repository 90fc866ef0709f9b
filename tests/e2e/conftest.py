# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of nodes and clusters that the acceptance tests share, in the order in which pytest runs the files."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.support import diagnostics
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.control_plane import ControlPlane
from tests.e2e.support.filtered import FilteredNodes, prepare
from tests.e2e.support.lab import LabSet
from tests.e2e.support.packet_filter import controller_address
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import Run, Site

PHASES = pytest.StashKey[Phases]()
SETS = pytest.StashKey[dict[str, LabSet]]()

OpenSet = Callable[[LabSet], AbstractContextManager[LabSet]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person look at the nodes after a failure."""
    parser.addoption("--keep-nodes", action="store_true", help="leave the nodes of the tests as they are at the end")


def pytest_configure(config: pytest.Config) -> None:
    """Tell each phase on the terminal at once."""
    started = time.monotonic()

    def say(message: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if reporter and capture:
            # Phases begin and end inside of tests, whose output pytest keeps to itself.
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(f"[{time.monotonic() - started:7.1f} s] {message}")

    config.stash[PHASES] = Phases(say)
    config.stash[SETS] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Sum up durations and figures."""
    phases = config.stash[PHASES]
    if phases.durations:
        terminalreporter.section("durations of the phases")
        for name, seconds in phases.durations:
            terminalreporter.write_line(f"{seconds:7.1f} s  {name}")
    if phases.figures:
        terminalreporter.section("figures")
        for figure in phases.figures:
            terminalreporter.write_line(figure)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the nodes to the report of a failure."""
    report = yield
    if report.failed and call.when != "teardown":
        for name, nodes in item.config.stash[SETS].items():
            if _uses(item, nodes):
                report.sections.append((f"state of set {name}", diagnostics.describe(nodes)))
    return report


def _switch_off_others(config: pytest.Config) -> None:
    """Whoever needs the other sets has run by now; their clusters would slow the next one down."""
    for finished in config.stash[SETS].values():
        finished.kill(finished.names)


def _uses(item: pytest.Item, nodes: LabSet) -> bool:
    values = getattr(item, "funcargs", {}).values()
    return any(value is nodes or getattr(value, "nodes", None) is nodes for value in values)


@pytest.fixture(scope="session")
def phases(pytestconfig: pytest.Config) -> Phases:
    """Durations and figures of this session."""
    return pytestconfig.stash[PHASES]


@pytest.fixture(scope="session")
def open_set(pytestconfig: pytest.Config) -> OpenSet:
    """Context in which a set's name is free at first and its nodes are gone at the end."""

    @contextmanager
    def opened(nodes: LabSet) -> Iterator[LabSet]:
        nodes.down()
        pytestconfig.stash[SETS][nodes.name] = nodes
        yield nodes
        del pytestconfig.stash[SETS][nodes.name]
        if not pytestconfig.getoption("--keep-nodes"):
            nodes.down()

    return opened


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder on the controller for everything that runs leave behind."""
    return tmp_path_factory.mktemp("controller")


@pytest.fixture(scope="session")
def fresh_nodes(open_set: OpenSet, phases: Phases) -> Iterator[LabSet]:
    """One control plane node and two workers that nothing has touched yet, until `cluster` is asked for."""
    with open_set(LabSet("e2e", "trixie", "1.7")) as nodes:
        with phases.phase("making one control plane node and two workers"):
            nodes.up(masters=1, workers=2)
        yield nodes


@pytest.fixture(scope="session")
def site(fresh_nodes: LabSet, work: Path) -> Site:
    """The playbook for the main set."""
    return Site(fresh_nodes.inventory, work / "e2e")


@pytest.fixture(scope="session")
def first_run(site: Site, phases: Phases) -> Run:
    """The run that builds the main cluster, as talkative as Ansible can be."""
    with phases.phase("first run of site.yml, one control plane node and two workers"):
        run = site.run("-vvv")
    for name, seconds in run.play_seconds():
        phases.figure(f"  {seconds:6.1f} s  {name}")
    return run


@pytest.fixture(scope="session")
def cluster(fresh_nodes: LabSet, site: Site, first_run: Run) -> Cluster:
    """The main cluster: Debian trixie, containerd 1.7."""
    first_run.require_success()
    return Cluster(fresh_nodes, site)


@pytest.fixture(scope="session")
def filtered_nodes(open_set: OpenSet, work: Path, phases: Phases) -> Iterator[FilteredNodes]:
    """Five nodes without a cluster, three with iptables' backend nft, two with the old one."""
    with open_set(LabSet("e2e-firewall", "trixie", "1.7")) as nodes:
        with phases.phase("making five nodes with chains of others in both backends"):
            nodes.up(masters=1, workers=4)
            prepared = prepare(nodes, work)
        yield prepared


@pytest.fixture(scope="session")
def fresh_ha_nodes(open_set: OpenSet, phases: Phases, pytestconfig: pytest.Config) -> Iterator[LabSet]:
    """Three control plane nodes and two workers that nothing has touched yet, until `ha_cluster` is asked for."""
    _switch_off_others(pytestconfig)
    with open_set(LabSet("e2e-ha", "trixie", "1.7")) as nodes:
        with phases.phase("making three control plane nodes and two workers"):
            nodes.up(masters=3, workers=2)
        yield nodes


@pytest.fixture(scope="session")
def machine(open_set: OpenSet, phases: Phases, pytestconfig: pytest.Config) -> Iterator[LabSet]:
    """One virtual machine with a kernel of its own that nothing has touched yet."""
    _switch_off_others(pytestconfig)
    with open_set(LabSet("vm", "trixie", "1.7")) as nodes:
        with phases.phase("making a virtual machine"):
            nodes.up(masters=0, machines=1)
        yield nodes


@pytest.fixture(scope="session")
def ha_site(fresh_ha_nodes: LabSet, work: Path) -> Site:
    """The playbooks for the highly available set, with the firewall from the very first run on."""
    variables = {"firewall_enabled": True, "firewall_api_sources": [controller_address(fresh_ha_nodes)]}
    return Site(fresh_ha_nodes.inventory, work / "e2e-ha", variables=variables)


@pytest.fixture(scope="session")
def ha_first_run(ha_site: Site, phases: Phases) -> Run:
    """The run that builds the highly available cluster, as talkative as Ansible can be."""
    with phases.phase("first run of site.yml, three control plane nodes and two workers"):
        run = ha_site.run("-vvv")
    for name, seconds in run.play_seconds():
        phases.figure(f"  {seconds:6.1f} s  {name}")
    return run


@pytest.fixture(scope="session")
def ha_cluster(fresh_ha_nodes: LabSet, ha_site: Site, ha_first_run: Run) -> Cluster:
    """The highly available cluster."""
    ha_first_run.require_success()
    return Cluster(fresh_ha_nodes, ha_site)


@pytest.fixture(scope="session")
def ha_control_plane(ha_cluster: Cluster) -> ControlPlane:
    """The control plane of the highly available cluster."""
    return ControlPlane(ha_cluster)
