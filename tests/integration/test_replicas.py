"""Several coordinators on one broker: seeds are shared, commands reach all of them, and a change loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.types import Depth, Message
from coordinator.domain.membership import owner
from coordinator.errors import BrokerUnavailableError
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.node.coordinator import Coordinator
from coordinator.node.releases.commands import Commands
from coordinator.node.releases.sweep import Sweeper
from coordinator.node.seeds.stale_batches import Swept
from coordinator.settings import Settings
from coordinator.tokens import Token, add_token, digest
from tests.helpers.replicas import knows, pair, seed_owned_by, shim_of
from tests.helpers.steps import (
    Json,
    ack,
    channel_of,
    command,
    counts_settle,
    fetch,
    put_seed,
    seed_of,
    submit,
    until,
)
from tests.helpers.support import (
    Drain,
    StockWorker,
    eventually,
    items,
    own_vhost,
    publish_items,
    running_coordinator,
)

SEEDS = [f"seed-{number}" for number in range(12)]


def lines_of(*nodes: Coordinator) -> dict[str, set[str]]:
    """The seeds whose queues each coordinator consumes."""
    return {node.instance: set(node.session.owned_seeds.consumers) for node in nodes}


async def test_seeds_are_shared_and_shared_anew(settings: Settings) -> None:
    """Each seed has one owner; one that joins gets its share, what one leaves goes to others; none comes twice."""
    async with running_coordinator(settings) as first, shim_of(first) as api:
        for seed in SEEDS:
            await submit(api, seed, 300)
        drain = await Drain.begin(settings, prefetch=2)
        await eventually(lambda: set(first.session.owned_seeds.consumers) == set(SEEDS), "one has all")
        async with running_coordinator(settings) as second, running_coordinator(settings) as third:
            nodes = [first, second, third]
            await eventually(
                lambda: all(
                    lines_of(node)[node.instance]
                    == {seed for seed in SEEDS if owner(seed, [one.instance for one in nodes]) == node.instance}
                    for node in nodes
                ),
                "each has what is its own",
            )
            assert {(await seed_of(api, seed))["owner"] for seed in SEEDS} <= {node.instance for node in nodes}
            for seed in SEEDS:
                await submit(api, seed, [{"id": f"{seed}-late-{number}"} for number in range(100)])
        await eventually(lambda: set(first.session.owned_seeds.consumers) == set(SEEDS), "it has all again")
        await eventually(lambda: sum(drain.counts.values()) >= 400 * len(SEEDS), "every item")
    assert max(Counter((batch["seed"], item["id"]) for batch in drain.seen for item in batch["items"]).values()) == 1
    assert {batch["attempt"] for batch in drain.seen} == {1}
    await drain.close()


async def test_a_batch_is_acked_and_given_back_anywhere(settings: Settings) -> None:
    """A handle that one coordinator gave is good at the other; once settled it is gone everywhere."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        await put_seed(here, "s", batchSize=1)
        await submit(here, "s", 3)
        batches = await fetch(here, 3)
        await ack(there, batches[:1])
        answer = await there.post("/batch/return", json={"id": batches[1]["id"]})
        assert answer.status_code == 200, answer.text
        [again] = await fetch(there)
        assert (again["batch"], again["attempt"]) == (batches[1]["batch"], 1)
        for api in (here, there):
            for settled in batches[:2]:
                assert (await api.put(f"/batch/ack/{settled['id']}")).status_code == 404
        await ack(here, [again, batches[2]])


@pytest.mark.parametrize("route", ["/batch/ack", "/batch/return"])
async def test_nobody_settles_anothers_batch_anywhere(settings: Settings, tmp_path: Path, route: str) -> None:
    """A token that is bound to another worker is refused the handle also where it was not given, and its own is not."""
    path = tmp_path / "tokens.json"
    for name in ("one", "two"):
        add_token(path, Token(name=name, roles=("worker", "producer"), worker=name, sha256=digest(name)))
    guarded = settings.model_copy(update={"tokens_file": path})
    async with pair(guarded) as (first, second), shim_of(first) as here, shim_of(second) as there:
        here.headers["Authorization"] = "Bearer one"
        await submit(here, "s", 1)
        [batch] = await fetch(here, worker="one")
        for name, status in (("two", 404), ("one", 200)):
            headers = {"Authorization": f"Bearer {name}"}
            answer = await there.post(route, json={"id": batch["id"]}, headers=headers)
            assert answer.status_code == status, answer.text


