"""releases: until a released worker's batches are with another, and until the release of a seed is answered.

The released worker is a stock client that holds its batches unacked; beside it stands the broker's own forced close of
such a connection. A released seed has 10 thousand to 5 million items available, in pages of 100 tiny items to spare the
disk, and is being dispatched; after each release what is available is counted. A call is made over HTTP; the workers
run in the program that measures. All of this is quick, so each is done five times in a round.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from tests.benchmarks import payload
from tests.benchmarks.bed import Bed, Site
from tests.benchmarks.harness import WrongResultError
from tests.benchmarks.machine import eventually_fast, moment
from tests.benchmarks.report import Goal, Outcome
from tests.benchmarks.seeds import api, create_released
from tests.helpers.support import StockWorker, eventually

HELD = {10: 50.0, 100: 100.0, 1000: 400.0}
"""Goals in milliseconds, by how many batches the released worker holds."""
BUSY = 0.02
TIMES = 5
Say = Callable[[str], None]


async def run(at: Bed, rounds: int, *, quick: bool, say: Say) -> list[Outcome]:
    """Measure."""
    outcomes, times_each = [], TIMES * rounds
    for held, goal in HELD.items():
        async with at.site() as site, site.coordinator() as (_, url):
            times = [await _worker(site, url, held, number) for number in range(times_each)]
        outcomes.append(_outcome(f"release of a worker with {held:,} unacked", times, Goal(goal, at_most=True), say))
        async with at.site() as site:
            await site.declare(topology.work_queue(()))
            closes = [await _forced_close(site, held) for _ in range(times_each)]
        outcomes.append(_outcome(f"the broker's own forced close with {held:,} unacked", closes, None, say))
    medians = {}
    for items in (10_000, 1_000_000, *(() if quick else (5_000_000,))):
        times, resumes = await _seed(at, items, times_each)
        medians[items] = statistics.median(times)
        goal_ms = Goal(200, at_most=True) if items >= 1_000_000 else None
        outcomes.append(_outcome(f"release of a seed with {items:,} available", times, goal_ms, say))
        outcomes.append(_outcome(f"resume to first batch with {items:,} available", resumes, None, say))
    most, least = max(medians), min(medians)
    ratio = medians[most] / medians[least]
    name, goal_ratio = f"release of a seed, {most:,} ÷ {least:,} available", Goal(1.2, at_most=True)
    return [*outcomes, Outcome.figure(name, [ratio], ratio, goal_ratio, "")]


def _outcome(name: str, times: list[float], goal: Goal | None, say: Say) -> Outcome:
    outcome = Outcome.figure(name, times, statistics.median(times), goal, "ms")
    say(f"  {name}: {outcome.ratio} ms ({outcome.lowest} to {outcome.highest})")
    return outcome


async def _worker(site: Site, url: str, held: int, number: int) -> float:
    """Milliseconds from the call until the last of the batches is with another worker."""
    seed, name = f"held-{number}", f"lost-{number}"
    async with api(url) as client:
        registered = (await client.put(f"/worker/{name}", json={"transport": "amqp"})).json()
        given = {"amqp_url": SecretStr(registered["amqpUrl"])}
        lost = await StockWorker.consume(
            site.settings.model_copy(update=given), prefetch=held, name=topology.worker_connection_name(name)
        )
        pages = [Message(payload.text(payload.page(page))) for page in range(held)]
        await site.fill(topology.ITEMS, seed, pages)
        await eventually(lambda: len(lost.deliveries) == held, f"{held} batches")
        ids = {batch["id"] for batch in lost.batches}
        other = await StockWorker.consume(site.settings, prefetch=held + 1)
        begun = time.perf_counter()
        answer = await client.put(f"/release/worker/{name}")
        await eventually_fast(lambda: len(other.deliveries) >= held)
        taken = (time.perf_counter() - begun) * 1000
        answer.raise_for_status()
        if {batch["id"] for batch in other.batches} != ids:
            raise WrongResultError(f"{held} batches were held, and others are with the other worker")
        await other.ack_all()
        await other.close()
        await lost.close()
    return taken


async def _forced_close(site: Site, held: int) -> float:
    """The same without a coordinator: the broker closes the connection, and hands its messages on from `returns`."""
    messages = [Message(payload.text(payload.page(page)), message_id=str(page)) for page in range(held)]
    name = f"closed-{time.monotonic_ns()}"
    lost = await StockWorker.consume(site.settings, prefetch=held, name=name)
    for begin in range(0, held, 100):  # the work queue takes some 600
        await site.fill("", topology.WORK, messages[begin : begin + 100])
        least = min(held, begin + 100)
        await eventually(lambda least=least: len(lost.deliveries) >= least, "all")  # type: ignore[misc]
    other = await StockWorker.consume(site.settings, topology.RETURNS, prefetch=held + 1)
    known = await _connection_named(site, name)
    begun = time.perf_counter()
    (await site.http.delete(f"/api/connections/{quote(known, safe='')}")).raise_for_status()
    await eventually_fast(lambda: len(other.deliveries) >= held)
    taken = (time.perf_counter() - begun) * 1000
    await other.ack_all()
    await other.close()
    return taken


async def _connection_named(site: Site, name: str) -> str:
    """The broker's own name of a connection, which its statistics tell after some seconds."""
    async with asyncio.timeout(15):
        while True:
            for one in (await site.http.get("/api/connections")).json():
                if one.get("client_properties", {}).get("connection_name") == name:
                    return str(one["name"])
            await asyncio.sleep(0.1)


