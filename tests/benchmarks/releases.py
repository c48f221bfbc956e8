"""How quickly a worker's batches are with others, and how quickly the release of a seed answers.

A coordinator runs in this process on a private broker, beside the workers: their own work is part of each figure. It
prints a table, and fails when a batch comes to nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from coordinator import logs
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.models import SeedSpec, WorkerSpec
from coordinator.node.coordinator import Coordinator
from coordinator.node.releases.commands import RELEASE_SEED, RELEASE_WORKER, RESUME_SEED
from coordinator.settings import Settings
from tests.helpers.support import Drain, StockWorker, eventually, items, own_vhost, publish_items, running_coordinator

HELD = 20
ITEMS = 10


async def worker_released(node: Coordinator, settings: Settings, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds until the reply, and until the last of 20 unacked batches is with another worker, in each round."""
    session = node.session
    await session.catalog.set("held", SeedSpec(batch_size=ITEMS))
    replies, moves = [], []
    for number in range(rounds):
        await publish_items(settings, "held", [items(ITEMS, f"{number}-{page}-") for page in range(HELD)])
        url = await session.workers.register("lost", WorkerSpec())
        lost = await StockWorker.consume(replace_url(settings, url or ""), prefetch=HELD, name="worker:lost")
        await eventually(lambda worker=lost: len(worker.deliveries) == HELD, "all batches")  # type: ignore[misc]
        held = {batch["id"] for batch in lost.batches}
        other = await StockWorker.consume(settings, prefetch=HELD)
        begun = time.perf_counter()
        reply = asyncio.create_task(timed(session.commands.carry_out(RELEASE_WORKER, ["lost"])))
        await until(lambda worker=other, ids=held: {batch["id"] for batch in worker.batches} == ids)  # type: ignore[misc]
        moves.append(time.perf_counter() - begun)
        replies.append(await reply)
        await other.ack_all()
        await other.close()
        await lost.close()
    return replies, moves


async def seed_released(node: Coordinator, settings: Settings, rounds: int) -> list[float]:
    """Seconds until the reply to the release of a seed that has much available and is being taken, in each round."""
    session = node.session
    await publish_items(settings, "large", [items(1000, f"{page}-") for page in range(200)])
    drain = await Drain.begin(settings, prefetch=5)
    replies = []
    for number in range(rounds):
        goal = (number + 1) * 1000
        await eventually(lambda least=goal: drain.counts["large"] >= least, "it runs")  # type: ignore[misc]
        replies.append(await timed(session.commands.carry_out(RELEASE_SEED, ["large"])))
        await session.commands.carry_out(RESUME_SEED, ["large"])
    await drain.close()
    return replies


async def timed(work: Awaitable[object]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, looking at each turn of the event loop."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.0005)


def replace_url(settings: Settings, url: str) -> Settings:
    """The same settings for another broker user."""
    return settings.model_copy(update={"amqp_url": SecretStr(url)})


async def measure(rounds: int) -> None:
    """Measure, and print the table."""
    logs.configure("warning")
    table = Table("what", "rounds", "median ms", "longest ms")
    async with PrivateBroker() as broker, own_vhost(broker.urls) as settings, running_coordinator(settings) as node:
        replies, moves = await worker_released(node, settings, rounds)
        seeds = await seed_released(node, settings, rounds)
    for what, taken in (
        (f"worker released: {HELD} unacked batches with another worker", moves),
        ("worker released: the reply", replies),
        ("seed released: the reply, of 200,000 items, while workers take batches", seeds),
    ):
        table.add_row(what, str(len(taken)), f"{statistics.median(taken) * 1e3:.0f}", f"{max(taken) * 1e3:.0f}")
    Console().print(table)


def main() -> int:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    asyncio.run(measure(parser.parse_args().rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
