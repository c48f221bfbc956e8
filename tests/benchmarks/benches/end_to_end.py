"""end_to_end: items are submitted and taken at the same time, through one coordinator and one worker.

Against the peers with a producer and a worker: in batches of 100, and item by item as their users do. Also with pages
of 1, 3 and 10 items, as a crawl's discovered children are. Each has a producer of its own, which makes all items before
it sends the first. Measured in items, from the handler's first call to its last.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from coordinator import topology
from tests.benchmarks import machine, payload
from tests.benchmarks.bed import Bed, Site
from tests.benchmarks.contenders import QUEUE, TASK_QUEUES, Peer, worker_stub
from tests.benchmarks.harness import Run, in_turns
from tests.benchmarks.report import Goal, Outcome

Cpu = tuple[float, float, float]
"""Seconds of processor time of the coordinator, the worker and the broker; children of a worker do not count."""

SEED = "bench"
OURS = "coordinator, full pages"
SIZES = (1, 3, 10)
CHOSEN = (
    "FastStream, dictionaries",
    "Dramatiq, 1 thread",
    "Dramatiq, 4 threads",
    "Taskiq, prefetch 100",
    "Celery, solo",
)
"""The better settings, as the benchmark of workers says; both of the one who is ahead there."""


async def run(at: Bed, rounds: int, *, quick: bool, say: Callable[[str], None]) -> list[Outcome]:
    """Measure."""
    items = 60_000 if quick else 1_200_000
    peers = [peer for peer in TASK_QUEUES if peer.name in CHOSEN]
    contenders = {
        OURS: partial(_ours, at, items, payload.ITEMS),
        **{f"coordinator, pages of {size}": partial(_ours, at, items * size // 50, size) for size in SIZES},
        **{f"{peer.name}, batches": partial(_peer, at, peer, items // 100, payload.ITEMS) for peer in peers},
        **{f"{peer.name}, one by one": partial(_peer, at, peer, items // 100, 1) for peer in peers},
    }
    runs = await in_turns(
        contenders, rounds, say, [f"{peer.name}, {how}" for peer in peers for how in ("batches", "one by one")]
    )
    batches = runs.best([f"{peer.name}, batches" for peer in peers])
    single = runs.best([f"{peer.name}, one by one" for peer in peers])
    unit = "items/s"
    return [
        Outcome.of_pair(runs, "end to end ÷ best peer in batches of 100", OURS, batches, Goal(2), unit),
        Outcome.of_pair(runs, "end to end ÷ best peer item by item", OURS, single, Goal(50), unit),
        *(
            Outcome.of_pair(
                runs,
                f"pages of {size} items ÷ full pages, in items",
                f"coordinator, pages of {size}",
                OURS,
                Goal(0.3) if size == 3 else None,
                unit,
            )
            for size in SIZES
        ),
    ]


async def _ours(at: Bed, items: int, size: int) -> Run:
    pages = items // size
    items = pages * size
    async with at.site() as site, site.coordinator() as (program, url):
        out = site.out()
        async with worker_stub(site, out, items, "--http-url", url, "--concurrency", "20") as worker:
            await consumed(site, topology.WORK)
            before = program.cpu(), worker.cpu(), machine.cpu_of(at.pid)
            command = (sys.executable, "-m", "tests.benchmarks.producer", site.url, SEED, str(pages), str(size))
            async with site.running(*command) as producer:
                told = await machine.result(out, [program, worker, producer], items)
            after = program.cpu(), worker.cpu(), machine.cpu_of(at.pid)
            await site.drained(topology.WORK)
        terms = await site.terms(topology.WORK, None, 1)
        return Run(items / (told["last"] - told["first"]), terms, _costs(before, after, items))


async def _peer(at: Bed, peer: Peer, messages: int, size: int) -> Run:
    async with at.site() as site:
        await peer.declare(site)
        out, items = site.out(), messages * size
        async with peer.worker(site, out, items) as worker:
            await consumed(site, QUEUE)
            before = 0.0, worker.cpu(), machine.cpu_of(at.pid)
            async with peer.producer(site, site.out("unused"), messages, size) as producer:
                told = await machine.result(out, [worker, producer], items)
            after = 0.0, worker.cpu(), machine.cpu_of(at.pid)
            await site.drained(QUEUE)
        terms = await site.terms(QUEUE, None, 1)
        return Run(items / (told["last"] - told["first"]), terms, _costs(before, after, items))


def _costs(before: Cpu, after: Cpu, items: int) -> dict[str, float]:
    """Microseconds of processor time an item."""
    names = ("coordinator us an item", "worker us an item", "broker us an item")
    return {name: (end - begin) / items * 1e6 for name, begin, end in zip(names, before, after, strict=True)}


async def consumed(site: Site, queue: str) -> None:
    """Wait until a worker consumes its queue."""
    begun = time.monotonic()
    while time.monotonic() - begun < machine.PATIENCE:
        depth = await site.connection.depth(queue)
        if depth is not None and depth.consumers:
            return
        await machine.moment()
    raise TimeoutError(f"nobody consumes {queue}")
