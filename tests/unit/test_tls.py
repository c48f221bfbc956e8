"""What programs that speak TLS do with connections that do not come into being."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from coordinator.tls import close_unfinished
from tests.helpers.support import DEADLINE


async def test_cancelled_handshake() -> None:
    """A request that is cancelled while its handshake is not answered takes its socket along."""
    greeted, closed = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        greeted.set()
        await reader.read()
        closed.set()
        writer.close()

    hooks = {"request": [close_unfinished]}
    async with (
        await asyncio.start_server(mute, "127.0.0.1", 0) as server,
        httpx.AsyncClient(trust_env=False, event_hooks=hooks) as http,
        asyncio.timeout(DEADLINE),
    ):
        port = server.sockets[0].getsockname()[1]
        request = asyncio.create_task(http.get(f"https://127.0.0.1:{port}/"))
        await greeted.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await closed.wait()
