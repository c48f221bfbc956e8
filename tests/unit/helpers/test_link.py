"""The network of a test: what is done to it has taken effect when the call returns, or is an error that says so."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

import pytest

from tests.helpers import proof
from tests.helpers.link import HOST, Link

Ends = tuple[StreamReader, StreamWriter]


async def end(writer: StreamWriter) -> None:
    """End a connection, and wait until it is closed."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A way to an echo."""
    accepted: list[StreamWriter] = []

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        accepted.append(writer)
        with contextlib.suppress(OSError):
            while chunk := await reader.read(100):
                writer.write(chunk)

    server = await asyncio.start_server(echo, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    way = Link("test")
    await way.listen(lambda: [(HOST, port)])
    yield way
    await way.close()
    server.close()
    for writer in accepted:
        await end(writer)


@pytest.fixture
async def client(link: Link) -> AsyncIterator[Ends]:
    """A connection over the link, which has carried something."""
    reader, writer = await asyncio.open_connection(HOST, link.ports[0])
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    yield reader, writer
    await end(writer)


async def test_what_is_swallowed_arrives_once_it_is_healed(link: Link, client: Ends) -> None:
    """A black hole holds back what is sent, on connections old and new."""
    reader, writer = client
    await link.swallow()
    writer.write(b"later")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.readexactly(5)
    await link.heal()
    async with asyncio.timeout(5):
        assert await reader.readexactly(5) == b"later"


async def test_a_cut_ends_what_is_open_and_nothing_else(link: Link, client: Ends) -> None:
    """Its client hears of it; a new connection gets through."""
    await link.cut()
    async with asyncio.timeout(5):
        assert await client[0].read(1) == b""
    _, writer = await asyncio.open_connection(HOST, link.ports[0])
    await link.heal()
    await end(writer)


async def test_a_link_that_does_not_swallow(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which connection got an answer."""
    monkeypatch.setattr(link, "_swallow", lambda: None)
    with pytest.raises(AssertionError, match="test swallows nothing: an open connection answers b'probe'"):
        await link.swallow()


async def test_a_link_that_swallows_new_connections_alone(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open connection is a way, too."""

    async def deaf(reader: StreamReader, writer: StreamWriter) -> None:
        while chunk := await reader.read(100):
            writer.write(chunk)

    monkeypatch.setattr(link, "_pump", deaf)
    with pytest.raises(AssertionError, match="an open connection answers"):
        await link.swallow()


async def test_a_link_that_does_not_heal(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that a probe gets no answer."""
    await link.swallow()
    monkeypatch.setattr(link, "_heal", lambda: None)
    monkeypatch.setattr("tests.helpers.link.CONNECT", 0.1)
    with pytest.raises(AssertionError, match="a probe over the link test gets no answer: TimeoutError"):
        await link.heal()


async def test_a_link_that_does_not_cut(link: Link, client: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what is still established."""
    port = client[1].get_extra_info("sockname")[1]
    monkeypatch.setattr(link, "_abort", lambda: None)
    monkeypatch.setattr(proof, "DEADLINE", 0.1)
    with pytest.raises(AssertionError, match=rf"the connections over the link test are gone; .*{port}"):
        await link.cut()
    monkeypatch.undo()