async def test_handles_of_one_that_is_gone(settings: Settings) -> None:
    """With a coordinator go its leases: its handles are 404, and its batches go to another worker."""
    async with running_coordinator(settings) as one, shim_of(one) as here:
        await submit(here, "s", 1)
        async with running_coordinator(settings) as two, shim_of(two) as there:
            [batch] = await fetch(there)
        assert (await here.put(f"/batch/ack/{batch['id']}")).status_code == 404
        [again] = await fetch(here)
        assert again["batch"] == batch["batch"]


async def test_figures_are_of_all(settings: Settings) -> None:
    """Counts, and who holds what, are the same wherever they are asked for."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        seed = seed_owned_by(one, two)
        await put_seed(here, seed, batchSize=10)
        await submit(there, seed, 30)
        [mine] = await fetch(here, worker="mine")
        [yours] = await fetch(there, worker="yours")
        for api in (here, there):
            counts = await counts_settle(api, seed, queued=10, sent=20, available=0, taken=0)
            assert counts["exact"] is False or sum(value for value in counts.values()) == 31
            await holders_settle(api, {("mine", mine["batch"]), ("yours", yours["batch"])})
            [batch] = (await api.get("/worker/yours")).json()["held"]
            assert batch["batch"] == yours["batch"]


async def holders_settle(api: httpx.AsyncClient, wanted: set[tuple[str, str]]) -> None:
    """Wait until these workers hold these batches and nobody holds another: the broker's figures lag."""
    found: set[tuple[str, str]] = set()

    async def look() -> None:
        found.clear()
        found.update((one["worker"], one["batch"]) for one in (await api.get("/batch/held")).json()["batches"])

    await until(look, lambda: found == wanted, f"who holds what: {wanted}")


async def test_release_of_a_seed_that_another_owns(settings: Settings) -> None:
    """The reply comes when the owner has stopped: after it nothing of the seed is handed out, and all is counted."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        seed = seed_owned_by(two, one)
        await put_seed(here, seed, batchSize=10)
        await submit(here, seed, 200)
        held = [*await fetch(here, worker="a"), *await fetch(there, worker="b")]
        reply = await command(settings, "release.seed", {"id": seed})
        [result] = reply["results"]
        assert (result["status"], result["held"], result["epoch"]) == (200, 0, 2)
        for api in (here, there):
            assert (await api.get("/batch")).json()["batches"] == []
            counts = (await seed_of(api, seed))["counts"]
            assert (counts["available"], counts["queued"], counts["sent"]) == (200, 0, 0)
            for batch in held:
                assert (await api.put(f"/batch/ack/{batch['id']}")).status_code == 404
        assert (await there.put("/resume/seed", json={"id": seed})).status_code == 200
        drain = await Drain.begin(settings)
        await eventually(lambda: drain.counts[seed] == 200, "every item")
        assert {(batch["attempt"], batch["epoch"]) for batch in drain.seen} == {(1, 2)}
        await drain.close()


async def test_purge_of_a_seed_that_another_owns(settings: Settings) -> None:
    """A purge counts what every coordinator had, and the same seed can begin anew at once."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        seed = seed_owned_by(two, one)
        await put_seed(here, seed, batchSize=10)
        await submit(here, seed, 100)
        await fetch(there, worker="b")
        answer = await here.delete(f"/seed/{seed}")
        assert (answer.status_code, answer.json()["results"][0]["purged"]) == (200, 100)
        await until_gone(there, seed)
        await publish_items(settings, seed, [items(5, "new-")])
        [batch] = await fetch(there)
        assert [item["id"] for item in batch["items"]] == [f"new-{number}" for number in range(5)]


