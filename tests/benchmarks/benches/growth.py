"""growth: rate, processor time and memory as seeds, workers, queued items and coordinators grow.

Full pages are checked at the source, and the sink is the same as for dispatch, so what grows is all that differs. For
what is queued, pages of tiny items (10 bytes) spare the disk: 10 million items of 160 bytes would take 1.9 GB.
Many workers are stock clients on connections of their own, in one process. A rate is of the last two thirds of the
batches: when the first third is through, all of the seeds' queues are consumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import httpx

from coordinator import topology
from tests.benchmarks import bed, machine, payload
from tests.benchmarks.bed import CACHE, Bed, Site
from tests.benchmarks.harness import Contender, Run, WrongResultError, in_turns
from tests.benchmarks.machine import Program
from tests.benchmarks.report import Goal, Outcome
from tests.benchmarks.seeds import act, api, create_released

UNIT = "batches/s"
SEEDS = (1, 10, 100, 1000, 3000)
WORKERS = (1, 10, 100, 500)
QUEUED = (10_000, 100_000, 1_000_000, 10_000_000)
DISPATCHING = 5.0
"""Seconds."""


async def run(at: Bed, rounds: int, *, quick: bool, say: Callable[[str], None]) -> list[Outcome]:
    """Measure."""
    batches = 3000 if quick else 9000
    queued = QUEUED[:-1] if quick else QUEUED
    contenders: dict[str, Contender] = {
        **{_seeds(count): partial(_dispatched, at, batches, seeds=count) for count in SEEDS},
        **{_workers(count): partial(_dispatched, at, batches, seeds=10, workers=count) for count in WORKERS},
        **{f"{count} coordinators": partial(_dispatched, at, batches, seeds=30, nodes=count) for count in (1, 2, 3)},
    }
    runs = await in_turns(contenders, rounds, say)
    memory = {items: await _queued(at, items, say) for items in queued}
    most, least = max(memory), min(memory)
    growth = memory[most] / memory[least]
    with_seeds = [run.extra["memory MB"] for run in runs.runs[_seeds(3000)]]
    return [
        Outcome.of_pair(runs, "rate at 3,000 seeds ÷ at 10", _seeds(3000), _seeds(10), Goal(0.8), UNIT),
        Outcome.of_pair(runs, "rate at 500 workers ÷ at 10", _workers(500), _workers(10), Goal(0.8), UNIT),
        Outcome.figure(
            f"memory at {most:,} items ÷ at {least:,}", [growth], growth, Goal(1.1, at_most=True), "in resident memory"
        ),
        Outcome.figure("memory with 3,000 seeds", with_seeds, max(with_seeds), Goal(250, at_most=True), "MB"),
    ]


def _seeds(count: int) -> str:
    return f"coordinator, {count:,} seeds"


def _workers(count: int) -> str:
    return f"coordinator, {count:,} workers"


async def _dispatched(at: Bed, batches: int, *, seeds: int, workers: int = 0, nodes: int = 1) -> Run:
    """The seeds are filled while they are released, and resumed by one call."""
    async with at.site() as site, contextlib.AsyncExitStack() as stack:
        started = [await stack.enter_async_context(site.coordinator(number)) for number in range(nodes)]
        programs, url = [program for program, _ in started], started[0][1]
        ids = [f"seed-{number}" for number in range(seeds)]
        async with api(url) as client:
            await create_released(client, ids)
            await site.fill_many((ids[number % seeds], site.checked_page(number)) for number in range(batches))
            out = site.out()
            sink = await stack.enter_async_context(_sink(site, batches, workers))
            before, broker = sum(program.cpu() for program in programs), machine.cpu_of(at.pid)
            await act(client, "resume", ids)
            told = await machine.result(out, [sink], batches * payload.ITEMS, patience=180)
        extra = {
            "cpu us a batch": (sum(program.cpu() for program in programs) - before) / batches * 1e6,
            "broker cpu us a batch": (machine.cpu_of(at.pid) - broker) / batches * 1e6,
            "memory MB": max(program.memory() for program in programs),
            "broker memory MB": machine.memory_of(at.pid),
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
        await create_released(client, ["large"])
        await site.fill(topology.ITEMS, "large", site.tiny_pages(0, items // payload.ITEMS))
        await _available(client, items)
        async with _sink(site, items, 0):
            await act(client, "resume", ["large"])
            await asyncio.sleep(DISPATCHING)
            memory = program.most_memory()
        say(f"  {items:,} items queued: {memory:.1f} MB")
        return memory


async def _available(client: httpx.AsyncClient, items: int) -> None:
    """Wait until the coordinator counts all items of a seed.

    Raises:
        WrongResultError: it still does not after a minute.
    """
    begun, seen = time.monotonic(), -1
    while time.monotonic() - begun < machine.PATIENCE:
        seen = int((await client.get("/seed/large")).json()["counts"]["available"])
        if seen == items:
            return
        await machine.moment()
    raise WrongResultError(f"of {items} items {seen} are available")
