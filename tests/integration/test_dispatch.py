"""Dispatch: who may get what, in which order, how fast, and what becomes of the items' text."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import httpx
import orjson
import pytest

from coordinator.broker.types import Message
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.topology import Exchange, tags_of_work_queue, work_queue_name
from tests.helpers.steps import (
    Json,
    ack,
    channel_of,
    counts_settle,
    dead_letters,
    fetch,
    put_seed,
    served,
    submit,
    until,
)
from tests.helpers.support import DEADLINE, Drain, StockWorker, eventually, items, publish_items

WEIRD = "a b+c/%é"


def route(*tags: str) -> list[Json]:
    """Policies that route to these tags."""
    return [{"type": "route", "routeTo": tag} for tag in tags]


def throttle(period: str, value: int) -> list[Json]:
    """One throttle."""
    return [{"type": "throttle", "period": period, "value": value}]


@pytest.mark.parametrize(
    ("tags", "queue"),
    [
        ((), "work"),
        (("gpu",), "work.gpu"),
        (("b", "a"), "work.a+b"),
        ((WEIRD, "z"), "work.a%20b%2Bc%2F%25%C3%A9+z"),
        (("a.b", "*", "#"), "work.%23+%2A+a.b"),
    ],
)
def test_the_names_of_work_queues(tags: tuple[str, ...], queue: str) -> None:
    """A work queue's name holds its tags, sorted, each percent-encoded, joined by `+`."""
    assert work_queue_name(tags) == queue
    assert tags_of_work_queue(queue) == tuple(sorted(tags))


async def test_routing_by_tags(api: httpx.AsyncClient, settings: Settings) -> None:
    """A batch goes to the queue of all its seed's tags; over HTTP to workers that have all of them, and only these."""
    for seed, named in (("none", []), ("one", [WEIRD]), ("two", ["x", WEIRD, "x"])):
        await put_seed(api, seed, policies=route(*named))
        await submit(api, seed, 2)
        await counts_settle(api, seed, queued=2)
    async with channel_of(settings) as channel:
        sets: list[tuple[str, ...]] = [(), (WEIRD,), (WEIRD, "x")]
        for tags in sets:
            (delivery,) = await channel.get_many(work_queue_name(tags), 1)
            assert delivery is not None, tags
            assert orjson.loads(delivery.body)["tags"] == sorted(tags)
            await channel.publish("returns", "", delivery.copy(reason="test"), mandatory=True)
            await delivery.ack()
    for seed in ("none", "one", "two"):
        await counts_settle(api, seed, queued=2)
    assert [batch["seed"] for batch in await fetch(api, tags="x")] == ["none"]
    assert (await api.get("/batch", params={"tags": "x"})).json()["batches"] == []
    assert [batch["seed"] for batch in await fetch(api, tags=f"{WEIRD},y")] == ["one"]
    assert [batch["seed"] for batch in await fetch(api, tags=f"y,{WEIRD},x")] == ["two"]


async def test_a_released_batch_keeps_its_tags(settings: Settings) -> None:
    """It goes out by the tags it had, at the next coordinator too, while the queue of its seed's new ones is full."""
    async with served(settings) as api:
        await put_seed(api, "s", policies=route("old"))
        await submit(api, "s", 1)
        stock = await StockWorker.consume(settings, "work.old")
        await eventually(lambda: stock.deliveries, "the batch")
        await api.put("/release/seed/s")
        await put_seed(api, "s", policies=route("new"))
    async with served(settings) as api:
        await put_seed(api, "full", policies=route("new"), batchSize=10)
        await submit(api, "full", 100)
        await counts_settle(api, "full", queued=40)
        await stock.deliveries[0].reject()
        await counts_settle(api, "s", available=1)
        await api.put("/resume/seed/s")
        await eventually(lambda: len(stock.deliveries) == 2, "the released batch")
        await counts_settle(api, "full", queued=40)
    await stock.close()


