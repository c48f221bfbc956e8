"""Where contenders run: one private broker, a virtual host for each run, and a process for each program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import orjson

from coordinator import topology
from coordinator.broker.batch_codec import page_message
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Depth, Message
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.settings import Settings
from tests.benchmarks import payload
from tests.benchmarks.harness import Terms, WrongResultError
from tests.benchmarks.machine import PATIENCE, Program, stop
from tests.benchmarks.profiles import sampled
from tests.helpers.support import own_vhost

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
PEER_PYTHON = CACHE / "bench-venv" / "bin"
ALMOST_ALL = 0.99
NOTHING = Depth(0, 0)
OURS = ("coordinator", "worker_stub")
IN_FLIGHT = 200
FIGURES_MS = 5000
"""How often a RabbitMQ as it is installed brings its figures up to date."""


@dataclass(frozen=True)
class Bed:
    """A broker to measure on."""

    urls: BrokerUrls
    pid: int
    version: str
    folder: Path
    samples: Path | None = None
    """Where samples of our programs go, if they are to be taken."""
    figures_ms: int = FIGURES_MS
    """How often the broker brings its figures up to date."""

    @classmethod
    @contextlib.asynccontextmanager
    async def made(cls, samples: Path | None = None, figures_ms: int = FIGURES_MS) -> AsyncIterator[Bed]:
        """A private broker and a folder for what programs write."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with PrivateBroker(figures_ms=figures_ms) as broker:
                at = urlsplit(broker.urls.management)
                async with management(at.geturl()) as http:
                    version = str((await http.get("/api/overview")).json()["rabbitmq_version"])
                yield cls(broker.urls, broker.pid, version, Path(folder), samples, figures_ms)

    @contextlib.asynccontextmanager
    async def anew(self) -> AsyncIterator[Bed]:
        """Another broker like this one, for a run that is too short to have its share of what the log does.

        A broker's log is empty at first; when it has grown to 512 MB, all queues' messages are written a second time,
        for seconds. On one broker for all runs that falls into some of them by chance, and doubles what they take.
        """
        async with Bed.made(self.samples, self.figures_ms) as bed:
            yield bed

    @contextlib.asynccontextmanager
    async def site(self, *, delete: bool = True) -> AsyncIterator[Site]:
        """A virtual host of its own; with many queues it is quicker to end the broker than to delete it."""
        async with own_vhost(self.urls, delete=delete) as settings:
            connection = await Connection.open(settings.amqp_urls(), "bench")
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(connection.close)
                channel = await connection.channel()
                http = await stack.enter_async_context(management(self.urls.management))
                yield Site(self, settings, connection, channel, http)


