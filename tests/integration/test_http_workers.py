"""Workers and dead letters over HTTP: registration with a broker user of its own, reading, removal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import httpx
import pytest
from pydantic import SecretStr

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Message
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError
from coordinator.settings import Settings
from coordinator.topology import Queue, work_queue
from tests.helpers.steps import Json, ack, channel_of, dead_letters, fetch, put_seed, submit, until
from tests.helpers.support import StockWorker, eventually

FIELDS = {"id", "tags", "transport", "callback"}


async def register(api: httpx.AsyncClient, ident: str, *tags: str) -> Json:
    """Register an AMQP worker; gives what the coordinator answers."""
    answer = await api.put(f"/worker/{ident}", json={"tags": list(tags), "transport": "amqp"})
    assert answer.status_code == 200, answer.text
    worker: Json = answer.json()
    return worker


def as_worker(settings: Settings, url: str) -> Settings:
    """The settings with a worker's own URL."""
    return settings.model_copy(update={"amqp_url": SecretStr(url)})


async def test_register_read_and_remove(api: httpx.AsyncClient) -> None:
    """A worker reads as it registered, registering again replaces it, and once removed it is 404."""
    body = {"tags": ["b", "a", "b"], "transport": "http", "callback": "http://127.0.0.1:9/"}
    answer = await api.put("/worker/w:1", json=body)
    assert answer.status_code == 200
    assert answer.json()["amqpUrl"] is None
    worker = (await api.get("/worker/w:1")).json()
    assert set(worker) >= FIELDS
    assert {name: worker[name] for name in FIELDS} == body | {"id": "w:1", "tags": ["a", "b"]}
    assert (await api.put("/worker/w:1", json=worker)).status_code == 200
    assert (await api.put("/worker/w:1", json={"transport": "http"})).json()["tags"] == []
    assert (await api.delete("/worker/w:1")).status_code == 200
    for answer in (await api.get("/worker/w:1"), await api.delete("/worker/w:1"), await api.get("/release/worker/w:1")):
        assert answer.status_code == 404
    assert (await api.get("/worker")).json()["count"]["totalItems"] == 0


async def test_known_from_a_fetch_a_connection_or_presence(api: httpx.AsyncClient, settings: Settings) -> None:
    """A worker is known from a fetch, from a connection named `worker:<id>`, and from its presence."""
    await api.get("/batch", params={"worker": "fetcher", "tags": "a"})
    assert (await api.get("/worker/fetcher")).json()["tags"] == ["a"]
    stock = await StockWorker.consume(settings, name="worker:named")
    async with channel_of(settings) as channel:
        await channel.publish("presence", "", Message(b'{"worker": "present", "tags": ["x"], "capacity": 3}'))
    known: set[str] = set()

    async def look() -> None:
        known.update(worker["id"] for worker in (await api.get("/worker")).json()["workers"])

    await until(look, lambda: known == {"fetcher", "named", "present"}, "three workers")
    present = (await api.get("/worker/present")).json()
    assert (present["tags"], present["capacity"], present["connected"]) == (["x"], 3, True)
    await stock.close()


async def test_presence_that_does_not_validate(api: httpx.AsyncClient, settings: Settings) -> None:
    """Malformed presence lies in `dead` and disturbs nothing."""
    async with channel_of(settings) as channel:
        for body in (b"nonsense", b'{"worker": "a b"}', b'{"worker": "w", "capacity": -1}'):
            await channel.publish("presence", "", Message(body))
        await channel.publish("presence", "", Message(b'{"worker": "w"}'))
    await dead_letters(api, 3)
    assert [worker["id"] for worker in (await api.get("/worker")).json()["workers"]] == ["w"]


async def test_the_url_of_a_registered_worker_works(api: httpx.AsyncClient, settings: Settings) -> None:
    """With its own URL a worker consumes, acks, rejects, and publishes items, results, presence and returns."""
    url = (await register(api, "w", "gpu"))["amqpUrl"]
    await put_seed(api, "s", batchSize=1)
    await submit(api, "s", 3)
    own = as_worker(settings, url)
    stock = await StockWorker.consume(own, prefetch=1, name="worker:w")
    await eventually(lambda: stock.deliveries, "a batch")
    delivery = stock.deliveries[0]
    channel = stock.channel
    await channel.publish("presence", "", Message(b'{"worker": "w"}'), mandatory=True)
    await channel.publish("results", "s", Message(b'{"batch": "b"}'))
    await channel.publish("items", "s", Message(b'{"id": "found"}'), mandatory=True)
    notices = await channel.declare_own_queue("worker.w", [("control", "")])
    await channel.consume(notices, lambda _: None, prefetch=10)
    await channel.publish("returns", "", delivery.copy(reason="drain"), mandatory=True)
    await delivery.ack()
    seen = {stock.batches[0]["items"][0]["id"]}
    while "found" not in seen or len(seen) < 4:
        stock.deliveries.clear()
        await eventually(lambda: stock.deliveries, "the next batch")
        seen.add(stock.batches[0]["items"][0]["id"])
        await stock.deliveries[0].ack()
    await stock.close()


Act = Callable[[Channel], Coroutine[object, object, object]]


async def may(settings: Settings, act: Act) -> bool:
    """Whether the broker lets this user do something."""
    connection = await Connection.open(settings.amqp_urls(), "worker:w")
    try:
        await act(await connection.channel())
    except (BrokerRefusedError, BrokerUnavailableError) as error:
        if "ACCESS_REFUSED" not in f"{error} {error.__cause__}":
            raise
        return False
    finally:
        await connection.close()
    return True


def consume(queue: str) -> Act:
    """Consume this queue."""
    return lambda channel: channel.consume(queue, lambda _: None, prefetch=1)


