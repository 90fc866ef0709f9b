# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts pip into a virtual environment that has none, from the wheel that Python itself carries.

ansible-test makes its environments without pip and downloads a script for this step. Standing at the place where
ansible-test keeps that script, this one spares the download, which many networks do not let through.
"""

from __future__ import annotations

import runpy
import subprocess
import sys

# In a process of its own: ensurepip switches pip's configuration off for the process it runs in.
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
requirements = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.argv[1:] = ["install", "--quiet", *requirements]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
