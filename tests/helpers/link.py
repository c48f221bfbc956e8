"""A TCP proxy that can cut, swallow and slow down what passes: the network between a client and its servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

HOST = "127.0.0.1"
CHUNK = 65_536
CONNECT = 5.0

Address = tuple[str, int]
Targets = Callable[[], Sequence[Address]]
"""Gives the servers to try, in order, each time somebody connects."""


class Link:
    """One client's way to its servers, on a port of its own for each list of targets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ports: list[int] = []
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._delay = 0.0

    async def listen(self, targets: Targets) -> int:
        """Listen on one more port; returns it."""
        server = await asyncio.start_server(lambda *ends: self._serve(targets, *ends), HOST, 0)
        self._servers.append(server)
        port = int(server.sockets[0].getsockname()[1])
        self.ports.append(port)
        return port

    def cut(self) -> None:
        """Reset every connection; new ones may come at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    def swallow(self) -> None:
        """Let nothing through in either direction, not even the end of a connection: a black hole."""
        self._open.clear()

    def slow_down(self, seconds: float) -> None:
        """Hold each piece back for so long."""
        self._delay = seconds

    def heal(self) -> None:
        """Be a good network again; what was held back arrives."""
        self._delay = 0.0
        self._open.set()

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        for server in self._servers:
            server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, targets: Targets, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            await self._open.wait()
            server = await _connect(targets)
            if server is not None:
                await self._relay(reader, writer, *server)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        self._writers.add(far_writer)
        try:
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer)),
                asyncio.create_task(self._pump(far_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps)
            finally:
                for pump in pumps:
                    pump.cancel()
        finally:
            self._writers.discard(far_writer)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its sender ends; then the receiver hears so."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._open.wait()
                writer.write(chunk)
                await writer.drain()
        await self._open.wait()
        with contextlib.suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()


async def _connect(targets: Targets) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for host, port in targets():
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT):
                return await asyncio.open_connection(host, port)
    return None
