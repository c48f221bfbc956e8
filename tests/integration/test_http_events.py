"""Events: what happened to seeds, workers and batches, and what happens."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson

from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.replicas import pair, seed_owned_by, shim_of
from tests.helpers.steps import ack, fetch, put_seed, submit, until
from tests.helpers.support import DEADLINE


async def events_of(api: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    """The events that this query finds."""
    answer = await api.get("/event", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


async def kinds_come(api: httpx.AsyncClient, kinds: list[str], **query: str) -> None:
    """Wait until just these kinds are told, in this order."""
    told: list[str] = []

    async def look() -> None:
        told[:] = [one["kind"] for one in await events_of(api, **query)]

    await until(look, lambda: told == kinds, f"{kinds}, last {told}")


async def test_the_way_of_a_batch(api: httpx.AsyncClient, node: Coordinator) -> None:
    """Sent, held, given back, sent and held again, acked: each with its seed, batch, items and worker."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 10)
    [batch] = await fetch(api, 1, worker="w1")
    await api.post("/batch/return", json={"id": batch["id"]})
    [again] = await fetch(api, 1, worker="w2")
    await ack(api, [again])
    await kinds_come(
        api,
        ["batch.held", "batch.returned", "batch.held", "batch.acked"],
        seed="s",
        kind="batch.held,batch.returned,batch.acked",
    )
    told = await events_of(api, batch=batch["batch"], kind="batch")
    assert told[0]["kind"] == "batch.sent"
    assert {(one["seed"], one["items"], one["attempt"], one["coordinator"]) for one in told} == {
        ("s", 10, 1, node.instance)
    }
    assert [one["kind"] for one in await events_of(api, worker="w1", kind="batch")] == ["batch.held", "batch.returned"]
    assert [one["id"] for one in told] == [one["id"] for one in sorted(told, key=lambda one: one["at"])]


async def test_seeds_and_workers(api: httpx.AsyncClient) -> None:
    """What is done to them is told in order, a page at a time where that is asked for."""
    await put_seed(api, "s")
    await put_seed(api, "s", priority="high")
    await api.put("/release/seed/s")
    await api.put("/resume/seed/s")
    await api.delete("/seed/s")
    kinds = ["seed.created", "seed.changed", "seed.released", "seed.resumed", "seed.purged"]
    await kinds_come(api, kinds, seed="s", kind=",".join(kinds))
    await api.put("/worker/w", json={"transport": "http"})
    await api.post("/drain/worker/w")
    await api.delete("/worker/w")
    kinds = ["worker.registered", "worker.draining", "worker.released", "worker.removed"]
    await kinds_come(api, kinds, worker="w", kind=",".join(kinds))
    first = await events_of(api, worker="w", kind="worker.registered")
    after = await events_of(api, worker="w", kind=",".join(kinds), after=first[0]["id"], limit="2")
    assert [one["kind"] for one in after] == kinds[1:3]


async def test_what_is_no_query(api: httpx.AsyncClient) -> None:
    """The field is named, on both routes."""
    for path, field in {
        "/event?kind=batch.lost": "kind",
        "/event?after=x": "after",
        "/event?limit=0": "limit",
        "/event/stream?kind=x": "kind",
    }.items():
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (406, field), path


async def next_event(lines: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - an iterator that httpx does not name
    """The next event of a stream: its id, and its data."""
    ident = ""
    async with asyncio.timeout(DEADLINE):
        async for line in lines:
            if line.startswith("id: "):
                ident = line.removeprefix("id: ")
            elif line.startswith("data: "):
                return ident, orjson.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")


async def test_the_stream(api: httpx.AsyncClient) -> None:
    """It tells what happens; one that comes back learns what it has missed, each once."""
    async with api.stream("GET", "/event/stream", params={"kind": "seed.created"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(":")
        await put_seed(api, "one")
        ident, event = await next_event(lines)
        assert (event["id"], event["kind"], event["seed"]) == (ident, "seed.created", "one")
    await put_seed(api, "two")
    back = {"Last-Event-ID": ident}
    async with api.stream("GET", "/event/stream", params={"kind": "seed.created"}, headers=back) as answer:
        lines = answer.aiter_lines()
        assert (await next_event(lines))[1]["seed"] == "two"
        await put_seed(api, "three")
        assert (await next_event(lines))[1]["seed"] == "three"


async def test_each_coordinator_tells_all(settings: Settings) -> None:
    """What one noted the other tells as well, under the same id, in a list and in a stream."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        seed = seed_owned_by(one, two)
        async with there.stream("GET", "/event/stream", params={"seed": seed, "kind": "batch.sent"}) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith(":")
            await put_seed(here, seed)
            await submit(here, seed, 1)
            ident, event = await next_event(lines)
        assert event["coordinator"] == one.instance
        query = {"seed": seed, "kind": "batch.sent"}
        assert [found["id"] for found in await events_of(there, **query)] == [ident]
        assert [found["id"] for found in await events_of(here, **query)] == [ident]
