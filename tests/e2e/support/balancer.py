# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer that is none of ours: it passes connections on to the first server that takes them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.lab.settings import HOST_ADDRESS

CONNECT_SECONDS = 2.0


class Balancer:
    """Listens on the lab's bridge, at a port of its own choice, from the beginning of a context to its end."""

    def __init__(self, servers: Sequence[str], port: int = 6443) -> None:
        """Remember the addresses of the servers, all with one port."""
        self._servers = servers
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.Task[None]] = set()
        #: Connections so far by the address of the client.
        self.connections: Counter[str] = Counter()
        self.address = str(HOST_ADDRESS)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        self.connections[writer.get_extra_info("peername")[0]] += 1
        try:
            for server in self._servers:
                try:
                    ends = await asyncio.wait_for(
                        asyncio.open_connection(server, self._server_port), timeout=CONNECT_SECONDS
                    )
                except OSError:
                    continue
                await asyncio.gather(_pass_on(reader, ends[1]), _pass_on(ends[0], writer))
                return
        finally:
            writer.close()
            self._open.discard(task)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, then end the other."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()
