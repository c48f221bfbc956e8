"""Returns: batches that came back, from a worker that gave them up or from the broker when a delivery failed."""

from __future__ import annotations

import asyncio
import time

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import death_reason, is_alone, is_marked, publication_of, read_returned
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.domain.retry_policy import Memory, Verdict, judge
from coordinator.errors import InvalidInputError, QueueFullError, QueueSilentError
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.failures.isolation import Isolation
from coordinator.node.registry import Registry
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import Publisher, StaleBatchError
from coordinator.times import rfc3339
from coordinator.topology import Header

log = structlog.get_logger(__name__)

PREFETCH = 200


class Returns:
    """The reader of the `returns` queue: at one coordinator at a time, by its single active consumer."""

    def __init__(
        self,
        *,
        registry: Registry,
        work: Publisher,
        available: SeedQueues,
        seeds: SeedCatalog,
        dead: DeadLetters,
        isolation: Isolation,
        events: Events,
        dealt: Memory,
        limit: int,
    ) -> None:
        """Make the reader.

        Args:
            registry: tells which seeds run.
            work: where batches go out again.
            available: where batches of released seeds go.
            seeds: makes a seed anew whose batch comes back.
            dead: where batches past the limit go.
            isolation: where batches go that failed often.
            events: where it is noted what came back.
            dealt: publications that came back before.
            limit: the attempt limit.
        """
        self._registry = registry
        self._publisher = work
        self._seed_queues = available
        self._catalog = seeds
        self._dead_letters = dead
        self._isolation = isolation
        self._events = events
        self._limit = limit
        self._dealt = dealt
        self._inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def run(self, connection: Connection) -> None:
        """Deal with what comes back until cancelled."""
        await connection.consume(topology.RETURNS, self._inbox.put_nowait, prefetch=PREFETCH)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._deal(await self._inbox.get()))

    async def _deal(self, delivery: Delivery) -> None:
        failed = Header.REASON not in delivery.headers
        publication = publication_of(delivery)
        try:
            batch = read_returned(delivery)
        except InvalidInputError as error:
            await self._dead_letters.bury_message(
                delivery, "return", str(delivery.headers.get(Header.SEED, "")), str(error)
            )
            await delivery.ack()
            return
        # One that is redelivered may not have been dealt with to the end.
        if publication and not self._dealt.add(publication) and not delivery.redelivered:
            log.info("return.repeated", batch=batch.id, seed=batch.seed, attempt=batch.attempt)
            await delivery.ack()
            return
        await self._publisher.in_flight.confirmed(publication)  # else it would be told of as back before it was sent
        await self._settle(delivery, batch, failed=failed)
        await delivery.ack()
        await self._publisher.returned(
            publication
        )  # last: whatever delays it, the batch must not be dealt with once more

    async def _settle(self, delivery: Delivery, batch: Batch, *, failed: bool) -> None:
        """Send the batch where it belongs."""
        if batch.seed in self._registry.state.forgotten:
            log.info("return.discarded", batch=batch.id, seed=batch.seed, items=batch.count)
            return
        await self._catalog.ensure(batch.seed)
        alone = failed and is_alone(delivery) and await self._isolation.was_alone(publication_of(delivery))
        verdict = judge(
            batch,
            failed=failed,
            alone=alone,
            stale=self._registry.state.is_stale(batch.seed, batch.epoch),
            limit=self._limit,
        )
        self._publisher.counters.returned[verdict.name.lower(), failed] += 1
        why = death_reason(delivery) if failed else str(delivery.headers[Header.REASON])
        log.info(
            "batch.returned",
            batch=batch.id,
            seed=batch.seed,
            attempt=batch.attempt,
            reason=why,
            to=verdict.name.lower(),
        )
        self._events.batch("batch.returned", batch, self._events.holder(batch.id), why)
        if failed:
            batch = batch.again(f"{rfc3339(time.time())} attempt {batch.attempt}: {why}")
        again = delivery.redelivered or is_marked(delivery)
        match verdict:
            case Verdict.DEAD:
                reason = f"failed {batch.attempt - 1} times, the last time {'alone' if alone else 'not alone'}: {why}"
                await self._dead_letters.bury_batch(batch, reason)
                self._events.batch("batch.dead", batch, reason=reason)
            case Verdict.AVAILABLE:
                await self._seed_queues.put_batch(batch, redelivered=again)
            case Verdict.RESEND:
                await self._resend(batch, again=again)
            case Verdict.SUSPECT | Verdict.ALONE:
                await self._isolation.put(batch, alone=verdict is Verdict.ALONE)

    async def _resend(self, batch: Batch, *, again: bool) -> None:
        await self._publisher.standstill.is_over.wait()
        try:
            await self._publisher.send(batch, redelivered=again)
        except (StaleBatchError, QueueFullError):
            await self._seed_queues.put_batch(batch, redelivered=again)
        except QueueSilentError:
            await self._seed_queues.put_batch(batch, redelivered=True)
