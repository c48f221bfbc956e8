"""What fails comes back: attempts, the attempt limit, malformed messages, lost workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import orjson

from coordinator.broker.management import Management
from coordinator.broker.types import Message
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.settings import Settings
from tests.helpers.steps import channel_of, counts_settle, dead_letters, put_seed, seed_of, served, submit, until
from tests.helpers.support import DEADLINE, Drain, StockWorker, eventually, items, own_vhost, publish_items


async def test_a_rejected_batch(api: httpx.AsyncClient, settings: Settings) -> None:
    """A reject brings the same batch back, id and items untouched, with attempt + 1 in header and body."""
    stock = await StockWorker.consume(settings, prefetch=1)
    await submit(api, "s", [{"id": "1", "n": 1.0}, {"id": "2", "big": 2**70}])
    for attempt in (1, 2, 3):
        await eventually(lambda: stock.deliveries, f"attempt {attempt}")
        delivery = stock.deliveries.pop()
        batch = orjson.loads(delivery.body)
        assert (batch["attempt"], delivery.headers["attempt"], delivery.headers["count"]) == (attempt, attempt, 2)
        assert (delivery.headers["seed"], delivery.headers["epoch"]) == ("s", 1)
        if attempt == 1:
            first, body = batch, delivery.body
        assert batch["id"] == first["id"] == delivery.message_id
        assert delivery.body.partition(b'"items":')[2] == body.partition(b'"items":')[2]
        await delivery.reject()
    await stock.close()


async def test_given_back_without_fault(api: httpx.AsyncClient, settings: Settings) -> None:
    """A batch published to `returns` with a `reason` and then acked comes back with its attempt as it was."""
    stock = await StockWorker.consume(settings, prefetch=1)
    await submit(api, "s", 3)
    for _ in range(3):
        await eventually(lambda: stock.deliveries, "the batch")
        delivery = stock.deliveries.pop()
        assert (orjson.loads(delivery.body)["attempt"], delivery.headers["attempt"]) == (1, 1)
        await stock.channel.publish("returns", "", delivery.copy(reason="drain"), mandatory=True)
        await delivery.ack()
    await counts_settle(api, "s", available=0)
    await stock.close()


async def test_a_repeated_return_counts_once(api: httpx.AsyncClient, settings: Settings) -> None:
    """A broker that crashes repeats its dead-letters: copies of one return, even at once, make one batch."""
    stock = await StockWorker.consume(settings, prefetch=10)
    await submit(api, "s", 3)
    await eventually(lambda: stock.deliveries, "the batch")
    delivery = stock.deliveries.pop()
    async with channel_of(settings) as channel:
        for _ in range(5):
            await channel.publish("returns", "", delivery.copy(), mandatory=True)
        await delivery.ack()
        await submit(api, "other", 1)
        await eventually(lambda: len(stock.deliveries) >= 2, "the batch again, and another")
        while (await channel.depth("returns")).ready:
            pass
        await submit(api, "third", 1)
        await eventually(lambda: "third" in {batch["seed"] for batch in stock.batches}, "a batch of a third seed")
    assert Counter(batch["seed"] for batch in stock.batches) == {"s": 1, "other": 1, "third": 1}
    await stock.close()


async def test_the_attempt_limit(broker: BrokerUrls) -> None:
    """At the limit a batch is offered once more, alone; if that fails it is dead, and a retry begins at attempt 1."""
    async with own_vhost(broker, attempt_limit=2) as settings, served(settings) as api:
        stock = await StockWorker.consume(settings, prefetch=1)
        await submit(api, "s", 3)
        for attempt in (1, 2, 3):
            await eventually(lambda: stock.deliveries, f"attempt {attempt}")
            assert stock.batches[0]["attempt"] == attempt
            await stock.deliveries.pop().reject()
        letter = (await dead_letters(api, 1))[0]
        assert (letter["kind"], letter["seed"], letter["count"]) == ("batch", "s", 3)
        assert letter["reason"]
        assert len(letter["history"]) == 3
        assert not stock.deliveries
        assert (await api.post(f"/dead/{letter['id']}/retry")).status_code == 200
        await eventually(lambda: stock.deliveries, "the batch again")
        assert (stock.batches[0]["attempt"], stock.batches[0]["id"]) == (1, letter["id"])
        assert [item["id"] for item in stock.batches[0]["items"]] == ["s-0", "s-1", "s-2"]
        assert (await api.get("/dead")).json()["count"]["totalItems"] == 0
        await stock.close()


async def test_a_batch_that_waits_for_its_last_offer_is_queued(broker: BrokerUrls) -> None:
    """While another batch is in a worker's hands it waits, and its seed says so: it is not drained."""
    async with own_vhost(broker, attempt_limit=1) as settings, served(settings) as api:
        stock = await StockWorker.consume(settings, prefetch=2)
        await submit(api, "bad", 3)
        await submit(api, "slow", 1)
        await eventually(lambda: len(stock.deliveries) == 2, "both batches")
        [failed] = [one for one in stock.deliveries if one.headers["seed"] == "bad"]
        await failed.reject()
        seed: dict[str, Any] = {}

        async def look() -> None:
            seed.update(await seed_of(api, "bad"))

        why = "its batches failed again and again, and wait to be tried one by one"
        await until(look, lambda: seed["why"] == why, "the suspect")
        assert (seed["counts"]["queued"], seed["progress"]["drained"]) == (3, False)
        await stock.close()


