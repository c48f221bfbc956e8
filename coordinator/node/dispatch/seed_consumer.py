"""A seed's consumer at its owner, and the pages at hand, from the seed's queue to the next batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from coordinator import topology
from coordinator.broker.batch_codec import is_marked, read_batch
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.domain.packing import Buffer, Piece, Ticket, array_inner, batch_id, page_id
from coordinator.domain.registry import Seed
from coordinator.domain.throttle import Meter, ages
from coordinator.errors import BrokerUnavailableError, InvalidInputError, QueueMissingError, QueueSilentError
from coordinator.models import MAX_ITEMS, Batch
from coordinator.topology import Header
from coordinator.validation import parse_items

SEEDS_A_CHANNEL: Final = 50
FEW_PAGES, MANY_PAGES = 2, 250
"""Prefetch of a seed's queue: few pages, or many where they are so small that few do not fill a batch."""
ENOUGH_PAGES, PAGES_IN_ALL = 100, 2000
"""Pages that keep one seed flowing while the broker confirms, and those of all seeds together where these are many."""
MOST_SILENT: Final = 3
"""How many seeds' queues may be silent at once. If more are silent, the broker itself is in trouble."""


@dataclass(slots=True, kw_only=True)
class ConsumerChannels:
    """Channels for consumers of seeds' queues; several share one."""

    connection: Connection
    _consumers: dict[Channel, int] = field(default_factory=dict)
    """How many consumers each channel carries."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def acquire(self) -> Channel:
        """Find a channel with room for one more consumer.

        Raises:
            BrokerUnavailableError: the connection has ended.
        """
        async with self._lock:
            free = (one for one, seeds in self._consumers.items() if seeds < SEEDS_A_CHANNEL)
            channel = next(free, None) or await self.connection.channel()
            self._consumers[channel] = self._consumers.get(channel, 0) + 1
        return channel

    def release(self, channel: Channel) -> None:
        """Free a consumer's place."""
        self._consumers[channel] -= 1

    async def must_answer(self, seed: str) -> None:
        """Make sure that a seed's queue has a leader. Consuming a queue without one ends the connection.

        Raises:
            QueueSilentError: this queue does not answer. Nothing else is affected.
            BrokerUnavailableError: the connection has ended, or many seeds' queues do not answer.
        """
        try:
            await self.connection.must_answer(topology.seed_queue_name(seed))
        except QueueMissingError:
            pass  # the consumer declares it
        except QueueSilentError as error:
            if self.connection.health.count_not_consumable(topology.seed_queue_name("")) > MOST_SILENT:
                raise BrokerUnavailableError("the queues of many seeds do not answer") from error
            raise

    def silence(self, seed: str) -> float:
        """Seconds until a seed's queue that gave no answer may be asked again."""
        return self.connection.silence(topology.seed_queue_name(seed))


def read_page(delivery: Delivery, seed: str, trusted: frozenset[str]) -> Piece:
    """A message of a seed's queue as a piece: a page, or a batch that came back.

    What the headers claim counts only from a trusted user, whom the broker has verified; but any user may mark a
    page as added before.

    Raises:
        InvalidInputError: it is malformed.
    """
    is_ours = delivery.user_id is not None and delivery.user_id in trusted
    arrived = time.monotonic()
    again = delivery.redelivered or is_marked(delivery)
    if is_ours and Header.ATTEMPT in delivery.headers:
        batch = read_batch(delivery)
        if batch.seed != seed:
            raise InvalidInputError([("seed", f"is {batch.seed!r} in the queue of {seed!r}")])
        return Piece(batch.id, b"", batch.count, Ticket(delivery), arrived, redelivered=again, batch=batch)
    count = delivery.headers.get(Header.CHECKED)
    if not (is_ours and isinstance(count, int) and 1 <= count <= MAX_ITEMS):
        count = len(parse_items(delivery.body))
    named = delivery.headers.get(Header.PAGE) if is_ours else None
    return Piece(
        id=named if isinstance(named, str) else page_id(delivery.message_id, delivery.body),
        inner=array_inner(delivery.body),
        count=count,
        ticket=Ticket(delivery),
        arrived=arrived,
        solo=again,
        redelivered=again,
    )


