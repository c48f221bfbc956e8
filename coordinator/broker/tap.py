"""A tap between the socket and the client library: what passes thousands of times a second goes past the library.

The library makes several objects, and a task, for each message. A tap gives the frames of a channel that asks for
them to that channel at once, and the rest to the library. What is written here goes out in one piece with all that
the same step of the event loop writes, and never behind what the library writes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from coordinator.broker import frames

log = structlog.get_logger(__name__)

ALIVE_EVERY: Final = 1.0
"""Seconds between heartbeats that the library is shown while all frames go past it: it would think the broker dead."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Sink = Callable[[int, bytes, int, int], bool]
"""Is given a frame's kind, bytes, and where in these its payload begins and ends; says whether it is dealt with."""


class Tap(asyncio.StreamReaderProtocol):
    """The protocol of one connection."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._loop = loop
        self._reader = reader
        self._socket: asyncio.WriteTransport | None = None
        self._sinks: dict[int, Sink] = {}
        self._rest = b""
        self._shown = 0.0
        self._is_plain = False
        self._has_finished = False
        self._outgoing: list[bytes] = []
        self._at_flush: list[Callable[[], None]] = []
        self._is_flushing = False

    def attach(self, channel: int, sink: Sink) -> None:
        """Give a channel's frames to this sink first."""
        self._sinks[channel] = sink

    def detach(self, channel: int) -> None:
        """Give a channel's frames to the library alone."""
        self._sinks.pop(channel, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        super().connection_made(transport)
        self._socket = cast("asyncio.WriteTransport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Share what came: whole frames to sinks or the library, the beginning of another is kept."""
        if self._is_plain:
            super().data_received(data)
            return
        data = self._rest + data if self._rest else data
        at, kept, size = 0, 0, len(data)
        passed: list[bytes] = []
        while size - at >= frames.AROUND:
            kind, channel, length = frames.PREAMBLE.unpack_from(data, at)
            end = at + frames.AROUND + length
            if end > size:
                break
            if data[end - 1] != frames.END:  # no frames: the answer to a version of AMQP that the broker has not
                self._is_plain = True
                end = size
            elif (sink := self._sinks.get(channel)) is not None and sink(kind, data, at + 7, end - 1):
                passed.append(data[kept:at])
                kept = end
            at = end
        passed.append(data[kept:at])
        self._rest = data[at:]
        self._show(b"".join(passed))

    def eof_received(self) -> bool | None:
        """Nothing comes any more: the library judges what is left."""
        self._reader.feed_data(self._rest)
        return super().eof_received()

    def send(self, *data: bytes) -> None:
        """Write, together with all else of this step of the event loop."""
        self._outgoing += data
        self._flush_soon()

    def before_flush(self, write: Callable[[], None]) -> None:
        """Call this once all is written that this step of the event loop has to write."""
        self._at_flush.append(write)
        self._flush_soon()

    def flush(self) -> None:
        """Write now."""
        self._is_flushing = False
        while self._at_flush:
            self._at_flush.pop()()
        if self._outgoing and self._socket is not None:
            data, self._outgoing = b"".join(self._outgoing), []
            if not self._has_finished:
                self._socket.write(data)

    def finish(self) -> None:
        """Write what there is, and nothing from then on: the library has said its last word."""
        self.flush()
        self._has_finished = True

    def abort(self) -> None:
        """Let go of the socket, whatever is still to be said."""
        if self._socket is not None:
            self._socket.abort()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)

    def _show(self, data: bytes) -> None:
        """Give the library its frames; a heartbeat when all the frames that came went past it."""
        now = self._loop.time()
        if data:
            self._shown = now
            super().data_received(data)
        elif now - self._shown > ALIVE_EVERY and not self._is_plain:
            self._shown = now
            super().data_received(frames.HEARTBEAT)


class _Writer(asyncio.StreamWriter):
    """The library's writer: what was to go out before goes out before."""

    def __init__(self, tap: Tap, transport: asyncio.WriteTransport, reader: asyncio.StreamReader) -> None:
        super().__init__(transport, tap, reader, asyncio.get_running_loop())
        self._tap = tap

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._tap.flush()
        super().write(data)

    def write_eof(self) -> None:
        self._tap.finish()
        super().write_eof()


class Taps(TransportFactory):
    """Opens the socket of one connection with a tap in it."""

    def __init__(self) -> None:
        self.tap: Tap | None = None

    async def create(self, url: URL, **kwargs: Any) -> Streams:  # noqa: ANN401 - the library's
        """Connect.

        Raises:
            AMQPConnectionError: nobody answers there; the library's own error, since the library calls this.
        """
        provider: SSLContextProvider = kwargs.pop("ssl_context_provider")
        tls = await provider.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        tap = Tap(reader, loop)
        try:
            transport, _ = await loop.create_connection(lambda: tap, url.host or "", url.port or 0, ssl=tls, **kwargs)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.tap = tap
        return reader, _Writer(tap, transport, reader)
