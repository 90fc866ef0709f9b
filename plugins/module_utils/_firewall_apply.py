# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first half of a change of the packet filter: read, decide, load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_files import (
    documents,
    rules_path,
    unit_differs,
    wanted_files,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import (
    Host,
    find_tools,
    normal_form,
    read_kernel,
    refuse_mixture,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_persistence import (
    accepted_before,
    read_notes,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_plan import chains_before, decide
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import (
    FAMILIES,
    IPV6,
    Chain,
    RuleSet,
    check_name,
    parse_chains,
    render,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_transaction import (
    Change,
    begin,
    check_systemd,
    forget_old,
    turn,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_ROLLBACK_LIMITS = (10, 600)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    :arg chains: everything that shall be ours, nothing for state absent.
    """

    chains: tuple[Chain, ...]
    families: Sequence[str]
    rollback_seconds: int

    def rules(self, family: str) -> RuleSet:
        """Rules of one family."""
        return render(self.chains, family) if self.chains and family in self.families else RuleSet()


def parse_request(options: Mapping[str, Any]) -> Request:
    """Request out of the module's options."""
    seconds = options["rollback_seconds"]
    low, high = _ROLLBACK_LIMITS
    if not low <= seconds <= high:
        raise GroundplaneError(f"Found rollback_seconds {seconds}", expected=f"{low} to {high}")
    if options["state"] == "absent":
        for chain in options["chains"] or ():
            check_name(chain["name"])
        return Request((), options["families"], seconds)
    if not options["chains"]:
        raise GroundplaneError("Found no chains", expected="at least the one that INPUT leads to")
    if not options["families"]:
        raise GroundplaneError("Found no families", expected="ipv4, ipv6 or both")
    return Request(parse_chains(options["chains"]), options["families"], seconds)


def apply(module: AnsibleModule, runner: Runner, root: Path, change: Change) -> dict[str, Any]:
    """Load what is asked for and arm the timer that takes it back, or only predict it in check mode."""
    request = parse_request(module.params)
    with turn(runner, root, check_mode=module.check_mode) as taken_back:
        host = Host(runner, root)
        present = [family for family in FAMILIES if family != IPV6 or host.has_ipv6()]
        if request.chains and not set(present).intersection(request.families):
            raise GroundplaneError("Found a kernel without IPv6", expected="at least one of the families asked for")
        # Without iptables there is nothing of ours in the kernel either.
        tools = find_tools(host, present) if request.chains or runner.find("iptables") else ()
        refuse_mixture(host, tools, only_ours=not request.chains)
        plans = []
        for tool in tools:
            wanted = request.rules(tool.family)
            normal = normal_form(host, tool, wanted) if wanted.chains else wanted
            plans.append(decide(tool, read_kernel(host, tool), wanted, normal))
        files = wanted_files({plan.tool.family: plan.wanted for plan in plans if plan.wanted.chains})
        changing = [plan for plan in plans if plan.changed]
        to_write = documents(root, files)
        saving = bool(to_write) or unit_differs(root, files)
        pending = 0
        if changing or saving:
            check_systemd(runner, root)
            if not module.check_mode:
                forget_old(root)
                # Rules that the kernel has already may be those of a lock-out that was never confirmed, and this
                # connection may be older than they are: files wait for a confirmation too.
                begin(runner, change, changing, files, request.rollback_seconds)
                pending = request.rollback_seconds
        backend = tools[0].backend if tools else ""
        notes = read_notes(root, backend) if request.chains else []
    for plan in plans:
        notes += accepted_before(Path(plan.tool.iptables).name, "".join(plan.wanted.jumps), plan.earlier)
    for note in notes:
        module.warn(f"Found: {note.found}. To do: {note.remedy}.")
    if taken_back:
        module.warn("An earlier change of the packet filter was never confirmed and was taken back by its timer.")
    loaded = {rules_path(plan.tool.family) for plan in changing}
    shown = [document for document, _mode in to_write if not document.path.endswith(tuple(loaded) or "\0")]
    ours = [plan.after if request.chains else plan.before for plan in plans]
    return {
        "changed": bool(changing or saving),
        "pending": pending,
        "loaded": bool(changing),
        "backend": backend,
        "families": [plan.tool.family for plan in plans if plan.wanted.chains],
        "chains": list(dict.fromkeys(name for rules in ours for name in rules.names)),
        "previous": chains_before(plans),
        "files": [document.path for document, _mode in to_write],
        "persistence": [note._asdict() for note in notes],
        "earlier_change_rolled_back": taken_back,
        "diff": [plan.diff() for plan in changing] + [document.diff() for document in shown],
    }
