# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of kernel_settings on a made-up machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kernel_settings import Kernel
from ansible_collections.groundplane.kubeadm.plugins.modules import kernel_settings

RunMain = Callable[..., Dict[str, Any]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a machine that has overlay and forwards nothing yet."""
    (tmp_path / "proc/sys/net/ipv4").mkdir(parents=True)
    (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("0\n")
    (tmp_path / "proc/filesystems").write_text("nodev\toverlay\n")
    monkeypatch.setattr(kernel_settings, "running_kernel", lambda: Kernel(tmp_path, "6.12.0"))
    return tmp_path


def options(machine: Path, **more: Any) -> dict[str, Any]:
    return {
        "modules": ["overlay"],
        "sysctls": {"net.ipv4.ip_forward": 1},
        "modules_path": str(machine / "etc/modules-load.d/kubernetes.conf"),
        "sysctls_path": str(machine / "etc/sysctl.d/99-kubernetes.conf"),
        **more,
    }


def test_check_run_again(machine: Path, run_main: RunMain) -> None:
    predicted = run_main(kernel_settings, options(machine), check=True, diff=True)
    assert not (machine / "etc").exists()
    assert (machine / "proc/sys/net/ipv4/ip_forward").read_text() == "0\n"

    done = run_main(kernel_settings, options(machine), diff=True)
    assert done == {**predicted, "invocation": done["invocation"]}
    assert done["changed"] is True
    assert done["written"] == {"net.ipv4.ip_forward": "1"}
    assert done["loaded"] == []
    assert done["files"] == [options(machine)["modules_path"], options(machine)["sysctls_path"]]
    assert (machine / "etc/modules-load.d/kubernetes.conf").read_text().endswith("\noverlay\n")
    assert (machine / "etc/sysctl.d/99-kubernetes.conf").read_text().endswith("\nnet.ipv4.ip_forward = 1\n")
    assert (machine / "proc/sys/net/ipv4/ip_forward").read_text() == "1\n"

    assert run_main(kernel_settings, options(machine))["changed"] is False
    assert run_main(kernel_settings, options(machine), check=True)["changed"] is False


def test_absent_keeps_running_values(machine: Path, run_main: RunMain) -> None:
    run_main(kernel_settings, options(machine))

    assert run_main(kernel_settings, options(machine, state="absent"))["changed"] is True
    assert not Path(options(machine)["modules_path"]).exists()
    assert not Path(options(machine)["sysctls_path"]).exists()
    assert (machine / "proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
    assert run_main(kernel_settings, options(machine, state="absent"))["changed"] is False


def test_warning_reaches_the_operator(machine: Path, run_main: RunMain) -> None:
    (machine / "etc").mkdir()
    (machine / "etc/sysctl.conf").write_text("net.ipv4.ip_forward = 0\n")

    assert "sysctl.conf sets net.ipv4.ip_forward = 0" in str(run_main(kernel_settings, options(machine))["warnings"])


def test_missing_module_is_an_error_in_check_mode_too(machine: Path, run_main: RunMain) -> None:
    result = run_main(kernel_settings, options(machine, modules=["br_netfilter"]), check=True)

    assert result["failed"] is True
    assert "no module br_netfilter" in result["msg"]
