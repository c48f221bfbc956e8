"""fairness: how long a seed of 10 items takes to be through, behind seeds with far more than a worker takes meanwhile.

Stated in windows: the time in which the worker takes as many batches as may be unsent at once. That no large seed runs
dry is checked: beyond that, how much more it has makes no difference to whose turn it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from tests.benchmarks import machine, payload
from tests.benchmarks.bed import Bed, Site
from tests.benchmarks.benches.end_to_end import consumed
from tests.benchmarks.harness import WrongResultError
from tests.benchmarks.report import Goal, Outcome
from tests.benchmarks.seeds import act, api, create_released

SMALL = 10
PREFETCH = 20
EACH_MS = 1.0
PAGES = 20_000
"""That wait in all large seeds together."""
LEAST_PAGES = 10
"""Of each large seed: some have had several turns when others had one."""


class SlowWorker:
    """A stock worker that takes a millisecond for each batch, so that seeds must wait for each other."""

    def __init__(self) -> None:
        self.taken = 0
        self.seeds: dict[str, int] = {}
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()

    async def run(self, connection: Connection) -> None:
        """Work until cancelled."""
        channel = await connection.channel()
        await channel.consume(topology.WORK, self._waiting.put_nowait, prefetch=PREFETCH)
        while True:
            delivery = await self._waiting.get()
            batch: dict[str, Any] = orjson.loads(delivery.body)
            self.taken += 1
            self.seeds[batch["seed"]] = self.seeds.get(batch["seed"], 0) + len(batch["items"])
            await asyncio.sleep(EACH_MS / 1000)
            await delivery.ack()


async def run(at: Bed, rounds: int, *, quick: bool, say: Callable[[str], None]) -> list[Outcome]:
    """Measure."""
    outcomes = []
    for large in (1, 10, 100) if quick else (1, 10, 100, 1000):
        windows, seconds = await _behind(at, large, rounds)
        say(f"  behind {large}: {max(windows):.2f} windows, {max(seconds):.3f} s")
        goal = Goal(2, at_most=True) if large == 1000 else None
        outcomes += [
            Outcome.figure(f"a small seed behind {large} large ones", windows, max(windows), goal, "windows"),
            Outcome.figure(f"a small seed behind {large} large ones, time", seconds, max(seconds), None, "s"),
        ]
    return outcomes


async def _behind(at: Bed, large: int, rounds: int) -> tuple[list[float], list[float]]:
    """Windows and seconds that a small seed takes, in each round."""
    async with at.site() as site, site.coordinator() as (_, url), api(url) as client:
        ids = [f"large-{number}" for number in range(large)]
        await create_released(client, ids)
        pages = max(LEAST_PAGES, -(-PAGES // large))
        await site.fill_many(
            (ids[number % large], page) for number, page in enumerate(site.tiny_pages(0, pages * large))
        )
        await act(client, "resume", ids)
        for ident in ids:  # else those that are taken up first have turn after turn alone
            await consumed(site, topology.seed_queue_name(ident))
        worker = SlowWorker()
        connection = await Connection.open(site.settings.amqp_urls(), "slow")
        working = asyncio.create_task(worker.run(connection))
        try:
            async with asyncio.timeout(machine.PATIENCE):
                # While large seeds wait for their first turn they are as new as the small one, and come before it.
                while worker.taken < 500 or len(worker.seeds) < large:
                    await machine.moment()
            results = [await _small(site, worker, number) for number in range(rounds)]
            if dry := [seed for seed in ids if worker.seeds.get(seed, 0) >= pages * payload.ITEMS]:
                raise WrongResultError(f"{len(dry)} of {large} large seeds ran dry")
        finally:
            working.cancel()
            await connection.close()
    return [one for one, _ in results], [one for _, one in results]


async def _small(site: Site, worker: SlowWorker, number: int) -> tuple[float, float]:
    seed = f"small-{number}"
    taken, begun = worker.taken, time.monotonic()
    items = [{"id": f"{seed}-{place}"} for place in range(SMALL)]
    await site.channel.publish(topology.ITEMS, seed, Message(payload.text(items)), mandatory=True)
    async with asyncio.timeout(machine.PATIENCE):
        while worker.seeds.get(seed, 0) < SMALL:
            await asyncio.sleep(0.001)
    return (worker.taken - taken) / site.settings.window, time.monotonic() - begun