async def test_what_nobody_consumes_hinders_no_last_offer(broker: BrokerUrls) -> None:
    """Batches that wait for a worker with tags that none has are in nobody's hands."""
    async with own_vhost(broker, attempt_limit=1) as settings, served(settings) as api:
        await put_seed(api, "tiles", policies=[{"type": "route", "routeTo": "gpu"}])
        await submit(api, "tiles", 1)
        await counts_settle(api, "tiles", queued=1)
        stock = await StockWorker.consume(settings, prefetch=2)
        await submit(api, "bad", 3)
        for _ in range(2):
            await eventually(lambda: stock.deliveries, "the batch")
            await stock.deliveries.pop().reject()
        [letter] = await dead_letters(api, 1)
        assert (letter["seed"], letter["attempt"]) == ("bad", 3)
        await stock.close()


async def test_a_deadly_batch_takes_nobody_along(broker: BrokerUrls) -> None:
    """A batch that kills every worker dies alone: its neighbours all arrive, none of them is dead."""
    async with own_vhost(broker, attempt_limit=5) as settings, served(settings) as api:
        await put_seed(api, "s", batchSize=1)
        await submit(api, "s", [{"id": "deadly"}, *items(20)])
        done: list[str] = []

        async def is_over() -> bool:
            dead = (await api.get("/dead")).json()["count"]["totalItems"]
            return len(done) >= 20 and dead > 0

        while not await is_over():
            worker = await StockWorker.consume(settings, prefetch=5)
            async with asyncio.timeout(DEADLINE):
                while not worker.deliveries and not await is_over():
                    pass
            for delivery in worker.deliveries:
                ident = orjson.loads(delivery.body)["items"][0]["id"]
                if ident == "deadly":
                    break
                await delivery.ack()
                done.append(ident)
            if worker.deliveries:
                await worker.channel.depth("work")  # the acks before it have arrived
            await worker.close()
        assert Counter(done) == Counter(f"i{number}" for number in range(20))
        letters = await dead_letters(api, 1)
        assert letters[0]["count"] == 1
        assert len(letters[0]["history"]) == 6


DEEP = b'{"id": "x", "metadata": ' + b'{"a": ' * 50 + b"1" + b"}" * 50 + b"}"
MALFORMED = {
    "not JSON": b"nonsense",
    "cut short": b'[{"id": "x"}',
    "not an object": b"[7]",
    "no array": b'"x"',
    "no id": b'[{"url": "x"}]',
    "an id that is no text": b'[{"id": 7}]',
    "an empty id": b'[{"id": ""}]',
    "an unknown action": b'[{"id": "x", "action": "sleep"}]',
    "a long text": b'[{"id": "x", "metadata": {"t": "' + b"y" * 1_000_000 + b'"}}]',
    "NUL": b'[{"id": "x", "metadata": {"t": "\\u0000"}}]',
    "NUL in a key": b'[{"id": "x", "more\\u0000": 1}]',
    "deep": DEEP,
    "very deep": b"[" * 100_000,
    "empty": b"[]",
    "nothing": b"",
    "too many": orjson.dumps(items(1001)),
    "no UTF-8": b'[{"id": "\xff"}]',
    "a lone surrogate": b'[{"id": "\\ud800"}]',
    "not a number": b'[{"id": "x", "n": NaN}]',
}


async def test_malformed_pages(api: httpx.AsyncClient, settings: Settings) -> None:
    """A malformed page lies in `dead` whole, with its reason, and one more good page comes through after each."""
    drain = await Drain.begin(settings)
    async with channel_of(settings) as channel:
        for number, (what, body) in enumerate(MALFORMED.items()):
            await channel.publish("items", "s", Message(body, message_id=what), mandatory=True)
            await channel.publish("items", "s", Message(b'{"id": "good %d"}' % number), mandatory=True)
        await eventually(lambda: len(drain.items()) == len(MALFORMED), "the good pages")
        letters = await dead_letters(api, len(MALFORMED))
        assert all(letter["kind"] == "page" and letter["seed"] == "s" and letter["reason"] for letter in letters)
        whole: list[bytes] = []
        while (delivery := (await channel.get_many("dead", 1))[0]) is not None:
            whole.append(delivery.body)
    assert Counter(whole) == Counter(MALFORMED.values())
    assert Counter(drain.items()) == Counter(f"good {number}" for number in range(len(MALFORMED)))
    await drain.close()


