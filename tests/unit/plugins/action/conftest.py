# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes action plugins as Ansible does, around a task that no playbook has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar


@pytest.fixture
def make_action() -> Callable[..., ActionBase]:
    """Make a plugin whose task has the given arguments, on a host with the given variables."""

    def make(
        plugin: type[ActionBase],
        arguments: dict[str, Any],
        *,
        variables: dict[str, Any] | None = None,
        check_mode: bool = False,
        diff: bool = False,
    ) -> ActionBase:
        loader = DataLoader()
        task = SimpleNamespace(
            action=plugin.__module__.rpartition(".")[2],
            args=arguments,
            async_val=0,
            check_mode=check_mode,
            diff=diff,
            ignore_errors=False,
            _parent=None,
        )
        return plugin(
            task=task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=None,
            loader=loader,
            templar=Templar(loader, variables=variables or {}),
            shared_loader_obj=None,
        )

    return make
