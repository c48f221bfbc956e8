"""Load on the HTTP side: a thousand calls that wait, and hundreds of workers of which some are released.

A coordinator of its own process runs on a private broker; all clients run in this process, so their own work is part
of each latency. It prints a table, and fails when an item is lost or handed out twice without a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
from rich.console import Console
from rich.table import Table

from coordinator.api_results import FetchedBatch
from coordinator.client import HttpManager, HttpWorker, Reader
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.models import Item, Route, SeedSpec

BATCH = 10
FETCHERS = 20
PATIENCE = 60.0
T = TypeVar("T")


@dataclass
class Timings:
    """How long calls took, by what they did; in seconds."""

    taken: dict[str, list[float]] = field(default_factory=dict)

    async def time(self, name: str, call: Awaitable[T], *, unless: object = None) -> T:
        """Await a call and note how long it took, `unless` that is its result."""
        begun = time.perf_counter()
        result = await call
        if result != unless:
            self.taken.setdefault(name, []).append(time.perf_counter() - begun)
        return result


@dataclass(frozen=True)
class Coordinator:
    """The one that is measured."""

    url: str
    pid: int

    async def memory(self) -> float:
        """Resident memory, in MB."""
        process = await asyncio.create_subprocess_exec(
            *("ps", "-o", "rss=", "-p", str(self.pid)), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return int(output) / 1024


@contextlib.asynccontextmanager
async def coordinating(urls: BrokerUrls) -> AsyncIterator[Coordinator]:
    """A coordinator on this broker, ready."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "AMQP_URL": urls.amqp,
            "MANAGEMENT_URL": urls.management,
            "HOME": home,
            "HTTP_PORT": "0",
            "LOG_FORMAT": "json",
            "ACK_TIMEOUT": "600",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coordinator", "serve"),
            env={**os.environ, **{f"COORDINATOR_{name}": value for name, value in settings.items()}},
            stderr=asyncio.subprocess.PIPE,
        )
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(_read_log(process, url))
        try:
            async with asyncio.timeout(PATIENCE):
                address = await url
            yield Coordinator(address, process.pid)
        finally:
            process.terminate()
            await process.wait()
            await reading


async def _read_log(process: asyncio.subprocess.Process, url: asyncio.Future[str]) -> None:
    """Find the address in the log, and keep the log flowing."""
    address = ""
    while process.stderr is not None and (line := await process.stderr.readline()):
        with contextlib.suppress(orjson.JSONDecodeError):
            entry = orjson.loads(line)
            address = entry.get("http", address)
            if entry.get("event") == "coordinator.ready" and not url.done():
                url.set_result(address)


def made(count: int, prefix: str) -> list[Item]:
    """So many items."""
    return [{"id": f"{prefix}{number}"} for number in range(count)]


async def busy_workers(url: str, seed: str, count: int, timings: Timings, name: str) -> None:
    """Some workers fetch and ack all items of a seed that is routed to them."""
    got: Counter[str] = Counter()

    async def work(number: int) -> None:
        async with HttpWorker(url, f"{seed}-{number}", ["busy"]) as worker:
            while len(got) < count:
                for batch in await timings.time(f"{name}: fetch", worker.fetch(wait=1), unless=[]):
                    await timings.time(f"{name}: ack", worker.ack(batch))
                    got.update(item["id"] for item in batch.items)

    async with HttpManager(url) as manager, HttpWorker(url, "producer") as producer:
        await manager.set_seed(seed, SeedSpec(policies=(Route(type="route", route_to="busy"),), batch_size=BATCH))
        await producer.submit(seed, made(count, f"{seed}-"))
        await asyncio.gather(*(work(number) for number in range(FETCHERS)))
    check(got, count, seed)


async def long_polls(at: Coordinator, polls: int, items: int, timings: Timings) -> list[tuple[str, str]]:
    """Workers fetch and ack, first alone, then beside calls that wait; then each of these calls gets a batch."""
    await busy_workers(at.url, "alone", items, timings, "alone")
    before = await at.memory()
    got: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(HttpWorker(at.url, f"poll-{number}")) for number in range(polls)]
        calls = [asyncio.create_task(poll(worker)) for worker in waiting]
        await until_known(at.url, polls + FETCHERS)
        with_polls = await at.memory()
        await busy_workers(at.url, "beside", items, timings, f"beside {polls} polls")
        assert not [call for call in calls if call.done()], "a call that waits was answered with what is not for it"
        async with HttpManager(at.url) as manager:
            await manager.set_seed("wake", SeedSpec(batch_size=BATCH))
        begun = time.perf_counter()
        await waiting[0].submit("wake", made(polls * BATCH, "wake-"))
        answers = await asyncio.gather(*calls)
        woken = time.perf_counter() - begun
        for worker, batches in zip(waiting, answers, strict=True):
            got.update(item["id"] for batch in batches for item in batch.items)
            assert not await timings.time("woken polls: ack", worker.ack(*batches))
    check(got, polls * BATCH, "wake")
    return [
        ("memory before the polls", f"{before:.0f} MB"),
        (f"memory with {polls} polls", f"{with_polls:.0f} MB"),
        (f"{polls} polls, all answered after", f"{woken * 1000:.0f} ms"),
    ]


