"""Steps that many integration tests take: submit, fetch, publish, read what lies in a queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.settings import Settings
from tests.helpers.support import DEADLINE, PREFIX, client_of, eventually, items, running_coordinator, serving

Json = dict[str, Any]


def quoted(ident: str) -> str:
    """An id as a path takes it when all of it is percent-encoded; clients would drop a segment `..`."""
    return quote(ident, safe="").replace(".", "%2E")


async def put_seed(api: httpx.AsyncClient, seed: str, **spec: object) -> Json:
    """Create a seed or replace its policies; gives what the coordinator says of it."""
    answer = await api.put(f"/seed/{quoted(seed)}", json=spec)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def submit(api: httpx.AsyncClient, seed: str, given: int | list[Json]) -> list[str]:
    """Add items over HTTP; gives their ids."""
    page = items(given, f"{seed}-") if isinstance(given, int) else given
    answer = await api.post(f"/seed/{quoted(seed)}/items", json=page)
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == len(page)
    return [item["id"] for item in page]


async def fetch(api: httpx.AsyncClient, count: int = 1, *, worker: str = "w", tags: str = "") -> list[Json]:
    """Fetch this many batches, however many calls that takes."""
    batches: list[Json] = []
    async with asyncio.timeout(DEADLINE):
        while len(batches) < count:
            query: dict[str, str | int] = {
                "batches": count - len(batches),
                "worker": worker,
                "tags": tags,
                "wait": 5,
            }
            answer = await api.get("/batch", params=query)
            assert answer.status_code == 200, answer.text
            batches += answer.json()["batches"]
    return batches


async def ack(api: httpx.AsyncClient, batches: list[Json]) -> None:
    """Ack fetched batches."""
    answer = await api.post("/batch/ack", json={"id": [batch["id"] for batch in batches]})
    assert answer.status_code == 200, answer.text


async def seed_of(api: httpx.AsyncClient, seed: str) -> Json:
    """Read a seed."""
    answer = await api.get(f"/seed/{quoted(seed)}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def counts_settle(api: httpx.AsyncClient, seed: str, **wanted: int) -> Json:
    """Wait until a seed's counts are these; gives all of them."""
    counts: Json = {}

    async def look() -> None:
        counts.update((await seed_of(api, seed))["counts"])

    try:
        await until(look, lambda: all(counts.get(name) == value for name, value in wanted.items()), f"{seed}: {wanted}")
    except AssertionError as error:
        error.add_note(f"last seen: {counts}")
        raise
    return counts


async def until(look: Any, holds: Any, what: str, deadline: float = DEADLINE) -> None:  # noqa: ANN401 - any callables
    """Look again and again until something holds; fail with what was waited for."""
    begun = asyncio.get_running_loop().time()
    await look()
    while not holds():
        if asyncio.get_running_loop().time() - begun > deadline:
            raise AssertionError(f"waited {deadline:g} s in vain: {what}")
        await look()


async def dead_letters(api: httpx.AsyncClient, count: int) -> list[Json]:
    """Wait until there are this many dead letters; gives them, oldest first."""
    found: Json = {}

    async def look() -> None:
        found.update((await api.get("/dead")).json())

    await until(look, lambda: len(found.get("dead", ())) >= count, f"{count} dead letters")
    assert found["count"]["totalItems"] == len(found["dead"]) == count, found
    letters: list[Json] = found["dead"]
    return letters


@contextlib.asynccontextmanager
async def channel_of(settings: Settings, name: str = "test") -> AsyncIterator[Channel]:
    """A channel on a connection of its own."""
    connection = await Connection.open(settings.amqp_urls(), name)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def listen(channel: Channel, exchange: str, key: str = "") -> list[Delivery]:
    """A list that fills with what an exchange sends from now on."""
    heard: list[Delivery] = []
    queue = await channel.declare_own_queue("", [(exchange, key)])
    await channel.consume(queue, heard.append, prefetch=1000)
    return heard


async def command(settings: Settings, name: str, body: object, *, correlation: str = "c-1") -> Json:
    """Send a command over AMQP and wait for its reply."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    async with channel_of(settings, "manager") as channel:
        replies: list[Delivery] = []
        own = await channel.declare_own_queue("", [])
        await channel.consume(own, replies.append, prefetch=10)
        message = Message(raw, reply_to=own, correlation_id=correlation)
        await channel.publish("commands", name, message, mandatory=True)
        await eventually(lambda: replies, f"the reply to {name}")
        assert [reply.correlation_id for reply in replies] == [correlation]
        answer: Json = orjson.loads(replies[0].body)
        return answer


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A coordinator with these settings, and a client of its shim."""
    async with (
        running_coordinator(settings) as node,
        serving(node) as url,
        client_of(url + PREFIX) as client,
    ):
        yield client