def publish(exchange: str, key: str) -> Act:
    """Publish to this exchange."""
    return lambda channel: channel.publish(exchange, key, Message(b"{}"))


def declare(queue: Queue) -> Act:
    """Declare this queue."""
    return lambda channel: channel.declare_queue(queue)


def delete(queue: str) -> Act:
    """Delete this queue."""
    return lambda channel: channel.delete_queue(queue)


async def test_a_worker_may_do_no_more(api: httpx.AsyncClient, settings: Settings) -> None:
    """A worker's user may not declare or read other queues, nor publish where only coordinators or managers do."""
    own = as_worker(settings, (await register(api, "w", "gpu", "x"))["amqpUrl"])
    await register(api, "other")
    await put_seed(api, "s", policies=[{"type": "route", "routeTo": "secret"}])
    await put_seed(api, "t", policies=[{"type": "route", "routeTo": "gpu"}])
    for queue in ("work", "work.gpu"):
        assert await may(own, consume(queue)), queue
    for queue in ("work.secret", "seed.s", "returns", "commands", "dead", "registry", "items.unrouted", "worker.other"):
        assert not await may(own, consume(queue)), queue
    places = [("", "work"), ("", "seed.s"), ("commands", "purge.seed"), ("control", ""), ("items.unrouted", "")]
    for exchange, key in places:
        assert not await may(own, publish(exchange, key)), exchange
    for name in ("work.mine", "seed.mine", "worker.other", "anything"):
        assert not await may(own, declare(Queue(name))), name
    assert not await may(own, declare(work_queue(("gpu",))))
    for queue in ("work", "seed.s", "registry"):
        assert not await may(own, delete(queue)), queue


async def test_registering_again_gives_a_new_password(api: httpx.AsyncClient, settings: Settings) -> None:
    """A new registration lifts an earlier release with a new password; the old one is void; removal bars for good."""
    first = (await register(api, "w"))["amqpUrl"]
    assert (await api.put("/release/worker/w")).status_code == 200
    with pytest.raises(BrokerUnavailableError):
        await Connection.open([first], "worker:w")
    second = (await register(api, "w"))["amqpUrl"]
    assert second != first
    connection = await Connection.open([second], "worker:w")
    with pytest.raises(BrokerUnavailableError):
        await Connection.open([first], "worker:w")
    assert (await api.delete("/worker/w")).status_code == 200
    await eventually(connection.closed.is_set, "the removed worker's connection is closed")
    with pytest.raises(BrokerUnavailableError):
        await Connection.open(as_worker(settings, second).amqp_urls(), "worker:w")


async def test_dead_letters_are_listed_retried_and_dropped(api: httpx.AsyncClient, settings: Settings) -> None:
    """Dead letters come in pages, oldest first; a page mended in the meantime may be sent again; one may be dropped."""
    await put_seed(api, "s")
    async with channel_of(settings) as channel:
        for number in range(4):
            await channel.publish("items", "s", Message(b"broken %d" % number), mandatory=True)
            await dead_letters(api, number + 1)
    letters = await dead_letters(api, 4)
    assert [letter["body"] for letter in letters] == [f"broken {number}" for number in range(4)]
    assert all(letter["seed"] == "s" and letter["reason"] and letter["id"] for letter in letters)
    for offset in (0, 1, 2, 0):
        part = (await api.get("/dead", params={"offset": offset, "limit": 2})).json()
        assert (part["dead"], part["count"]) == (letters[offset : offset + 2], {"totalItems": 4})
    assert (await api.delete(f"/dead/{letters[1]['id']}")).status_code == 200
    assert (await api.delete(f"/dead/{letters[1]['id']}")).status_code == 404
    assert (await api.post(f"/dead/{letters[1]['id']}/retry")).status_code == 404
    assert [letter["body"] for letter in await dead_letters(api, 3)] == ["broken 0", "broken 2", "broken 3"]
    assert (await api.post(f"/dead/{letters[0]['id']}/retry")).status_code == 200
    again = await dead_letters(api, 3)
    assert sorted(letter["body"] for letter in again) == ["broken 0", "broken 2", "broken 3"]
    assert letters[0]["id"] not in {letter["id"] for letter in again}


async def test_every_kind_of_dead_letter_may_be_retried(api: httpx.AsyncClient, settings: Settings) -> None:
    """A retry of a return, a command, a presence, or a page of a seed since purged is done, not 503."""
    await put_seed(api, "gone")
    async with channel_of(settings) as channel:
        await channel.publish("items", "gone", Message(b"page"), mandatory=True)
        await channel.publish("returns", "", Message(b"return"), mandatory=True)
        await channel.publish("commands", "release.seed", Message(b"command"), mandatory=True)
        await channel.publish("presence", "", Message(b"presence"), mandatory=True)
    letters = await dead_letters(api, 4)
    await api.delete("/seed/gone")
    for letter in letters:
        answer = await api.post(f"/dead/{letter['id']}/retry")
        assert answer.status_code == 200, (letter, answer.text)
    again = await dead_letters(api, 4)
    assert {letter["kind"]: letter["body"] for letter in again} == {
        letter["kind"]: letter["body"] for letter in letters
    }
    assert not {letter["id"] for letter in again} & {letter["id"] for letter in letters}


async def test_what_a_worker_holds(api: httpx.AsyncClient) -> None:
    """What a worker holds is read with it."""
    await submit(api, "s", 4)
    batch = (await fetch(api, worker="w"))[0]
    worker = (await api.get("/worker/w")).json()
    assert [(held["batch"], held["seed"], held["count"]) for held in worker["held"]] == [(batch["batch"], "s", 4)]
    assert worker["connected"] is True
    await ack(api, [batch])
    assert (await api.get("/worker/w")).json()["held"] == []
