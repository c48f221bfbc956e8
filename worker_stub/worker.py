"""The worker: takes batches, runs their items through a handler, publishes the results, and settles them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import structlog

from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    InvalidInputError,
)
from coordinator.models import Presence
from worker_stub.handlers import Handler, caller
from worker_stub.job import Job, Transport
from worker_stub.job_runner import JobRunner
from worker_stub.spool import Spool

log = structlog.get_logger(__name__)

PRESENCE_EVERY = 2.0
AHEAD = 2
"""Batches to have at hand for each batch that is worked on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The worker's id and what it can do."""

    id: str
    tags: tuple[str, ...] = ()
    transport: Literal["amqp", "http"] = "amqp"
    concurrency: int = 1

    @property
    def capacity(self) -> int:
        """The number of batches that it wants to have at hand."""
        return self.concurrency * AHEAD


class Worker:
    """A worker. With a spool it acks a batch when the batch is safe on disk, else when the handler has finished."""

    def __init__(
        self,
        identity: Identity,
        transport: Transport,
        handler: Handler,
        spool: Spool | None,
        stop_timeout: float,
        *,
        publishes_results: bool = True,
    ) -> None:
        """Make a worker.

        Args:
            identity: who it is.
            transport: how it speaks to the coordinator.
            handler: what it does with an item.
            spool: where batches wait that were acked on arrival; None to ack when the handler has finished.
            stop_timeout: seconds that a drain may take.
            publishes_results: whether it publishes the results of batches. Discovered items are always submitted.
        """
        self._identity = identity
        self._transport = transport
        self._spool = spool
        self._runner = JobRunner(identity.id, transport, caller(handler), spool, self._is_recalled, publishes_results)
        self._stop_timeout = stop_timeout
        self._jobs: dict[Job, None] = {}
        self._arrivals: asyncio.Queue[Job] = asyncio.Queue()
        self._ready: asyncio.Queue[Job] = asyncio.Queue()
        self._leaving: asyncio.Queue[Job] = asyncio.Queue()
        self._places = asyncio.Semaphore(identity.capacity)
        self._epochs: dict[str, int] = {}
        self._draining = False
        self._asked = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish the items in hand and give back the rest.

        If a manager asks to drain, take no more, finish all batches, and set `stop`.

        Raises:
            SpoolBusyError: another worker uses the same spool.
        """
        async with self._spooled(), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._transport.run(self), name="transport"),
                group.create_task(self._accept(), name="accept"),
                group.create_task(self._send_heartbeats(), name="presence"),
                *(
                    group.create_task(self._serve(self._ready), name=f"handler-{number}")
                    for number in range(self._identity.concurrency)
                ),
                group.create_task(self._serve(self._leaving), name="give-back"),
                group.create_task(self._finish(stop), name="finish"),
            ]
            await stop.wait()
            await self._drain()
            for task in tasks:
                task.cancel()

    @property
    def finished(self) -> Counter[str]:
        """The number of finished items, by seed."""
        return self._runner.finished

    @property
    def room(self) -> int:
        """The number of batches that it has room for."""
        return 0 if self._is_quiet else max(0, self._identity.capacity - len(self._jobs))

    @property
    def seeds(self) -> frozenset[str]:
        """The seeds of its batches."""
        return frozenset(job.batch.seed for job in self._jobs)

    def arrived(self, job: Job) -> None:
        """A batch was delivered."""
        self._add(job)
        self._arrivals.put_nowait(job)

    def released(self, seed: str, epoch: int) -> None:
        """A seed was released: its older batches go back, except for items in hand."""
        self._epochs[seed] = max(epoch, self._epochs.get(seed, 0))
        for job in self._jobs:
            if job.batch.seed == seed and job.batch.epoch < epoch:
                job.recall = job.recall or "released"
        self._sort_out()

    def drain(self) -> None:
        """A manager asks to finish the batches here and take no more."""
        self._asked.set()

    def lost(self) -> None:
        """The connection is gone, and all unacked batches with it: other workers get them."""
        for job in self._jobs:
            job.void = not job.taken

    @contextlib.asynccontextmanager
    async def _spooled(self) -> AsyncIterator[None]:
        """Lock the spool, and start with the batches of an earlier run."""
        if self._spool is None:
            yield
            return
        with self._spool.lock():
            for batch in await asyncio.to_thread(self._spool.load):
                job = Job(batch, None, redelivered=True, taken=True)
                self._add(job)
                self._put(job)
                log.info("batch.resumed", batch=batch.id, seed=batch.seed)
            yield

    async def _accept(self) -> None:
        """Pass arriving batches to the handlers. With a spool, store and ack each first, if there is room."""
        while True:
            job = await self._arrivals.get()
            if self._spool is not None:
                await self._places.acquire()
                if job.void or self._is_recalled(job):
                    self._places.release()
                else:
                    await self._take(self._spool, job)
            self._put(job)

    async def _take(self, spool: Spool, job: Job) -> None:
        """Store a batch on disk, then ack it. A batch that cannot be read is rejected when its turn comes."""
        try:
            job.read()
        except InvalidInputError:
            self._places.release()
            return
        try:
            await asyncio.to_thread(spool.add, job.batch)
            if not job.void:
                await self._transport.ack(job)
            job.taken = not job.void
        except BrokerUnavailableError as error:
            job.void = True
            log.info("batch.lost", batch=job.batch.id, seed=job.batch.seed, reason=str(error))
        if job.void:
            await asyncio.to_thread(spool.remove, job.batch.id)
            self._places.release()

    def _put(self, job: Job) -> None:
        """Queue a batch for a handler, or give it back immediately: a handler may be busy for a long time."""
        (self._leaving if self._is_recalled(job) else self._ready).put_nowait(job)

    def _sort_out(self) -> None:
        """Give back the batches that were recalled while they waited for a handler."""
        for job in [self._ready.get_nowait() for _ in range(self._ready.qsize())]:
            self._put(job)

    async def _serve(self, queue: asyncio.Queue[Job]) -> None:
        """Run the batches of a queue: those for a handler, or those to give back."""
        while True:
            job = await queue.get()
            try:
                await self._runner.run(job)
            finally:
                self._remove(job)

    async def _send_heartbeats(self) -> None:
        while True:
            await self._transport.wait_connected()
            with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError):
                await self._transport.heartbeat(self.presence())
            await asyncio.sleep(PRESENCE_EVERY)

    def presence(self) -> Presence:
        """The worker's heartbeat: its tags, its capacity and its batches."""
        taken: Counter[str] = Counter()
        for job in self._jobs:
            if job.taken:
                taken[job.batch.seed] += job.left
        return Presence(
            worker=self._identity.id,
            tags=self._identity.tags,
            transport=self._identity.transport,
            capacity=self._identity.capacity,
            held=tuple(job.report() for job in self._jobs if not job.taken and not job.void),
            taken=dict(taken),
            draining=self._is_quiet,
        )

    @property
    def _is_quiet(self) -> bool:
        """Whether it takes no more batches."""
        return self._draining or self._asked.is_set()

    async def _finish(self, stop: asyncio.Event) -> None:
        """When asked to drain: take no more, finish all batches, send a last heartbeat, and stop."""
        await self._asked.wait()
        log.info("worker.finishing", batches=len(self._jobs))
        with contextlib.suppress(BrokerUnavailableError):
            await self._transport.stop_receiving()
        await self._empty.wait()
        with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError):
            await self._transport.heartbeat(self.presence())
        stop.set()

    async def _drain(self) -> None:
        log.info("worker.draining", batches=len(self._jobs))
        self._draining = True
        with contextlib.suppress(BrokerUnavailableError):
            await self._transport.stop_receiving()
        for job in self._jobs:
            job.recall = job.recall or "drain"
        self._sort_out()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_timeout):
                await self._empty.wait()
        log.info("worker.drained", left=len(self._jobs), finished=self.finished.total())

    def _is_recalled(self, job: Job) -> bool:
        """Whether a batch that has not begun must go back: it was recalled, its epoch is old, or the worker stops."""
        if self._draining:
            job.recall = job.recall or "drain"
        if job.batch.epoch < self._epochs.get(job.batch.seed, 0):
            job.recall = job.recall or "stale"
        return job.recall is not None

    def _add(self, job: Job) -> None:
        self._jobs[job] = None
        self._empty.clear()

    def _remove(self, job: Job) -> None:
        del self._jobs[job]
        if job.taken and job.receipt is not None:
            self._places.release()
        if not self._jobs:
            self._empty.set()
