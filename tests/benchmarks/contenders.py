"""How each worker is started, and how each peer's messages are made: by its own producer."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from coordinator import topology
from tests.benchmarks import payload
from tests.benchmarks.bed import PEER_PYTHON, Site
from tests.benchmarks.harness import WrongResultError
from tests.benchmarks.machine import Program

PEERS = "tests.benchmarks.peers"
QUEUE = "bench"


@dataclass(frozen=True)
class Peer:
    """A peer with one of its settings."""

    name: str
    module: str
    command: tuple[str, ...]
    setting: str = ""

    def environment(self, site: Site, out: Path, items: int) -> dict[str, str]:
        """What its program reads."""
        return {
            payload.OUT: str(out),
            payload.EXPECTED: str(items),
            "BENCH_URL": site.url,
            "BENCH_QUEUE": QUEUE,
            "BENCH_SETTING": self.setting or "20",
            "dramatiq_queue_prefetch": "100",
        }

    @contextlib.asynccontextmanager
    async def worker(self, site: Site, out: Path, items: int) -> AsyncIterator[Program]:
        """Its worker."""
        program, *rest = self.command
        command: tuple[str | Path, ...] = (PEER_PYTHON / program, *rest)
        async with site.running(*command, environment=self.environment(site, out, items)) as started:
            yield started

    @contextlib.asynccontextmanager
    async def producer(self, site: Site, out: Path, messages: int, size: int) -> AsyncIterator[Program]:
        """A program that sends so many messages of so many items, and ends."""
        command = (PEER_PYTHON / "python", "-m", f"{PEERS}.{self.module}", "produce", str(messages), str(size))
        async with site.running(*command, environment=self.environment(site, out, messages * size)) as started:
            yield started

    async def fill(self, site: Site, messages: int, size: int) -> None:
        """Have so many messages waiting."""
        async with self.producer(site, site.out("unused"), messages, size) as program, asyncio.timeout(120):
            if await program.process.wait():
                raise WrongResultError(program.log.read_text()[-2000:])

    async def declare(self, site: Site) -> None:
        """Its queue, where it does not declare that itself."""
        if self.module == "faststream_app":
            await site.channel.declare_queue(topology.Queue(QUEUE, {"x-queue-type": "quorum"}))


_CELERY = ("celery", "-A", f"{PEERS}.celery_app", "worker", "-l", "WARNING", "-c", "1")
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_TASKIQ = ("taskiq", "worker", "--workers", "1", "--no-parse", "--ack-type", "when_executed", "--log-level", "WARNING")
_DRAMATIQ = ("dramatiq", f"{PEERS}.dramatiq_app:broker", "--processes", "1", "--threads")
_FASTSTREAM = ("python", "-m", f"{PEERS}.faststream_app")

TASK_QUEUES = (
    Peer("FastStream, dictionaries", "faststream_app", (*_FASTSTREAM, "plain")),
    Peer("FastStream, models", "faststream_app", (*_FASTSTREAM, "models")),
    Peer("Dramatiq, 1 thread", "dramatiq_app", (*_DRAMATIQ, "1")),
    Peer("Dramatiq, 4 threads", "dramatiq_app", (*_DRAMATIQ, "4")),
    Peer("Taskiq, prefetch 20", "taskiq_app", (*_TASKIQ, f"{PEERS}.taskiq_app:broker"), "20"),
    Peer("Taskiq, prefetch 100", "taskiq_app", (*_TASKIQ, f"{PEERS}.taskiq_app:broker"), "100"),
    Peer("Celery, solo", "celery_app", (*_CELERY, "-P", "solo", *_QUIET)),
    Peer("Celery, prefork", "celery_app", (*_CELERY, "-P", "prefork", *_QUIET)),
)
"""Each in two settings, of which the better counts."""


@contextlib.asynccontextmanager
async def worker_stub(site: Site, out: Path, items: int, *options: str) -> AsyncIterator[Program]:
    """Our worker, as shipped."""
    environment = {**site.environment, payload.OUT: str(out), payload.EXPECTED: str(items)}
    command = (sys.executable, "-m", "worker_stub", "--id", "bench", "--handler", "tests.benchmarks.handler:note")
    async with site.running(*command, *options, environment=environment) as program:
        yield program
