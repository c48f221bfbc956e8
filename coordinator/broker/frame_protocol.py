"""The asyncio protocol between the socket and the client library: frequent frames bypass the library.

For each message the library makes several objects and a task. This protocol passes the frames of an attached channel
directly to that channel, and all other frames to the library. Everything that one step of the event loop writes here
goes out in one piece, and always before what the library writes later.
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
"""Seconds between fake heartbeats for the library while all frames bypass it; else it would think the broker dead."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
FrameHandler = Callable[[int, bytes, int, int], bool]
"""Takes a frame's type, the bytes, and where in them its payload starts and ends; returns whether it handled it."""


class FrameProtocol(asyncio.StreamReaderProtocol):
    """The asyncio protocol of one connection."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._loop = loop
        self._reader = reader
        self._socket: asyncio.WriteTransport | None = None
        self._handlers: dict[int, FrameHandler] = {}
        self._rest = b""
        self._passed_at = 0.0
        self._is_plain = False
        self._has_finished = False
        self._outgoing: list[bytes] = []
        self._at_flush: list[Callable[[], None]] = []
        self._is_flushing = False

    def attach(self, channel: int, handle: FrameHandler) -> None:
        """Offer a channel's frames to this handler first."""
        self._handlers[channel] = handle

    def detach(self, channel: int) -> None:
        """Pass a channel's frames only to the library."""
        self._handlers.pop(channel, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        super().connection_made(transport)
        self._socket = cast("asyncio.WriteTransport", transport)  # uvloop's class does not derive from it

    def data_received(self, data: bytes) -> None:
        """Pass whole frames to the handlers or to the library, and keep an incomplete one."""
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
            if data[end - 1] != frames.END:  # not a frame: the broker rejects this version of AMQP
                self._is_plain = True
                end = size
            elif (handle := self._handlers.get(channel)) is not None and handle(kind, data, at + 7, end - 1):
                passed.append(data[kept:at])
                kept = end
            at = end
        passed.append(data[kept:at])
        self._rest = data[at:]
        self._pass_to_library(b"".join(passed))

    def eof_received(self) -> bool | None:
        """Pass the rest to the library; it decides what an incomplete frame means."""
        self._reader.feed_data(self._rest)
        return super().eof_received()

    def send(self, *data: bytes) -> None:
        """Write, together with everything else that this step of the event loop writes."""
        self._outgoing += data
        self._flush_soon()

    def before_flush(self, write: Callable[[], None]) -> None:
        """Call this at the end of this step of the event loop, just before its output is written."""
        self._at_flush.append(write)
        self._flush_soon()

    def flush(self) -> None:
        """Write the collected output now."""
        self._is_flushing = False
        while self._at_flush:
            self._at_flush.pop()()
        if self._outgoing and self._socket is not None:
            data, self._outgoing = b"".join(self._outgoing), []
            if not self._has_finished:
                self._socket.write(data)

    def finish(self) -> None:
        """Write the collected output, and drop all later output: the library has closed its side."""
        self.flush()
        self._has_finished = True

    def abort(self) -> None:
        """Close the socket at once, and drop what is not written yet."""
        if self._socket is not None:
            self._socket.abort()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)

    def _pass_to_library(self, data: bytes) -> None:
        """Pass frames to the library, or a fake heartbeat when all frames of late bypassed it."""
        now = self._loop.time()
        if data:
            self._passed_at = now
            super().data_received(data)
        elif now - self._passed_at > ALIVE_EVERY and not self._is_plain:
            self._passed_at = now
            super().data_received(frames.HEARTBEAT)


class _Writer(asyncio.StreamWriter):
    """The library's writer. It flushes the protocol first, so that output stays in order."""

    def __init__(
        self, protocol: FrameProtocol, transport: asyncio.WriteTransport, reader: asyncio.StreamReader
    ) -> None:
        super().__init__(transport, protocol, reader, asyncio.get_running_loop())
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._protocol.flush()
        super().write(data)

    def write_eof(self) -> None:
        self._protocol.finish()
        super().write_eof()


class FrameTransportFactory(TransportFactory):
    """Opens the socket of one connection with a `FrameProtocol` on it."""

    def __init__(self) -> None:
        self.protocol: FrameProtocol | None = None

    async def create(self, url: URL, **kwargs: Any) -> Streams:  # noqa: ANN401 - the library's
        """Connect.

        Raises:
            AMQPConnectionError: no broker answers there. It is the library's own error because the library calls this.
        """
        provider: SSLContextProvider = kwargs.pop("ssl_context_provider")
        tls = await provider.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = FrameProtocol(reader, loop)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, url.host or "", url.port or 0, ssl=tls, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.protocol = protocol
        return reader, _Writer(protocol, transport, reader)
