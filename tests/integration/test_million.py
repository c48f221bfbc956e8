"""The release of a seed with a million available items, while workers of every kind hold batches of it."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from coordinator.broker.batch_codec import page_message
from coordinator.broker.connection import Connection
from coordinator.models import Item
from coordinator.settings import Settings
from tests.helpers.support import Drain, StockWorker, eventually, items, publish_items
from worker_stub.amqp_transport import AmqpTransport
from worker_stub.handlers import Context
from worker_stub.worker import Identity, Worker

pytestmark = pytest.mark.timeout(300)

PAGES, PAGE = 10_000, 100


async def fill(settings: Settings, seed: str) -> None:
    """Put a million items into a seed: pages that differ only in their ids."""
    connection = await Connection.open(settings.amqp_urls(), "producer")
    channel = await connection.channel()
    places = asyncio.Semaphore(200)

    async def put(number: int) -> None:
        inner = b",".join(b'{"id":"%d"}' % item for item in range(number * PAGE, (number + 1) * PAGE))
        async with places:
            await channel.publish(
                "items", seed, page_message(inner, PAGE, f"p{number}", connection.user), mandatory=True
            )

    await asyncio.gather(*(put(number) for number in range(PAGES)))
    await connection.close()


async def test_release_of_a_million(settings: Settings, api: httpx.AsyncClient) -> None:
    """The reply says what came back; nothing is handed out after it; after resume every one of the million arrives."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    by_library: list[str] = []

    async def handler(item: Item, _: Context) -> None:
        begun.set()
        by_library.append(item["id"])
        await go_on.wait()

    async def urls() -> list[str]:
        return settings.amqp_urls()

    await fill(settings, "big")
    stop = asyncio.Event()
    identity = Identity("library")
    library = asyncio.create_task(Worker(identity, AmqpTransport(identity, urls), handler, None, 10).run(stop))
    await begun.wait()
    stock = await StockWorker.consume(settings, prefetch=3)
    await eventually(lambda: len(stock.deliveries) == 3, "the stock worker holds three batches")
    leased = (await api.get("/batch", params={"batches": 3, "worker": "http"})).json()["batches"]
    assert {batch["seed"] for batch in leased} == {"big"}
    await publish_items(settings, "other", [items(100, "o")])

    answer = await api.put("/release/seed/big")
    result = answer.json()["results"][0]
    assert result["returned"] >= 3 * PAGE
    assert result["held"] >= 3 * PAGE
    assert (await api.put("/batch/ack", json={"id": [batch["id"] for batch in leased]})).status_code == 404

    go_on.set()
    stop.set()
    await library
    later = await Drain.begin(settings)
    others = [item for item in by_library if item.startswith("o")]
    await eventually(lambda: later.counts["other"] + len(others) == 100, "the other seed is served")
    assert later.items("big") == []
    held = [item["id"] for batch in stock.batches for item in batch["items"]]
    await stock.ack_all()
    await stock.close()
    mine = [item for item in by_library if not item.startswith("o")]

    await api.put("/resume/seed/big")
    await eventually(lambda: later.counts["big"] + len(held) + len(mine) >= PAGES * PAGE, "a million", 120)
    assert Counter(later.items("big") + held + mine) == Counter(str(number) for number in range(PAGES * PAGE))
    assert {batch["attempt"] for batch in later.seen} == {1}
    await later.close()
