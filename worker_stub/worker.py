"""The worker: takes batches, runs their items through a handler, tells the results, and settles."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import structlog

from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    CoordinatorError,
    InvalidInputError,
    QueueFullError,
    QueueSilentError,
)
from coordinator.models import Item, Presence
from coordinator.retry import pause
from worker_stub.handlers import NOTHING, Context, Handler, RejectBatch, caller, entry_of, failure_of, result_of
from worker_stub.jobs import Job, Results, Transport
from worker_stub.spool import Spool

log = structlog.get_logger(__name__)

PRESENCE_EVERY = 2.0
AHEAD = 2
"""Batches at hand for each that is worked on."""
MOST_RESUMPTIONS = 2
"""How often a batch that an earlier run left in the spool is begun here again, before the coordinator gets it back."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the worker is and what it can do."""

    id: str
    tags: tuple[str, ...] = ()
    transport: Literal["amqp", "http"] = "amqp"
    concurrency: int = 1

    @property
    def capacity(self) -> int:
        """Batches that it wants to have at hand."""
        return self.concurrency * AHEAD


@dataclass(slots=True)
class _Outcome:
    """What the items of a job came to so far."""

    entries: list[dict[str, object]] = field(default_factory=list)
    discovered: list[Item] = field(default_factory=list)