async def poll(worker: HttpWorker) -> list[FetchedBatch]:
    """Wait for a batch, however long it takes."""
    batches: list[FetchedBatch] = []
    while not batches:
        batches = await worker.fetch(wait=PATIENCE)
    return batches


async def until_known(url: str, count: int) -> None:
    """Wait until so many workers have called."""
    async with Reader(url) as reader, asyncio.timeout(PATIENCE):
        while len(await reader.workers()) < count:
            await asyncio.sleep(0.2)


async def released_workers(at: Coordinator, count: int, each: int, timings: Timings) -> list[tuple[str, str]]:
    """Workers hold batches; a tenth of them are released, and the others take over what these held."""
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(HttpWorker(at.url, f"held-{number}")) for number in range(count)]
        manager = await stack.enter_async_context(HttpManager(at.url))
        for worker in workers:
            await timings.time("register", worker.register())
        await manager.set_seed("held", SeedSpec(batch_size=BATCH))
        await workers[0].submit("held", made(count * each * BATCH, "held-"))
        held = await asyncio.gather(*(fill(worker, each, timings) for worker in workers))
        memory = await at.memory()
        lost = workers[: count // 10]
        for worker in lost:
            answer = await timings.time("release a worker", manager.release_workers([worker.worker]))
            assert answer.results[0].batches == each, answer
        again = await asyncio.gather(*(fill(worker, each, timings) for worker in workers[count // 10 : count // 5]))
        assert {batch.attempt for batches in again for batch in batches} == {2}, "what was released comes marked"
        taken: Counter[str] = Counter()
        for worker, batches in zip(workers, held, strict=True):
            gone = await timings.time("ack what is held", worker.ack(*batches))
            assert len(gone) == (each if worker in lost else 0), f"{worker.worker}: {len(gone)} of {each} gone"
            taken.update(ids_of(batches) if worker not in lost else ())
        for worker, batches in zip(workers[count // 10 :], again, strict=False):
            assert not await timings.time("ack what is held", worker.ack(*batches))
            taken.update(ids_of(batches))
        check(taken, count * each * BATCH, "held")
    return [(f"memory with {count} workers, {count * each} batches held", f"{memory:.0f} MB")]


async def fill(worker: HttpWorker, each: int, timings: Timings) -> list[FetchedBatch]:
    """Fetch until this worker holds so many batches."""
    batches: list[FetchedBatch] = []
    while len(batches) < each:
        batches += await timings.time("fetch to hold", worker.fetch(each - len(batches), wait=PATIENCE))
    return batches


def ids_of(batches: Iterable[FetchedBatch]) -> list[str]:
    """The ids of their items."""
    return [item["id"] for batch in batches for item in batch.items]


def check(got: Counter[str], count: int, seed: str) -> None:
    """Fail unless each item came exactly once."""
    twice = sum(times > 1 for times in got.values())
    if len(got) != count or twice:
        raise SystemExit(f"{seed}: {count - len(got)} of {count} items lost, {twice} handed out twice")


def shown(timings: Timings, figures: Sequence[tuple[str, str]]) -> Table:
    """All of it as a table."""
    table = Table("what", "calls", "p50", "p99", "longest", title="HTTP, milliseconds")
    for name, taken in timings.taken.items():
        cuts = statistics.quantiles(taken, n=100) if len(taken) > 1 else taken * 99
        table.add_row(name, str(len(taken)), *(f"{1000 * one:.1f}" for one in (cuts[49], cuts[98], max(taken))))
    for name, figure in figures:
        table.add_row(name, "", "", "", figure)
    table.add_row("items lost, or handed out twice without a fault", "", "", "", "0")
    return table


async def measure(options: argparse.Namespace) -> None:
    """Run all of it."""
    timings = Timings()
    async with PrivateBroker() as broker:
        async with coordinating(broker.urls) as at:
            figures = await long_polls(at, options.polls, options.items, timings)
        async with coordinating(broker.urls) as at:
            figures += await released_workers(at, options.workers, options.held, timings)
    Console(width=110).print(shown(timings, figures))


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polls", type=int, default=1000, help="calls that wait (default 1000)")
    parser.add_argument("--items", type=int, default=20_000, help="items that others fetch meanwhile (default 20000)")
    parser.add_argument("--workers", type=int, default=500, help="workers that hold batches (default 500)")
    parser.add_argument("--held", type=int, default=4, help="batches that each holds (default 4)")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(measure(options))


if __name__ == "__main__":
    main()
