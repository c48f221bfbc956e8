"""A worker's drain: it finishes what is in hand, and gives back the rest without fault."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from coordinator.models import Item
from coordinator.settings import Settings
from tests.helpers.support import DEADLINE, StockWorker, eventually, items, publish_items
from tests.helpers.workers import TRANSPORTS, Hand, spooled, told, until, working
from worker_stub.handlers import Context


@pytest.mark.parametrize("is_taken", [False, True])
async def test_drain_gives_back_what_was_not_begun(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, *, is_taken: bool
) -> None:
    """The batch not begun goes back at once under its id; of the begun one the rest, once the item in hand is done."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 5})
    async with told(settings) as results:
        async with working(api, "w", hand.handle, spool=tmp_path if is_taken else None) as running:
            await publish_items(settings, "s", [items(10)])
            await eventually(lambda: running.worker.room == 0 and hand.busy, "two batches, one begun")
            other = await StockWorker.consume(settings)
            running.stop.set()
            await eventually(lambda: other.deliveries, "the batch that was not begun")
            assert not hand.finished
            hand.gate.set()
            await running.end()
        await eventually(lambda: len(other.deliveries) == 2, "the rest of the other")
        begun = hand.begun[0][1].batch
        whole, rest = other.batches
        assert len(hand.begun) == 1
        assert [(batch["attempt"], len(batch["items"])) for batch in other.batches] == [(1, 5), (1, 4)]
        assert begun not in {rest["id"], whole["id"]}
        assert rest["id"].startswith(begun)
        assert [one.batch for one in results.batches] == [begun]
        every = [item["id"] for batch in other.batches for item in batch["items"]]
        assert sorted([*every, *results.items]) == sorted(item["id"] for item in items(10))
        await other.ack_all()
        await other.close()
    assert not spooled(tmp_path)


@pytest.mark.parametrize("is_taken", [False, True])
async def test_drain_over_http_loses_and_repeats_nothing(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, *, is_taken: bool
) -> None:
    """Over HTTP, too, each item is done once: the one in hand here, the others elsewhere, still at attempt 1."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 5})
    async with told(settings) as results:
        spool = tmp_path if is_taken else None
        async with working(api, "w", hand.handle, transport="http", spool=spool) as running:
            await publish_items(settings, "s", [items(10)])
            await eventually(lambda: running.worker.room == 0 and hand.busy, "two batches, one begun")
            running.stop.set()
            other = await StockWorker.consume(settings)
            await eventually(lambda: other.deliveries, "the batch that was not begun")
            hand.gate.set()
            await running.end()
        await eventually(lambda: sum(len(batch["items"]) for batch in other.batches) >= 9, "the rest")
        every = [item["id"] for batch in other.batches for item in batch["items"]]
        assert sorted([*every, *results.items]) == sorted(item["id"] for item in items(10))
        assert {batch["attempt"] for batch in other.batches} == {1}
        await other.ack_all()
        await other.close()


@pytest.mark.parametrize("is_plain", [False, True])
async def test_handler_that_hangs_does_not_stop_the_stop(
    settings: Settings, api: httpx.AsyncClient, *, is_plain: bool
) -> None:
    """A drain ends in time without the handler that hangs; only that one's batch has failed."""
    hand, free = Hand(), threading.Event()

    def hang(item: Item, context: Context) -> None:
        hand.begun.append((item["id"], context))
        free.wait()

    await api.put("/seed/s", json={"batchSize": 1})
    try:
        async with working(api, "w", hang if is_plain else hand.handle, stop_timeout=1.0) as running:
            await publish_items(settings, "s", [items(2)])
            await eventually(lambda: running.worker.room == 0 and hand.begun, "two batches, one begun")
            await running.end(seconds=5)
        other = await StockWorker.consume(settings)
        await eventually(lambda: len(other.deliveries) == 2, "both batches")
    finally:
        free.set()
    assert {batch["items"][0]["id"]: batch["attempt"] for batch in other.batches} == {
        hand.begun[0][0]: 2,
        ({"i0", "i1"} - {hand.begun[0][0]}).pop(): 1,
    }
    await other.ack_all()
    await other.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_worker_that_is_asked_to_drain(settings: Settings, api: httpx.AsyncClient, transport: str) -> None:
    """It finishes all that it holds, takes nothing more though there is more, ends, and shows as draining."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 1})
    async with working(api, "w", hand.handle, transport=transport) as running:
        await publish_items(settings, "s", [items(6)])
        await eventually(lambda: running.worker.room == 0 and hand.busy, "two batches, one begun")
        assert (await api.post("/drain/worker/w")).status_code == 200
        if transport == "amqp":
            await eventually(lambda: running.worker.presence().draining, "it has heard")
        hand.gate.set()
        async with asyncio.timeout(DEADLINE):
            await running.task
    assert len(hand.finished) == 2
    await until(api, "/worker/w", lambda body: body["state"] == "draining" and not body["held"], "it has drained")
    drained = "/event?worker=w&kind=worker.drained"
    await until(api, drained, lambda body: body["count"]["totalItems"] == 1, "it is told to have drained")
    other = await StockWorker.consume(settings)
    await eventually(lambda: len(other.deliveries) == 4, "all others go elsewhere")
    assert {batch["attempt"] for batch in other.batches} == {1}
    await other.ack_all()
    await other.close()


async def test_drains_under_load_raise_no_attempt(settings: Settings, api: httpx.AsyncClient) -> None:
    """Workers that stop while batches stream in give all of them back without fault: each stays at attempt 1."""
    await api.put("/seed/s", json={"batchSize": 1})
    async with told(settings) as results:
        await publish_items(settings, "s", [items(100, f"{page}-") for page in range(40)])
        for number in range(8):
            before = len(results.batches)
            async with working(api, f"w{number}", at_once, concurrency=4) as running:
                await eventually(lambda least=before + 100: len(results.batches) >= least, "it is at work")  # type: ignore[misc]
                await running.end()
        async with working(api, "last", at_once, concurrency=4):
            await eventually(lambda: len(results.items) == 4000, "every item", 90)
    assert set(results.attempts.values()) == {1}
    assert max(results.items.values()) == 1


def at_once(item: Item, context: Context) -> None:
    """A handler that takes no time."""
