# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that writes numbers into the cluster without a pause and remembers which the API has acknowledged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.support.api import ApiClient, NoAnswerError
from tests.e2e.support.steady import SteadyClient

INTERVAL_SECONDS = 0.2
TIMEOUT_SECONDS = 1.0
READING_SECONDS = 30.0

#: Each number is a key of its own; many small ConfigMaps are cheaper to patch than one that grows.
NUMBERS_IN_A_CONFIG_MAP = 100
LABEL = "steady-writer"
PATH = "/api/v1/namespaces/default/configmaps"
MERGE_PATCH = "application/merge-patch+json"


class Writer(SteadyClient):
    """Writes 0, 1, 2, ... A number that was not acknowledged is written again before the next one."""

    def __init__(self, kubeconfig: Path, address: str) -> None:
        """Write through the API at an address, as the owner of a kubeconfig."""
        super().__init__(INTERVAL_SECONDS)
        self._api = ApiClient(kubeconfig, address, timeout=TIMEOUT_SECONDS)
        self._reader = ApiClient(kubeconfig, address, timeout=READING_SECONDS)
        self.acknowledged = 0

    def ask(self) -> None:
        """Write the next number, which also is the register of the ConfigMap."""
        number = self.acknowledged
        name = f"{LABEL}-{number // NUMBERS_IN_A_CONFIG_MAP}"
        data = {_key(number): "", "register": str(number)}
        status, answer = self._api.request("PATCH", f"{PATH}/{name}", {"data": data}, MERGE_PATCH)
        if status == 404:
            metadata = {"name": name, "labels": {"app": LABEL}}
            status, answer = self._api.request("POST", PATH, {"metadata": metadata, "data": data})
        if status not in (200, 201):
            raise NoAnswerError(f"{status} {answer}")
        missing = [str(earlier) for earlier in self._in_same_map(number) if _key(earlier) not in answer["data"]]
        assert not missing, f"{name} had lost the acknowledged numbers {', '.join(missing)} when {number} was written"
        assert answer["data"]["register"] == str(number), f"{name} took {number} but says {answer['data']['register']}"
        self.acknowledged = number + 1

    def lost(self) -> list[int]:
        """Acknowledged numbers that the cluster does not hold, or that its registers are behind of."""
        acknowledged = self.acknowledged
        status, answer = self._reader.request("GET", f"{PATH}?labelSelector=app%3D{LABEL}")
        assert status == 200, answer
        found: dict[str, Any] = {key: item["data"] for item in answer["items"] for key in item["data"]}
        registers = [int(item["data"]["register"]) for item in answer["items"]]
        lost = [number for number in range(acknowledged) if _key(number) not in found]
        return lost + list(range(max(registers, default=-1) + 1, acknowledged))

    @staticmethod
    def _in_same_map(number: int) -> range:
        return range(number - number % NUMBERS_IN_A_CONFIG_MAP, number + 1)


def _key(number: int) -> str:
    return f"n{number}"
