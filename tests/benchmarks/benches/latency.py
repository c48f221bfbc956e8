"""latency: from the submission of an item to the call of its handler, idle and at half of the full rate.

Each item carries the time of its submission, by the clock that all processes of a machine share. A page of one item
waits `linger` for more, so a part of the latency is chosen. Coordinator and worker are as shipped.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from coordinator import topology
from coordinator.broker.batch_codec import page_message
from coordinator.broker.types import Message
from tests.benchmarks import machine, payload
from tests.benchmarks.bed import Bed, Site
from tests.benchmarks.benches.end_to_end import consumed
from tests.benchmarks.contenders import worker_stub
from tests.benchmarks.report import Outcome

SEED = "bench"
IDLE_EVERY = 0.1
Say = Callable[[str], None]


async def run(at: Bed, rounds: int, *, quick: bool, say: Say) -> list[Outcome]:
    """Measure; `rounds` are taken together."""
    count = (50 if quick else 200) * rounds
    pages = 500 if quick else 3000
    outcomes = []
    async with at.site() as site, _working(site, count) as out:
        for number in range(count):
            await _submit(site, number, 1)
            await asyncio.sleep(IDLE_EVERY)
        outcomes += _outcomes("idle, a page of one item at a time", await _latencies(out, count), say)
    async with at.site() as site, _working(site, pages * payload.ITEMS) as out:
        begun = time.monotonic()
        await site.fill(topology.ITEMS, SEED, (_message(site, number, payload.ITEMS) for number in range(pages)))
        await _latencies(out, pages * payload.ITEMS)
        rate = pages / (time.monotonic() - begun)
    async with at.site() as site, _working(site, pages * payload.ITEMS) as out:
        await _at_rate(site, pages, rate / 2)
        name = f"half load, {rate / 2:.0f} full pages a second"
        outcomes += _outcomes(name, await _latencies(out, pages * payload.ITEMS), say)
    return outcomes


async def _at_rate(site: Site, pages: int, rate: float) -> None:
    """Submit evenly, whether or not what came before is through."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(pages):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            group.create_task(_submit(site, number, payload.ITEMS))


def _message(site: Site, number: int, size: int) -> Message:
    """A page as the project's producer sends it, of items that say when that was."""
    items = payload.page(number, size)
    now = time.monotonic()
    inner = payload.text([{**item, "at": now} for item in items])[1:-1]
    return page_message(inner, size, f"page-{number}", site.connection.user)


async def _submit(site: Site, number: int, size: int) -> None:
    await site.channel.publish(topology.ITEMS, SEED, _message(site, number, size), mandatory=True)


@asynccontextmanager
async def _working(site: Site, items: int) -> AsyncIterator[Path]:
    out = site.out()
    async with site.coordinator() as (_, url), worker_stub(site, out, items, "--http-url", url, "--concurrency", "20"):
        await consumed(site, topology.WORK)
        yield out


async def _latencies(out: Path, items: int) -> list[float]:
    """Milliseconds of each item."""
    await machine.result(out, [], items)
    noted: list[float] = orjson.loads(out.with_suffix(".latencies").read_bytes())
    return [1000 * one for one in noted]


def _outcomes(name: str, latencies: list[float], say: Say) -> list[Outcome]:
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    say(f"  {name}: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms")
    return [
        Outcome.figure(f"submitted to handler called, {name}, {label}", latencies, cut, None, "ms")
        for label, cut in (("p50", cuts[49]), ("p99", cuts[98]))
    ]
