"""Batches that came back: from a worker that gave them up, or from the broker when a delivery failed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import death_reason, is_alone, is_marked, publication_of, read_returned
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.domain.retry_policy import Memory, Verdict, judge
from coordinator.errors import InvalidInputError
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.failures.isolation import Isolation
from coordinator.node.registry import Registry
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import Publisher
from coordinator.times import rfc3339
from coordinator.topology import Header

log = structlog.get_logger(__name__)

PREFETCH = 200


@dataclass(slots=True, kw_only=True)
class Returns:
    """The reader of the `returns` queue: at one replica at a time, by its single active consumer.

    Attributes:
        registry: knows which seeds run.
        publisher: publishes batches again.
        seed_queues: get the batches of released seeds.
        catalog: makes a seed anew whose batch comes back.
        dead_letters: get the batches past the limit.
        isolation: gets the batches that failed often.
        events: record what came back.
        dealt: publications that came back before.
        attempt_limit: failures after which a batch is offered alone, and dies if it fails then.
    """

    registry: Registry
    publisher: Publisher
    seed_queues: SeedQueues
    catalog: SeedCatalog
    dead_letters: DeadLetters
    isolation: Isolation
    events: Events
    dealt: Memory
    attempt_limit: int
    _inbox: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue, init=False)

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
            await self.dead_letters.keep_message(
                delivery, "return", str(delivery.headers.get(Header.SEED, "")), str(error)
            )
            await delivery.ack()
            return
        # A redelivered message may not have been dealt with to the end.
        if publication and not self.dealt.add(publication) and not delivery.redelivered:
            log.info("return.repeated", batch=batch.id, seed=batch.seed, attempt=batch.attempt)
            await delivery.ack()
            return
        await self.publisher.in_flight.confirmed(publication)  # else the event of its return would come before its own
        await self._settle(delivery, batch, failed=failed)
        await delivery.ack()
        await self.publisher.returned(publication)  # last: a delay here must not have the batch dealt with twice

    async def _settle(self, delivery: Delivery, batch: Batch, *, failed: bool) -> None:
        """Send the batch where it belongs."""
        if batch.seed in self.registry.state.forgotten:
            log.info("return.discarded", batch=batch.id, seed=batch.seed, items=batch.count)
            return
        await self.catalog.ensure(batch.seed)
        alone = failed and is_alone(delivery) and await self.isolation.was_alone(publication_of(delivery))
        verdict = judge(
            batch,
            failed=failed,
            alone=alone,
            stale=self.registry.state.is_stale(batch.seed, batch.epoch),
            limit=self.attempt_limit,
        )
        self.publisher.counters.returned[verdict.name.lower(), failed] += 1
        why = death_reason(delivery) if failed else str(delivery.headers[Header.REASON])
        log.info(
            "batch.returned",
            batch=batch.id,
            seed=batch.seed,
            attempt=batch.attempt,
            reason=why,
            to=verdict.name.lower(),
        )
        self.events.batch("batch.returned", batch, self.events.holder(batch.id), why)
        if failed:
            batch = batch.again(f"{rfc3339(time.time())} attempt {batch.attempt}: {why}")
        again = delivery.redelivered or is_marked(delivery)
        match verdict:
            case Verdict.DEAD:
                reason = f"failed {batch.attempt - 1} times, the last time {'alone' if alone else 'not alone'}: {why}"
                await self.dead_letters.keep_batch(batch, reason)
                self.events.batch("batch.dead", batch, reason=reason)
            case Verdict.AVAILABLE:
                await self.seed_queues.put_batch(batch, redelivered=again)
            case Verdict.RESEND:
                await self._resend(batch, again=again)
            case Verdict.SUSPECT | Verdict.ALONE:
                await self.isolation.put(batch, alone=verdict is Verdict.ALONE)

    async def _resend(self, batch: Batch, *, again: bool) -> None:
        await self.publisher.standstill.is_over.wait()
        await self.publisher.publish_or_put_back(batch, redelivered=again)
