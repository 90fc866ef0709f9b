# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable from any checkout and reads recorded outputs."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).resolve().parent / "fixtures"


def _make_collection_importable() -> None:
    """Register ansible_collections.groundplane.kubeadm for a checkout that lies in a folder of any name."""
    if importlib.util.find_spec("ansible_collections") is not None:
        try:
            if importlib.util.find_spec("ansible_collections.groundplane.kubeadm") is not None:
                return
        except ModuleNotFoundError:
            pass
    for name, path in (
        ("ansible_collections", None),
        ("ansible_collections.groundplane", None),
        ("ansible_collections.groundplane.kubeadm", ROOT),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)] if path else []
        sys.modules[name] = package


_make_collection_importable()
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def fixture_text():
    """Read a recorded output below tests/unit/fixtures."""

    def read(name: str) -> str:
        return (FIXTURES / name).read_text(encoding="utf-8")

    return read
