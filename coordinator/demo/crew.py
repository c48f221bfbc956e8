"""The demo's cast: a coordinator with its shim, worker processes, and a listener for their results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from coordinator import topology
from coordinator.broker.channel import Delivery
from coordinator.broker.connection import Connection
from coordinator.demo import pace
from coordinator.demo.ledger import Outcome
from coordinator.errors import CoordinatorError
from coordinator.http.app import create_app
from coordinator.models import BatchResults
from coordinator.node.node import Node
from coordinator.parsing import parse_model

POLL = 0.05


class DemoFailedError(CoordinatorError):
    """A stage of the demo had no effect, or its ledger does not balance."""


@dataclass(frozen=True, slots=True)
class Handling:
    """One delivery of a batch that a worker told the results of."""

    seed: str
    batch: str
    worker: str
    attempt: int


@dataclass
class Results:
    """What the workers told, by seed and item."""

    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    handled: list[Handling] = field(default_factory=list)

    def of(self, seed: str) -> dict[str, Outcome]:
        """Outcomes of a seed's items."""
        return self.outcomes.setdefault(seed, {})

    def take(self, told: BatchResults) -> None:
        """Note the results of a batch."""
        self.handled.append(Handling(told.seed, told.batch, told.worker, told.attempt))
        outcomes = self.of(told.seed)
        for one in told.results:
            known = outcomes.get(one.id)
            data = one.data if isinstance(one.data, dict) else {}
            if known is None:
                outcomes[one.id] = Outcome(one.status, data, one.error)
            else:
                known.times += 1


@contextlib.asynccontextmanager
async def listening(urls: list[str]) -> AsyncIterator[Results]:
    """Hear all results from now on."""
    results = Results()
    acks: set[asyncio.Task[None]] = set()

    def hear(delivery: Delivery) -> None:
        results.take(parse_model(BatchResults, delivery.body))
        task = asyncio.get_running_loop().create_task(delivery.ack())
        acks.add(task)
        task.add_done_callback(acks.discard)

    connection = await Connection.open(urls, "demo:results")
    try:
        channel = await connection.channel()
        queue = await channel.declare_own_queue("", [(topology.RESULTS, "#")])
        await channel.consume(queue, hear, prefetch=200)
        yield results
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def coordinating(node: Node) -> AsyncIterator[str]:
    """Run the coordinator and its shim in this process; gives the shim's URL."""
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
    """Worker processes, ended with the demo; `seconds` is how much longer they take over each item."""

    def __init__(self, folder: Path, url: str, seconds: float) -> None:
        self._folder = folder
        self._url = url
        self._pace = seconds
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def hire(self, ident: str, *options: str) -> None:
        """Start a worker; its log goes to a file of the demo's folder."""
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
        """End a worker by SIGKILL."""
        process = self._processes.pop(ident)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    def stop_time(self, ident: str) -> None:
        """Halt a worker by SIGSTOP."""
        self._processes[ident].send_signal(signal.SIGSTOP)

    async def dismiss(self) -> None:
        """End all by SIGTERM, and by SIGKILL who does not go."""
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
    """Wait until something holds.

    Raises:
        DemoFailedError: it did not in time.
    """
    try:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - many things at once make it true, none of them is an event
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise DemoFailedError(f"waited {seconds:g} s in vain until {what}") from None