@pytest.mark.parametrize("fetcher", [0, 1])
@pytest.mark.parametrize("verb", ["release", "purge"])
async def test_what_a_fetch_takes_out_while_a_seed_is_swept_counts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, verb: str, fetcher: int
) -> None:
    """At whichever coordinator it is made: it finds the batches stale, and hands them out to nobody."""
    async with pair(settings) as nodes, shim_of(nodes[0]) as here, shim_of(nodes[1]) as there:
        await put_seed(here, "s", batchSize=5)
        await submit(here, "s", 10)
        await counts_settle(here, "s", queued=10)
        fetched: list[object] = []
        sweep = Sweeper.sweep

        async def late(self: Sweeper, seed: str) -> Swept:
            fetched.extend((await (here, there)[fetcher].get("/batch")).json()["batches"])
            return await sweep(self, seed)

        monkeypatch.setattr(Sweeper, "sweep", late)
        if verb == "release":
            result = (await here.put("/release/seed/s")).json()["results"][0]
            assert (result["returned"], len(result["batches"])) == (10, 2)
        else:
            assert (await here.delete("/seed/s")).json()["results"][0]["purged"] == 10
        assert fetched == []


async def test_a_seed_does_not_begin_anew_while_another_purges_it(settings: Settings) -> None:
    """It waits until its old queue is deleted, which would else take the new one's items along; others do not wait."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        others = ("first", "second")
        for seed in ("purged", *others):
            await submit(here, seed, 1)
            assert (await here.delete(f"/seed/{seed}")).status_code == 200
            await until_gone(there, seed)
        async with one.session.catalog.purging("purged"):
            beginning = asyncio.create_task(two.session.catalog.ensure("purged"))
            for seed in others:
                await two.session.catalog.ensure(seed)
            assert not beginning.done()
        await beginning
        assert {"purged", *others} <= set(two.session.registry.state.seeds)


@pytest.mark.parametrize("is_purged_again", [False, True])
async def test_a_purge_that_did_not_come_to_its_end(settings: Settings, *, is_purged_again: bool) -> None:
    """Its coordinator ended with the seed forgotten and its queue in place: what comes there must not lie for ever."""
    async with running_coordinator(settings) as node, shim_of(node) as api:
        await submit(api, "s", 3)
        assert (await api.delete("/seed/s")).status_code == 200
    async with channel_of(settings) as channel:
        await channel.declare_queue(topology.seed_queue("s"))
    await publish_items(settings, "s", [items(5)])
    async with running_coordinator(settings) as node, shim_of(node) as api:
        if is_purged_again:
            answer = await api.delete("/seed/s")
            assert (answer.status_code, answer.json()["results"][0]["purged"]) == (200, 5)
        else:
            [batch] = await fetch(api)
            assert (len(batch["items"]), batch["epoch"]) == (5, 2)


async def test_the_queue_of_a_purged_seed_goes(settings: Settings) -> None:
    """It is deleted a little later, and items that come then make the seed anew."""
    async with running_coordinator(settings) as node, shim_of(node) as api:
        await submit(api, "s", 3)
        assert (await api.delete("/seed/s")).json()["results"][0]["purged"] == 3
        assert (await api.delete("/seed/s")).status_code == 404
        queue = topology.seed_queue_name("s")
        depths: list[Depth | None] = []

        async def look() -> None:
            depths[:] = [await node.session.reader.depth(queue)]

        await until(look, lambda: depths == [None], "its queue is gone")
        await publish_items(settings, "s", [items(2)])
        [batch] = await fetch(api)
        assert (len(batch["items"]), batch["epoch"]) == (2, 2)


async def until_gone(api: httpx.AsyncClient, seed: str) -> None:
    """Wait until a coordinator knows no such seed."""
    status: list[int] = []

    async def look() -> None:
        status[:] = [(await api.get(f"/seed/{seed}")).status_code]

    await until(look, lambda: status == [404], f"{seed} is forgotten")


async def test_each_command_is_carried_out_once(settings: Settings) -> None:
    """Whichever coordinator reads a command: of twenty releases each raises the epoch by one."""
    async with pair(settings) as (one, two), shim_of(two) as there:
        await submit(there, "s", 10)
        replies = await asyncio.gather(
            *(command(settings, "release.seed", {"id": "s"}, correlation=str(number)) for number in range(20))
        )
        assert max(reply["results"][0]["epoch"] for reply in replies) == 21
        await eventually(lambda: one.session.registry.state.seeds["s"].epoch == 21, "both know")
        assert two.session.registry.state.seeds["s"].epoch == 21


async def test_release_of_an_http_worker_held_elsewhere(settings: Settings) -> None:
    """A worker's batches go to others, whichever coordinator holds them for it and whichever is told."""
    async with pair(settings) as (one, two), shim_of(one) as here, shim_of(two) as there:
        await submit(here, "s", 1)
        [batch] = await fetch(here, worker="lost")
        answer = await there.put("/release/worker/lost")
        assert (answer.status_code, answer.json()["results"][0]["batches"]) == (200, 1)
        [again] = await fetch(there, worker="other")
        assert (again["batch"], again["attempt"]) == (batch["batch"], 2)


