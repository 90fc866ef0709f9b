# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors that module_utils raise and module entry points report."""

from __future__ import annotations

from typing import Any, Mapping


class GroundplaneError(Exception):
    """A condition that stops a module, with what an operator needs to act on it.

    :arg found: what is there.
    :arg expected: what should be there instead.
    :arg remedy: what to do about it.
    :arg facts: further values for the module's result, never secret.
    """

    def __init__(
        self,
        found: str,
        *,
        expected: str = "",
        remedy: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.facts = dict(facts or {})
        parts = [found, expected and "Expected: " + expected, remedy and "To do: " + remedy]
        super().__init__(" ".join(part.rstrip(".") + "." for part in parts if part))
