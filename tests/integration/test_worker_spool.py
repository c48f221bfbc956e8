"""A worker that acks a batch as soon as it is safe on its own disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import httpx
import pytest

from coordinator import topology
from coordinator.broker.batch_codec import batch_message
from coordinator.models import Batch
from coordinator.settings import Settings
from coordinator.topology import Queue
from tests.helpers.steps import channel_of, dead_letters
from tests.helpers.support import Drain, StockWorker, eventually, items, publish_items
from tests.helpers.workers import TRANSPORTS, Hand, spooled, told, until, working
from worker_stub.job import Job


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_batch_is_on_disk_before_it_is_acked(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each ack the batch's file is there; once the results are told it is gone."""
    hand, there = Hand.open(), []
    async with (
        told(settings) as results,
        working(api, "w", hand.handle, transport=transport, spool=tmp_path) as running,
    ):
        ack = running.transport.ack

        async def look(job: Job) -> None:
            there.append(any(holds(path, job.batch.id) for path in spooled(tmp_path)))
            await ack(job)

        monkeypatch.setattr(running.transport, "ack", look)
        await api.put("/seed/s", json={"batchSize": 5})
        await publish_items(settings, "s", [items(20)])
        await eventually(lambda: results.items.total() >= 20, "20 results")
        await eventually(lambda: not spooled(tmp_path), "an empty spool")
    assert there == [True] * 4
    assert results.items == Counter(item["id"] for item in items(20))


@pytest.mark.parametrize("is_spooling", [False, True])
async def test_what_proves_to_be_no_batch_is_not_acked(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, *, is_spooling: bool
) -> None:
    """A body whose head is in order and whose items are none is rejected, nothing is done of it, and work goes on."""
    hand = Hand.open()
    broken = batch_message(Batch("broken", "s", 1, 1, (), "", 2, b'[{"id":"a"},1]'), "p")
    async with (
        told(settings) as results,
        channel_of(settings) as channel,
        working(api, "w", hand.handle, spool=tmp_path if is_spooling else None),
    ):
        await channel.publish("", topology.WORK, broken, mandatory=True)
        [letter] = await dead_letters(api, 1)
        assert "items.1" in letter["reason"]
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: results.items.total() >= 5, "5 results")
        await eventually(lambda: not spooled(tmp_path), "an empty spool")
    assert results.items == Counter(item["id"] for item in items(5))


async def test_what_is_taken_shows_as_in_hand(settings: Settings, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """Items that were acked and are not finished are no longer held, and a release of their seed counts them."""
    hand = Hand()
    async with working(api, "w", hand.handle, spool=tmp_path):
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: hand.busy, "an item in hand")
        await eventually(lambda: spooled(tmp_path), "a batch in the spool")
        worker = await until(api, "/worker/w", lambda one: one["capacity"] and not one["held"], "its presence")
        assert worker["connected"]
        answer = await until(api, "/release/seed/s", lambda one: one["results"][0]["held"] == 5, "5 items in hand")
        assert answer["results"][0]["returned"] == 0
        hand.gate.set()


async def test_worker_takes_no_more_than_its_capacity(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Acking at once does not swallow the queue: what is beyond its capacity goes to others."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 1})
    async with told(settings) as results, working(api, "w", hand.handle, spool=tmp_path):
        await publish_items(settings, "s", [items(30)])
        await eventually(lambda: len(spooled(tmp_path)) == 2, "two batches in the spool")
        other = await Drain.begin(settings)
        await eventually(lambda: len(other.items()) == 26, "what is neither taken nor at hand")
        assert len(spooled(tmp_path)) == 2
        await other.close()
        hand.gate.set()
        await eventually(lambda: results.items.total() >= 4, "the rest")
    assert Counter([*other.items(), *results.items.elements()]) == Counter(item["id"] for item in items(30))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_crash_leaves_what_was_taken_to_the_next_run(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, transport: str
) -> None:
    """What was acked when the worker crashed is worked off by its next run, marked as delivered before."""
    hand = Hand()
    async with working(api, "w", hand.handle, transport=transport, spool=tmp_path) as running:
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: hand.busy and running.worker.presence().taken == {"s": 5}, "a batch acked")
        running.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running.task
    again = Hand.open()
    async with told(settings) as results, working(api, "w", again.handle, transport=transport, spool=tmp_path):
        await eventually(lambda: results.items.total() >= 5, "5 results")
        await eventually(lambda: not spooled(tmp_path), "an empty spool")
    assert results.items == Counter(item["id"] for item in items(5))
    assert {(context.attempt, context.redelivered) for _, context in again.begun} == {(1, True)}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_release_while_the_worker_was_away_reaches_it(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, transport: str
) -> None:
    """A taken batch whose seed was released while its worker was away goes back as soon as that is there again."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 5})
    async with working(api, "w", hand.handle, transport=transport, spool=tmp_path) as running:
        await publish_items(settings, "s", [items(10)])
        await eventually(lambda: running.worker.presence().taken == {"s": 10}, "two batches acked")
        running.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running.task
    assert (await api.post("/release/seed/s")).status_code == 200
    again = Hand()
    async with (
        told(settings) as results,
        working(api, "w", again.handle, transport=transport, spool=tmp_path) as running,
    ):
        await eventually(lambda: running.worker.room == 1 and again.busy, "one batch given back, the other begun")
        again.gate.set()
        await eventually(lambda: running.worker.room == 2, "the rest of the begun batch, given back")
        assert len(again.finished) == 1
        await api.post("/resume/seed/s")
        await eventually(lambda: results.items.total() >= 10, "10 results")
    assert results.items == Counter(item["id"] for item in items(10))


async def test_what_is_taken_waits_for_a_queue_that_refuses(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    """While the results are refused, they are told again and again; then the spool is empty, without a new start."""
    full = Queue("full", {"x-max-length": 0, "x-overflow": "reject-publish"}, ((topology.RESULTS, "#"),))
    async with (
        told(settings) as results,
        channel_of(settings) as channel,
        working(api, "w", Hand.open().handle, spool=tmp_path),
    ):
        await channel.declare_queue(full)
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: len(results.batches) >= 3, "three tries")
        assert spooled(tmp_path)
        await channel.delete_queue(full.name)
        await eventually(lambda: not spooled(tmp_path), "an empty spool")


async def test_what_kills_every_run_goes_back(settings: Settings, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """A batch that was found in the spool again and again is given back as failed, and another worker gets it."""
    attempts: list[int] = []
    await publish_items(settings, "s", [items(1)])
    for _ in range(3):
        hand = Hand()
        async with working(api, "w", hand.handle, spool=tmp_path) as running:
            await eventually(lambda held=hand: held.busy, "it has the batch")  # type: ignore[misc]
            attempts += hand.attempts.values()
            running.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running.task
    first = attempts[0]  # 2 where the batch came just while somebody tried whether the queue has a leader
    assert attempts == [first] * 3
    last = Hand()
    other = await StockWorker.consume(settings)
    async with working(api, "w", last.handle, spool=tmp_path):
        await eventually(lambda: not spooled(tmp_path), "it is given back")
        await eventually(lambda: other.deliveries or last.busy, "somebody has it")
        last.gate.set()
    again = [batch["attempt"] for batch in other.batches] or list(last.attempts.values())
    assert again == [first + 1]
    await other.close()


def holds(path: Path, batch: str) -> bool:
    """Whether a file of the spool holds a batch. Another batch may end, and take its file away after the listing."""
    try:
        return batch in path.read_text()
    except FileNotFoundError:
        return False