async def test_pages_of_seeds_that_cannot_be(api: httpx.AsyncClient, settings: Settings) -> None:
    """Items under a routing key that is no seed id lie in `dead`; no seed comes of it."""
    async with channel_of(settings) as channel:
        for key in ("", "a\nb", "x" * 201, "\x7f"):
            await channel.publish("items", key, Message(b'{"id": "x"}'), mandatory=True)
    letters = await dead_letters(api, 4)
    assert {letter["kind"] for letter in letters} == {"page"}
    assert (await api.get("/seed")).json()["count"]["totalItems"] == 0


async def test_malformed_returns(api: httpx.AsyncClient, settings: Settings) -> None:
    """What comes to `returns` and is no batch lies in `dead` whole; batches beside it come back."""
    stock = await StockWorker.consume(settings, prefetch=1)
    await submit(api, "s", 3)
    await eventually(lambda: stock.deliveries, "a batch")
    good = stock.batches[0]
    wrong: list[tuple[bytes, dict[str, object]]] = [
        (b"nonsense", {}),
        (b"[]", {}),
        (orjson.dumps(good | {"attempt": 0}), {}),
        (orjson.dumps(good | {"seed": "a\nb"}), {}),
        (orjson.dumps(good | {"items": 7}), {}),
        (orjson.dumps(good | {"items": []}), {}),
        (orjson.dumps(good), {"history": "nonsense"}),
        (orjson.dumps({name: value for name, value in good.items() if name != "id"}), {"reason": "drain"}),
    ]
    async with channel_of(settings) as channel:
        for body, headers in wrong:
            await channel.publish("returns", "", Message(body, headers), mandatory=True)
    letters = await dead_letters(api, len(wrong))
    assert {letter["kind"] for letter in letters} == {"return"}
    assert (await api.get("/dead")).status_code == 200
    await stock.deliveries.pop().reject()
    await eventually(lambda: stock.deliveries, "the batch again")
    assert stock.batches[0]["attempt"] == 2
    await stock.close()


async def test_a_lost_worker(api: httpx.AsyncClient, settings: Settings) -> None:
    """When a worker's connection is killed, all that it had not acked comes back, once each, with attempt 2."""
    await put_seed(api, "s", batchSize=10)
    wanted = await submit(api, "s", 300)
    management = Management(settings.management(), settings.vhost())
    before = set(await management.connection_users())
    worker = await StockWorker.consume(settings, prefetch=20)
    await eventually(lambda: len(worker.deliveries) == 20, "twenty batches at the worker")
    (name,) = set(await management.connection_users()) - before
    for delivery in worker.deliveries[:5]:
        await delivery.ack()
    acked = [item["id"] for batch in worker.batches[:5] for item in batch["items"]]
    await eventually(lambda: len(worker.deliveries) == 25, "five more batches: the acks have arrived")
    await management.close_connection(name, "killed by a test")
    await management.close()
    await eventually(worker.connection.closed.is_set, "the worker's connection is closed")
    drain = await Drain.begin(settings)
    await eventually(lambda: len(drain.items()) + len(acked) >= 300, "all items")
    assert Counter(drain.items() + acked) == Counter(wanted)
    seconds = {batch["id"] for batch in drain.seen if batch["attempt"] == 2}
    assert seconds >= {batch["id"] for batch in worker.batches[5:]}
    assert {batch["attempt"] for batch in drain.seen} == {1, 2}
    await drain.close()


async def test_a_batch_of_a_seed_that_nobody_knows(api: httpx.AsyncClient, settings: Settings) -> None:
    """A well-formed batch of an unknown seed that comes to `returns` is kept: its seed comes into being with it."""
    await publish_items(settings, "known", [items(1)])
    batch = {"id": "b-1", "seed": "new", "epoch": 1, "attempt": 1, "tags": [], "created": "", "items": items(2)}
    async with channel_of(settings) as channel:
        await channel.publish("returns", "", Message(orjson.dumps(batch), message_id="b-1"), mandatory=True)
    drain = await Drain.begin(settings)
    await eventually(lambda: len(drain.items("new")) == 2, "its items")
    assert [(one["id"], one["attempt"]) for one in drain.seen if one["seed"] == "new"] == [("b-1", 2)]
    assert (await api.get("/seed/new")).status_code == 200
    await drain.close()