def prefetch_for(seeds: int) -> int:
    """The prefetch of each of so many seeds: a pause gives back what it brought, and memory holds it."""
    return max(FEW_PAGES, min(ENOUGH_PAGES, PAGES_IN_ALL // seeds))


class SeedConsumer:
    """One seed at its owner: a consumer of its queue, the pages it brought, and the seed's throttles."""

    def __init__(
        self,
        seed: Seed,
        on_page: Callable[[SeedConsumer, Delivery], None],
        on_loss: Callable[[SeedConsumer], None],
        prefetch: int = FEW_PAGES,
    ) -> None:
        """Make a consumer that is not open yet.

        Args:
            seed: the seed.
            on_page: called with each message of its queue.
            on_loss: called when its queue was deleted.
            prefetch: pages that its queue may bring at once.
        """
        self.id = seed.id
        self.configure(seed)
        self.buffer = Buffer()
        self.is_synced = False
        self.is_lost = False
        self._on_page = on_page
        self._on_loss = on_loss
        self._channel: Channel | None = None
        self._consumer = ""
        self._changing = asyncio.Lock()
        self.prefetch = prefetch

    def next_queue(self) -> str:
        """The work queue that its next batch goes to: a batch that came back keeps its tags."""
        returned = self.buffer.first_batch()
        return self.queue if returned is None else topology.work_queue_name(returned.tags)

    async def open(self, channels: ConsumerChannels, *, is_new: bool) -> None:
        """Consume the seed's queue, made if it is not there: else that would keep every coordinator from starting.

        Args:
            channels: where to find a channel.
            is_new: whether the queue was made a moment ago, so that it needs not show that it has a leader.

        Raises:
            QueueSilentError: the queue has no leader.
        """
        async with self._changing:
            if not is_new:
                await channels.must_answer(self.id)
            self._channel = await channels.acquire()
            await self._consume(self._channel)

    async def reopen(self) -> None:
        """Make the queue anew and consume it; what is at hand of the lost one is all there is of it."""
        async with self._changing:
            if self._channel is not None:
                await self._consume(self._channel)

    async def close(self, channels: ConsumerChannels) -> list[Piece]:
        """Stop consuming; returns what was at hand."""
        async with self._changing:
            if self._channel is not None:
                await self._channel.cancel(self._consumer)
                channels.release(self._channel)
                self._channel = None
        return self.buffer.drain()

    async def widen(self) -> None:
        """Let more pages come, where they are small: the consumer is renewed, since its prefetch is for life."""
        self.prefetch = max(self.prefetch + 1, min(MANY_PAGES, self.spec.batch_size))
        await self.renew()

    async def renew(self) -> None:
        """End the consumer, and begin another.

        Never at once with a close: the new consumer of a seed that was let go would hold its seed's pages for ever.
        """
        async with self._changing:
            if self._channel is not None:
                await self._channel.cancel(self._consumer)
                await self._consume(self._channel)

    @property
    def is_cramped(self) -> bool:
        """Whether all the pages that may come at once do not fill a batch, and more may come."""
        may_widen = self.prefetch < min(MANY_PAGES, self.spec.batch_size)
        return may_widen and self.prefetch <= len(self.buffer) and self.buffer.items < self.largest

    def configure(self, seed: Seed) -> None:
        """Take up the policies, and what is known to be spent: by an earlier owner too, so again before dispatch."""
        self.spec = seed.spec
        self.tags = seed.spec.tags
        self.queue = topology.work_queue_name(self.tags)
        self.largest = seed.spec.largest_batch
        self.meter = Meter(seed.spec.throttles, ages(seed.spent, time.time()), time.monotonic())

    def make_batch(self, pieces: list[Piece], epoch: int, created: str) -> Batch:
        """The next batch out of these pieces; `created` as `rfc3339` writes it."""
        returned = pieces[0].batch
        if returned is not None:
            return returned.under(epoch)
        return Batch(
            id=batch_id(self.id, pieces),
            seed=self.id,
            epoch=epoch,
            attempt=1,
            tags=self.tags,
            created=created,
            count=sum(piece.count for piece in pieces),
            items=b"[%b]" % b",".join(piece.inner for piece in pieces),
        )

    async def _consume(self, channel: Channel) -> None:
        await channel.declare_queue(topology.seed_queue(self.id))
        self.is_lost = False
        self._consumer = await channel.consume(
            topology.seed_queue_name(self.id),
            lambda delivery: self._on_page(self, delivery),
            prefetch=self.prefetch,
            on_cancel=self._lose,
        )

    def _lose(self) -> None:
        self.is_lost = True
        self._on_loss(self)