class Worker:
    """A worker. With a spool it acks a batch once it is safe on its own disk, else once its handler is through."""

    def __init__(
        self,
        identity: Identity,
        transport: Transport,
        handler: Handler,
        spool: Spool | None,
        stop_timeout: float,
        *,
        tells_results: bool = True,
    ) -> None:
        """Make a worker.

        Args:
            identity: who it is.
            transport: how it speaks.
            handler: what it does with an item.
            spool: where batches that were acked at once wait to be done; None to ack when the handler is through.
            stop_timeout: seconds that a drain may take.
            tells_results: whether it publishes what became of each batch. What it discovers it submits in any case.
        """
        self._tells_results = tells_results
        self.finished: Counter[str] = Counter()
        self._identity = identity
        self._transport = transport
        self._call = caller(handler)
        self._spool = spool
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
        """Work until `stop` is set, then finish what is begun and give back the rest.

        Where a manager asks for it, take no more, finish all there is, and set `stop`.

        Raises:
            SpoolBusyError: another worker uses the same spool.
        """
        async with self._spooled(), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._transport.run(self), name="transport"),
                group.create_task(self._accept(), name="accept"),
                group.create_task(self._tell_presence(), name="presence"),
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
    def room(self) -> int:
        """How many more batches it would like to have."""
        return 0 if self._is_quiet else max(0, self._identity.capacity - len(self._jobs))

    @property
    def seeds(self) -> frozenset[str]:
        """Seeds of which it has batches."""
        return frozenset(job.batch.seed for job in self._jobs)

    def arrived(self, job: Job) -> None:
        """A batch was delivered."""
        self._add(job)
        self._arrivals.put_nowait(job)

    def released(self, seed: str, epoch: int) -> None:
        """A seed was released: its older batches go back, as far as they have not begun."""
        self._epochs[seed] = max(epoch, self._epochs.get(seed, 0))
        for job in self._jobs:
            if job.batch.seed == seed and job.batch.epoch < epoch:
                job.recall = job.recall or "released"
        self._sort_out()

    def drain(self) -> None:
        """A manager asks to finish what is here and take no more."""
        self._asked.set()

    def lost(self) -> None:
        """The connection is gone, and with it all that was not acked: others get it."""
        for job in self._jobs:
            job.void = not job.taken

    @contextlib.asynccontextmanager
    async def _spooled(self) -> AsyncIterator[None]:
        """Hold the spool, and begin with what an earlier run left in it."""
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
        """Bring what arrives to the handlers; what is acked at once is made safe first, as far as there is room."""
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
        """Make a batch safe on disk, then ack it; one that cannot be read is rejected when its turn comes."""
        try:
            job.read()
        except InvalidInputError:
            self._places.release()
            return
        try:
            await asyncio.to_thread(spool.add, job.batch)
            await self._ack(job)
            job.taken = not job.void
        except BrokerUnavailableError as error:
            job.void = True
            log.info("batch.lost", batch=job.batch.id, seed=job.batch.seed, reason=str(error))
        if job.void:
            await asyncio.to_thread(spool.remove, job.batch.id)
            self._places.release()

    def _put(self, job: Job) -> None:
        """Let a batch wait for a handler, or go back at once: a handler may be busy for a long time."""
        (self._leaving if self._is_recalled(job) else self._ready).put_nowait(job)

    def _sort_out(self) -> None:
        """Find what was recalled among the batches that wait for a handler."""
        for job in [self._ready.get_nowait() for _ in range(self._ready.qsize())]:
            self._put(job)

    async def _serve(self, queue: asyncio.Queue[Job]) -> None:
        """One handler's loop, or that of what is given back."""
        while True:
            job = await queue.get()
            try:
                await self._work_off(job)
            except BrokerUnavailableError as error:
                log.info("batch.lost", batch=job.batch.id, seed=job.batch.seed, reason=str(error))
                await self._fail(job)
            except CoordinatorError:
                # A batch that cannot be read or told must not end the worker; another gets it.
                log.exception("batch.failed", batch=job.batch.id, seed=job.batch.seed)
                await self._fail(job)
            finally:
                self._remove(job)

    async def _fail(self, job: Job) -> None:
        """Let go of a batch that could not be told, or it would stay unacked for as long as the connection lives."""
        if not job.void and not job.taken:
            with contextlib.suppress(CoordinatorError):
                await self._transport.reject(job)

    async def _work_off(self, job: Job) -> None:
        if self._spool is not None and job.is_resumed and not await self._begin_again(self._spool, job):
            return
        outcome = _Outcome()
        if not job.void and not self._is_recalled(job):
            job.begun = True
            try:
                await self._run_items(job, job.read(), outcome)
            except InvalidInputError as error:
                log.warning("batch.unreadable", problem=str(error))
                await self._fail(job)
                return
            except RejectBatch as error:
                log.info("batch.rejected", batch=job.batch.id, seed=job.batch.seed, reason=str(error))
                if not job.void:
                    await self._settle(job, self._transport.reject)
                return
        if not job.void:
            await self._conclude(job, outcome)

    async def _begin_again(self, spool: Spool, job: Job) -> bool:
        """Count that an earlier run ended with this batch in its spool; whether to try it once more.

        Else a batch that kills its worker would do so at every start, and nobody else would ever see it.
        """
        if await asyncio.to_thread(spool.count_resumption, job.batch.id) <= MOST_RESUMPTIONS:
            return True
        log.warning("batch.rejected", batch=job.batch.id, seed=job.batch.seed, reason="it outlived too many workers")
        await self._settle(job, self._transport.reject)
        return False

    async def _run_items(self, job: Job, items: list[Item], outcome: _Outcome) -> None:
        """Run the items one after another, until the batch is recalled or no longer ours.

        All in one loop: a coroutine more for each item would take a tenth of the time of a batch.

        Raises:
            RejectBatch: the handler gives the whole batch back.
        """
        batch = job.batch
        context = Context(self._identity.id, batch.seed, batch.id, batch.attempt, job.redelivered)
        call, entries = self._call, outcome.entries
        for item in items:
            if job.void or job.recall is not None:
                return
            try:
                made = await call(item, context)
                result = NOTHING if made is None else await result_of(made)
            except RejectBatch:
                raise
            except Exception as error:  # noqa: BLE001 - the task's boundary: a handler may raise anything, one item fails
                result = failure_of(error, item, context)
            if result is not NOTHING:
                outcome.discovered.extend(result.discovered)
            if self._tells_results:
                entries.append(entry_of(item, result))
            job.done += 1

    async def _conclude(self, job: Job, outcome: _Outcome) -> None:
        """Tell what came of it, then settle it: each step confirmed before the next."""
        batch = job.batch
        if outcome.discovered:
            await self._tell(job, partial(self._submit, job, outcome.discovered))
        if outcome.entries:
            results = Results(batch.id, batch.seed, self._identity.id, batch.attempt, outcome.entries)
            await self._tell(job, lambda _: self._transport.results(results))
        if job.left:
            rest, reason = job.rest(), job.recall or "stale"
            await self._settle(job, lambda _: self._transport.give_back(job, rest, reason))
            log.info("batch.given_back", batch=batch.id, seed=batch.seed, items=rest.count, reason=reason)
        elif job.taken:
            await self._settle(job, _nothing)
        else:
            await self._settle(job, self._transport.ack)
        self.finished[batch.seed] += job.done

    async def _tell_presence(self) -> None:
        while True:
            await self._transport.wait_connected()
            with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError):
                await self._transport.say(self.presence())
            await asyncio.sleep(PRESENCE_EVERY)

    def presence(self) -> Presence:
        """What it is and what it has in hand."""
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
        """Whether it takes no more."""
        return self._draining or self._asked.is_set()

    async def _finish(self, stop: asyncio.Event) -> None:
        """Once asked to: take no more, finish what is here, tell so, and end."""
        await self._asked.wait()
        log.info("worker.finishing", batches=len(self._jobs))
        with contextlib.suppress(BrokerUnavailableError):
            await self._transport.stop_taking()
        await self._empty.wait()
        with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError):
            await self._transport.say(self.presence())
        stop.set()

    async def _drain(self) -> None:
        log.info("worker.draining", batches=len(self._jobs))
        self._draining = True
        with contextlib.suppress(BrokerUnavailableError):
            await self._transport.stop_taking()
        for job in self._jobs:
            job.recall = job.recall or "drain"
        self._sort_out()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_timeout):
                await self._empty.wait()
        log.info("worker.drained", left=len(self._jobs), finished=self.finished.total())

    def _is_recalled(self, job: Job) -> bool:
        """Whether a batch that has not begun must go back: recalled, older than its seed's epoch, or too late."""
        if self._draining:
            job.recall = job.recall or "drain"
        if job.batch.epoch < self._epochs.get(job.batch.seed, 0):
            job.recall = job.recall or "stale"
        return job.recall is not None

    async def _ack(self, job: Job) -> None:
        if not job.void:
            await self._transport.ack(job)

    async def _submit(self, job: Job, discovered: list[Item], failures: int) -> None:
        """Add what was discovered, marked where this batch, or this try, is not the first."""
        again = bool(failures) or job.redelivered or job.batch.attempt > 1
        await self._transport.submit(job.batch.seed, discovered, job.batch.id, again=again)

    async def _tell(self, job: Job, send: Callable[[int], Awaitable[None]]) -> None:
        """Send; what is taken is ours to tell however long the broker or a queue is away, the rest goes to another.

        Args:
            job: what it is about.
            send: is given the number of failures before.
        """
        failures = 0
        while True:
            if job.void:
                raise BrokerUnavailableError("the batch is no longer held")
            try:
                await send(failures)
            except (BrokerUnavailableError, QueueFullError, QueueSilentError) as error:
                if not job.taken:
                    raise
                if not failures:
                    log.warning("batch.not_told", batch=job.batch.id, seed=job.batch.seed, problem=str(error))
                await asyncio.sleep(pause(failures))
                failures += 1
                await self._transport.wait_connected()
            else:
                return

    async def _settle(self, job: Job, settle: Callable[[Job], Awaitable[None]]) -> None:
        await self._tell(job, lambda _: settle(job))
        if job.taken and self._spool is not None:
            await asyncio.to_thread(self._spool.remove, job.batch.id)

    def _add(self, job: Job) -> None:
        self._jobs[job] = None
        self._empty.clear()

    def _remove(self, job: Job) -> None:
        del self._jobs[job]
        if job.taken and job.receipt is not None:
            self._places.release()
        if not self._jobs:
            self._empty.set()


async def _nothing(_: Job) -> None:
    """A batch that was acked when it came needs nothing more."""
