"""Release, resume and purge of seeds: what goes back, what stays, and what nobody may get any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import httpx
import orjson

from coordinator.broker.types import Message
from coordinator.errors import BrokerUnavailableError
from coordinator.settings import Settings
from tests.helpers.steps import (
    Json,
    ack,
    channel_of,
    command,
    counts_settle,
    fetch,
    listen,
    put_seed,
    seed_of,
    submit,
)
from tests.helpers.support import DEADLINE, Drain, StockWorker, eventually, items, publish_items, running_coordinator


async def result_of(api: httpx.AsyncClient, path: str, seed: str) -> Json:
    """Carry a call on one seed out; gives its result."""
    answer = await api.post(path, json={"id": seed})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["results"][0]
    return found


async def test_release_of_a_seed_with_a_full_window(api: httpx.AsyncClient, settings: Settings) -> None:
    """Unsent batches and those held over HTTP go back, a stock client keeps its own; a neighbour loses nothing."""
    for seed in ("s", "t"):
        await put_seed(api, seed, batchSize=10)
    stock = await StockWorker.consume(settings, prefetch=2)
    wanted = await submit(api, "s", 500)
    await eventually(lambda: len(stock.deliveries) == 2, "two batches at the stock worker")
    held = await fetch(api, 3)
    await counts_settle(api, "s", sent=50)
    other = await submit(api, "t", 200)
    await counts_settle(api, "t", available=200)

    released = await result_of(api, "/release/seed", "s")
    assert released["held"] == 20
    assert released["returned"] >= 70, "three leases, and as many unsent batches as the fetches made room for"
    assert await counts_settle(api, "s", available=480, queued=0, sent=20)
    after = await seed_of(api, "s")
    assert (after["state"], after["epoch"]) == ("released", 2)
    for batch in held:
        assert (await api.put(f"/batch/ack/{batch['id']}")).status_code == 404

    await stock.ack_all()
    drain = await Drain.begin(settings)
    await eventually(lambda: len(drain.items("t")) + len(of(stock, "t")) == 200, "the neighbour's items")
    assert Counter(drain.items("t") + of(stock, "t")) == Counter(other)
    assert {batch["attempt"] for batch in [*drain.seen, *stock.batches]} == {1}
    assert not drain.items("s")
    assert not of(stock, "s")

    taken = 20
    await result_of(api, "/resume/seed", "s")
    await eventually(lambda: len(drain.items("s")) + len(of(stock, "s")) + taken == 500, "the released items")
    got = Counter(drain.items("s") + of(stock, "s"))
    assert not got - Counter(wanted)
    assert set(got.values()) == {1}
    assert {(batch["attempt"], batch["epoch"]) for batch in drain.seen if batch["seed"] == "s"} == {(1, 2)}
    await stock.close()
    await drain.close()


def of(worker: StockWorker, seed: str) -> list[str]:
    """Ids of the items of a seed that a stock worker holds."""
    return [item["id"] for batch in worker.batches if batch["seed"] == seed for item in batch["items"]]


async def test_every_item_after_a_resume(api: httpx.AsyncClient, settings: Settings) -> None:
    """Release and resume, again and again while workers take: every item arrives exactly once, epochs go up."""
    await put_seed(api, "s", batchSize=10)
    wanted = await submit(api, "s", 3000)
    drain = await Drain.begin(settings, prefetch=2)
    for turn in range(6):
        released = await result_of(api, "/release/seed", "s")
        assert released["epoch"] == turn + 2
        seen = len(drain.seen)
        await publish_items(settings, "beside", [[{"id": f"b{turn}"}]])
        await eventually(lambda turn=turn: f"b{turn}" in drain.items("beside"), "a batch of another seed")  # type: ignore[misc]
        late = [batch for batch in drain.seen[seen:] if batch["seed"] == "s"]
        assert len(late) <= 2, "what was on its way to the worker may still arrive, no more"
        await result_of(api, "/resume/seed", "s")
    await eventually(lambda: len(drain.items("s")) >= 3000, "all items")
    assert Counter(drain.items("s")) == Counter(wanted)
    assert {batch["attempt"] for batch in drain.seen} == {1}
    await drain.close()


async def test_nothing_is_handed_out_after_the_reply(api: httpx.AsyncClient, settings: Settings) -> None:
    """From the reply of a release on, a new consumer and a new fetch find nothing of the seed."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 1000)
    await counts_settle(api, "s", queued=40)
    await result_of(api, "/release/seed", "s")
    stock = await StockWorker.consume(settings, prefetch=100)
    assert (await api.get("/batch?batches=100")).json()["batches"] == []
    await submit(api, "s", 100)
    await submit(api, "t", 1)
    await eventually(lambda: stock.deliveries, "the other seed's batch")
    assert [batch["seed"] for batch in stock.batches] == ["t"]
    await counts_settle(api, "s", available=1100, queued=0, sent=0)
    await stock.close()


