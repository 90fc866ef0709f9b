# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change in the kernel, and how it is undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_kernel import (
    Found,
    Tool,
    chain_lines,
    table,
    target,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._firewall_rules import IPV4, RuleSet, words


@dataclass(frozen=True)
class FamilyPlan:
    """The way of one family from what is to what shall be.

    :arg before: what is ours in the kernel.
    :arg after: what will be, as the kernel prints it.
    :arg wanted: the same as it is loaded and kept in a file.
    :arg earlier: rules of INPUT that let packets in before they come to our chains, and go on doing so.
    """

    tool: Tool
    before: RuleSet
    after: RuleSet
    wanted: RuleSet
    earlier: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the kernel has to change."""
        return self.before != self.after

    @property
    def stale(self) -> tuple[str, ...]:
        """Chains of ours that nobody wants any more."""
        return tuple(name for name in self.before.names if name not in self.after.names)

    @property
    def new(self) -> tuple[str, ...]:
        """Chains that were not there."""
        return tuple(name for name in self.after.names if name not in self.before.names)

    def restore_lines(self) -> list[str]:
        """Everything this family needs, in one piece for iptables-restore.

        Foreign rules of INPUT keep their places: kubelet and kube-proxy insert theirs before ours at any time, so only
        the presence of the jump counts. Several jumps become one at the top, which filters no less than they did.
        """
        lines = chain_lines(self.wanted.chains, self.stale)
        surplus, missing = _difference(self.before.jumps, self.after.jumps)
        lines += [jump.replace("-A INPUT", "-D INPUT", 1) for jump in surplus]
        lines += [jump.replace("-A INPUT", "-I INPUT 1", 1) for jump in missing]
        return lines + [f"-X {name}" for name in self.stale]

    def rollback_text(self) -> str:
        """Input of iptables-restore that fills our chains as they were, whatever has become of them."""
        return table(chain_lines(self.before.chains, self.new))

    def diff(self) -> dict[str, str]:
        """Entry of the module's diff."""
        name = f"{self.tool.family}, table filter"
        return {
            "before_header": name,
            "after_header": name,
            "before": self.before.describe(),
            "after": self.after.describe(),
        }


def decide(tool: Tool, found: Found, wanted: RuleSet, normal: RuleSet) -> FamilyPlan:
    """Plan for one family.

    :arg wanted: rules as they are loaded; no chains when all of ours shall go.
    :arg normal: the same as the kernel prints them.
    """
    before = found.own.ordered(normal.names)
    # A jump with conditions is somebody's addition and stays as long as its chain does.
    kept = tuple(jump for jump in before.jumps if target(jump) in normal.names and jump not in normal.jumps)
    # The order among jumps is not compared: only what is there counts.
    jumps = normal.jumps + kept
    if sorted(before.jumps) == sorted(jumps):
        jumps = before.jumps
    # Any other jump is inserted at the top.
    stays = bool(normal.jumps) and all(before.jumps.count(jump) == 1 for jump in normal.jumps)
    plan = FamilyPlan(tool, before, normal._replace(jumps=jumps), wanted, found.earlier if stays else ())
    in_the_way = [rule for rule in found.foreign if target(rule) in plan.stale]
    if in_the_way:
        raise GroundplaneError(
            f"Found rules of others that lead into chains to be removed: {'; '.join(in_the_way)}",
            expected="only INPUT to lead into our chains",
            remedy="remove these rules. Nothing was changed",
        )
    return plan


def chains_before(plans: Sequence[FamilyPlan]) -> list[dict[str, Any]]:
    """Chains as they were, in the form of the module's option, so that they can be put back with it."""
    jumps = [words(jump) for plan in plans for jump in plan.before.jumps]
    # A jump with conditions is somebody's addition, which stays by itself.
    hooks = [jump[3] for jump in jumps if jump[:3] == ["-A", "INPUT", "-j"] and len(jump) == 4]
    texts: dict[str, list[str]] = {}
    for plan in plans:
        family = "-4" if plan.tool.family == IPV4 else "-6"
        for chain in plan.before.chains:
            rules = (rule[len(f"-A {chain.name}") :] for rule in chain.rules)
            texts.setdefault(chain.name, []).extend(f"{family}{rule}" for rule in rules)
    return [{"name": name, "hook": name in hooks[:1], "text": text} for name, text in texts.items()]


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """Jumps to delete, one entry for each time, and jumps to insert."""
    surplus: list[str] = []
    missing: list[str] = []
    for jump in dict.fromkeys([*before, *after]):
        there, wanted = before.count(jump), after.count(jump)
        if there > wanted:
            surplus += [jump] * there
            missing += [jump] * wanted
        elif wanted > there:
            missing.append(jump)
    return surplus, missing
