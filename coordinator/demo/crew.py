"""The demo's parts: a coordinator with its HTTP side, worker processes, and a consumer of their results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

import uvicorn

from coordinator import topology
from coordinator.backoff import pause as pause_after
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.demo import pace
from coordinator.demo.ledger import Outcome
from coordinator.errors import (
    BrokerUnavailableError,
    CoordinatorError,
    ManagementError,
    NoReplyError,
    QueueMissingError,
)
from coordinator.http.app import create_app
from coordinator.models import BatchResults
from coordinator.node.coordinator import Coordinator
from coordinator.validation import parse_model

POLL = 0.05
PATIENCE = 60.0

T = TypeVar("T")


class DemoFailedError(CoordinatorError):
    """A stage of the demo had no effect, or its ledger does not balance."""


@dataclass(frozen=True, slots=True)
class Handling:
    """One delivery of a batch with published results."""

    seed: str
    batch: str
    worker: str
    attempt: int


@dataclass
class Results:
    """The results of the workers, by seed and item."""

    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    handled: list[Handling] = field(default_factory=list)

    def of(self, seed: str) -> dict[str, Outcome]:
        """Outcomes of a seed's items."""
        return self.outcomes.setdefault(seed, {})

    def record(self, results: BatchResults) -> None:
        """Record the results of a batch."""
        self.handled.append(Handling(results.seed, results.batch, results.worker, results.attempt))
        outcomes = self.of(results.seed)
        for one in results.results:
            known = outcomes.get(one.id)
            data = one.data if isinstance(one.data, dict) else {}
            if known is None:
                outcomes[one.id] = Outcome(one.status, data, one.error)
            else:
                known.times += 1


@contextlib.asynccontextmanager
async def listening(urls: list[str]) -> AsyncIterator[Results]:
    """Consume all results from now on. A queue keeps them while there is no connection."""
    results = Results()
    ready = asyncio.Event()

    async def listen() -> None:
        failures = 0
        while True:
            with contextlib.suppress(BrokerUnavailableError):
                await _hear(urls, results, ready)
                failures = 0
            failures += 1
            await asyncio.sleep(pause_after(failures))

    task = asyncio.create_task(listen(), name="results")
    try:
        await until(ready.is_set, "the results are consumed", PATIENCE)
        yield results
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _hear(urls: list[str], results: Results, ready: asyncio.Event) -> None:
    """Consume results until the connection ends."""

    def hear(delivery: Delivery) -> None:
        results.record(parse_model(BatchResults, delivery.body))
        delivery.ack_soon()  # if the connection is gone, the delivery comes again and is counted again

    connection = await Connection.open(urls, "demo:results")
    try:
        channel = await connection.channel()
        queue = topology.Queue("demo.results", {"x-queue-type": "quorum"}, ((topology.RESULTS, "#"),))
        await channel.declare_queue(queue)
        await channel.consume(queue.name, hear, prefetch=200)
        ready.set()
        await connection.closed.wait()
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def coordinating(node: Coordinator) -> AsyncIterator[str]:
    """Run the coordinator and its HTTP side in this process, and yield its URL."""
    server = uvicorn.Server(uvicorn.Config(create_app(node), host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    tasks = [asyncio.create_task(node.run(), name="node"), asyncio.create_task(server._serve(), name="http")]  # noqa: SLF001 - `serve` takes over the signals
    try:
        await until(lambda: server.started and node.is_ready, "the coordinator is ready", 30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        tasks[0].cancel()
        await asyncio.wait(tasks, timeout=10)


class Crew:
    """Worker processes, which end with the demo; `seconds` is added to the time of each item."""

    def __init__(self, folder: Path, url: str, seconds: float) -> None:
        self._folder = folder
        self._url = url
        self._pace = seconds
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def hire(self, ident: str, *options: str) -> None:
        """Start a worker that logs to a file in the demo's folder."""
        handler = "coordinator.demo.pace:handle" if self._pace else "filesystem"
        with (self._folder / f"{ident}.log").open("wb") as log:
            self._processes[ident] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "worker_stub", "--id", ident, "--http-url", self._url),
                *("--handler", handler, *options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "COORDINATOR_HOME": str(self._folder), pace.VARIABLE: str(self._pace)},
            )

    async def kill(self, ident: str) -> None:
        """Kill a worker with SIGKILL."""
        process = self._processes.pop(ident)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    def stop_time(self, ident: str) -> None:
        """Stop a worker with SIGSTOP."""
        self._processes[ident].send_signal(signal.SIGSTOP)

    async def dismiss(self) -> None:
        """End all workers with SIGTERM, and with SIGKILL if they do not end."""
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self._processes.values():
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def until(holds: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until a condition holds. It does not hold while the broker is away.

    Raises:
        DemoFailedError: it did not hold in time.
    """
    try:
        async with asyncio.timeout(seconds):
            while not _holds(holds):  # noqa: ASYNC110 - many things at once make it true, none of them is an event
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise DemoFailedError(f"waited {seconds:g} s in vain until {what}") from None


def _holds(holds: Callable[[], object]) -> bool:
    try:
        return bool(holds())
    except BrokerUnavailableError:
        return False


async def insist(do: Callable[[], Awaitable[T]], what: str) -> T:
    """Do something and return its result; repeat it while it fails because the broker is away.

    Raises:
        DemoFailedError: it did not succeed in time.
    """
    problem: Exception | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            for failures in count(1):
                try:
                    return await do()
                except (BrokerUnavailableError, QueueMissingError, NoReplyError, ManagementError) as error:
                    problem = error
                await asyncio.sleep(pause_after(failures))
    except TimeoutError:
        pass
    raise DemoFailedError(f"waited {PATIENCE:g} s in vain until {what}: {problem}")
