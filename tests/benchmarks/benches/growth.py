"""growth: rate, processor time and memory as seeds, workers, queued items and coordinators grow.

Full pages are checked at the source, and the sink is the same as for dispatch, so what grows is all that differs. For
what is queued, pages of tiny items (10 bytes) spare the disk: 10 million items of 160 bytes would take 1.9 GB.
Many workers are stock clients on connections of their own, in one process. A rate is of the last two thirds of the
batches, when all is warm.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial

from coordinator import topology
from coordinator.broker.types import Depth
from tests.benchmarks import bed, machine, payload
from tests.benchmarks.bed import CACHE, Bed, Site
from tests.benchmarks.benches.end_to_end import consumed
from tests.benchmarks.harness import Run, Runs, WrongResultError, in_turns
from tests.benchmarks.machine import Program
from tests.benchmarks.report import Goal, Outcome
from tests.benchmarks.seeds import act, api, create, create_released

UNIT = "batches/s"
CURVE_SEEDS = (1, 100, 1000)
CURVE_WORKERS = (1, 100)
COORDINATORS = (1, 2, 3)
QUEUED = (10_000, 1_000_000, 10_000_000)
RARE_MS = 15_000
"""How often a broker of thousands of queues should bring their figures up to date, as docs/scale.md says."""
DISPATCHING = 5.0
"""Seconds."""
PASSED = 60_000
"""Batches that fill the history of events (`COORDINATOR_HISTORY`): else it would be measured how many have passed."""
RARELY = f"coordinator, all seeds, figures every {RARE_MS // 1000} s"
Say = Callable[[str], None]


async def run(at: Bed, rounds: int, *, quick: bool, say: Say) -> list[Outcome]:
    """Measure; what is not compared with a goal is measured once, and not at all when it shall be quick."""
    batches = 3000 if quick else 9000
    seeds, workers = (300, 100) if quick else (3000, 500)
    queued = QUEUED[:-1] if quick else QUEUED
    compared = {
        **{_seeds(count): partial(_alone, batches, count) for count in (10, seeds)},
        RARELY: partial(_alone, batches, seeds, RARE_MS),
        **{_workers(count): partial(_with_workers, at, batches, count) for count in (10, workers)},
    }
    curve = {
        **{_seeds(count): partial(_alone, batches, count) for count in CURVE_SEEDS},
        **{_workers(count): partial(_with_workers, at, batches, count) for count in CURVE_WORKERS},
        **{f"{count} coordinators": partial(_several, at, batches, count) for count in COORDINATORS},
    }
    runs = await in_turns(compared, rounds, say)
    if not quick:
        runs.runs |= (await in_turns(curve, 1, say)).runs
    memory = {items: await _queued(at, items, say) for items in queued}
    most, least = max(memory), min(memory)
    growth = memory[most] / memory[least]
    with_seeds = [run.extra["memory MB"] for run in runs.runs[_seeds(seeds)]]
    name = f"memory at {most:,} items ÷ at {least:,}"
    return [
        _ratio(runs, f"rate at {seeds:,} seeds ÷ at 10", _seeds(seeds), _seeds(10)),
        _ratio(runs, f"rate at {seeds:,} seeds, figures every {RARE_MS // 1000} s, ÷ at 10", RARELY, _seeds(10)),
        _ratio(runs, f"rate at {workers:,} workers ÷ at 10", _workers(workers), _workers(10)),
        Outcome.figure(name, [growth], growth, Goal(1.1, at_most=True), ""),
        Outcome.figure(f"memory with {seeds:,} seeds", with_seeds, max(with_seeds), Goal(250, at_most=True), "MB"),
    ]


def _ratio(runs: Runs, name: str, ours: str, other: str) -> Outcome:
    return Outcome.of_pair(runs, name, ours, other, Goal(0.8), UNIT)


def _seeds(count: int) -> str:
    return f"coordinator, {count:,} seeds"


def _workers(count: int) -> str:
    return f"coordinator, {count:,} workers"


async def _alone(batches: int, seeds: int, figures_ms: int = bed.FIGURES_MS) -> Run:
    """On a broker of its own: to delete thousands of queues takes minutes, and those that are left cost time."""
    async with (
        Bed.made(figures_ms=figures_ms) as at,
        at.site(delete=False) as site,
        site.coordinator() as (program, url),
    ):
        return await _filled_first(site, batches, seeds, url, [program])


async def _several(at: Bed, batches: int, nodes: int) -> Run:
    async with at.anew() as own, own.site() as site, contextlib.AsyncExitStack() as stack:
        started = [await stack.enter_async_context(site.coordinator(number)) for number in range(nodes)]
        return await _filled_first(site, batches, 30, started[0][1], [program for program, _ in started])


async def _filled_first(site: Site, batches: int, seeds: int, url: str, programs: list[Program]) -> Run:
    """All seeds wait for a worker, since to take up thousands is not what is measured; then there is one."""
    async with api(url) as client:
        ids = [f"seed-{number}" for number in range(seeds)]
        await create(client, ids)
        await site.fill_many((ids[number % seeds], site.checked_page(number)) for number in range(batches))
        for ident in ids:
            await consumed(site, topology.seed_queue_name(ident))
        usage = Usage(site, programs)
        async with _sink(site, batches, 0) as sink:
            return await usage.run(sink, batches)


async def _with_workers(at: Bed, batches: int, workers: int) -> Run:
    """All workers are there before the first batch is."""
    async with at.anew() as own, own.site() as site, site.coordinator() as (program, url), api(url) as client:
        ids = [f"seed-{number}" for number in range(10)]
        await create_released(client, ids)
        await site.fill_many((ids[number % 10], site.checked_page(number)) for number in range(batches))
        async with _sink(site, batches, workers) as sink:
            usage = Usage(site, [program])
            await act(client, "resume", ids)
            return await usage.run(sink, batches)


class Usage:
    """What a run takes of the machine, from now on."""

    def __init__(self, site: Site, programs: list[Program]) -> None:
        self._site = site
        self._programs = programs
        self._before = self._cpu()
        self._broker = machine.cpu_of(site.bed.pid)

    def _cpu(self) -> float:
        return sum(program.cpu() for program in self._programs)

    async def run(self, sink: Program, batches: int) -> Run:
        """Wait until all batches have come; the rate, and what it took."""
        told = await machine.result(self._site.out(), [sink], batches * payload.ITEMS, patience=180)
        extra = {
            "cpu us a batch": (self._cpu() - self._before) / batches * 1e6,
            "broker cpu us a batch": (machine.cpu_of(self._site.bed.pid) - self._broker) / batches * 1e6,
            "memory MB": max(program.memory() for program in self._programs),
            "broker memory MB": machine.memory_of(self._site.bed.pid),
        }
        return Run((told["messages"] - told["messages_before"]) / (told["last"] - told["steady"]), extra=extra)


@contextlib.asynccontextmanager
async def _sink(site: Site, batches: int, workers: int) -> AsyncIterator[Program]:
    """The sink of dispatch, or so many stock workers in one process."""
    items = batches * payload.ITEMS
    environment = {payload.OUT: str(site.out()), payload.EXPECTED: str(items)}
    stock = (sys.executable, "-m", "tests.benchmarks.crowd", site.url, str(workers))
    one = (CACHE / "bench-sink", site.url, topology.WORK, str(items), site.out())
    async with site.running(*(stock if workers else one), environment=environment) as program:
        consumers = 0
        async with asyncio.timeout(machine.PATIENCE):
            while consumers < max(1, workers):
                consumers = (await site.connection.depth(topology.WORK) or bed.NOTHING).consumers
                await machine.moment()
        yield program


async def _queued(at: Bed, items: int, say: Callable[[str], None]) -> float:
    """The most memory that a coordinator had resident, in MB, with so many items available and dispatching them."""
    async with at.site() as site, site.coordinator() as (program, url), api(url) as client:
        await create_released(client, ["before", "large"])
        await site.fill(topology.ITEMS, "before", site.tiny_pages(0, PASSED))
        async with _sink(site, PASSED, 0):
            await act(client, "resume", ["before"])
            await _emptied(site, topology.seed_queue_name("before"))
        await site.fill(topology.ITEMS, "large", site.tiny_pages(0, items // payload.ITEMS))
        if await site.connection.depth(topology.seed_queue_name("large")) != Depth(items // payload.ITEMS, 0):
            raise WrongResultError(f"not all of {items} items are available")
        async with _sink(site, items, 0):
            await act(client, "resume", ["large"])
            await asyncio.sleep(DISPATCHING)
            memory = program.most_memory()
        say(f"  {items:,} items queued: {memory:.1f} MB")
        return memory


async def _emptied(site: Site, queue: str) -> None:
    async with asyncio.timeout(machine.PATIENCE):
        while (await site.connection.depth(queue) or bed.NOTHING).ready:
            await machine.moment()
    await site.drained(queue)
