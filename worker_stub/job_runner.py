"""Runs a batch: passes its items to the handler, publishes their results, and settles it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from coordinator.backoff import pause
from coordinator.errors import (
    BrokerUnavailableError,
    CoordinatorError,
    InvalidInputError,
    QueueFullError,
    QueueSilentError,
)
from coordinator.models import Item
from worker_stub.handlers import NOTHING, Call, Context, RejectBatch, entry_of, failure_of, result_of
from worker_stub.job import Job, Results, Transport
from worker_stub.spool import Spool

log = structlog.get_logger(__name__)

MOST_RESUMPTIONS = 2
"""How often a batch from an earlier run's spool is started again before it goes back to the coordinator."""


@dataclass(slots=True)
class _Outcome:
    """The results and discovered items of a job so far."""

    entries: list[dict[str, object]] = field(default_factory=list)
    discovered: list[Item] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class JobRunner:
    """Runs batches, several at the same time.

    Attributes:
        worker: the worker's id.
        transport: how it speaks to the coordinator.
        call: calls the handler with an item.
        spool: where batches lie that were acked on arrival; they leave it when they are settled.
        is_recalled: whether a batch that has not begun must go back.
        publishes_results: whether it publishes the results of each batch.
        finished: the number of finished items, by seed.
    """

    worker: str
    transport: Transport
    call: Call
    spool: Spool | None
    is_recalled: Callable[[Job], bool]
    publishes_results: bool
    finished: Counter[str] = field(default_factory=Counter)

    async def run(self, job: Job) -> None:
        """Run a batch until it is settled or lost."""
        try:
            await self._try(job)
        except BrokerUnavailableError as error:
            log.info("batch.lost", batch=job.batch.id, seed=job.batch.seed, reason=str(error))
            await self._fail(job)
        except CoordinatorError:
            # A batch that cannot be read or published must not end the worker; another worker gets it.
            log.exception("batch.failed", batch=job.batch.id, seed=job.batch.seed)
            await self._fail(job)

    async def _try(self, job: Job) -> None:
        if self.spool is not None and job.is_resumed and not await self._begin_again(self.spool, job):
            return
        outcome = _Outcome()
        if not job.void and not self.is_recalled(job):
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
                    await self._settle(job, self.transport.reject)
                return
        if not job.void:
            await self._conclude(job, outcome)

    async def _begin_again(self, spool: Spool, job: Job) -> bool:
        """Count another start of a batch from the spool, and return whether to run it once more.

        Without a limit, a batch that kills its worker would do so at every start, and no other worker would get it.
        """
        if await asyncio.to_thread(spool.count_resumption, job.batch.id) <= MOST_RESUMPTIONS:
            return True
        log.warning("batch.rejected", batch=job.batch.id, seed=job.batch.seed, reason="it outlived too many workers")
        await self._settle(job, self.transport.reject)
        return False

    async def _run_items(self, job: Job, items: list[Item], outcome: _Outcome) -> None:
        """Run the items one after another, until the batch is recalled or no longer ours.

        It is one loop because another coroutine for each item would take a tenth of the time of a batch.

        Raises:
            RejectBatch: the handler gives the whole batch back.
        """
        batch = job.batch
        context = Context(self.worker, batch.seed, batch.id, batch.attempt, job.redelivered)
        call, entries = self.call, outcome.entries
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
            if self.publishes_results:
                entries.append(entry_of(item, result))
            job.done += 1

    async def _conclude(self, job: Job, outcome: _Outcome) -> None:
        """Publish what came of the batch, then settle it. Each step is confirmed before the next."""
        batch = job.batch
        if outcome.discovered:
            await self._deliver(job, partial(self._submit, job, outcome.discovered))
        if outcome.entries:
            results = Results(batch.id, batch.seed, self.worker, batch.attempt, outcome.entries)
            await self._deliver(job, lambda _: self.transport.results(results))
        if job.left:
            rest, reason = job.rest(), job.recall or "stale"
            await self._settle(job, lambda _: self.transport.give_back(job, rest, reason))
            log.info("batch.given_back", batch=batch.id, seed=batch.seed, items=rest.count, reason=reason)
        elif job.taken:
            await self._settle(job, _nothing)
        else:
            await self._settle(job, self.transport.ack)
        self.finished[batch.seed] += job.done

    async def _submit(self, job: Job, discovered: list[Item], failures: int) -> None:
        """Submit the discovered items, marked if they may have been submitted before."""
        again = bool(failures) or job.redelivered or job.batch.attempt > 1
        await self.transport.submit(job.batch.seed, discovered, job.batch.id, again=again)

    async def _deliver(self, job: Job, send: Callable[[int], Awaitable[None]]) -> None:
        """Send something about a job; retry for a taken job only, because another job goes to another worker.

        Args:
            job: the job.
            send: called with the number of failures before.
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
                    log.warning("batch.not_published", batch=job.batch.id, seed=job.batch.seed, problem=str(error))
                await asyncio.sleep(pause(failures))
                failures += 1
                await self.transport.wait_connected()
            else:
                return

    async def _settle(self, job: Job, settle: Callable[[Job], Awaitable[None]]) -> None:
        await self._deliver(job, lambda _: settle(job))
        if job.taken and self.spool is not None:
            await asyncio.to_thread(self.spool.remove, job.batch.id)

    async def _fail(self, job: Job) -> None:
        """Reject a batch that could not be published, or it would stay unacked until the connection ends."""
        if not job.void and not job.taken:
            with contextlib.suppress(CoordinatorError):
                await self.transport.reject(job)


async def _nothing(_: Job) -> None:
    """Do nothing: the batch was acked on arrival."""
