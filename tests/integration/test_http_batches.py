"""Fetch, ack, give back over HTTP: parameters, handles, waiting."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
import pytest
from starlette.types import Message

from coordinator import topology
from coordinator.broker.batch_codec import batch_message
from coordinator.broker.management import Management
from coordinator.http.app import create_app
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.models import Batch
from coordinator.node.coordinator import Coordinator
from coordinator.node.leases import Lease
from coordinator.settings import Settings
from tests.helpers.steps import (
    ack,
    channel_of,
    counts_settle,
    dead_letters,
    fetch,
    put_seed,
    seed_of,
    served,
    submit,
    until,
)
from tests.helpers.support import (
    DEADLINE,
    PREFIX,
    StockWorker,
    client_of,
    eventually,
    items,
    own_vhost,
    publish_items,
    serving,
)

BODY = {"id", "batch", "seed", "epoch", "attempt", "tags", "created", "items"}


async def test_a_fetched_batch(api: httpx.AsyncClient) -> None:
    """A batch over HTTP is the AMQP body, but `id` is the handle and `batch` the batch's id."""
    await submit(api, "s", [{"id": "1", "url": "file:///x", "metadata": {"a": [1]}, "more": 2.0}])
    batch = (await fetch(api))[0]
    assert set(batch) == BODY
    assert batch["id"] != batch["batch"]
    assert (batch["seed"], batch["epoch"], batch["attempt"], batch["tags"]) == ("s", 1, 1, [])
    assert batch["items"] == [{"id": "1", "url": "file:///x", "metadata": {"a": [1]}, "more": 2.0}]
    assert batch["created"].endswith("Z")


async def test_what_proves_to_be_no_batch_is_not_handed_out(api: httpx.AsyncClient, settings: Settings) -> None:
    """A body of strangers whose head is in order and whose items are none lies in `dead`; the next batch goes out."""
    broken = batch_message(Batch("broken", "s", 1, 1, (), "", 2, b'[{"id":"a"},1]'), "p")
    async with channel_of(settings) as channel:
        await channel.publish("", topology.WORK, broken, mandatory=True)
    fetching = asyncio.create_task(fetch(api))
    [letter] = await dead_letters(api, 1)
    assert "items.1" in letter["reason"]
    await submit(api, "s", 1)
    [batch] = await fetching
    assert batch["items"] == items(1, "s-")


async def test_nothing_to_fetch(api: httpx.AsyncClient) -> None:
    """Without anything to hand out the list is empty, at once by default and after `wait` seconds if that is given."""
    answer = await api.get("/batch")
    assert (answer.status_code, answer.json()) == (200, {"batches": []})
    begun = time.monotonic()
    assert (await api.get("/batch", params={"wait": "0.5"})).json() == {"batches": []}
    assert time.monotonic() - begun >= 0.5


async def test_a_waiting_call_is_answered_by_a_later_submit(api: httpx.AsyncClient) -> None:
    """A call that waits gets the first batch that comes, long before its wait is over."""
    waiting = asyncio.create_task(api.get("/batch", params={"wait": 60, "worker": "patient"}, timeout=70))
    workers: list[str] = []
    while "patient" not in workers:
        workers = [worker["id"] for worker in (await api.get("/worker")).json()["workers"]]
    assert not waiting.done()
    await submit(api, "s", 3)
    async with asyncio.timeout(DEADLINE):
        batches = (await waiting).json()["batches"]
    assert [item["id"] for item in batches[0]["items"]] == ["s-0", "s-1", "s-2"]


async def test_each_waiting_call_gets_its_batch(api: httpx.AsyncClient) -> None:
    """Of many calls that wait each gets a batch of its own while there are any; no batch goes to two."""
    waiting = [
        asyncio.create_task(api.get("/batch", params={"wait": 60, "worker": f"w{n}"}, timeout=70)) for n in range(8)
    ]
    await put_seed(api, "s", batchSize=5)
    await submit(api, "s", 40)
    async with asyncio.timeout(DEADLINE):
        answers = [await one for one in waiting]
    got = Counter(item["id"] for answer in answers for batch in answer.json()["batches"] for item in batch["items"])
    assert got == Counter(f"s-{n}" for n in range(40))
    assert [len(answer.json()["batches"]) for answer in answers] == [1] * 8


