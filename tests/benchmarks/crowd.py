"""Many stock workers in one process, each on a connection of its own: `crowd URL WORKERS`."""

from __future__ import annotations

import asyncio
import sys

import orjson

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from tests.benchmarks.payload import Tally

PREFETCH = 5
AT_ONCE = 20


async def worker(url: str, tally: Tally, starting: asyncio.Semaphore) -> None:
    """Take, count, ack, until killed."""
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    async with starting:
        connection = await Connection.open([url], "crowd")
        channel = await connection.channel()
        await channel.consume(topology.WORK, arrived.put_nowait, prefetch=PREFETCH)
    while True:
        delivery = await arrived.get()
        await delivery.ack()
        tally.batch(orjson.loads(delivery.body)["items"])


async def main(url: str, workers: int) -> None:
    """Run all of them."""
    tally, starting = Tally.of_environment(), asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(worker(url, tally, starting) for _ in range(workers)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