async def test_shares_of_priorities(api: httpx.AsyncClient, node: Coordinator, settings: Settings) -> None:
    """While all have something to send, low, medium and high seeds get items in the shares 1 : 4 : 16, roughly."""
    for priority in ("low", "medium", "high"):
        await put_seed(api, priority, priority=priority, batchSize=10)
        await api.put(f"/release/seed/{priority}")
        await publish_items(settings, priority, [items(100, f"{n}-") for n in range(60)])
    await api.put("/resume/seed", json={"id": ["low", "medium", "high"]})
    buffered = node.session.owned_seeds.buffered
    await eventually(lambda: all(buffered(seed)[0] >= 500 for seed in ("low", "medium", "high")), "all have something")
    drain = await Drain.begin(settings)
    await eventually(lambda: len(drain.items("high")) >= 4200, "4,200 items of the high seed")
    got = Counter(batch["seed"] for batch in drain.seen[40:500])
    assert 2.5 <= got["medium"] / got["low"] <= 6
    assert 2.5 <= got["high"] / got["medium"] <= 6
    await drain.close()


async def test_a_small_seed_behind_a_large_one(api: httpx.AsyncClient, node: Coordinator, settings: Settings) -> None:
    """A seed of 10 items behind one of 20,000 is through after few batches of the large one."""
    await put_seed(api, "large", batchSize=50)
    await publish_items(settings, "large", [items(100, f"{n}-") for n in range(200)])
    stock = await StockWorker.consume(settings, prefetch=1)
    await eventually(lambda: stock.deliveries, "the large seed runs")
    await submit(api, "small", 10)
    session = node.session
    await eventually(
        lambda: session.owned_seeds.buffered("small")[0] or "small" in session.publisher.ledger.counts(),
        "its page is at hand",
    )
    before = 0
    while "small" not in {batch["seed"] for batch in stock.batches}:
        before += len(stock.deliveries)
        await stock.ack_all()
        await eventually(lambda: stock.deliveries, "the next batch")
    assert before <= 100, "no more than what was queued already, and a turn or two; 400 batches wait"
    await stock.close()


async def test_the_window_without_and_with_consumers(api: httpx.AsyncClient, settings: Settings) -> None:
    """Nobody consumes: few batches wait. Somebody does: never more than the window, whatever is behind."""
    await put_seed(api, "s", batchSize=10)
    await publish_items(settings, "s", [items(100, f"{n}-") for n in range(300)])
    await counts_settle(api, "s", queued=40)
    async with channel_of(settings) as channel:
        assert (await channel.depth("work")).ready == 4
        drain = await Drain.begin(settings, prefetch=200)
        most = 0
        async with asyncio.timeout(DEADLINE * 2):
            while len(drain.items()) < 30_000:
                most = max(most, (await channel.depth("work")).ready)
        assert most <= 200 + 64, "the window, and one burst that was under way"
        await drain.close()


async def test_throttle_per_second(api: httpx.AsyncClient, settings: Settings) -> None:
    """In no window of a second are more items dispatched than the throttle allows; other seeds go on meanwhile."""
    await put_seed(api, "slow", policies=throttle("second", 20), batchSize=100)
    drain = await Drain.begin(settings)
    wanted = await submit(api, "slow", 70)
    await submit(api, "fast", 500)
    await eventually(lambda: len(drain.items("fast")) == 500, "the other seed's items")
    await eventually(lambda: len(drain.items("slow")) == 70, "all throttled items")
    assert Counter(drain.items("slow")) == Counter(wanted)
    slow = [batch for batch in drain.seen if batch["seed"] == "slow"]
    times = [(stamp(batch), len(batch["items"])) for batch in slow]
    for start, _ in times:
        assert sum(count for at, count in times if start <= at < start + 0.95) <= 20
    await drain.close()


def stamp(batch: Json) -> float:
    """When a batch was made, in seconds."""
    return dt.datetime.fromisoformat(batch["created"]).timestamp()


