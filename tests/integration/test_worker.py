"""The worker: it takes batches, runs the handler, tells the results, submits what was discovered, and settles."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from coordinator.broker.management import Management
from coordinator.broker.management_answers import BrokerConnection
from coordinator.errors import BrokerUnavailableError
from coordinator.models import Item
from coordinator.settings import Settings
from tests.helpers.support import client_of, eventually, items, publish_items
from tests.helpers.workers import TRANSPORTS, Hand, told, until, working
from worker_stub.handlers import Context, RejectBatch, Result
from worker_stub.job import Results


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_item_and_what_it_discovers_is_told_once(
    settings: Settings, api: httpx.AsyncClient, transport: str
) -> None:
    """Items of several batches, and those discovered on the way, are each handled and told exactly once."""

    async def handle(item: Item, _: Context) -> Result:
        if item["id"].startswith("i"):
            return Result({"was": item["id"]}, discovered=[{"id": f"d-{item['id']}", "action": "scan"}])
        return Result(status="failed", error="a leaf")

    async with told(settings) as results, working(api, "w", handle, transport=transport, concurrency=3):
        await publish_items(settings, "s/+=1", [items(100), items(50, "i-")])
        await eventually(lambda: results.items.total() >= 300, "300 results")
    every = [item["id"] for item in [*items(100), *items(50, "i-")]]
    assert results.items == Counter([*every, *(f"d-{one}" for one in every)])
    assert {(batch.seed, batch.worker, batch.attempt) for batch in results.batches} == {("s/+=1", "w", 1)}
    made = {one.id: one for batch in results.batches for one in batch.results}
    assert (made["i0"].status, made["i0"].data) == ("ok", {"was": "i0"})
    assert (made["d-i0"].status, made["d-i0"].error) == ("failed", "a leaf")


async def test_without_results_it_submits_and_acks_alone(settings: Settings, api: httpx.AsyncClient) -> None:
    """Where nobody listens, nothing is told; what is discovered is done all the same, and every batch is acked."""
    seen: list[str] = []

    async def handle(item: Item, _: Context) -> Result:
        seen.append(item["id"])
        return Result({"was": item["id"]}, discovered=[{"id": "d"}] if item["id"] == "i0" else [])

    async with told(settings) as results, working(api, "w", handle, publishes_results=False):
        await publish_items(settings, "s", [items(100)])
        await until(api, "/seed/s", lambda seed: seed["progress"]["drained"], "all is acked")
    assert Counter(seen) == Counter([*(one["id"] for one in items(100)), "d"])
    assert not results.batches


async def test_plain_function_is_a_handler(settings: Settings, api: httpx.AsyncClient) -> None:
    """A plain function runs in a thread; one item that raises fails alone, and the rest of its batch is told as ok."""

    def handle(item: Item, _: Context) -> str:
        if item["id"] == "i3":
            raise ValueError("three")
        return item["id"]

    async with told(settings) as results, working(api, "w", handle):
        await publish_items(settings, "s", [items(10)])
        await eventually(lambda: results.items.total() >= 10, "10 results")
    made = {one.id: (one.status, one.error) for batch in results.batches for one in batch.results}
    assert made.pop("i3") == ("failed", "ValueError: three")
    assert set(made.values()) == {("ok", None)}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_never_more_handlers_than_its_concurrency(
    settings: Settings, api: httpx.AsyncClient, transport: str
) -> None:
    """A worker with concurrency 3 has three handlers at work, never a fourth."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 1})
    async with told(settings) as results, working(api, "w", hand.handle, transport=transport, concurrency=3):
        await publish_items(settings, "s", [items(30)])
        await eventually(lambda: hand.busy == 3, "three at once")
        hand.gate.set()
        await eventually(lambda: results.items.total() >= 30, "30 results")
    assert hand.most == 3
    assert results.items == Counter(item["id"] for item in items(30))


async def test_unconfirmed_results_bring_the_batch_back(settings: Settings, api: httpx.AsyncClient) -> None:
    """A batch is acked after its results are confirmed: when the connection ends first, it comes back as attempt 2."""

    async def handle(_: Item, context: Context) -> None:
        if context.attempt == 1:
            assert (await api.post("/release/worker/w")).status_code == 200

    async with told(settings) as results, working(api, "w", handle):
        await publish_items(settings, "s", [items(3)])
        await eventually(lambda: results.items.total() >= 3, "the results of the second attempt")
    assert results.items == Counter(item["id"] for item in items(3))
    assert set(results.attempts.values()) == {2}


