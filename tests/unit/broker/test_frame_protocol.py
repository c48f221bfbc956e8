"""Output that bypasses the library goes out before its end of stream, and never after."""

from __future__ import annotations

import asyncio
from typing import Any

from yarl import URL

from coordinator.broker.frame_protocol import FrameTransportFactory
from tests.helpers.support import eventually


async def test_nothing_is_written_after_the_librarys_last_word() -> None:
    """An ack or a publishing that comes too late is dropped: its connection's end tells the rest."""
    came = bytearray()
    ended = asyncio.Event()
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.extend(await reader.read())
        ended.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        factory = FrameTransportFactory()
        _, writer = await factory.create(URL(f"amqp://127.0.0.1:{port}"), ssl_context_provider=None)
        protocol = factory.protocol
        assert protocol is not None
        protocol.send(b"before")
        writer.write_eof()
        protocol.send(b"after")
        late: list[str] = []
        protocol.before_flush(lambda: late.append("ack"))
        await eventually(lambda: late, "the next flush")
        async with asyncio.timeout(5):
            await ended.wait()
        writer.close()
    assert bytes(came) == b"before"
    assert problems == []