async def test_a_call_given_up_keeps_nothing(api: httpx.AsyncClient) -> None:
    """A client that goes away while it waits leaves no batch stuck with it."""
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            await api.get("/batch", params={"wait": 60}, timeout=httpx.Timeout(DEADLINE, read=0.2))
    await submit(api, "s", 3)
    batch = (await fetch(api))[0]
    assert (batch["attempt"], len(batch["items"])) == (1, 3)


async def test_calls_that_wait_cost_nothing(node: Coordinator) -> None:
    """Calls that wait hold no consumer on the broker, and give up their places when their clients go away."""
    leases = node.session.leases
    async with serving(node) as url, client_of(url + PREFIX) as api:
        calls = [asyncio.create_task(api.get(f"/batch?wait=60&worker=w{number}", timeout=70)) for number in range(50)]
        await eventually(lambda: len(node.session.workers.known()) == 50, "all calls")
        await eventually(lambda: leases.is_awaited, "calls that wait")
        depth = await node.session.writer.depth("work")
        assert depth is not None
        assert depth.consumers == 0
        for call in calls:
            call.cancel()
        await eventually(lambda: not leases.is_awaited, "no call that waits")
        await submit(api, "s", 3)
        assert [batch["attempt"] for batch in await fetch(api, worker="late")] == [1]