async def test_throttle_per_minute_outlives_the_coordinator(settings: Settings) -> None:
    """What one coordinator spent of a throttle of a minute, the next one does not spend again."""
    async with served(settings) as api:
        await put_seed(api, "s", policies=throttle("minute", 30), batchSize=10)
        await submit(api, "s", 100)
        await counts_settle(api, "s", queued=30)
    async with served(settings) as api:
        drain = await Drain.begin(settings)
        await eventually(lambda: len(drain.items("s")) == 30, "what was spent before")
        await submit(api, "t", 200)
        await eventually(lambda: len(drain.items("t")) == 200, "another seed's items")
        assert len(drain.items("s")) == 30
        await drain.close()


async def test_several_throttles(api: httpx.AsyncClient, settings: Settings) -> None:
    """Several throttles all apply: the strictest decides; taking them away lets the rest go at once."""
    await put_seed(api, "s", policies=[*throttle("hour", 1000), *throttle("day", 7)], batchSize=5)
    drain = await Drain.begin(settings)
    wanted = await submit(api, "s", 40)
    await eventually(lambda: len(drain.items("s")) >= 5, "the first items")
    await submit(api, "t", 200)
    await eventually(lambda: len(drain.items("t")) == 200, "another seed's items")
    assert len(drain.items("s")) <= 7
    await put_seed(api, "s", batchSize=5)
    await eventually(lambda: len(drain.items("s")) == 40, "the rest")
    assert Counter(drain.items("s")) == Counter(wanted)
    await drain.close()


async def test_merging_and_splitting(api: httpx.AsyncClient, settings: Settings) -> None:
    """Small pages are merged and large ones split, never beyond the batch size, and nothing is lost or doubled."""
    await put_seed(api, "s", batchSize=30)
    pages = [items(count, f"{n}-") for n, count in enumerate([1] * 100 + [1000, 7, 31, 29, 500, 1, 60])]
    await publish_items(settings, "s", pages)
    await counts_settle(api, "s", sent=0)
    drain = await Drain.begin(settings)
    wanted = [item["id"] for page in pages for item in page]
    await eventually(lambda: len(drain.items()) >= len(wanted), "all items")
    assert Counter(drain.items()) == Counter(wanted)
    sizes = [len(batch["items"]) for batch in drain.seen]
    assert max(sizes) == 30
    assert len(sizes) < 100, "small pages travel together"
    await drain.close()


TEXTS = [
    rb'{"id":"1","big":123456789012345678901234567890,"small":1e-400}',
    rb'{ "z" : 1.0 , "id":"2", "a":[ 1.50, 1E5 , -0.0 ] }',
    rb'{"id":"3","url":"a\/b","metadata":{"escaped":"\u00e9\ud83d\udd77","two":"\u2028"}}',
    '{"id":"4","ключ":"значение 🕷","b":{"b":{},"a":[]}}'.encode(),
    rb'{"id":"5","id2":",\"items\":[","x":"]}","y":"[{"}',
]


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_the_text_of_items_is_kept(api: httpx.AsyncClient, settings: Settings, size: int) -> None:
    """Numbers, escapes, key order, white space within items and all letters arrive as written, merged or split."""
    await put_seed(api, "s", batchSize=size)
    async with channel_of(settings) as channel:
        await channel.publish("items", "s", Message(b" [ " + b" , ".join(TEXTS) + b" ]\n"), mandatory=True)
        for text in TEXTS:
            await channel.publish("items", "s", Message(b"\n" + text + b" "), mandatory=True)
    assert (await api.post("/seed/s/items", content=b"\n".join(TEXTS))).json()["accepted"] == len(TEXTS)
    stock = await StockWorker.consume(settings, prefetch=50)
    await eventually(lambda: sum(len(one["items"]) for one in stock.batches) == 3 * len(TEXTS), "all items")
    whole = b"".join(delivery.body for delivery in stock.deliveries)
    for text in TEXTS:
        assert whole.count(text) == 3, text
    await stock.deliveries[0].reject()
    await eventually(lambda: any(one["attempt"] == 2 for one in stock.batches), "the rejected batch")
    again = next(one for one in stock.deliveries if one.headers["attempt"] == 2)
    assert again.body.partition(b'"items":')[2] == stock.deliveries[0].body.partition(b'"items":')[2]
    await stock.close()


