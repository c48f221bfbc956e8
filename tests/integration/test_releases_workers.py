"""Release of workers: what they hold goes to others, whatever way they are connected."""

from __future__ import annotations

import asyncio

import httpx
from pydantic import SecretStr

from coordinator.settings import Settings
from tests.helpers.steps import Json, command, counts_settle, fetch, put_seed, submit
from tests.helpers.support import StockWorker, eventually


async def own_worker(api: httpx.AsyncClient, settings: Settings, ident: str, prefetch: int) -> StockWorker:
    """A worker with a broker user of its own, that consumes `work`."""
    answer = await api.put(f"/worker/{ident}", json={})
    own = settings.model_copy(update={"amqp_url": SecretStr(answer.json()["amqpUrl"])})
    return await StockWorker.consume(own, prefetch=prefetch, name=f"worker:{ident}")


def summary(batches: list[Json]) -> list[tuple[str, int, list[str]]]:
    """What must be the same batch again: id, attempt, items; in a fixed order."""
    return sorted((batch["id"], batch["attempt"], [item["id"] for item in batch["items"]]) for batch in batches)


async def test_release_of_a_worker_with_its_own_user(api: httpx.AsyncClient, settings: Settings) -> None:
    """Its user is gone and its connection closed; each unacked batch reaches another, the same but attempt 2."""
    await put_seed(api, "s", batchSize=10)
    worker = await own_worker(api, settings, "w", 3)
    await submit(api, "s", 30)
    await eventually(lambda: len(worker.deliveries) == 3, "three batches at the worker")
    assert (await api.get("/release/worker/w")).status_code == 200
    await eventually(worker.connection.closed.is_set, "the worker's connection is closed")
    other = await StockWorker.consume(settings, prefetch=10)
    await eventually(lambda: len(other.deliveries) == 3, "the batches at the other worker")
    assert summary(other.batches) == [(ident, attempt + 1, ids) for ident, attempt, ids in summary(worker.batches)]
    assert {delivery.headers["attempt"] for delivery in other.deliveries} == {2}
    await other.close()


async def test_release_of_a_worker_that_shares_a_user(api: httpx.AsyncClient, settings: Settings) -> None:
    """Without a user of its own it is known, and closed, by its connection's name; others of that user live on."""
    await put_seed(api, "s", batchSize=10)
    worker = await StockWorker.consume(settings, prefetch=3, name="worker:shared")
    await submit(api, "s", 30)
    await eventually(lambda: len(worker.deliveries) == 3, "three batches at the worker")
    bystander = await StockWorker.consume(settings, prefetch=1, name="worker:shared2")
    assert (await api.put("/release/worker/shared")).status_code == 200
    await eventually(worker.connection.closed.is_set, "the worker's connection is closed")
    other = await StockWorker.consume(settings, prefetch=10)
    await eventually(lambda: len(other.deliveries) + len(bystander.deliveries) == 3, "the batches at the others")
    got = summary(other.batches + bystander.batches)
    assert got == [(ident, attempt + 1, ids) for ident, attempt, ids in summary(worker.batches)]
    assert not bystander.connection.closed.is_set()
    await other.close()
    await bystander.close()


async def test_release_of_an_http_worker(api: httpx.AsyncClient) -> None:
    """All that an HTTP worker holds goes to another with attempt 2; what others hold stays with them."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 40)
    mine, other = await fetch(api, 3, worker="w"), await fetch(api, 1, worker="x")
    assert (await api.post("/release/worker", json=[{"id": "w"}])).status_code == 200
    again = await fetch(api, 3, worker="y")
    assert sorted((batch["batch"], batch["attempt"]) for batch in again) == sorted((one["batch"], 2) for one in mine)
    assert (await api.put(f"/batch/ack/{other[0]['id']}")).status_code == 200


async def test_release_of_unknown_workers(api: httpx.AsyncClient, settings: Settings) -> None:
    """A worker that is not known is 404, over HTTP and over AMQP; the known ones beside it are released."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 10)
    await fetch(api, worker="w")
    assert (await api.put("/release/worker/nobody")).status_code == 404
    reply = await command(settings, "release.worker", {"id": ["nobody", "w", "nobody"]})
    assert [reply["status"], *((one["id"], one["status"]) for one in reply["results"])] == [
        404,
        ("nobody", 404),
        ("w", 200),
    ]
    assert (await fetch(api, worker="x"))[0]["attempt"] == 2


async def test_a_released_worker_may_fetch_again(api: httpx.AsyncClient) -> None:
    """A release bars no HTTP worker for good: it may fetch anew, and gets a new handle."""
    await submit(api, "s", 10)
    first = (await fetch(api, worker="w"))[0]
    await api.put("/release/worker/w")
    second = (await fetch(api, worker="w"))[0]
    assert (second["batch"], second["attempt"]) == (first["batch"], 2)
    assert (await api.put(f"/batch/ack/{second['id']}")).status_code == 200
    await counts_settle(api, "s", sent=0, queued=0, available=0)


async def test_many_workers_at_once(api: httpx.AsyncClient, settings: Settings) -> None:
    """Several workers are released by one call; all that they held comes back once each."""
    await put_seed(api, "s", batchSize=10)
    workers = [await own_worker(api, settings, f"w{number}", 2) for number in range(5)]
    await submit(api, "s", 100)
    await eventually(lambda: sum(len(worker.deliveries) for worker in workers) == 10, "ten batches at the workers")
    answer = await api.post("/release/worker", json={"id": [f"w{number}" for number in range(5)]})
    assert answer.status_code == 200
    await asyncio.gather(*(worker.connection.closed.wait() for worker in workers))
    other = await StockWorker.consume(settings, prefetch=20)
    await eventually(lambda: len(other.deliveries) == 10, "the batches at the other worker")
    held = summary([batch for worker in workers for batch in worker.batches])
    assert summary(other.batches) == [(ident, attempt + 1, ids) for ident, attempt, ids in held]
    await other.close()
