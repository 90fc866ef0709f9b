# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of swap on a made-up machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.groundplane.kubeadm.plugins.modules import swap

from tests.unit.fake_runner import FakeRunner

RunMain = Callable[..., Dict[str, Any]]

FSTAB = "/dev/vda1 / ext4 defaults 0 1\n/swap.img none swap sw 0 0\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a machine with swap in fstab; it has no programs."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(FSTAB)
    monkeypatch.setattr(swap, "ROOT", tmp_path)
    monkeypatch.setattr(swap, "ModuleRunner", lambda module: FakeRunner())
    return tmp_path


def test_check_run_again(machine: Path, run_main: RunMain) -> None:
    predicted = run_main(swap, {}, check=True, diff=True)
    assert (machine / "etc/fstab").read_text() == FSTAB

    done = run_main(swap, {}, diff=True)
    assert done == {**predicted, "invocation": done["invocation"]}
    assert done["changed"] is True
    assert done["fstab_entries"] == ["/swap.img none swap sw 0 0"]
    assert (machine / "etc/fstab").read_text() == FSTAB.replace("/swap", "# groundplane.kubeadm: /swap")

    assert run_main(swap, {})["changed"] is False
    assert run_main(swap, {}, check=True)["changed"] is False


def test_fstab_is_not_written_when_only_a_device_is_active(machine: Path, run_main: RunMain) -> None:
    (machine / "etc/fstab").unlink()
    (machine / "proc").mkdir()
    (machine / "proc/swaps").write_text("Filename Type Size Used Priority\n/swap.img file 1 0 -2\n")

    result = run_main(swap, {})

    assert "The program swapoff is not installed" in result["msg"]
    assert not (machine / "etc/fstab").exists()