@contextlib.asynccontextmanager
async def management(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the broker's management API."""
    at = urlsplit(url)
    auth = (at.username or "", at.password or "")
    base = f"{at.scheme}://{at.hostname}:{at.port}"
    async with httpx.AsyncClient(base_url=base, auth=auth, trust_env=False, timeout=PATIENCE) as http:
        yield http


@dataclass(frozen=True)
class Site:
    """One run's virtual host."""

    bed: Bed
    settings: Settings
    connection: Connection
    channel: Channel
    http: httpx.AsyncClient

    @property
    def url(self) -> str:
        """Where programs connect."""
        return self.settings.amqp_urls()[0]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for programs of the project."""
        return {
            "COORDINATOR_AMQP_URL": self.url,
            "COORDINATOR_MANAGEMENT_URL": self.settings.management(),
            "COORDINATOR_HOME": str(self.bed.folder / self.settings.vhost()),
            "COORDINATOR_HTTP_PORT": "0",
            "COORDINATOR_LOG_FORMAT": "json",
            "COORDINATOR_RATE_LIMIT": "0",
            "COORDINATOR_BROKER_TICK": str(self.bed.figures_ms / 1000 + 0.5),
        }

    def out(self, name: str = "out") -> Path:
        """A file for a program to write to."""
        folder = self.bed.folder / self.settings.vhost()
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.json"

    @contextlib.asynccontextmanager
    async def running(
        self, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[Program]:
        """A program, in a process group of its own; stopped at the end."""
        log = self.out("log").with_name(f"{Path(command[0]).name}-{time.monotonic_ns()}.log")
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdout=file,
                stderr=file,
                cwd=ROOT,
                start_new_session=True,
            )
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(stop, process)
            ours = [name for name in OURS if name in command]
            if self.bed.samples is not None and ours:
                out = self.bed.samples / f"{ours[0]}-{time.monotonic_ns()}.samples"
                await stack.enter_async_context(sampled(PEER_PYTHON / "py-spy", process.pid, out))
            yield Program(process, log)

    @contextlib.asynccontextmanager
    async def coordinator(self, number: int = 0) -> AsyncIterator[tuple[Program, str]]:
        """A coordinator as shipped, ready; and where it answers HTTP. Several have a home each."""
        command = (sys.executable, "-m", "coordinator", "serve")
        home = f"{self.environment['COORDINATOR_HOME']}-{number}"
        async with self.running(*command, environment={**self.environment, "COORDINATOR_HOME": home}) as program:
            url = ""
            async with asyncio.timeout(PATIENCE):
                while not url:
                    await asyncio.sleep(0.05)
                    url = _address(program.log)
            yield program, url

    async def declare(self, *queues: topology.Queue) -> None:
        """Have the project's exchanges and queues, and some more."""
        for exchange in topology.EXCHANGES:
            await self.channel.declare_exchange(exchange)
        for queue in (*topology.QUEUES, *queues):
            await self.channel.declare_queue(queue)

    async def fill(self, exchange: str, key: str, messages: Iterable[Message]) -> None:
        """Publish all, confirmed, many at once."""
        await self.fill_many(((key, message) for message in messages), exchange)

    async def fill_many(self, messages: Iterable[tuple[str, Message]], exchange: str = topology.ITEMS) -> None:
        """Publish all by their routing keys, confirmed, many at once."""
        left = iter(messages)

        async def lane() -> None:
            for key, message in left:
                await self.channel.publish(exchange, key, message, mandatory=True)

        # Lanes that share one iterator: to wait for the first of many tasks costs as much as there are tasks.
        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))

    def checked_page(self, number: int, size: int = payload.ITEMS) -> Message:
        """A page as a producer of the project sends it."""
        inner = payload.text(payload.page(number, size))[1:-1]
        return page_message(inner, size, f"page-{number}", self.connection.user)

    def tiny_pages(self, first: int, count: int) -> Iterator[Message]:
        """Full pages of items of some 10 bytes, which spare the disk where millions must wait."""
        inner = b",".join(b'{"id":"%d"}' % number for number in range(payload.ITEMS))
        for number in range(first, first + count):
            yield page_message(inner, payload.ITEMS, f"page-{number}", self.connection.user)

    async def drained(self, queue: str) -> None:
        """Wait until a queue holds nothing, acks included: a worker that is stopped earlier would leave some of it.

        Raises:
            WrongResultError: it still holds something after 30 s.
        """
        begun = time.monotonic()
        while left := (await self._seen(queue)).get("messages", 1):
            if time.monotonic() - begun > 30:
                raise WrongResultError(f"{queue}: {left} messages are still not acked 30 s after the last was handled")
            await asyncio.sleep(0.2)

    async def _seen(self, queue: str) -> dict[str, Any]:
        path = f"/api/queues/{quote(self.settings.vhost(), safe='')}/{quote(queue, safe='')}"
        seen: dict[str, Any] = (await self.http.get(path)).json()
        return seen

    async def terms(self, queue: str, messages: int | None, size: int = payload.ITEMS) -> Terms:
        """What the broker saw of the run; its counters lag by two intervals of `FIGURES_MS`.

        Args:
            queue: what the contender consumed.
            messages: how many it held; None where that is for the contender to choose.
            size: items of what is compared: a message, or 1 where messages differ in size.

        Raises:
            WrongResultError: the queue did not let so many messages through, each once.
        """
        begun, seen = time.monotonic(), {}
        while time.monotonic() - begun < 30:
            seen = await self._seen(queue)
            stats = seen.get("message_stats", {})
            if stats.get("ack", 0) >= (messages or 1) and not seen.get("messages", 1):
                break
            await asyncio.sleep(0.3)
        stats = seen.get("message_stats", {})
        if messages is None:
            messages = stats.get("ack")
        if (stats.get("ack"), seen.get("messages")) != (messages, 0) or stats.get("redeliver", 0):
            raise WrongResultError(f"{queue}: of {messages} messages the broker says {stats}")
        host = (await self.http.get(f"/api/vhosts/{quote(self.settings.vhost(), safe='')}")).json()
        whole = host.get("message_stats", {})
        return Terms(
            queue_type=str(seen["type"]),
            durable=bool(seen["durable"]),
            confirmed=whole.get("confirm", 0) >= ALMOST_ALL * whole.get("publish", 0),
            unacked=int(stats.get("deliver_no_ack", 0)),
            items=size,
            payload=len(payload.text(payload.page(0, size))),
        )


def _address(log: Path) -> str:
    address, ready = "", False
    for line in log.read_bytes().splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            entry = orjson.loads(line)
            address = entry.get("http", address)
            ready = ready or entry.get("event") == "coordinator.ready"
    return address if ready else ""
