"""What seeds cost the broker: how quickly their queues are declared and consumed, and the memory that each takes.

python -m tests.benchmarks.queues --count 1000
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from coordinator import topology
from tests.benchmarks import machine
from tests.benchmarks.bed import Bed, Site

AT_ONCE = 16


async def declare(site: Site, count: int) -> None:
    """Have so many seed queues, each with a consumer, several at once."""
    names = iter(f"seed-{number}" for number in range(count))

    async def lane() -> None:
        channel = await site.connection.channel()
        for name in names:
            await channel.declare_queue(topology.seed_queue(name))
            await channel.consume(topology.seed_queue_name(name), lambda _: None, prefetch=5)

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))


async def main(count: int) -> None:
    """Measure, print."""
    async with Bed.made() as at, at.site(delete=False) as site:
        await site.declare()
        before, begun = machine.memory_of(at.pid), time.monotonic()
        await declare(site, count)
        rate = count / (time.monotonic() - begun)
        each = (machine.memory_of(at.pid) - before) * 1024 / count
    sys.stdout.write(f"{count:,} seed queues: {rate:,.0f} declared and consumed a second, {each:,.0f} kB each\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    asyncio.run(main(parser.parse_args().count))
