# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of preflight checks says what the registries say."""

from __future__ import annotations

from tests.tools.generate_preflight_reference import PAGE, chapters, render


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render(chapters()), (
        "docs/preflight_checks.md is out of date; write it by python -m tests.tools.generate_preflight_reference"
    )