async def test_a_client_that_vanishes_before_its_answer(node: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched for a client that is gone by then goes to the next, without fault."""
    leases, gone = node.session.leases, asyncio.Event()
    take = leases.fetch

    async def take_and_lose(worker: str, tags: frozenset[str], most: int, wait: float) -> list[Lease]:
        taken = await take(worker, tags, most, wait)
        if worker == "rude":
            gone.set()
        return taken

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        del message

    monkeypatch.setattr(leases, "fetch", take_and_lose)
    async with serving(node) as url, client_of(url + PREFIX) as api:
        await submit(api, "s", 4)
        await counts_settle(api, "s", queued=4)
        path = f"{PREFIX}/batch".encode()
        scope = {"type": "http", "method": "GET", "path": path.decode(), "raw_path": path, "headers": []}
        await create_app(node)({**scope, "query_string": b"worker=rude", "client": None}, receive, send)
        assert gone.is_set()
        assert leases.held() == []
        batch = (await fetch(api, worker="next"))[0]
        assert (batch["attempt"], len(batch["items"])) == (1, 4)


async def test_rude_clients_lose_nothing(broker: BrokerUrls) -> None:
    """Clients that ask and hang up at once: every item is acked by another in the end."""
    async with own_vhost(broker, ack_timeout=2) as settings, served(settings) as api:
        await put_seed(api, "s", batchSize=1)
        sent = await submit(api, "s", 30)
        host, port = api.base_url.host, api.base_url.port
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {PREFIX}/batch?worker=rude&wait=5 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            writer.transport.abort()
        got: Counter[str] = Counter()
        async with asyncio.timeout(DEADLINE):
            while len(got) < len(sent):
                batches = await fetch(api, worker="polite")
                await ack(api, batches)
                got.update(item["id"] for batch in batches for item in batch["items"])
        assert got == Counter(sent)


async def test_tags_repeat_or_are_separated_by_commas(api: httpx.AsyncClient) -> None:
    """Repeated and comma-separated tags are the same; absent and empty ones both mean none."""
    for seed, tags in (("plain", []), ("one", ["a"]), ("two", ["b", "a"])):
        await put_seed(api, seed, policies=[{"type": "route", "routeTo": tag} for tag in tags])
        await submit(api, seed, 1)
        await counts_settle(api, seed, queued=1)
    for query, seen in [
        ("tags=a&tags=b", ["two", "one", "plain"]),
        ("tags=a,b", ["two", "one", "plain"]),
        ("tags=b,%20,a,&tags=zzz", ["two", "one", "plain"]),
        ("tags=a", ["one", "plain"]),
        ("tags=b", ["plain"]),
        ("tags=", ["plain"]),
        ("", ["plain"]),
    ]:
        batches = (await api.get(f"/batch?batches=10&{query}")).json()["batches"]
        assert [batch["seed"] for batch in batches] == seen, query
        given = await api.post("/batch/return", json={"id": [batch["id"] for batch in batches]})
        assert given.status_code == 200
        for seed in seen:
            await counts_settle(api, seed, queued=1, sent=0)


async def test_several_batches_at_once(api: httpx.AsyncClient) -> None:
    """`batches` bounds how many come; fewer come when there are fewer."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 30)
    await counts_settle(api, "s", queued=30)
    assert len((await api.get("/batch?batches=2")).json()["batches"]) == 2
    assert len((await api.get("/batch?batches=1000")).json()["batches"]) == 1


async def test_ack_by_handle_and_not_twice(api: httpx.AsyncClient) -> None:
    """An ack takes the batch for good; its handle is 404 from then on, and so is one that never was."""
    await put_seed(api, "s", batchSize=5)
    await submit(api, "s", 15)
    one, two, three = await fetch(api, 3)
    assert (await api.get(f"/batch/ack/{one['id']}")).json()["results"][0]["status"] == 200
    answer = await api.post("/batch/ack", json={"id": [one["id"], two["id"], "never", three["batch"], three["id"]]})
    assert answer.status_code == 404
    assert [entry["status"] for entry in answer.json()["results"]] == [404, 200, 404, 404, 200]
    counts = await counts_settle(api, "s", available=0, queued=0, sent=0, taken=15)
    assert counts["exact"] is True


async def test_an_ack_after_a_release_of_the_worker(api: httpx.AsyncClient) -> None:
    """A released worker's handle is 404, also once another holds the batch, and nobody's handle acks another's."""
    await submit(api, "s", 5)
    old = (await fetch(api, worker="slow"))[0]
    assert (await api.post("/release/worker", json={"id": "slow"})).status_code == 200
    assert (await api.put(f"/batch/ack/{old['id']}")).status_code == 404
    new = (await fetch(api, worker="fast"))[0]
    assert (new["batch"], new["attempt"], new["items"]) == (old["batch"], 2, old["items"])
    assert new["id"] != old["id"]
    assert (await api.put(f"/batch/ack/{old['id']}")).status_code == 404
    assert (await api.put(f"/batch/ack/{new['id']}")).status_code == 200


async def test_an_ack_after_a_release_of_the_seed(api: httpx.AsyncClient) -> None:
    """A batch that was taken back with its seed cannot be acked any more, and comes again after the resume."""
    await submit(api, "s", 5)
    old = (await fetch(api))[0]
    assert (await api.get("/release/seed/s")).json()["results"][0]["returned"] == 5
    assert (await api.put(f"/batch/ack/{old['id']}")).status_code == 404
    assert (await api.get("/batch")).json()["batches"] == []
    await api.put("/resume/seed/s")
    new = (await fetch(api))[0]
    assert (new["attempt"], new["epoch"], len(new["items"])) == (1, 2, 5)


async def test_what_is_not_acked_in_time_goes_to_another(broker: BrokerUrls) -> None:
    """A batch that an HTTP worker does not ack within the ack timeout goes to another with attempt 2."""
    async with own_vhost(broker, ack_timeout=2) as settings, served(settings) as client:
        await submit(client, "s", 4)
        old = (await fetch(client, worker="dead"))[0]
        new = (await fetch(client, worker="alive"))[0]
        assert (new["batch"], new["attempt"]) == (old["batch"], 2)
        assert (await client.put(f"/batch/ack/{old['id']}")).status_code == 404
        await ack(client, [new])


async def test_a_lost_connection_takes_its_batches_along(
    api: httpx.AsyncClient, node: Coordinator, settings: Settings
) -> None:
    """What was fetched by a connection that is lost goes to others, its attempt raised; all else goes on."""
    await submit(api, "s", 5)
    session, old = node.session, (await fetch(api, worker="old"))[0]
    names: list[str] = []
    management = Management(settings.management(), settings.vhost())

    async def look() -> None:
        names[:] = [one.name for one in await management.connections() if one.client_name.endswith(":takes")]

    await until(look, lambda: names, "the broker tells of the connection")
    await management.close_connection(names[0], "a test")
    await management.close()
    new = (await fetch(api, worker="new"))[0]
    assert (new["batch"], new["attempt"], new["items"]) == (old["batch"], 2, old["items"])
    assert (await api.put(f"/batch/ack/{old['id']}")).status_code == 404
    assert (await api.put(f"/batch/ack/{new['id']}")).status_code == 200
    assert node.session is session


async def test_given_back_without_fault(api: httpx.AsyncClient) -> None:
    """A batch that an HTTP worker gives back keeps its attempt; its handle is void."""
    await submit(api, "s", 4)
    old = (await fetch(api))[0]
    assert (await api.post("/batch/return", json={"id": [old["id"]]})).status_code == 200
    assert (await api.post("/batch/return", json={"id": old["id"]})).status_code == 404
    new = (await fetch(api))[0]
    assert (new["batch"], new["attempt"], new["items"]) == (old["batch"], 1, old["items"])


async def test_who_holds_what(api: httpx.AsyncClient, settings: Settings) -> None:
    """`/batch/held` names HTTP workers' batches and, without a name, those of stock clients; in pages."""
    await put_seed(api, "s", batchSize=5)
    await submit(api, "s", 5)
    mine = (await fetch(api, worker="w1"))[0]
    stock = await StockWorker.consume(settings)
    try:
        await publish_items(settings, "t", [items(7)])
        await eventually(lambda: stock.deliveries, "a batch at the stock worker")
        await counts_settle(api, "t", sent=7)
        held = (await api.get("/batch/held")).json()
        by_seed = {one["seed"]: one for one in held["batches"]}
        assert held["count"]["totalItems"] == 2
        assert (by_seed["s"]["worker"], by_seed["s"]["batch"], by_seed["s"]["count"]) == ("w1", mine["batch"], 5)
        assert (by_seed["t"]["worker"], by_seed["t"]["batch"]) == (None, stock.batches[0]["id"])
        first = (await api.get("/batch/held", params={"limit": 1})).json()
        second = (await api.get("/batch/held", params={"limit": 1, "offset": 1})).json()
        assert [first["batches"] + second["batches"], first["count"]] == [held["batches"], held["count"]]
        assert (await seed_of(api, "t"))["counts"]["exact"] is False
    finally:
        await stock.close()


async def test_strangers_may_be_refused(broker: BrokerUrls) -> None:
    """A fetch by a worker that is not known is 404 where registration is required, and works once it registered."""
    async with own_vhost(broker, require_registration=True) as settings, served(settings) as client:
        assert (await client.get("/batch?worker=w")).status_code == 404
        assert (await client.put("/worker/w", json={"transport": "http"})).status_code == 200
        assert (await client.get("/batch?worker=w")).status_code == 200


async def test_a_fetch_makes_room_at_once(node: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched over HTTP is followed by more without a look at the broker, however seldom these are."""
    monkeypatch.setattr("coordinator.domain.publish_window.SHORTEST_LOOK", 10 * DEADLINE)
    monkeypatch.setattr("coordinator.domain.publish_window.LONGEST_LOOK", 10 * DEADLINE)
    async with serving(node) as url, client_of(url + PREFIX) as api:
        await put_seed(api, "s", batchSize=1)
        sent = await submit(api, "s", 60)
        got: list[str] = []
        async with asyncio.timeout(DEADLINE):
            while len(got) < len(sent):
                batches = await fetch(api)
                await ack(api, batches)
                got += [item["id"] for batch in batches for item in batch["items"]]
        assert sorted(got) == sorted(sent)