async def test_notices(api: httpx.AsyncClient, settings: Settings) -> None:
    """Release and resume are told on `control`, with the epoch, before the reply."""
    async with channel_of(settings) as channel:
        heard = await listen(channel, "control")
        await submit(api, "s", 1)
        await result_of(api, "/release/seed", "s")
        await result_of(api, "/resume/seed", "s")
        await put_seed(api, "s", policies=[{"type": "route", "routeTo": "gpu"}])
        await eventually(lambda: len(heard) == 3, "three notices")
        notices = [orjson.loads(delivery.body) for delivery in heard]
    assert notices[0] == {"type": "seed.released", "seed": "s", "epoch": 2}
    assert (notices[1]["type"], notices[1]["seed"]) == ("seed.resumed", "s")
    assert (notices[2]["type"], notices[2]["tags"]) == ("tags.added", ["gpu"])


async def test_two_releases_at_once(api: httpx.AsyncClient) -> None:
    """Releases that arrive together do not clash: each answers, the items are counted once, all of them come back."""
    for seed in ("s", "t"):
        await put_seed(api, seed, batchSize=10)
        await submit(api, seed, 100)
    answers = await asyncio.gather(
        *(api.post("/release/seed", json={"id": ids}) for ids in (["s"], ["s", "t"], ["t"], ["t", "s"]))
    )
    assert {answer.status_code for answer in answers} == {200}
    for seed in ("s", "t"):
        await counts_settle(api, seed, available=100, queued=0, sent=0)
        epochs = [one["epoch"] for answer in answers for one in answer.json()["results"] if one["id"] == seed]
        assert max(epochs) == (await seed_of(api, seed))["epoch"] == 4
        await result_of(api, "/resume/seed", seed)
    got = [item["id"] for batch in await fetch(api, 20) for item in batch["items"]]
    assert Counter(got) == Counter(f"{seed}-{n}" for seed in ("s", "t") for n in range(100))


async def test_release_during_heavy_dispatch(api: httpx.AsyncClient, settings: Settings) -> None:
    """Seeds are released while workers take as fast as they can; nothing is lost, doubled, or called a failure."""
    drain = await Drain.begin(settings, prefetch=50)
    seeds = [f"s{number}" for number in range(4)]
    for seed in seeds:
        await put_seed(api, seed, batchSize=20)
        await publish_items(settings, seed, [items(100, f"{seed}-{page}-") for page in range(20)])
    for _ in range(3):
        await asyncio.gather(*(result_of(api, "/release/seed", seed) for seed in seeds))
        await asyncio.gather(*(result_of(api, "/resume/seed", seed) for seed in seeds))
    await eventually(lambda: len(drain.items()) >= 8000, "all items")
    assert Counter(drain.items()) == Counter(f"{s}-{page}-{n}" for s in seeds for page in range(20) for n in range(100))
    assert {batch["attempt"] for batch in drain.seen} == {1}
    await drain.close()


async def test_a_stale_batch_that_is_rejected(api: httpx.AsyncClient, settings: Settings) -> None:
    """What a stock worker kept over a release and then rejects becomes available, and has failed once."""
    stock = await StockWorker.consume(settings, prefetch=1)
    await submit(api, "s", 5)
    await eventually(lambda: stock.deliveries, "a batch at the stock worker")
    before = stock.batches[0]
    await result_of(api, "/release/seed", "s")
    await stock.deliveries.pop().reject()
    await counts_settle(api, "s", available=5, sent=0)
    assert not stock.deliveries
    await result_of(api, "/resume/seed", "s")
    await eventually(lambda: stock.deliveries, "the batch again")
    after = stock.batches[0]
    assert (after["id"], after["items"]) == (before["id"], before["items"])
    assert (after["attempt"], after["epoch"]) == (2, 2)
    await stock.close()


async def test_a_stale_batch_that_is_given_back(api: httpx.AsyncClient, settings: Settings) -> None:
    """What a worker gives back without fault after a release becomes available with its attempt unchanged."""
    stock = await StockWorker.consume(settings, prefetch=1)
    await submit(api, "s", 5)
    await eventually(lambda: stock.deliveries, "a batch at the stock worker")
    await result_of(api, "/release/seed", "s")
    delivery = stock.deliveries.pop()
    await stock.channel.publish("returns", "", delivery.copy(reason="seed released"), mandatory=True)
    await delivery.ack()
    await counts_settle(api, "s", available=5, sent=0)
    await result_of(api, "/resume/seed", "s")
    await eventually(lambda: stock.deliveries, "the batch again")
    assert (stock.batches[0]["attempt"], stock.batches[0]["epoch"]) == (1, 2)
    await stock.close()


