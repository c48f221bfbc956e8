"""releases: until a released worker's batches are with another, and until the release of a seed is answered.

The released worker is a stock client that holds its batches unacked; beside it stands the broker's own forced close of
such a connection. A released seed has 10 thousand to 5 million items available, in pages of 1,000 tiny items to spare
the disk, and is being dispatched. A call is made over HTTP; the workers run in the program that measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from coordinator import topology
from coordinator.broker.channel import Message
from tests.benchmarks import payload
from tests.benchmarks.bed import Bed, Site
from tests.benchmarks.machine import eventually_fast
from tests.benchmarks.report import Goal, Outcome
from tests.support import PREFIX, Drain, StockWorker, eventually

HELD = {10: 50.0, 100: 100.0, 1000: 400.0}
"""Goals in milliseconds, by how many batches the released worker holds."""
PAGE = 1000
Say = Callable[[str], None]


async def run(at: Bed, rounds: int, *, quick: bool, say: Say) -> list[Outcome]:
    """Measure."""
    outcomes = []
    for held, goal in HELD.items():
        async with at.site() as site, site.coordinator() as (_, url):
            times = [await _worker(site, url, held, number) for number in range(rounds)]
        outcomes.append(_outcome(f"release of a worker with {held:,} unacked", times, Goal(goal, at_most=True), say))
        async with at.site() as site:
            await site.declare(topology.work_queue(()))
            closes = [await _forced_close(site, held) for _ in range(rounds)]
        outcomes.append(_outcome(f"the broker's own forced close with {held:,} unacked", closes, None, say))
    medians = {}
    for items in (10_000, 1_000_000, *(() if quick else (5_000_000,))):
        times, resumes = await _seed(at, items, rounds)
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


async def _ms(call: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await call
    return (time.perf_counter() - begun) * 1000


async def _worker(site: Site, url: str, held: int, number: int) -> float:
    """Milliseconds from the call until the last of the batches is with another worker."""
    seed, name = f"held-{number}", f"lost-{number}"
    async with httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=60) as api:
        registered = (await api.put(f"/worker/{name}", json={"transport": "amqp"})).json()
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
        answer = await api.put(f"/release/worker/{name}")
        await eventually_fast(lambda: len(other.deliveries) >= held)
        taken = (time.perf_counter() - begun) * 1000
        answer.raise_for_status()
        assert {batch["id"] for batch in other.batches} == ids, "each of its batches, and no other, is with the other"
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
    """Milliseconds of the release, and from the resume until a batch is with a worker."""
    releases, resumes = [], []
    async with contextlib.AsyncExitStack() as stack:
        site = await stack.enter_async_context(at.site())
        _, url = await stack.enter_async_context(site.coordinator())
        async with httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=60) as api:
            (await api.put("/seed/large", json={"batchSize": 100})).raise_for_status()
            (await api.put("/release/seed/large")).raise_for_status()
            tiny = [payload.text([{"id": f"{page}-{n}"} for n in range(PAGE)]) for page in range(10)]
            await site.fill(topology.ITEMS, "large", (Message(tiny[page % 10]) for page in range(items // PAGE)))
            # Few at a time, so that it lasts: the seed is dispatched while it is released.
            drain = await Drain.begin(site.settings, prefetch=2)
            for _ in range(rounds):
                seen, begun = len(drain.seen), time.perf_counter()
                await api.put("/resume/seed/large")
                await eventually_fast(lambda before=seen: len(drain.seen) > before)  # type: ignore[misc]
                resumes.append((time.perf_counter() - begun) * 1000)
                releases.append(await _ms(api.put("/release/seed/large")))
            await drain.close()
    return releases, resumes
