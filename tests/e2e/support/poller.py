# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client outside of the cluster that asks a web deployment without a pause."""

from __future__ import annotations

import http.client
from collections.abc import Sequence

from tests.e2e.support.api import NoAnswerError
from tests.e2e.support.steady import SteadyClient

INTERVAL_SECONDS = 0.2
TIMEOUT_SECONDS = 2.0


class Poller(SteadyClient):
    """Asks a port of several nodes in turn, each time over a new connection, as one user after the other does."""

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        """Remember where to ask."""
        super().__init__(INTERVAL_SECONDS)
        self._addresses = addresses
        self._port = port
        self._asked = 0

    def ask(self) -> None:
        """Ask the next node."""
        address = self._addresses[self._asked % len(self._addresses)]
        self._asked += 1
        connection = http.client.HTTPConnection(address, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read().strip():
                raise NoAnswerError(f"{address} answered {answer.status}")
        finally:
            connection.close()
