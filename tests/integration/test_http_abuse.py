"""Clients that send rubbish, or half of what they began, or nothing: each is told or cut off, others are served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from starlette.types import Receive, Scope, Send

from coordinator.http.app import create_app
from coordinator.http.limits import Limits
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.support import DEADLINE, PREFIX, client_of, eventually, serving_app

HEAD = f"POST {PREFIX}/release/seed HTTP/1.1\r\nHost: localhost\r\n".encode()

RUBBISH = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n", 400),
    (b"HELLO\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)), 431),
    (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 100_000, 431),
    (b"GET /" + b"y" * 100_000, 431),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000, 431),
]
"""What is no request, and the status that it is answered with."""


@contextlib.asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Limits]]:  # noqa: ANN401 - any setting
    """A coordinator without a broker: what is tried here does not come that far."""
    settings = Settings(**limits)
    app = create_app(Coordinator(settings))
    async with serving_app(app, settings) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client, app.state.limits


@contextlib.asynccontextmanager
async def connected(client: httpx.AsyncClient) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of bytes."""
    parts = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server ends the connection."""
    async with asyncio.timeout(DEADLINE):
        return await reader.read()


def assert_refused(answer: bytes, status: int) -> None:
    """The answer has this status, is JSON with a message, and was the connection's last."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"content-type: application/json" in head.lower()
    assert b"connection: close" in head.lower()
    assert orjson.loads(body)["message"]


async def assert_alive(client: httpx.AsyncClient) -> None:
    """The server serves."""
    assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize(("sent", "status"), RUBBISH, ids=range(len(RUBBISH)))
async def test_what_is_no_request(sent: bytes, status: int) -> None:
    """What is no request is refused in JSON, by its status, and without waiting for its end."""
    async with served() as (client, limits), connected(client) as (reader, writer):
        writer.write(sent)
        assert_refused(await rest_of(reader), status)
        await assert_alive(client)
        await eventually(lambda: limits.bodies.used == 0, "its body to be forgotten")


async def test_heads_that_do_not_come() -> None:
    """A head that stops half-way is 408 in time, however slowly it trickles; a connection that is silent ends."""
    async with served(head_timeout=0.5) as (client, _), contextlib.AsyncExitStack() as stack:
        halves = []
        for _ in range(100):
            halves.append(await stack.enter_async_context(connected(client)))
            halves[-1][1].write(b"GET / HTTP/1.1\r\nHo")
        silent = [await stack.enter_async_context(connected(client)) for _ in range(100)]
        await assert_alive(client)

        async def trickle(writer: asyncio.StreamWriter) -> None:
            for number in range(10_000):
                writer.write(b"X-%d: y\r\n" % number if number else b"st: h\r\n")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle(halves[0][1]))
        with contextlib.suppress(ConnectionResetError):  # by what trickles in after the answer, which is lost with it
            assert_refused(await rest_of(halves[0][0]), 408)
        for reader, _ in halves[1:]:
            assert_refused(await rest_of(reader), 408)
        for reader, _ in silent:
            assert await rest_of(reader) == b""
        trickling.cancel()
        await assert_alive(client)


async def test_half_a_head_after_a_whole_request() -> None:
    """On a connection that has served a request, half a head does not wait without end either."""
    async with served(head_timeout=0.3) as (client, _), connected(client) as (reader, writer):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert orjson.loads(await reader.readexactly(len(b'{"message":"alive"}')))
        writer.write(b"GET / HT")
        assert_refused(await rest_of(reader), 408)


async def test_the_rest_of_a_refused_body() -> None:
    """Who goes on sending a body that was refused is cut off in time."""
    async with served(max_body=1024, head_timeout=0.3) as (client, limits), connected(client) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 100000000\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")

        async def go_on() -> None:
            while not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.01)

        sending = asyncio.create_task(go_on())
        with contextlib.suppress(ConnectionResetError):
            await rest_of(reader)
        sending.cancel()
        assert limits.bodies.used == 0


async def test_connections_that_come_and_go() -> None:
    """Connections that end at any point of a request leave nothing behind, and hinder nobody."""
    async with served() as (client, limits):
        before = len(asyncio.all_tasks())
        for piece in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", HEAD + b"Content-Length: 9\r\n\r\n{"):

            async def come_and_go(piece: bytes = piece) -> None:
                async with connected(client) as (_, writer):
                    writer.write(piece)

            for _ in range(5):
                await asyncio.gather(*(come_and_go() for _ in range(50)))
                await assert_alive(client)
        await eventually(lambda: len(asyncio.all_tasks()) <= before, "all of them to be forgotten")
        assert limits.bodies.used == 0


async def test_too_many_connections() -> None:
    """Beyond its limit a connection is told so and ended; when others end there is room again."""
    async with served(max_connections=5) as (client, _), contextlib.AsyncExitStack() as stack:
        await assert_alive(client)
        for _ in range(4):
            _, writer = await stack.enter_async_context(connected(client))
            writer.write(b"GET")
        async with connected(client) as (reader, _):
            answer = await rest_of(reader)
            assert_refused(answer, 429)
            assert b"limit of 5 connections is reached (COORDINATOR_MAX_CONNECTIONS)" in answer
            assert b"retry-after: 1" in answer.lower()
        await assert_alive(client)
        await stack.aclose()
        await assert_alive(client)
        async with connected(client) as (reader, writer):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_an_answer_that_is_not_read() -> None:
    """A client that does not read its answer is cut off in time, and the answer forgotten."""
    ended = asyncio.Event()

    async def large(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _number in range(500):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        ended.set()

    settings = Settings(body_timeout=0.3)
    async with (
        serving_app(large, settings) as url,
        client_of(url) as client,
        connected(client) as (reader, writer),
    ):
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        begin = await reader.readexactly(100)
        async with asyncio.timeout(DEADLINE):
            await ended.wait()
        assert begin.startswith(b"HTTP/1.1 200 ")
