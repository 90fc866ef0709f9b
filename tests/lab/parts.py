# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of what the lab builds: the base, which every set of nodes needs, and add-ons, which only some ask for."""

from __future__ import annotations

import enum


class Part(enum.Enum):
    """What is built together: programs, a manifest, images."""

    BASE = "base"
    CANAL = "canal"
    METALLB = "metallb"


ADD_ONS = tuple(part for part in Part if part is not Part.BASE)
