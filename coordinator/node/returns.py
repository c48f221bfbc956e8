"""Returns: batches that came back, from a worker that gave them up or from the broker when a delivery failed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict

import structlog

from coordinator import topology
from coordinator.broker.connection import Channel, Delivery
from coordinator.broker.messages import death_reason, publication_of, read_batch
from coordinator.domain.returns import Verdict, judge
from coordinator.errors import InvalidInputError, QueueFullError
from coordinator.models import Batch
from coordinator.node.available import Available
from coordinator.node.dead import DeadLetters
from coordinator.node.registry import Registry
from coordinator.node.seeds import Seeds
from coordinator.node.suspects import Suspect, Suspects
from coordinator.node.work import StaleBatchError, Work
from coordinator.topology import Header

log = structlog.get_logger(__name__)

PREFETCH = 200
REMEMBERED = 20_000
"""Publications whose return was dealt with: a broker that crashes repeats its dead-letters."""


class Returns:
    """The reader of the `returns` queue."""

    def __init__(
        self,
        *,
        registry: Registry,
        work: Work,
        available: Available,
        seeds: Seeds,
        dead: DeadLetters,
        suspects: Suspects,
        limit: int,
    ) -> None:
        self._registry = registry
        self._work = work
        self._available = available
        self._seeds = seeds
        self._dead = dead
        self._suspects = suspects
        self._limit = limit
        self._dealt: OrderedDict[str, None] = OrderedDict()
        self._inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def run(self, channel: Channel) -> None:
        """Deal with what comes back until cancelled."""
        await channel.consume(topology.RETURNS, self._inbox.put_nowait, prefetch=PREFETCH)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._deal(await self._inbox.get()))

    async def _deal(self, delivery: Delivery) -> None:
        failed = Header.REASON not in delivery.headers
        publication = publication_of(delivery)
        try:
            batch = read_batch(delivery)
        except InvalidInputError as error:
            await self._dead.bury_message(delivery, "return", str(delivery.headers.get(Header.SEED, "")), str(error))
            await delivery.ack()
            return
        if publication and publication in self._dealt:
            log.info("return.repeated", batch=batch.id, seed=batch.seed, attempt=batch.attempt)
            await delivery.ack()
            return
        self._remember(publication)  # before the first await, or a copy that came with it is dealt with as well
        if await self._settle(delivery, batch, failed=failed):
            await delivery.ack()
        self._work.ledger.came_back(publication)
        self._suspects.came_back(publication)

    async def _settle(self, delivery: Delivery, batch: Batch, *, failed: bool) -> bool:
        """Send the batch where it belongs; whether the delivery may be acked already."""
        if batch.seed in self._registry.state.forgotten:
            log.info("return.discarded", batch=batch.id, seed=batch.seed, items=batch.count)
            return True
        await self._seeds.ensure(batch.seed)
        verdict = judge(
            batch,
            failed=failed,
            alone=delivery.headers.get(Header.ALONE) is True,
            stale=self._registry.state.is_stale(batch.seed, batch.epoch),
            limit=self._limit,
        )
        why = death_reason(delivery) if failed else str(delivery.headers[Header.REASON])
        log.info(
            "batch.returned",
            batch=batch.id,
            seed=batch.seed,
            attempt=batch.attempt,
            reason=why,
            to=verdict.name.lower(),
        )
        if failed:
            batch = batch.again(f"{_now()} attempt {batch.attempt}: {why}")
        match verdict:
            case Verdict.DEAD:
                await self._dead.bury_batch(batch, f"failed {batch.attempt - 1} times, the last time alone: {why}")
            case Verdict.AVAILABLE:
                await self._available.put_batch(batch)
            case Verdict.RESEND:
                await self._resend(batch)
            case Verdict.SUSPECT | Verdict.ALONE:
                self._suspects.put(Suspect(batch, delivery, alone=verdict is Verdict.ALONE))
                return False
        return True

    async def _resend(self, batch: Batch) -> None:
        await self._work.is_open.wait()
        try:
            await self._work.send(batch)
        except (StaleBatchError, QueueFullError):
            await self._available.put_batch(batch)

    def _remember(self, publication: str) -> None:
        if publication:
            self._dealt[publication] = None
            if len(self._dealt) > REMEMBERED:
                self._dealt.popitem(last=False)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
