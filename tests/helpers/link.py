"""A TCP proxy that can cut, swallow and slow down what passes: the network between a client and its servers.

What is done to it has taken effect when the call returns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from tests.helpers.proof import proved

HOST = "127.0.0.1"
CHUNK = 65_536
CONNECT = 5.0
QUIET = 0.2
"""Seconds without an answer that prove a black hole: through a good network the probe's answer comes within 10 ms."""
PROBE = b"probe"
TCP = Path("/proc/net/tcp")
ESTABLISHED = "01"

Address = tuple[str, int]
_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
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
        self._probed: int | None = None
        """The port that leads to an echo, for probes."""

    async def listen(self, targets: Targets) -> int:
        """Listen on one more port; returns it."""
        server = await asyncio.start_server(lambda *ends: self._serve(targets, *ends), HOST, 0)
        self._servers.append(server)
        port = _port_of(server)
        self.ports.append(port)
        return port

    async def cut(self) -> None:
        """End every connection, and wait until all are gone; new ones may come at once.

        Raises:
            AssertionError: one is still established; the sentence names it.
        """
        before = {pair for writer in self._writers if (pair := _ends_of(writer)) is not None}
        self._abort()
        await proved(
            f"the connections over the link {self.name} are gone", lambda: before & established(), lambda left: not left
        )

    async def swallow(self) -> None:
        """Let nothing through in either direction, not even the end of a connection: a black hole.

        Raises:
            AssertionError: a probe gets an answer all the same, on an open connection or on a new one, or got none
                before.
        """
        async with self._probe() as old:
            await self._answers(old)
            self._swallow()
            async with self._probe() as new:
                for what, probe in (("an open", old), ("a new", new)):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(QUIET):
                            answer = await _exchange(probe)
                        raise AssertionError(f"{self.name} swallows nothing: {what} connection answers {answer!r}")

    def slow_down(self, seconds: float) -> None:
        """Hold each piece back for so long."""
        self._delay = seconds

    async def heal(self) -> None:
        """Be a good network again; what was held back arrives.

        Raises:
            AssertionError: a probe gets no answer.
        """
        self._heal()
        async with self._probe() as probe:
            await self._answers(probe)

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        for server in self._servers:
            server.close()
        writers = list(self._writers)
        self._abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *(writer.wait_closed() for writer in writers), return_exceptions=True)

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _swallow(self) -> None:
        self._open.clear()

    def _heal(self) -> None:
        self._delay = 0.0
        self._open.set()

    @contextlib.asynccontextmanager
    async def _probe(self) -> AsyncIterator[_Ends]:
        """A connection over this link to an echo.

        Not to a server of the link: it may be away or hang, which says nothing of the link.
        """
        if self._probed is None:
            echo = await asyncio.start_server(self._echo, HOST, 0)
            self._servers.append(echo)
            target = (HOST, _port_of(echo))
            self._probed = await self.listen(lambda: [target])
            self.ports.remove(self._probed)
        reader, writer = await asyncio.open_connection(HOST, self._probed)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answers(self, probe: _Ends) -> None:
        try:
            async with asyncio.timeout(CONNECT):
                await _exchange(probe)
        except (TimeoutError, OSError, EOFError) as error:
            raise AssertionError(f"a probe over the link {self.name} gets no answer: {error!r}") from error

    async def _serve(self, targets: Targets, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._note_task()
        self._writers.add(writer)
        try:
            await self._open.wait()
            server = await _connect(targets)
            if server is not None:
                await self._relay(reader, writer, *server)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send back what comes."""
        self._note_task()
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(CHUNK):
                    writer.write(chunk)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _note_task(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

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


async def _connect(targets: Targets) -> _Ends | None:
    for host, port in targets():
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT):
                return await asyncio.open_connection(host, port)
    return None


def established() -> set[tuple[int, int]]:
    """The established TCP connections of this machine over IPv4, each by the ports of its two ends."""
    rows = [line.split() for line in TCP.read_text().splitlines()[1:]]
    return {(_port(row[1]), _port(row[2])) for row in rows if row[3] == ESTABLISHED}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def _ends_of(writer: asyncio.StreamWriter) -> tuple[int, int] | None:
    """The ports of a connection's two ends; None where it is gone already."""
    here, there = (writer.get_extra_info(name) for name in ("sockname", "peername"))
    return (here[1], there[1]) if here and there else None


async def _exchange(probe: _Ends) -> bytes:
    """Send a probe, and return its echo."""
    reader, writer = probe
    writer.write(PROBE)
    return await reader.readexactly(len(PROBE))
