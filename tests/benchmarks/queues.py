"""What seeds cost the broker: how quickly their queues are declared and consumed, their memory, and their idle time.

python -m tests.benchmarks.queues --count 1000 --figures-ms 5000
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from coordinator import topology
from tests.benchmarks import machine
from tests.benchmarks.bed import FIGURES_MS, Bed, Site

AT_ONCE = 16
CALM, IDLE = 5.0, 30.0
"""Seconds until the broker has come to rest, and of rest that are measured: some rounds of figures."""


async def declare(site: Site, count: int) -> None:
    """Have so many seed queues, each with a consumer, several at once."""
    names = iter(f"seed-{number}" for number in range(count))

    async def lane() -> None:
        channel = await site.connection.channel()
        for name in names:
            await channel.declare_queue(topology.seed_queue(name))
            await channel.consume(topology.seed_queue_name(name), lambda _: None, prefetch=5)

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))


async def main(count: int, figures_ms: int) -> None:
    """Measure, print."""
    async with Bed.made(figures_ms=figures_ms) as at, at.site(delete=False) as site:
        await site.declare()
        before, begun = machine.memory_of(at.pid), time.monotonic()
        await declare(site, count)
        rate = count / (time.monotonic() - begun)
        each = (machine.memory_of(at.pid) - before) * 1024 / count
        await asyncio.sleep(CALM)
        spent = machine.cpu_of(at.pid)
        await asyncio.sleep(IDLE)
        idle = (machine.cpu_of(at.pid) - spent) / IDLE
    sys.stdout.write(
        f"{count:,} seed queues: {rate:,.0f} declared and consumed a second, {each:,.0f} kB each;"
        f" idle, with figures every {figures_ms / 1000:g} s, they take {idle:.1%} of a core\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--figures-ms", type=int, default=FIGURES_MS)
    options = parser.parse_args()
    asyncio.run(main(options.count, options.figures_ms))
