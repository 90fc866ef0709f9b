# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is to become, as the options of modules name it."""

from __future__ import annotations

CONTROL_PLANE = "control_plane"
WORKER = "worker"