async def test_a_claim_of_a_stranger_is_checked(api: httpx.AsyncClient, node: Coordinator, settings: Settings) -> None:
    """`checked`, `page` and `attempt` headers count only from a trusted user that the broker has verified."""
    await put_seed(api, "s")
    url = (await api.put("/worker/w", json={})).json()["amqpUrl"]
    stranger = settings.model_copy(update={"amqp_url": type(settings.amqp_url)(url)})  # type: ignore[misc]
    headers: dict[str, object] = {"checked": 1000, "page": "x", "attempt": 1}
    async with channel_of(stranger) as channel:
        user = f"worker:{settings.vhost()}:w"
        await channel.publish("items", "s", Message(b"[{},", headers, user_id=user), mandatory=True)
        await channel.publish("items", "s", Message(b'{"id": "a"}', headers, user_id=user), mandatory=True)
    async with channel_of(settings) as channel:
        await channel.publish("items", "s", Message(b'[{"id": 7}]', headers), mandatory=True)
        await channel.publish("items", "new", Message(b'[{"id": 8}]', headers), mandatory=True)
        await channel.publish("items", "s", Message(b'[{"id": "b"}]', headers), mandatory=True)
    letters = await dead_letters(api, 3)
    assert sorted(letter["body"] for letter in letters) == ['[{"id": 7}]', '[{"id": 8}]', "[{},"]
    found = [item["id"] for batch in await fetch(api, 1) for item in batch["items"]]
    if len(found) == 1:
        found += [item["id"] for item in (await fetch(api))[0]["items"]]
    assert sorted(found) == ["a", "b"]
    assert node.is_ready


@pytest.mark.parametrize("seed", ["s", "new"])
async def test_anybody_may_mark_a_page(api: httpx.AsyncClient, settings: Settings, seed: str) -> None:
    """A producer that does not know whether its page arrived adds it again, marked, and the batch is marked, too."""
    await put_seed(api, "s")
    stock = await StockWorker.consume(settings)
    async with channel_of(settings) as channel:
        for headers in ({}, {"redelivered": True}):
            await channel.publish("items", seed, Message(b'[{"id": "a"}]', headers, "page"), mandatory=True)
            await eventually(lambda: len(stock.deliveries) == 1, "the batch")
            delivery = stock.deliveries.pop()
            assert delivery.headers.get("redelivered", False) is bool(headers)
            await delivery.ack()
    await stock.close()


async def test_a_producer_that_declares_items(api: httpx.AsyncClient, settings: Settings) -> None:
    """A producer may declare `items` itself, durable and direct without arguments, and submit to a new seed."""
    async with channel_of(settings) as channel:
        await channel.declare_exchange(Exchange("items", "direct"))
        await channel.publish("items", "s", Message(orjson.dumps({"id": "one"})), mandatory=True)
    assert (await fetch(api))[0]["items"] == [{"id": "one"}]


async def test_nobody_eligible_yet(api: httpx.AsyncClient) -> None:
    """Batches for tags that no worker has wait, and reach the first that has them."""
    await put_seed(api, "s", policies=route("rare"))
    await submit(api, "s", 3)
    await counts_settle(api, "s", queued=3)
    assert (await api.get("/batch?tags=common&wait=0.2")).json()["batches"] == []
    batches = await fetch(api, tags="rare")
    assert batches[0]["tags"] == ["rare"]
    await ack(api, batches)


async def test_two_workers_never_hold_the_same_item(api: httpx.AsyncClient, settings: Settings) -> None:
    """Stock and HTTP workers side by side get every item once between them."""
    await put_seed(api, "s", batchSize=10)
    drain = await Drain.begin(settings, prefetch=1)
    over_http: list[str] = []
    wanted = await submit(api, "s", 1000)

    async def look() -> None:
        batches: list[dict[str, Any]] = (await api.get("/batch?batches=5")).json()["batches"]
        over_http.extend(item["id"] for batch in batches for item in batch["items"])
        if batches:
            await ack(api, batches)

    await until(look, lambda: len(over_http) + len(drain.items()) >= 1000, "all items")
    assert Counter(over_http + drain.items()) == Counter(wanted)
    await drain.close()
