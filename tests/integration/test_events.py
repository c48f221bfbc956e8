"""Events: what happened to a seed, a worker and a batch, from every coordinator, as a list and as it happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from coordinator.api_models import Event
from coordinator.client import HttpManager, Reader
from coordinator.errors import BrokerUnavailableError, InvalidInputError
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.steps import ack, fetch, put_seed, served, submit, until
from tests.helpers.support import PREFIX, StockWorker, eventually, running_coordinator, serving


def url_of(api: httpx.AsyncClient) -> str:
    """Where a coordinator answers."""
    return str(api.base_url).removesuffix(f"{PREFIX}/")


@contextlib.asynccontextmanager
async def followed(api: httpx.AsyncClient, **wanted: str) -> AsyncIterator[list[Event]]:
    """A list that fills with the events as they happen."""
    heard: list[Event] = []

    async def follow() -> None:
        async with Reader(url_of(api)) as reader:
            async for event in reader.follow(**wanted):
                heard.append(event)  # noqa: PERF401 - a comprehension would fill it at the end only

    task = asyncio.create_task(follow())
    try:
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def kinds(events: list[Event]) -> list[str]:
    """What kinds of events these are."""
    return [event.kind for event in events]


async def test_the_life_of_a_batch(api: httpx.AsyncClient, node: Coordinator) -> None:
    """Sent, held, given back, sent again, acked: told in order, with its worker, and found by any of its names."""
    await put_seed(api, "s", batchSize=5)
    await submit(api, "s", 5)
    first = await fetch(api, 1, worker="w1")
    await api.post("/batch/return", json={"id": [batch["id"] for batch in first]})
    again = await fetch(api, 1, worker="w2")
    await ack(api, again)
    async with Reader(url_of(api)) as reader:
        events = await reader.events(batch=first[0]["batch"])
        assert kinds(events) == [
            "batch.sent",
            "batch.held",
            "batch.returned",
            "batch.sent",
            "batch.held",
            "batch.acked",
        ]
        assert [event.worker for event in events] == [None, "w1", "w1", None, "w2", "w2"]
        assert {(event.seed, event.items, event.coordinator) for event in events} == {("s", 5, node.instance)}
        assert kinds(await reader.events(worker="w1")) == ["worker.seen", "batch.held", "batch.returned"]
        assert kinds(await reader.events(seed="s", kind="seed"))[:2] == ["seed.created", "seed.owner"]
        assert await reader.events(batch=first[0]["batch"], after=events[2].id, limit=2) == events[3:5]
        assert await reader.events(batch=first[0]["batch"], limit=2) == events[-2:]
        with pytest.raises(InvalidInputError, match="kind"):
            await reader.events(kind="bath")
        with pytest.raises(InvalidInputError, match="after"):
            await reader.events(after="yesterday")


async def test_events_as_they_happen(api: httpx.AsyncClient) -> None:
    """Those that are wanted and no others; who comes back is told what it has missed, once."""
    async with followed(api, kind="seed") as all_seeds, followed(api, seed="s") as one:
        await put_seed(api, "first")
        await eventually(lambda: "first" in {event.seed for event in all_seeds}, "the stream")
        await put_seed(api, "s", batchSize=1)
        await submit(api, "s", 1)
        await ack(api, await fetch(api, 1, worker="w"))
        await eventually(lambda: "seed.drained" in kinds(one), "the seed to be drained")
        await eventually(lambda: "seed.drained" in kinds(all_seeds), "the seed to be drained")
    assert {event.seed for event in one} == {"s"}
    assert [kind for kind in kinds(one) if kind.startswith("batch")] == ["batch.sent", "batch.held", "batch.acked"]
    assert not [kind for kind in kinds(all_seeds) if not kind.startswith("seed.")]
    async with followed(api, seed="s", after=one[0].id) as rest:
        await eventually(lambda: len(rest) >= len(one) - 1, "what was missed")
        await api.put("/release/seed/s")
        await eventually(lambda: kinds(rest)[-1] == "seed.released", "the release")
    assert [event.id for event in rest[:-1]] == [event.id for event in one[1:]]


async def test_a_stream_that_is_not_to_be_had(api: httpx.AsyncClient) -> None:
    """It is refused before it begins."""
    async with Reader(url_of(api)) as reader:
        with pytest.raises(InvalidInputError, match="kind"):
            await anext(reader.follow(kind="bath"))
    answer = await api.get("/event/stream", headers={"Last-Event-ID": "yesterday"})
    assert answer.status_code == 406


async def test_any_coordinator_tells_for_all(settings: Settings) -> None:
    """What one notes, the other tells, both asked and followed; of seeds and workers each thing once."""
    async with served(settings) as one, served(settings) as other, followed(other, seed="s") as heard:
        await put_seed(other, "probe")
        await put_seed(one, "s", batchSize=1)
        await eventually(lambda: "seed.created" in kinds(heard), "the stream")
        await submit(one, "s", 2)
        await ack(one, await fetch(one, 2, worker="w"))
        await eventually(lambda: kinds(heard).count("batch.acked") == 2, "the acks")
        assert kinds(heard).count("seed.created") == 1
        async with Reader(url_of(other)) as reader:
            told = await reader.events(seed="s")
            assert {event.id for event in heard} <= {event.id for event in told}
            assert kinds(told).count("batch.held") == 2
            assert kinds(await reader.events(worker="w", kind="worker")) == ["worker.seen"]


async def test_what_happened_to_seeds_outlives_the_coordinators(settings: Settings) -> None:
    """It is in the registry; who drained and was removed is told too."""
    async with served(settings) as api, HttpManager(url_of(api)) as manager:
        await put_seed(api, "s")
        await put_seed(api, "s", priority="high")
        await api.put("/release/seed/s")
        await fetch_nothing(api, "w")
        await manager.drain_worker("w")
        drained: list[Event] = []

        async def look() -> None:
            drained[:] = await manager.events(worker="w", kind="worker.drained")

        await until(look, lambda: drained, "the drain")
        await manager.remove_worker("w")
    async with running_coordinator(settings) as node, serving(node) as url, Reader(url) as reader:
        assert kinds(await reader.events(seed="s", kind="seed")) == ["seed.created", "seed.changed", "seed.released"]
        assert kinds(await reader.events(worker="w")) == [
            "worker.seen",
            "worker.draining",
            "worker.drained",
            "worker.released",
            "worker.removed",
        ]


async def test_a_batch_that_comes_back_dead(settings: Settings) -> None:
    """Each return and the end are told, with their reasons."""
    limited = settings.model_copy(update={"attempt_limit": 1})
    async with served(limited) as api, Reader(url_of(api)) as reader:
        await put_seed(api, "s")
        await submit(api, "s", 1)
        worker = await StockWorker.consume(limited, prefetch=1)
        for count in (1, 2):
            await eventually(lambda: len(worker.deliveries) == count, "the batch")  # noqa: B023 - awaited at once
            await worker.deliveries[-1].reject()
        ends: list[Event] = []

        async def look() -> None:
            ends[:] = await reader.events(seed="s", kind="batch.dead")

        await until(look, lambda: ends, "the batch's end")
        await worker.close()
        assert "failed" in str(ends[0].reason)
        assert kinds(await reader.events(seed="s", kind="batch.returned")) == ["batch.returned"] * 2


async def test_streams_are_counted(settings: Settings) -> None:
    """There are no more of them than calls that may wait."""
    async with served(settings.model_copy(update={"max_polls": 0})) as api, Reader(url_of(api)) as reader:
        with pytest.raises(BrokerUnavailableError, match="MAX_POLLS"):
            await anext(reader.follow())


async def fetch_nothing(api: httpx.AsyncClient, worker: str) -> None:
    """Fetch where there is nothing to be had."""
    answer = await api.get("/batch", params={"worker": worker})
    assert answer.json()["batches"] == []