async def test_fair_turns_across_owners(settings: Settings) -> None:
    """A seed that is alone at its owner gets no more than one that shares its owner with three others."""
    async with pair(settings) as (one, two), shim_of(one) as api:
        members = [one.instance, two.instance]
        many = [ident for ident in map(str, range(1000)) if owner(ident, members) == one.instance][:4]
        seeds = [*many, seed_owned_by(two, one)]
        for seed in seeds:
            await put_seed(api, seed, batchSize=10)
            await api.put(f"/release/seed/{seed}")
            await publish_items(settings, seed, [items(100, f"{page}-") for page in range(200)])
        drain = await Drain.begin(settings, prefetch=5)
        await api.put("/resume/seed", json={"id": seeds})
        await eventually(lambda: sum(drain.counts.values()) >= 60_000, "60,000 items of 100,000", 60)
        first = Counter(batch["seed"] for batch in drain.seen[1500:6000])
        assert 0.5 <= first[seeds[-1]] / (sum(first[seed] for seed in many) / 4) <= 2.0, first
        await drain.close()


async def test_a_throttle_holds_across_owners(settings: Settings) -> None:
    """Whoever owns a seed: no more than its throttle allows in a minute, however often the owner changes."""
    async with running_coordinator(settings) as first, shim_of(first) as api:
        await put_seed(api, "s", policies=[{"type": "throttle", "period": "minute", "value": 30}], batchSize=10)
        await submit(api, "s", 200)
        drain = await Drain.begin(settings)
        for _ in range(6):
            async with running_coordinator(settings) as second:
                await eventually(lambda node=second: knows(first, node), "it has joined")  # type: ignore[misc]
        await submit(api, "other", 10)
        await eventually(lambda: drain.counts["other"] == 10, "another seed is served")
        assert drain.counts["s"] == 30
        await drain.close()


@pytest.mark.timeout(240)
async def test_attempts_outlive_owners_releases_and_sweeps(settings: Settings) -> None:
    """25 changes of owner, 25 releases and 25 sweeps leave the attempt of each waiting batch as it was."""
    async with running_coordinator(settings) as first, shim_of(first) as api:
        await put_seed(api, "s", batchSize=10)
        await submit(api, "s", 60)
        failing = await StockWorker.consume(settings, prefetch=2)
        await eventually(lambda: len(failing.deliveries) == 2, "two batches, to fail")
        failed = {batch["id"] for batch in failing.batches}
        await failing.close()
        for _ in range(25):
            async with running_coordinator(settings) as second:
                await eventually(lambda node=second: knows(first, node), "it has joined")  # type: ignore[misc]
                assert (await api.put("/release/seed/s")).status_code == 200
                await submit(api, "t", 1)
                assert (await api.put("/release/seed/t")).status_code == 200
                assert (await api.put("/resume/seed", json={"id": ["s", "t"]})).status_code == 200
            await eventually(lambda: knows(first), "it has left")
        drain = await Drain.begin(settings)
        await eventually(lambda: drain.counts["s"] == 60, "every item")
        await eventually(lambda: drain.counts["t"] == 25, "and the others")
        attempts: defaultdict[int, set[str]] = defaultdict(set)
        for batch in drain.seen:
            attempts[batch["attempt"]].add(batch["id"])
        assert attempts[2] == failed
        assert set(attempts) == {1, 2}
        await drain.close()