async def test_a_batch_of_an_old_epoch_is_never_handed_out(api: httpx.AsyncClient, settings: Settings) -> None:
    """A batch that is older than its seed's epoch, however it came into a work queue, goes to no HTTP worker."""
    await submit(api, "s", 5)
    old = (await fetch(api))[0]
    await result_of(api, "/release/seed", "s")
    await result_of(api, "/resume/seed", "s")
    new = (await fetch(api))[0]
    await ack(api, [new])
    forged = {**old, "id": old["batch"]}
    async with channel_of(settings) as channel:
        await channel.publish("", "work", Message(orjson.dumps(forged), message_id=old["batch"]), mandatory=True)
    again = (await fetch(api))[0]
    assert (again["epoch"], again["items"]) == (2, old["items"])


async def test_commands_over_amqp(api: httpx.AsyncClient, settings: Settings) -> None:
    """A command's reply is the JSON of the HTTP answer and its status, whichever of the three forms it came in."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 40)
    await counts_settle(api, "s", queued=40)
    reply = await command(settings, "release.seed", {"id": "s"})
    assert (reply["status"], reply["results"][0]["returned"], reply["results"][0]["held"]) == (200, 40, 0)
    reply = await command(settings, "resume.seed", [{"id": "s"}, {"id": "x"}])
    assert [reply["status"], *(one["status"] for one in reply["results"])] == [404, 200, 404]
    assert (await seed_of(api, "s"))["state"] == "running"
    reply = await command(settings, "purge.seed", {"id": ["s", "s"]})
    assert [one["purged"] for one in reply["results"]] == [40]
    assert (await api.get("/seed/s")).status_code == 404
    over_http = (await api.post("/release/seed", json={"id": "x"})).json()
    assert await command(settings, "release.seed", {"id": "x"}) == over_http | {"status": 404}


async def test_malformed_commands(api: httpx.AsyncClient, settings: Settings) -> None:
    """A malformed command is answered 406, field by field; without `reply_to` it lies in `dead`; the rest goes on."""
    wrong: list[tuple[str, bytes]] = [
        ("release.seed", b"nonsense"),
        ("release.seed", b"7"),
        ("release.seed", b'{"id": "a\\u0000"}'),
        ("release.worker", b'{"id": "a b"}'),
        ("release.planet", b'{"id": "x"}'),
    ]
    for name, body in wrong:
        reply = await command(settings, name, body)
        assert reply["status"] == 406, (name, body)
        assert reply["errors"][0]["field"]
        assert reply["message"]
    assert (await api.get("/dead")).json()["count"]["totalItems"] == 0
    async with channel_of(settings) as channel:
        for name, body in wrong:
            await channel.publish("commands", name, Message(body), mandatory=True)
    found: list[Json] = []
    async with asyncio.timeout(20):
        while len(found) < len(wrong):
            found = (await api.get("/dead")).json()["dead"]
    assert Counter(letter["body"] for letter in found) == Counter(body.decode() for _, body in wrong)
    assert all(letter["kind"] == "command" and letter["reason"] for letter in found)
    await put_seed(api, "s")
    assert (await command(settings, "release.seed", {"id": "s"}))["status"] == 200


async def test_a_command_while_no_coordinator_runs(settings: Settings) -> None:
    """A command that is sent while every coordinator is down is carried out, and answered, when one is back."""
    async with running_coordinator(settings):
        drain = await Drain.begin(settings)
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: len(drain.items()) == 5, "the first items")
        await drain.close()
    asking = asyncio.create_task(command(settings, "release.seed", {"id": "s"}))
    async with channel_of(settings) as channel:
        async with asyncio.timeout(DEADLINE):
            while (await channel.depth("commands")).ready == 0:
                pass
    async with running_coordinator(settings) as node:
        assert (await asking)["results"][0]["status"] == 200
        assert node.session.catalog.get("s").state == "released"


async def test_purge_while_items_stream_in(api: httpx.AsyncClient, settings: Settings) -> None:
    """A seed may be purged again and again while its items stream in; what comes later always makes it anew.

    The broker itself may drop a connection that publishes to a queue as it is deleted, so calls may be 503.
    """

    async def stream(turn: int) -> None:
        with contextlib.suppress(BrokerUnavailableError):
            await publish_items(settings, "s", [items(5, f"{turn}-{page}-") for page in range(100)])

    drain = await Drain.begin(settings)
    for turn in range(5):
        streaming = asyncio.create_task(stream(turn))
        while not streaming.done():
            answer = await api.delete("/seed/s")
            assert answer.status_code in {200, 404, 503}, answer.text
    for seed in ("s", "other"):
        await publish_items(settings, seed, [[{"id": f"last of {seed}"}]])
        await eventually(lambda seed=seed: f"last of {seed}" in drain.items(seed), "items after the last purge")  # type: ignore[misc]
    async with running_coordinator(settings) as second:
        assert second.session.catalog.get("s").state == "running"
    await drain.close()
