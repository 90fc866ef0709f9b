# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""podman with settings of the lab's own, whatever /etc says."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from tests.lab.process import attempt, run, wait_until
from tests.lab.settings import LABEL, Paths


def containers_conf(network_folder: Path, limits: dict[str, int], systemd_on_host: bool) -> str:
    """Text of containers.conf; runc, because crun cannot run nodes on a host with hybrid cgroups."""
    default_ulimits = json.dumps([f"{name}={limit}:{limit}" for name, limit in sorted(limits.items())])
    return "\n".join(
        (
            "[containers]",
            f"default_ulimits = {default_ulimits}",
            "[engine]",
            'runtime = "runc"',
            f'cgroup_manager = "{"systemd" if systemd_on_host else "cgroupfs"}"',
            'events_logger = "file"',
            "[network]",
            'network_backend = "netavark"',
            f'network_config_dir = "{network_folder}"',
            "",
        )
    )


class Podman:
    """Runs podman commands with the lab's settings."""

    def __init__(self, paths: Paths) -> None:
        """Remember where the lab keeps podman's settings."""
        self.network_folder = paths.state / "podman" / "networks"
        self._settings = paths.state / "podman" / "containers.conf"

    def configure(self) -> None:
        """Write the settings that every command uses."""
        self.network_folder.mkdir(parents=True, exist_ok=True)
        limits = {
            "nofile": _allowed(resource.RLIMIT_NOFILE, 1048576),
            "nproc": _allowed(resource.RLIMIT_NPROC, _pid_max()),
        }
        systemd_on_host = Path("/run/systemd/system").is_dir()
        self._settings.write_text(containers_conf(self.network_folder, limits, systemd_on_host))

    @property
    def environment(self) -> dict[str, str]:
        """Environment with which podman finds the lab's settings."""
        return {"CONTAINERS_CONF": str(self._settings)}

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run one podman command and return its output."""
        return run(["podman", *arguments], stdin=stdin, environment=self.environment)

    def containers(self) -> list[dict[str, Any]]:
        """Every container of the lab, running or not."""
        listing = self("ps", "--all", "--filter", f"label={LABEL}", "--format", "json")
        return list(json.loads(listing or "[]"))

    def volumes(self, set_name: str | None) -> list[str]:
        """Names of the volumes of one set or of all sets."""
        label = LABEL if set_name is None else f"{LABEL}={set_name}"
        return self("volume", "ls", "--quiet", "--filter", f"label={label}").split()

    def remove_container(self, name: str) -> None:
        """Remove a container; one that a killed podman left half-made may need more than one go."""
        self._insist("rm", "--force", "--ignore", "--time", "0", name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume if it is there."""
        if attempt(["podman", "volume", "exists", name], environment=self.environment).returncode == 0:
            self._insist("volume", "rm", "--force", name)

    def images(self) -> list[str]:
        """Names of every image of the lab."""
        listing = self("images", "--filter", f"label={LABEL}", "--format", "{{.Repository}}:{{.Tag}}")
        return listing.split()

    def try_to_remove_image(self, reference: str) -> None:
        """Remove an image; one that nodes still use stays until a later time."""
        attempt(["podman", "image", "rm", reference], environment=self.environment)

    def _insist(self, *arguments: str) -> None:
        command = ["podman", *arguments]
        if not wait_until(lambda: attempt(command, environment=self.environment).returncode == 0, seconds=10):
            run(command, environment=self.environment)


def _pid_max() -> int:
    """More processes than ids do not fit, which is why podman lowers its own limit to this one."""
    return int(Path("/proc/sys/kernel/pid_max").read_text())


def _allowed(kind: int, wanted: int) -> int:
    """Without CAP_SYS_RESOURCE nobody gets more than this process has."""
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
