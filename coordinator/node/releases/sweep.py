"""The sweep: takes the batches of released and purged seeds out of the work queues, and leaves the others be."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import structlog

from coordinator.broker.batch_codec import is_marked, publication_of, read_batch
from coordinator.broker.get_pool import GetChannels, GetPool
from coordinator.broker.types import Delivery, OnDelivery
from coordinator.errors import InvalidInputError, QueueFullError, QueueSilentError
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.seeds.stale_batches import Swept
from coordinator.node.work_queues.publisher import Publisher, StaleBatchError

log = structlog.get_logger(__name__)

AT_ONCE = 100
"""Batches that are asked for together."""
COUNTED_AT_ONCE = 16
"""Work queues that are looked at together: each that seems empty is tried, which takes a channel."""


class Sweeper:
    """Runs sweeps, one at a time; those who ask while one runs share the next."""

    def __init__(
        self, get_pool: GetPool, registry: Registry, work: Publisher, available: SeedQueues, events: Events
    ) -> None:
        self._events = events
        self._get_pool = get_pool
        self._registry = registry
        self._publisher = work
        self._seed_queues = available
        self._running = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._found: defaultdict[str, Swept] = defaultdict(Swept)

    async def sweep(self, seed: str) -> Swept:
        """Sweep all work queues; returns what was found of this seed.

        Only a sweep that begins after this call will do, but one for another seed may have come upon this one's
        batches before: what it found is kept for whoever asks for the seed.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._begin(), name="sweep")
        await asyncio.shield(self._next)
        return self._found.pop(seed, None) or Swept()

    async def finish(self, seed: str) -> Swept:
        """Wait for the sweep that runs here for others, and have what it found of this seed."""
        async with self._running:
            return self._found.pop(seed, None) or Swept()

    async def _begin(self) -> None:
        async with self._running:
            self._next = None
            get_channels, came = GetChannels(self._get_pool), list[Delivery]()
            try:
                for queue, waiting in (await self._count(came.append)).items():
                    await self._sweep_queue(get_channels, queue, waiting)
            finally:
                await self._sort_all(came)
                await get_channels.close()

    async def _count(self, on_delivery: OnDelivery) -> dict[str, int]:
        """How many batches wait in each work queue.

        Raises:
            QueueSilentError: of one it cannot be known now, so nobody may be told that anything was taken out.
        """
        places = asyncio.Semaphore(COUNTED_AT_ONCE)

        async def count(queue: str) -> int:
            async with places:
                return await self._publisher.surely_waiting(queue, on_delivery)

        queues = self._publisher.queues
        # All come to their end: one that was cut short would leave a batch unsettled.
        counts = await asyncio.gather(*map(count, queues), return_exceptions=True)
        found: dict[str, int] = {}
        for queue, answer in zip(queues, counts, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[queue] = answer
        return found

    async def _sweep_queue(self, get_channels: GetChannels, queue: str, left: int) -> None:
        """Take out so many batches; what is put back goes behind them and is not met again."""
        taken: list[Delivery] = []
        while left > 0:
            answers = await self._publisher.get(get_channels, queue, min(left, AT_ONCE))
            taken += [delivery for delivery in answers if delivery is not None]
            left = 0 if None in answers else left - len(answers)
        await self._sort_all(taken)

    async def _sort_all(self, taken: list[Delivery]) -> None:
        async with asyncio.TaskGroup() as group:
            for delivery in taken:
                group.create_task(self._sort(delivery))

    async def _sort(self, delivery: Delivery) -> None:
        await self._publisher.in_flight.confirmed(publication_of(delivery))
        try:
            batch = read_batch(delivery)
        except InvalidInputError:
            # What is no batch goes where all that fails goes, and is put away from there.
            await delivery.reject()
            return
        if self._registry.state.is_stale(batch.seed, batch.epoch):
            await self._take_out(batch, redelivered=is_marked(delivery))
        else:
            try:
                await self._publisher.send(batch, redelivered=is_marked(delivery))
            except StaleBatchError:
                await self._take_out(batch, redelivered=is_marked(delivery))
            except QueueFullError:
                await self._seed_queues.put_batch(batch, redelivered=is_marked(delivery))
            except QueueSilentError:
                await self._seed_queues.put_batch(batch, redelivered=True)
        await delivery.ack()
        await self._publisher.returned(publication_of(delivery))

    async def _take_out(self, batch: Batch, *, redelivered: bool) -> None:
        is_kept = batch.seed in self._registry.state.seeds
        if is_kept:
            await self._seed_queues.put_batch(batch, redelivered=redelivered)
        self._found[batch.seed].add(batch, is_kept=is_kept)
        self._events.batch("batch.returned", batch, reason=f"epoch {batch.epoch} is over")