async def _seed(at: Bed, items: int, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the release, and from the resume until a batch is with a worker.

    What was taken is added again after each release, so that a small seed does not run dry.
    """
    releases, resumes = [], []
    async with at.site() as site, site.coordinator() as (_, url), api(url) as client:
        await create_released(client, ["large"])
        await site.fill(topology.ITEMS, "large", site.tiny_pages(0, items // payload.ITEMS))
        worker = await UnhurriedWorker.begin(site)
        for _ in range(rounds):
            before, begun = worker.taken, time.perf_counter()
            (await client.put("/resume/seed/large")).raise_for_status()
            await eventually_fast(lambda before=before: worker.taken > before)  # type: ignore[misc]
            resumes.append((time.perf_counter() - begun) * 1000)
            begun = time.perf_counter()
            (await client.put("/release/seed/large")).raise_for_status()
            releases.append((time.perf_counter() - begun) * 1000)
            await _check_left(client, worker, items // payload.ITEMS + before)
            await site.fill(
                topology.ITEMS, "large", site.tiny_pages(items // payload.ITEMS + before, worker.taken - before)
            )
        await worker.close()
    return releases, resumes


async def _check_left(client: httpx.AsyncClient, worker: UnhurriedWorker, pages: int) -> None:
    """Wait until the coordinator counts all pages as available but those that were taken.

    Raises:
        WrongResultError: it still does not after 15 s.
    """
    begun, available = time.monotonic(), -1
    while time.monotonic() - begun < 15:
        if worker.acked == worker.taken:
            available = int((await client.get("/seed/large")).json()["counts"]["available"])
            if available == (pages - worker.taken) * payload.ITEMS:
                return
        await moment()
    raise WrongResultError(f"of {pages} pages {worker.taken} were taken, but {available} items are available")


class UnhurriedWorker:
    """A stock worker that is busy for a while with each batch: the seed is being dispatched while it is released."""

    def __init__(self, connection: Connection) -> None:
        self.taken = self.acked = 0
        self._connection = connection
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self._working = asyncio.create_task(self._work())

    @classmethod
    async def begin(cls, site: Site) -> UnhurriedWorker:
        """Connect and consume."""
        worker = cls(await Connection.open(site.settings.amqp_urls(), "unhurried"))
        channel = await worker._connection.channel()
        await channel.consume(topology.WORK, worker._arrived.put_nowait, prefetch=2)
        return worker

    async def _work(self) -> None:
        while True:
            delivery = await self._arrived.get()
            self.taken += 1
            await asyncio.sleep(BUSY)
            await delivery.ack()
            self.acked += 1

    async def close(self) -> None:
        """Stop."""
        self._working.cancel()
        await self._connection.close()
