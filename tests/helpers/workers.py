"""What the tests of the worker share: a handler that can be held, a worker that runs here, and a reader of results."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.client import HttpWorker
from coordinator.models import BatchResults, Item
from coordinator.settings import Settings
from tests.helpers.support import DEADLINE, PREFIX
from worker_stub.amqp_transport import AmqpTransport
from worker_stub.handlers import Context, Handler
from worker_stub.http_transport import HttpTransport
from worker_stub.job import Transport
from worker_stub.spool import Spool
from worker_stub.worker import Identity, Worker

TRANSPORTS = ["amqp", "http"]


@dataclass
class Hand:
    """A handler that notes what it does, and holds each item until it is let go."""

    begun: list[tuple[str, Context]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    busy: int = 0
    most: int = 0

    @classmethod
    def open(cls) -> Hand:
        """One that holds nothing."""
        hand = cls()
        hand.gate.set()
        return hand

    async def handle(self, item: Item, context: Context) -> object:
        """Note the item, wait for the gate, and give its id as data."""
        self.begun.append((item["id"], context))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.gate.wait()
        finally:
            self.busy -= 1
        self.finished.append(item["id"])
        return item["id"]

    @property
    def attempts(self) -> dict[str, int]:
        """The last attempt under which each batch was begun."""
        return {context.batch: context.attempt for _, context in self.begun}


@dataclass
class Results:
    """Everything that comes to the exchange `results`."""

    connection: Connection
    batches: list[BatchResults] = field(default_factory=list)

    @property
    def items(self) -> Counter[str]:
        """How often each item was told of."""
        return Counter(result.id for batch in self.batches for result in batch.results)

    @property
    def attempts(self) -> dict[str, int]:
        """The attempt under which each batch was told of last."""
        return {batch.batch: batch.attempt for batch in self.batches}


@contextlib.asynccontextmanager
async def told(settings: Settings) -> AsyncIterator[Results]:
    """Listen to the results of all seeds."""
    connection = await Connection.open(settings.amqp_urls(), "results")
    results = Results(connection)
    try:
        channel: Channel = await connection.channel()
        queue = await channel.declare_own_queue("", [("results", "#")])

        def take(delivery: Delivery) -> None:
            results.batches.append(BatchResults.model_validate_json(delivery.body))

        await channel.consume(queue, take, prefetch=10_000)
        yield results
    finally:
        await connection.close()


def base_of(api: httpx.AsyncClient) -> str:
    """The coordinator's URL, as `--http-url` takes it."""
    return str(api.base_url).rstrip("/").removesuffix(PREFIX)


@dataclass
class Running:
    """A worker that runs in this process."""

    worker: Worker
    transport: Transport
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def end(self, seconds: float = DEADLINE) -> None:
        """Ask it to stop, and wait until it has."""
        self.stop.set()
        async with asyncio.timeout(seconds):
            await self.task


@contextlib.asynccontextmanager
async def working(
    source: Settings | httpx.AsyncClient,
    ident: str,
    handler: Handler,
    *,
    transport: str = "amqp",
    tags: Sequence[str] = (),
    concurrency: int = 1,
    spool: Path | None = None,
    stop_timeout: float = 5.0,
    publishes_results: bool = True,
) -> AsyncIterator[Running]:
    """A worker, connected; given an API's client it registers there, given settings it connects as it is.

    In the end it is stopped, or cut off where it does not end in time.
    """
    identity = Identity(ident, tuple(sorted(tags)), "http" if transport == "http" else "amqp", concurrency)
    port: Transport
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(source, Settings):
            urls = source.amqp_urls()

            async def given() -> Sequence[str]:
                return urls

            port = AmqpTransport(identity, given)
        else:
            shim = HttpWorker(base_of(source), ident, identity.tags)
            stack.push_async_callback(shim.close)

            async def registered() -> Sequence[str]:
                return [(await shim.register("amqp")).amqp_url or ""]

            port = HttpTransport(identity, shim) if transport == "http" else AmqpTransport(identity, registered)
        place = Spool(spool) if spool else None
        worker = Worker(identity, port, handler, place, stop_timeout, publishes_results=publishes_results)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            connected = asyncio.create_task(port.wait_connected())
            await asyncio.wait([task, connected], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
            connected.cancel()
            if task.done():
                await task
            yield Running(worker, port, stop, task)
        finally:
            stop.set()
            await asyncio.wait([task], timeout=stop_timeout + DEADLINE)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def spooled(folder: Path) -> list[Path]:
    """The batches that lie in a spool."""
    return list(folder.glob("*.json"))


async def until(api: httpx.AsyncClient, path: str, holds: Any, what: str) -> dict[str, Any]:  # noqa: ANN401 - any test
    """Ask the coordinator until an answer satisfies; give that answer."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + DEADLINE, asyncio.Event()
    while True:
        answer = await api.get(path)
        body: dict[str, Any] = answer.json()
        if answer.status_code == 200 and holds(body):
            return body
        if loop.time() > end:
            raise AssertionError(f"waited {DEADLINE:g} s in vain: {what}; last {body}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await pause.wait()