async def test_the_last_offer_is_alone_among_all(broker: BrokerUrls) -> None:
    """While a batch is offered for the last time, no coordinator sends anything else."""
    async with own_vhost(broker, attempt_limit=1, last_offer_patience=20.0) as settings, pair(settings) as (one, two):
        seed = seed_owned_by(two, one)
        async with shim_of(one) as api:
            await submit(api, "poison", [{"id": "p"}])
            worker = await StockWorker.consume(settings, prefetch=5)
            await eventually(lambda: worker.deliveries, "the first offer")
            await worker.deliveries.pop().reject()
            await eventually(lambda: worker.deliveries, "the last offer")
            assert worker.deliveries[0].headers["alone"] is True
            await submit(api, seed, 20)
            await eventually(lambda: two.session.owned_seeds.buffered(seed)[0] == 20, "others wait")
            assert len(worker.deliveries) == 1
            await worker.deliveries.pop().reject()
            await eventually(lambda: seed in {batch["seed"] for batch in worker.batches}, "the others go on")
            letters = (await api.get("/dead")).json()["dead"]
            assert [letter["seed"] for letter in letters] == ["poison"]
            await worker.close()


async def test_commands_are_carried_out_in_their_order(broker: BrokerUrls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads them, and also where one must be tried again: the resume that was sent last is what counts."""
    async with own_vhost(broker) as settings, pair(settings) as nodes, shim_of(nodes[0]) as api:
        await submit(api, "s", 1)
        before = (await seed_of(api, "s"))["epoch"]
        monkeypatch.setattr(Commands, "carry_out", failing_first(Commands.carry_out))
        connection = await Connection.open(settings.amqp_urls(), "manager")
        channel = await connection.channel()
        for name in ["release.seed", "resume.seed"] * 5:
            await channel.publish("commands", name, Message(b'{"id": "s"}'), mandatory=True)
        await connection.close()

        async def look() -> None:
            seed.update(await seed_of(api, "s"))

        seed: Json = {}
        await until(look, lambda: seed.get("epoch") == before + 5, "all releases")
        await until(look, lambda: seed["state"] == "running", "the resume behind the last of them")


CarryOut = Callable[[Commands, str, list[str]], Awaitable[Any]]


def failing_first(carry_out: CarryOut) -> CarryOut:
    """Let the first release fail at each replica, as where the broker is away for a moment."""
    failed: list[Commands] = []

    async def one(commands: Commands, name: str, ids: list[str]) -> Any:  # noqa: ANN401 - the answer's JSON
        if name == "release.seed" and not any(commands is other for other in failed):
            failed.append(commands)
            raise BrokerUnavailableError("away for a moment")
        return await carry_out(commands, name, ids)

    return one


async def assert_offered_once_more(worker: StockWorker, api: httpx.AsyncClient) -> None:
    """Let the last offer at the second attempt fail: the batch dies of the next one only."""
    await worker.deliveries.pop().reject()
    await eventually(lambda: worker.deliveries, "another last offer")
    assert (await api.get("/dead")).json()["dead"] == []
    last = worker.deliveries.pop()
    assert (last.headers["alone"], last.headers["attempt"]) == (True, 3)
    await last.reject()
    letters: list[str] = []

    async def look() -> None:
        letters[:] = [letter["reason"] for letter in (await api.get("/dead")).json()["dead"]]

    await until(look, lambda: bool(letters), "the dead letter")
    assert letters == ["failed 3 times, the last time alone: rejected"]


async def test_a_last_offer_whose_coordinator_ends_is_made_again(broker: BrokerUrls) -> None:
    """From then on others may go out beside it, so a batch that fails in that time is not dead yet."""
    async with own_vhost(broker, attempt_limit=1) as settings, contextlib.AsyncExitStack() as stack:
        async with running_coordinator(settings) as one:
            two = await stack.enter_async_context(running_coordinator(settings))
            await eventually(lambda: knows(one, two) and knows(two, one), "they know each other")
            await publish_items(settings, "poison", [items(1)])
            worker = await StockWorker.consume(settings, prefetch=5)
            for attempt in (1, 2):
                await eventually(lambda: worker.deliveries, f"offer {attempt}")
                assert worker.deliveries[0].headers.get("alone", False) is (attempt == 2)
                if attempt == 1:
                    await worker.deliveries.pop().reject()
            await eventually(lambda: not one.session.isolation.waiting(), "it has settled what it offered")
        await eventually(lambda: knows(two), "the one that made the last offer is gone")
        async with shim_of(two) as api:
            await assert_offered_once_more(worker, api)
        await worker.close()


async def test_a_last_offer_during_which_a_coordinator_comes_is_made_again(broker: BrokerUrls) -> None:
    """It may be one that was not heard of for a while, and has sent something: a batch that fails then is not dead."""
    async with own_vhost(broker, attempt_limit=1) as settings, running_coordinator(settings) as one:
        await publish_items(settings, "poison", [items(1)])
        worker = await StockWorker.consume(settings, prefetch=5)
        for attempt in (1, 2):
            await eventually(lambda: worker.deliveries, f"offer {attempt}")
            if attempt == 1:
                await worker.deliveries.pop().reject()
        assert worker.deliveries[0].headers["alone"] is True
        async with running_coordinator(settings) as two, shim_of(one) as api:
            await eventually(lambda: knows(one, two) and knows(two, one), "they know each other")
            await assert_offered_once_more(worker, api)
        await worker.close()


async def test_a_last_offer_waits_for_what_others_sent_before(broker: BrokerUrls) -> None:
    """A coordinator that has just begun knows nothing of batches that are with workers: the broker is asked first."""
    async with own_vhost(broker, attempt_limit=1, last_offer_patience=4.0) as settings:
        async with running_coordinator(settings):
            holder = await StockWorker.consume(settings, prefetch=1)
            await publish_items(settings, "held", [items(1)])
            await eventually(lambda: holder.deliveries, "a batch that stays with its worker")
            worker = await StockWorker.consume(settings, prefetch=5)
            await publish_items(settings, "poison", [items(1)])
            await eventually(lambda: worker.deliveries, "the first offer")
        await worker.deliveries.pop().reject()
        async with running_coordinator(settings):
            await eventually(lambda: worker.deliveries, "an offer that could not be made alone")
            assert "alone" not in worker.deliveries[0].headers
            await holder.ack_all()
            await worker.deliveries.pop().reject()
            await eventually(lambda: worker.deliveries, "the last offer")
            assert worker.deliveries[0].headers["alone"] is True
            await worker.ack_all()
        await holder.close()
        await worker.close()


async def test_a_silent_worker_is_released(broker: BrokerUrls) -> None:
    """A worker that sent presence and stops is cut off; one that never sent any keeps what it has."""
    async with own_vhost(broker, worker_timeout=1.5) as settings, pair(settings) as (one, _), shim_of(one) as api:
        await put_seed(api, "s", batchSize=1)
        await submit(api, "s", 2)
        quiet = await StockWorker.consume(settings, prefetch=1, name="quiet")
        await eventually(lambda: quiet.deliveries, "its batch")
        speaking = await StockWorker.consume(settings, prefetch=1, name="worker:speaking")
        await eventually(lambda: speaking.deliveries, "its batch")
        body = orjson.dumps({"worker": "speaking", "held": []})
        async with channel_of(settings) as other:
            await other.publish("presence", "", Message(body))
        async with asyncio.timeout(20):
            await speaking.connection.closed.wait()
        [batch] = await fetch(api)
        assert (batch["batch"], batch["attempt"]) == (speaking.batches[0]["id"], 2)
        assert not quiet.connection.closed.is_set()
        await quiet.ack_all()
        await quiet.close()


async def test_slow_workers_are_shared_too(settings: Settings) -> None:
    """Where batches are taken one by one, two owners of a seed each take turns; neither waits for the other to end."""
    async with pair(settings) as (one, two), shim_of(one) as api:
        seeds = [seed_owned_by(one, two), seed_owned_by(two, one)]
        for seed in seeds:
            await put_seed(api, seed, batchSize=1)
            await submit(api, seed, 1000)
        stock = await StockWorker.consume(settings, prefetch=1)
        got: Counter[str] = Counter()
        for _ in range(1000):
            await eventually(lambda: stock.deliveries, "the next batch")
            got.update(batch["seed"] for batch in stock.batches)
            await stock.ack_all()
        assert min(got[seed] for seed in seeds) >= 250, got
        await stock.close()