async def test_confirm_that_does_not_come_brings_the_batch_back(
    settings: Settings, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the connection lives and yet results are not confirmed in time, the batch fails instead of staying held."""
    hand = Hand.open()
    async with told(settings) as results, working(api, "w", hand.handle) as running:
        tell = running.transport.results

        async def late(batch: Results) -> None:
            if batch.attempt == 1:
                raise BrokerUnavailableError("the broker did not answer in time")
            await tell(batch)

        monkeypatch.setattr(running.transport, "results", late)
        await publish_items(settings, "s", [items(3)])
        await eventually(lambda: results.items.total() >= 3, "the results of the second attempt")
    assert set(results.attempts.values()) == {2}


async def test_refused_discoveries_bring_the_batch_back(settings: Settings, api: httpx.AsyncClient) -> None:
    """When the broker refuses what was discovered, the batch fails, and the worker goes on with a new connection."""
    async with client_of(settings.management()) as http:
        user = f"worker%3A{settings.vhost()}%3Aw"
        path = f"/api/permissions/{settings.vhost()}/{user}"
        allowed: dict[str, str] = {}

        async def handle(item: Item, context: Context) -> Result:
            if item["id"] != "i0":
                return Result()
            if context.attempt == 1:
                allowed.update((await http.get(path)).json())
                (await http.put(path, json={**allowed, "write": "^(presence|returns|results)$"})).raise_for_status()
            else:
                (await http.put(path, json=allowed)).raise_for_status()
            return Result(discovered=[{"id": "d0"}])

        async with told(settings) as results, working(api, "w", handle) as running:
            await publish_items(settings, "s", [items(1)])
            await eventually(lambda: results.items["d0"] or running.task.done(), "the discovered item, told")
    assert results.items == Counter({"i0": 1, "d0": 1})
    assert [batch.attempt for batch in results.batches if batch.results[0].id == "i0"] == [2]


async def test_what_a_repeat_discovers_is_marked(settings: Settings, api: httpx.AsyncClient) -> None:
    """The first attempt may have told of it already; what the first attempt of a batch discovers is new."""
    marks: dict[str, bool] = {}

    async def handle(item: Item, context: Context) -> Result:
        marks[item["id"]] = context.redelivered
        if item["id"] == "i0" and context.attempt == 1:
            raise RejectBatch("not now")
        return Result(discovered=[{"id": f"of-{item['id']}"}] if item["id"].startswith("i") else [])

    async with told(settings) as results, working(api, "w", handle):
        await api.put("/seed/s", json={"batchSize": 1})
        await publish_items(settings, "s", [items(1), items(1, "i-")])
        await eventually(lambda: results.items.total() >= 4, "four results")
    assert (marks["of-i0"], marks["of-i-0"]) == (True, False)


async def test_rejected_batch_comes_back_with_its_attempt_raised(settings: Settings, api: httpx.AsyncClient) -> None:
    """A handler that raises RejectBatch gives the whole batch back: same id, attempt 2, and nothing of it was told."""
    seen: list[Context] = []

    async def handle(item: Item, context: Context) -> None:
        seen.append(context)
        if context.attempt == 1 and item["id"] == "i2":
            raise RejectBatch("not now")

    async with told(settings) as results, working(api, "w", handle):
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: results.items.total() >= 5, "the results of the second attempt")
    assert results.items == Counter(item["id"] for item in items(5))
    assert [(batch.attempt, batch.batch) for batch in results.batches] == [(2, seen[0].batch)]
    assert [context.redelivered for context in seen] == [False] * 3 + [True] * 5


async def test_registration_gives_an_own_user(settings: Settings, api: httpx.AsyncClient) -> None:
    """A registered worker is on the broker with a user of its own and connections named after it, and reads so."""
    async with working(api, "w.1", Hand.open().handle, tags=["b", "a"]):
        management = Management(settings.management(), settings.vhost())
        worker = await until(api, "/worker/w.1", lambda one: one["connected"] and one["capacity"], "its presence")
        assert (worker["tags"], worker["transport"], worker["registered"]) == (["a", "b"], "amqp", True)
        assert (worker["capacity"], worker["held"]) == (2, [])
        own: list[BrokerConnection] = []
        while not own:  # the broker's list of connections lags
            own = [one for one in await management.connections() if one.client_name == "worker:w.1"]
        await management.close()
    assert {one.user for one in own} == {f"worker:{settings.vhost()}:w.1"}


async def test_worker_works_with_the_brokers_url_alone(settings: Settings, api: httpx.AsyncClient) -> None:
    """A worker that was given the broker's URL needs no registration; its presence makes it known with its tags."""
    hand = Hand.open()
    async with told(settings) as results, working(settings, "plain", hand.handle, tags=["x"]):
        await publish_items(settings, "s", [items(10)])
        await eventually(lambda: results.items.total() >= 10, "10 results")
        worker = await until(api, "/worker/plain", lambda one: one["capacity"], "its presence")
    assert (worker["tags"], worker["registered"]) == (["x"], False)


async def test_presence_tells_what_is_held(settings: Settings, api: httpx.AsyncClient) -> None:
    """What the worker holds is read from it, begun or not, by worker and in the list of all that is held."""
    hand = Hand()
    await api.put("/seed/s", json={"batchSize": 2})
    async with working(api, "w", hand.handle, tags=["t"]):
        await publish_items(settings, "s", [items(20)])
        worker = await until(api, "/worker/w", lambda one: len(one["held"]) == 2, "two batches held")
        assert [(one["seed"], one["count"], one["begun"]) for one in worker["held"]] == [
            ("s", 2, True),
            ("s", 2, False),
        ]
        held = (await api.get("/batch/held")).json()
        assert [(one["worker"], one["batch"]) for one in held["batches"] if one["worker"]] == [
            ("w", one["batch"]) for one in worker["held"]
        ]
        hand.gate.set()
