# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the nodes get Kubernetes from: its official places, or programs that the lab builds itself.

Nodes of an `upstream` lab have a way out of their network, since they download like any user's machines. Nodes of a
`built` lab have none.
"""

from __future__ import annotations

import enum
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.lab.process import LabError
from tests.lab.versions import kubernetes_version, minor

OVERRIDE = "GROUNDPLANE_LAB_SOURCE"
OFFICIAL_PLACES = (
    f"https://pkgs.k8s.io/core:/stable:/{minor(kubernetes_version())}/deb/Release.key",
    "https://registry.k8s.io/v2/",
)
PATIENCE_SECONDS = 3.0


class Source(enum.Enum):
    """Origin of packages, images and manifests."""

    UPSTREAM = "upstream"
    BUILT = "built"


@dataclass(frozen=True)
class Decision:
    """A source and the reason for it."""

    source: Source
    reason: str

    @property
    def way_out(self) -> bool:
        """Whether nodes may reach places outside the lab."""
        return self.source is Source.UPSTREAM


def decide(environment: Mapping[str, str], answers: Callable[[str], bool] | None = None) -> Decision:
    """Take the source the user asks for, else the official places when they answer, else the lab's own build."""
    override = environment.get(OVERRIDE)
    if override:
        return Decision(_named(override), f"{OVERRIDE} says so")
    with ThreadPoolExecutor() as pool:
        answered = list(pool.map(answers or _answers, OFFICIAL_PLACES))
    silent = [place for place, answer in zip(OFFICIAL_PLACES, answered, strict=True) if not answer]
    if silent:
        return Decision(Source.BUILT, f"no answer within {PATIENCE_SECONDS:g} s from {' and '.join(silent)}")
    return Decision(Source.UPSTREAM, f"{' and '.join(OFFICIAL_PLACES)} answer")


def _named(name: str) -> Source:
    try:
        return Source(name)
    except ValueError as error:
        choices = " or ".join(source.value for source in Source)
        raise LabError(f"{OVERRIDE} is `{name}`; set it to {choices}, or leave it empty.") from error


def _answers(url: str) -> bool:
    """A registry may ask who is calling; any other refusal comes from something in between."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
