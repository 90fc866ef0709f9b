# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of control_plane_info."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
import yaml
from ansible_collections.groundplane.kubeadm.plugins.module_utils._control_plane_info import ControlPlane
from ansible_collections.groundplane.kubeadm.plugins.module_utils._host_paths import HostPaths
from ansible_collections.groundplane.kubeadm.plugins.modules import control_plane_info

RunMain = Callable[..., Any]


@pytest.mark.parametrize("check", [False, True])
def test_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, run_main: RunMain, check: bool) -> None:
    def read(runner: Any, paths: HostPaths, **options: Any) -> ControlPlane:
        asked.append((paths, options))
        return ControlPlane(installed=True, message="refused")

    asked: list[Any] = []
    monkeypatch.setattr(control_plane_info, "read_control_plane", read)
    options = {"address": "192.0.2.11", "api_port": 8443, "cri_socket": "unix:///run/x.sock", "timeout": 60}
    result = run_main(control_plane_info, options, check=check)
    assert (result["changed"], result["installed"], result["message"]) == (False, True, "refused")
    assert asked == [(HostPaths(), options)]


def test_nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: RunMain) -> None:
    monkeypatch.setattr(control_plane_info, "HostPaths", lambda: HostPaths(tmp_path))
    result = run_main(control_plane_info, {})
    documented = yaml.safe_load(control_plane_info.RETURN)
    assert set(result) - {"changed", "invocation"} == set(documented)
    assert not any(result[name] for name in set(documented) - {"etcd"})
