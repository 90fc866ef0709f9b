# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for conditions and locks."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import exclusive, wait_until


def test_condition_that_comes_true() -> None:
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), timeout=60, interval=0)


def test_condition_that_never_does() -> None:
    asked = []
    assert not wait_until(lambda: bool(asked.append(None)), timeout=0, interval=0)
    assert len(asked) == 1


def test_lock_is_held_and_let_go(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "lock"
    with exclusive(lock, timeout=0), pytest.raises(GroundplaneError, match="another run"), exclusive(lock, timeout=0):
        pass
    with exclusive(lock, timeout=0):
        assert lock.exists()
