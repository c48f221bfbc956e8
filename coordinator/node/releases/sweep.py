"""The sweep: takes the batches of released and purged seeds out of the work queues, and leaves the others be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

import structlog

from coordinator.broker.batch_codec import is_marked, publication_of, read_batch
from coordinator.broker.get_pool import GetChannels, GetPool
from coordinator.broker.types import Delivery, OnDelivery
from coordinator.errors import InvalidInputError
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.seeds.stale_batches import Swept
from coordinator.node.work_queues.outcome import Outcome
from coordinator.node.work_queues.publisher import Publisher

log = structlog.get_logger(__name__)

AT_ONCE = 100
"""Batches that are asked for together."""
COUNTED_AT_ONCE = 16
"""Work queues that are looked at together: a queue that seems empty is tried, which needs a channel."""


@dataclass(slots=True, kw_only=True)
class Sweeper:
    """Runs sweeps, one at a time; callers that ask while one runs share the next."""

    get_pool: GetPool
    registry: Registry
    publisher: Publisher
    events: Events
    _running: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _next: asyncio.Task[None] | None = field(default=None, init=False)
    _found: defaultdict[str, Swept] = field(default_factory=lambda: defaultdict(Swept), init=False)

    async def sweep(self, seed: str) -> Swept:
        """Sweep all work queues; returns what was found of this seed.

        Only a sweep that begins after this call will do. A sweep for another seed may have found batches of this seed
        before: these are kept until the seed is asked for.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._begin(), name="sweep")
        await asyncio.shield(self._next)
        return self._found.pop(seed, None) or Swept()

    async def finish(self, seed: str) -> Swept:
        """Wait for the sweep that runs here for other seeds; returns what it found of this seed."""
        async with self._running:
            return self._found.pop(seed, None) or Swept()

    async def _begin(self) -> None:
        async with self._running:
            self._next = None
            get_channels, came = GetChannels(self.get_pool), list[Delivery]()
            try:
                for queue, waiting in (await self._count(came.append)).items():
                    await self._sweep_queue(get_channels, queue, waiting)
            finally:
                await self._sort_all(came)
                await get_channels.close()

    async def _count(self, on_delivery: OnDelivery) -> dict[str, int]:
        """Return how many batches wait in each work queue.

        Raises:
            QueueSilentError: a queue does not answer now, so it cannot be known what was taken out.
        """
        places = asyncio.Semaphore(COUNTED_AT_ONCE)

        async def count(queue: str) -> int:
            async with places:
                return await self.publisher.depth.surely_waiting(queue, on_delivery)

        queues = self.publisher.depth.queues
        # All come to their end: a look that is cut short would leave a batch unsettled.
        counts = await asyncio.gather(*map(count, queues), return_exceptions=True)
        found: dict[str, int] = {}
        for queue, answer in zip(queues, counts, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[queue] = answer
        return found

    async def _sweep_queue(self, get_channels: GetChannels, queue: str, left: int) -> None:
        """Take out so many batches; what is put back goes behind them and does not come again."""
        taken: list[Delivery] = []
        while left > 0:
            answers = await self.publisher.get(get_channels, queue, min(left, AT_ONCE))
            taken += [delivery for delivery in answers if delivery is not None]
            left = 0 if None in answers else left - len(answers)
        await self._sort_all(taken)

    async def _sort_all(self, taken: list[Delivery]) -> None:
        async with asyncio.TaskGroup() as group:
            for delivery in taken:
                group.create_task(self._sort(delivery))

    async def _sort(self, delivery: Delivery) -> None:
        await self.publisher.in_flight.confirmed(publication_of(delivery))
        try:
            batch = read_batch(delivery)
        except InvalidInputError:
            # A message that is not a batch goes to `returns`, as all that fails, and becomes a dead letter there.
            await delivery.reject()
            return
        publishing = await self.publisher.publish_or_put_back(batch, redelivered=is_marked(delivery))
        if publishing.outcome is Outcome.STALE:
            self._count_stale(batch)
        await delivery.ack()
        await self.publisher.returned(publication_of(delivery))

    def _count_stale(self, batch: Batch) -> None:
        """Count a batch that is back in its seed's queue, or discarded where the seed was purged."""
        self._found[batch.seed].add(batch, is_kept=batch.seed in self.registry.state.seeds)
        self.events.batch("batch.returned", batch, reason=f"epoch {batch.epoch} is over")
