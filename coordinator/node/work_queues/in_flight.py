"""The batches that are on their way to the work queues: counted here and nowhere else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex

CONFIRM_LAG = 1.0
"""Seconds by which a confirm may come later than the batch itself."""


@dataclass(slots=True, eq=False)
class InFlightBatch:
    """One batch between its beginning and its outcome.

    Attributes:
        publication: the id of this publication.
        seed: the batch's seed.
        queue: the work queue.
        consumer: the seed consumer that brought its pages; None for a batch that dispatch did not plan.
        over: set at the end, made only when something waits for it.
    """

    publication: str
    seed: str
    queue: str
    consumer: object | None
    over: asyncio.Future[None] | None = None


@dataclass(slots=True)
class InFlight:
    """Batches that have begun and not ended. Those that dispatch planned count against the room of their queues."""

    planned: int = 0
    """How many of them dispatch planned."""
    _open: dict[str, InFlightBatch] = field(default_factory=dict)
    _by_queue: Counter[str] = field(default_factory=Counter)
    _begun: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, seed: str, queue: str, consumer: object | None = None) -> InFlightBatch:
        """Count a batch, from now until `end`; gives it a publication id."""
        batch = InFlightBatch(token_hex(16), seed, queue, consumer)
        self._open[batch.publication] = batch
        if consumer is not None:
            self.planned += 1
            self._by_queue[queue] += 1
            self._begun[queue] += 1
        return batch

    def end(self, batch: InFlightBatch) -> None:
        """Stop counting a batch: it was published, or it will not be."""
        del self._open[batch.publication]
        if batch.consumer is not None:
            self.planned -= 1
            self._by_queue[batch.queue] -= 1
        if batch.over is not None:
            batch.over.set_result(None)

    def in_queue(self, queue: str) -> int:
        """How many planned batches are on their way to a work queue. The broker's figure may include them or not."""
        return self._by_queue[queue]

    def begun(self, queue: str) -> int:
        """How many batches were ever planned for a work queue."""
        return self._begun[queue]

    def consumers(self) -> set[object]:
        """The seed consumers with batches in flight."""
        return {batch.consumer for batch in self._open.values() if batch.consumer is not None}

    async def seed_is_idle(self, seed: str) -> None:
        """Wait until no batch of this seed is in flight."""
        await self._none_of(lambda batch: batch.seed == seed)

    async def consumer_is_idle(self, consumer: object) -> None:
        """Wait until no batch of this seed consumer is in flight."""
        await self._none_of(lambda batch: batch.consumer is consumer)

    async def confirmed(self, publication: str) -> None:
        """Wait until a publication that came out of a queue is confirmed here too: its confirm may be a moment late."""
        batch = self._open.get(publication)
        if batch is not None:
            await asyncio.wait([_over(batch)], timeout=CONFIRM_LAG)

    async def _none_of(self, belongs: Callable[[InFlightBatch], bool]) -> None:
        while over := [_over(batch) for batch in self._open.values() if belongs(batch)]:
            await asyncio.wait(over)


def _over(batch: InFlightBatch) -> asyncio.Future[None]:
    """The future that ends with the batch. Nobody may await it directly: a cancelled waiter would cancel it."""
    if batch.over is None:
        batch.over = asyncio.get_running_loop().create_future()
    return batch.over
