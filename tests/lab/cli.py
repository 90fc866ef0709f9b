# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the lab."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence

from tests.lab import build, host, inventory, machine_image, machines, members, network, nodes, ssh
from tests.lab.archive import machine_proxy
from tests.lab.machines import Machines
from tests.lab.node_image import CONTAINERD_VERSIONS, RELEASES, ensure_image, recipe_for
from tests.lab.parts import ADD_ONS, Part
from tests.lab.podman import Podman
from tests.lab.process import LabError
from tests.lab.progress import Report, to_terminal
from tests.lab.services import ensure_services, service_states, services, stop_services
from tests.lab.settings import paths
from tests.lab.source import Decision, Source, decide
from tests.lab.versions import kubernetes_version, minor

NODE_ACTIONS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "kill": (members.kill, "cut the power: every process of the node dies at once"),
    "stop": (members.stop, "shut down in order"),
    "start": (members.start, "switch on and wait until the node answers; it keeps disk and address"),
    "restart": (members.restart, "shut down, switch on, wait until the node answers"),
    "remove": (members.remove, "remove the node with its disk"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        host.require_root()
        options.run(options)
    except LabError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


def up(options: argparse.Namespace) -> None:
    """Bring a set up from any state and write its inventory."""
    report = to_terminal()
    lab_paths = paths()
    set_name = nodes.check_set_name(options.name)
    with host.only_one_run(lab_paths, report):
        for_machines = machines.REQUIRED_PACKAGES if options.machines else ()
        host.ensure_packages([*host.REQUIRED_PACKAGES, *build.REQUIRED_PACKAGES, *for_machines], report)
        host.raise_kernel_limits()
        decision = decide(os.environ)
        report(f"Source of Kubernetes: {decision.source.value}, because {decision.reason}")

        podman = Podman(lab_paths)
        podman.configure()
        network.ensure_network(podman, decision.way_out)
        network.remove_stale_ports(podman, Machines(lab_paths).devices())
        ensure_services(services(lab_paths, machine_proxy()), report)
        wanted = _ensure_nodes(options, podman, decision, report)

    containers, virtual = nodes.Nodes(podman, lab_paths), Machines(lab_paths)
    containers.wait_ready(members.of_kind(wanted, machines=False))
    containers.require_healthy(members.of_kind(wanted, machines=False))
    virtual.wait_ready(members.of_kind(wanted, machines=True))
    virtual.require_healthy(members.of_kind(wanted, machines=True))
    variables = inventory.source_variables(decision.source, minor(kubernetes_version()))
    all_members = [found.node for found in members.found_members(podman, virtual, set_name)]
    folder = inventory.write(set_name, all_members, variables, lab_paths)
    if decision.source is Source.BUILT:
        build.ensure_built(lab_paths, [Part(name) for name in options.add_ons], report)
    if len(all_members) > len(wanted):
        report(f"{len(all_members) - len(wanted)} further nodes of the set were there before and stay")
    report(f"Ready: {', '.join(f'{node.name} {node.address}' for node in all_members)}")
    report(f"Inventory: {folder}")


def down(options: argparse.Namespace) -> None:
    """Remove a set, or everything the lab has on this machine but its cache."""
    report = to_terminal()
    lab_paths = paths()
    if shutil.which("podman") is None:
        report("Removed: nothing was there, podman is not installed")
        return
    with host.only_one_run(lab_paths, report):
        podman = Podman(lab_paths)
        podman.configure()
        virtual = Machines(lab_paths)
        existing = members.found_members(podman, virtual)
        set_names = {found.node.set_name for found in existing} if options.all else {options.name}
        for keeper in (nodes.Nodes(podman, lab_paths), virtual):
            keeper.remove_set(None if options.all else options.name)
        network.remove_stale_ports(podman, virtual.devices())
        for set_name in set_names:
            inventory.remove(set_name, lab_paths)
        report(f"Removed: {', '.join(sorted(set_names)) or 'no nodes were there'}")
        if options.all:
            stop_services()
            network.remove_network(podman)
            report(f"Removed the network, its firewall rules and the services; the cache stays in {lab_paths.root}")


def status(options: argparse.Namespace) -> None:
    """Show sets, nodes and services."""
    del options
    lab_paths = paths()
    podman = Podman(lab_paths)
    podman.configure()
    rows = [("SET", "NODE", "ADDRESS", "GROUP", "OS", "CONTAINERD", "STATE")]
    for found in members.found_members(podman, Machines(lab_paths)):
        node = found.node
        rows.append(
            (node.set_name, node.name, str(node.address), node.group, node.release, node.containerd, found.state)
        )
    print(as_table(rows))
    states = service_states(services(lab_paths))
    states["bridge"] = "up" if network.bridge_is_up() else "not there"
    print()
    print(as_table([("SERVICE", "STATE"), *states.items()]))


def node(options: argparse.Namespace) -> None:
    """Do something to single nodes."""
    action, _explanation = NODE_ACTIONS[options.action]
    action(options.names)


def open_ssh(options: argparse.Namespace) -> None:
    """Replace this process by a shell, or a command, on a node."""
    lab_paths = paths()
    found = members.found_members(Podman(lab_paths), Machines(lab_paths))
    (target,) = nodes.find([options.node], (item.node for item in found))
    command = ssh.command(lab_paths, target.address, options.command, interactive=True)
    os.execvp(command[0], command)


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _ensure_nodes(options: argparse.Namespace, podman: Podman, decision: Decision, report: Report) -> list[nodes.Node]:
    lab_paths = paths()
    existing = [found.node for found in members.found_members(podman, Machines(lab_paths))]
    counts = {
        nodes.CONTROL_PLANE: options.masters,
        nodes.WORKERS: options.workers,
        nodes.MACHINES: options.machines,
    }
    octet = nodes.set_octet(options.name, existing)
    wanted = nodes.plan_set(options.name, octet, counts, options.os, options.containerd, decision.source.value)
    nodes.check_same_kind(wanted, existing)
    recipe = recipe_for(options.os, options.containerd, host.nameservers(decision.way_out))
    virtual = members.of_kind(wanted, machines=True)
    if virtual:
        image = machine_image.ensure_image(machine_image.Recipe(recipe), lab_paths, report)
        Machines(lab_paths).ensure(virtual, image, report)
    containers = members.of_kind(wanted, machines=False)
    if containers:
        nodes.Nodes(podman, lab_paths).ensure(containers, ensure_image(recipe, podman, report), report)
    return wanted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description="Real nodes for the tests, with their own addresses, reached over SSH: systemd containers, and "
        "virtual machines where a kernel of their own matters.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("up", help="make a set, or bring an existing one back up", description=up.__doc__)
    command.set_defaults(run=up)
    _add_name(command)
    command.add_argument("--masters", type=int, default=3, metavar="N", help="control plane nodes (default: 3)")
    command.add_argument("--workers", type=int, default=2, metavar="N", help="workers (default: 2)")
    command.add_argument(
        "--machines", type=int, default=0, metavar="N", help="workers that are virtual machines (default: 0)"
    )
    command.add_argument("--os", choices=RELEASES, default=RELEASES[0], help="release of Debian (default: %(default)s)")
    command.add_argument(
        "--containerd",
        choices=CONTAINERD_VERSIONS,
        default=CONTAINERD_VERSIONS[0],
        help="version of containerd that apt offers in the nodes (default: %(default)s)",
    )
    command.add_argument(
        "--with",
        dest="add_ons",
        action="append",
        choices=[part.value for part in ADD_ONS],
        default=[],
        help="build this for the nodes as well, where the lab builds; may be given several times",
    )

    command = commands.add_parser("down", help="remove a set, or everything but the cache", description=down.__doc__)
    command.set_defaults(run=down)
    scope = command.add_mutually_exclusive_group()
    _add_name(scope)
    scope.add_argument("--all", action="store_true", help="every set, the network, the services, the firewall rules")

    command = commands.add_parser("status", help="show sets, nodes and services", description=status.__doc__)
    command.set_defaults(run=status)

    command = commands.add_parser("node", help="kill, stop, start, restart or remove nodes", description=node.__doc__)
    command.set_defaults(run=node)
    actions = command.add_subparsers(required=True, dest="action", metavar="ACTION")
    for name, (_action, explanation) in NODE_ACTIONS.items():
        action = actions.add_parser(name, help=explanation, description=explanation)
        action.add_argument("names", nargs="+", metavar="NODE", help="name of a node, such as worker-1")

    command = commands.add_parser("ssh", help="open a shell on a node", description=open_ssh.__doc__)
    command.set_defaults(run=open_ssh)
    command.add_argument("node", metavar="NODE", help="name of a node, such as master-1")
    command.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="command to run there instead")
    return parser


def _add_name(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--name", default=nodes.DEFAULT_SET, metavar="NAME", help="name of the set of nodes (default: %(default)s)"
    )
