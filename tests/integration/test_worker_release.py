"""What a worker does when it, or a seed that it works on, is released."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from coordinator.broker.batch_codec import batch_message, read_batch
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.settings import Settings
from tests.helpers.steps import fetch
from tests.helpers.support import StockWorker, eventually, items, publish_items
from tests.helpers.workers import TRANSPORTS, Hand, spooled, told, working
from worker_stub.job import Job


async def test_released_worker_drops_what_it_held_and_goes_on(settings: Settings, api: httpx.AsyncClient) -> None:
    """A release ends its connection: what it held goes to another as attempt 2, and it registers anew and works on."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 1})
    async with told(settings) as results, working(api, "w", hand.handle) as running:
        await publish_items(settings, "s", [items(2)])
        await eventually(lambda: running.worker.room == 0 and hand.busy, "two batches, one begun")
        other = await StockWorker.consume(settings)
        assert (await api.post("/release/worker/w")).json()["results"][0]["status"] == 200
        await eventually(lambda: len(other.deliveries) == 2, "both batches at the other worker")
        lost = other.batches
        assert {batch["attempt"] for batch in lost} == {2}
        await other.ack_all()
        await other.close()
        await publish_items(settings, "s", [items(10, "later")])
        dropped = {batch["id"] for batch in lost}
        await eventually(lambda: {one.batch for one in running.worker.presence().held} - dropped, "a later batch")
        hand.gate.set()
        await eventually(lambda: results.items.total() >= 10, "what came later")
    assert results.items == Counter(item["id"] for item in items(10, "later"))
    assert hand.finished[0] in {"i0", "i1"}


async def test_released_worker_keeps_what_it_has_taken(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    """What was acked is the worker's own: a release of the worker takes nothing of it, and it is told afterwards."""
    hand = Hand()
    async with told(settings) as results, working(api, "w", hand.handle, spool=tmp_path):
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: hand.busy and spooled(tmp_path), "a batch taken")
        assert (await api.post("/release/worker/w")).status_code == 200
        hand.gate.set()
        await eventually(lambda: results.items.total() >= 5, "5 results")
    assert results.items == Counter(item["id"] for item in items(5))
    assert set(results.attempts.values()) == {1}


@pytest.mark.parametrize(("transport", "is_taken"), [("amqp", False), ("amqp", True), ("http", True)])
async def test_released_seed_comes_back_but_for_the_item_in_hand(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, transport: str, *, is_taken: bool
) -> None:
    """Batches not begun and the rest of the begun one go back, whether acked or not; in the end each item is done once.

    The coordinator takes back whatever it holds unacked for a worker that speaks HTTP, so there only what was taken
    can be told apart.
    """
    hand, spool = Hand(), tmp_path if is_taken else None
    await api.put("/seed/s", json={"batchSize": 5})
    async with told(settings) as results, working(api, "w", hand.handle, transport=transport, spool=spool) as running:
        await publish_items(settings, "s", [items(100)])
        await eventually(lambda: running.worker.room <= 0 and hand.busy, "a batch begun and others at hand")
        assert (await api.post("/release/seed/s")).status_code == 200
        await eventually(lambda: running.worker.room == 1, "all given back but the begun batch")
        hand.gate.set()
        await eventually(lambda: not running.worker.seeds, "the rest of the begun batch given back")
        assert len(hand.finished) == 1
        await publish_items(settings, "other", [items(5, "o")])
        await eventually(lambda: results.items.total() >= 6, "the item in hand and another seed's")
        assert (await api.post("/resume/seed/s")).status_code == 200
        await eventually(lambda: results.items.total() >= 105, "all results")
    assert results.items == Counter(item["id"] for item in [*items(100), *items(5, "o")])
    assert {batch.attempt for batch in results.batches} == {1}


async def test_the_rest_of_a_marked_batch_stays_marked(settings: Settings, api: httpx.AsyncClient) -> None:
    """A batch that says that it may have been delivered before says so of what a worker gives back of it, too."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 5})
    await publish_items(settings, "s", [items(10)])
    await fetch(api, 2, worker="first")
    for route in ("/release/seed/s", "/resume/seed/s"):
        assert (await api.post(route)).status_code == 200
    async with working(api, "w", hand.handle) as running:
        await eventually(lambda: running.worker.room == 0 and hand.busy, "two batches, one begun")
        assert (await api.post("/release/seed/s")).status_code == 200
        await eventually(lambda: running.worker.room == 1, "the other given back")
        hand.gate.set()
        await eventually(lambda: not running.worker.seeds, "the rest given back")
    assert (await api.post("/resume/seed/s")).status_code == 200
    back = await fetch(api, 2, worker="last")
    assert sorted((len(batch["items"]), batch["attempt"], batch["redelivered"]) for batch in back) == [
        (4, 1, True),
        (5, 1, True),
    ]


async def test_unbegun_batches_do_not_wait_for_a_busy_handler(settings: Settings, api: httpx.AsyncClient) -> None:
    """While the only handler is busy, the batch that waits for it goes back as soon as its seed is released."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 5})
    async with working(api, "w", hand.handle) as running:
        await publish_items(settings, "s", [items(10)])
        await eventually(lambda: running.worker.room == 0 and hand.busy, "two batches, one begun")
        await api.post("/release/seed/s")
        await eventually(lambda: running.worker.room == 1, "one given back")
        assert hand.busy == 1
        hand.gate.set()


async def test_stale_batch_is_given_back_unbegun(settings: Settings, api: httpx.AsyncClient) -> None:
    """A worker that knows of a release does not begin an older batch: it sends it to `returns` with its attempt."""
    hand = Hand.open()
    connection = await Connection.open(settings.amqp_urls(), "watch")
    channel = await connection.channel()
    returned: list[Delivery] = []
    await channel.consume(await channel.declare_own_queue("", [("returns", "")]), returned.append, prefetch=100)
    await publish_items(settings, "s", [items(5)])
    stock = await StockWorker.consume(settings)
    await eventually(lambda: stock.deliveries, "a batch")
    batch = read_batch(stock.deliveries[0])
    await stock.ack_all()
    await stock.close()
    async with working(api, "w", hand.handle) as running, told(settings) as results:
        await api.post("/release/seed/s")
        await api.post("/resume/seed/s")
        await publish_items(settings, "s", [items(1, "new")])
        await eventually(lambda: results.items["new0"], "an item of the new epoch")
        await channel.publish("", "work", batch_message(replace(batch, attempt=3), "old"))
        await eventually(lambda: returned, "the stale batch, given back")
        assert returned[0].headers["reason"] == "stale"
        assert (returned[0].message_id, returned[0].headers["attempt"]) == (batch.id, 3)
        await eventually(lambda: results.items.total() >= 6, "its items, under the new epoch")
        assert not running.worker.seeds
    assert {context.attempt for _, context in hand.begun} == {1, 3}
    await connection.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_rest_of_a_begun_batch_is_told_once(
    settings: Settings, api: httpx.AsyncClient, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result is confirmed before the batch is settled, in every case."""
    order: list[str] = []
    hand = Hand.open()
    async with told(settings) as results, working(api, "w", hand.handle, transport=transport) as running:
        port = running.transport
        ack = port.ack

        async def after(job: Job) -> None:
            order.append(job.batch.id)
            await eventually(lambda: job.batch.id in results.attempts, "its results, before the ack")
            await ack(job)

        monkeypatch.setattr(port, "ack", after)
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: order and not running.worker.seeds, "the batch, settled")
    assert list(results.attempts) == order
