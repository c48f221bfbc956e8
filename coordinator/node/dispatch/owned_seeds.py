"""The seeds that this coordinator owns: it consumes their queues, and lets go of them when it must."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from coordinator import topology
from coordinator.broker.types import Delivery
from coordinator.domain.registry import Seed
from coordinator.domain.registry_events import Event, SeedCreated, SeedPurged, SeedReleased, SeedResumed, SeedSet
from coordinator.errors import InvalidInputError, QueueSilentError
from coordinator.node.dispatch.planner import Planner
from coordinator.node.dispatch.seed_consumer import ConsumerChannels, SeedConsumer, prefetch_for, read_page
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.depth import QueueDepths
from coordinator.node.work_queues.in_flight import InFlight

log = structlog.get_logger(__name__)

UPDATED_AT_ONCE = 16
"""Seeds whose consumers are started or stopped at the same time."""


@dataclass(slots=True, kw_only=True, eq=False)
class OwnedSeeds:
    """The consumers of the seeds that run and belong here.

    Attributes:
        planner: gives turns to the seeds with pages at hand; shares `consumers` with this.
        channels: where consumers find a channel.
        registry: knows which seeds run.
        depth: declares work queues.
        in_flight: knows which batches of a consumer are on their way.
        seed_queues: where pages go back.
        dead_letters: where malformed pages go.
        replicas: knows which seeds belong here.
        events: where a new owner is recorded.
        trusted: the broker users whose headers count.
        consumers: one for each seed, by its id.
        wake: set when dispatch may have something to do.
        bursting: held while dispatch plans and publishes a burst.
        unsynced: consumers with pages at hand that dispatch has not compared with the registry yet.
        full: consumers whose queues may bring no more pages: perhaps the pages are too small to fill a batch.
    """

    planner: Planner
    channels: ConsumerChannels
    registry: Registry
    depth: QueueDepths
    in_flight: InFlight
    seed_queues: SeedQueues
    dead_letters: DeadLetters
    replicas: Replicas
    events: Events
    trusted: frozenset[str]
    consumers: dict[str, SeedConsumer]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    bursting: asyncio.Lock = field(default_factory=asyncio.Lock)
    unsynced: set[SeedConsumer] = field(default_factory=set)
    full: set[SeedConsumer] = field(default_factory=set)
    _updating: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _changed: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _malformed: asyncio.Queue[tuple[str, Delivery, str]] = field(default_factory=asyncio.Queue)
    _old: set[str] = field(default_factory=set)
    """Seeds of earlier sessions whose queues this one has not consumed yet."""
    _is_stopping: bool = False

    async def start(self) -> None:
        """Begin to consume the queues of all running seeds that belong here.

        A queue is consumed only from here on, so whatever it brings comes after all releases that were replayed.
        """
        for tags in sorted(self.registry.state.tag_sets):
            await self.depth.declare(tags)
        self._old.update(self.registry.state.seeds)
        for seed in self.registry.state.seeds:
            self._changed.put_nowait(seed)

    async def follow_registry(self) -> None:
        """Update the consumers of seeds that are created, resumed, changed, released or purged, until cancelled.

        Some at a time, for each waits for the broker: one by one a thousand would take half a minute, and if all were
        begun at once, the last would wait longer than a call may.
        """

        async def follow() -> None:
            while True:
                await self.update(await self._changed.get())

        async with asyncio.TaskGroup() as group:
            for _ in range(UPDATED_AT_ONCE):
                group.create_task(follow())

    async def keep_malformed(self) -> None:
        """Make dead letters of malformed pages, until cancelled."""
        while True:
            seed, delivery, reason = await self._malformed.get()
            await self.dead_letters.keep_message(delivery, "page", seed, reason)
            await delivery.ack()

    async def update(self, ident: str) -> None:
        """Start or stop consuming a seed so that it matches the registry and this replica's share."""
        async with self._updating[ident]:
            seed = self.registry.state.seeds.get(ident)
            consumer = self.consumers.get(ident)
            if seed is None or seed.state != "running" or self._is_stopping or not self.replicas.owns(ident):
                if consumer is not None:
                    await self.let_go(consumer)
            elif consumer is None:
                await self._consume(seed)
            elif consumer.is_lost:
                log.warning("seed.queue_missing", seed=ident)
                await consumer.reopen()
            elif consumer.spec != seed.spec:
                await self.depth.declare(seed.spec.tags)
                self.configure(consumer, seed)
                self.wake.set()

    async def stop(self) -> None:
        """Let go of all seeds for good: each page that was not published goes back."""
        self._is_stopping = True
        await asyncio.gather(*(self.update(ident) for ident in list(self.consumers)))

    def buffered(self, ident: str) -> tuple[int, int]:
        """Items of a seed that are at hand here, and the pages they came in."""
        consumer = self.consumers.get(ident)
        return (consumer.buffer.items, len(consumer.buffer)) if consumer else (0, 0)

    def unfed(self) -> Iterator[tuple[str, int]]:
        """The seeds without anything at hand or in flight here, each with the number of pages it has brought so far."""
        busy = self.in_flight.consumers()
        for ident, consumer in self.consumers.items():
            if not len(consumer.buffer) and consumer not in busy:
                yield ident, self.seed_queues.pages.of(ident).took_pages

    async def renew(self, ident: str) -> None:
        """Consume a seed's queue anew, if it is still consumed here."""
        if consumer := self.consumers.get(ident):
            await consumer.renew()

    async def _consume(self, seed: Seed) -> None:
        """Start to consume a seed. A queue without a leader is tried again later; nothing else waits for it."""
        await self.depth.declare(seed.spec.tags)
        prefetch = prefetch_for(len(self.consumers) + 1)
        self.consumers[seed.id] = consumer = SeedConsumer(seed, self.on_page, self._on_loss, prefetch)
        self.planner.add_destination(consumer.queue)
        try:
            await consumer.open(self.channels, is_new=seed.id not in self._old)
        except QueueSilentError:
            del self.consumers[seed.id]
            log.warning("seed.not_consumed", seed=seed.id)
            silence = self.channels.silence(seed.id)
            asyncio.get_running_loop().call_later(silence, self._changed.put_nowait, seed.id)
        else:
            self._old.discard(seed.id)
            self.events.seed("seed.owner", seed.id)

    async def let_go(self, consumer: SeedConsumer) -> None:
        """Stop to consume a seed and give back what is at hand.

        Its open confirms come first: from the moment the broker ends its consumer another owner may dispatch, and then
        no batch of this one may still be in flight, or spent and not yet recorded.
        """
        async with self.bursting:
            self.consumers.pop(consumer.id, None)
            self.planner.remove(consumer.id)
            self.unsynced.discard(consumer)
            self.full.discard(consumer)
        await self.in_flight.consumer_is_idle(consumer)
        await self.seed_queues.give_back(consumer.id, await consumer.close(self.channels))

    def on_event(self, event: Event) -> None:
        """Update the consumer of a seed that the registry has changed."""
        if isinstance(event, (SeedCreated, SeedSet, SeedReleased, SeedResumed, SeedPurged)):
            self._changed.put_nowait(event.seed)

    def _on_loss(self, consumer: SeedConsumer) -> None:
        """Update a consumer whose queue was deleted: with its seed, or by a stranger, and then it is made anew."""
        if self.consumers.get(consumer.id) is consumer:
            self._changed.put_nowait(consumer.id)

    def rebalance(self) -> None:
        """Update the seeds whose owner changed because replicas came or went."""
        for ident, seed in self.registry.state.seeds.items():
            if seed.state == "running" and (ident in self.consumers) != self.replicas.owns(ident):
                self._changed.put_nowait(ident)

    def on_page(self, consumer: SeedConsumer, delivery: Delivery) -> None:
        """Add a delivered page to its seed's buffer, and give the seed turns."""
        try:
            piece = read_page(delivery, consumer.id, self.trusted)
        except InvalidInputError as error:
            self._malformed.put_nowait((consumer.id, delivery, str(error)))
            return
        delivery.body = b""  # its text is in the piece, and thousands of pages would be held twice
        self.seed_queues.pages.took(consumer.id, piece.count)
        consumer.buffer.add(piece)
        if self.consumers.get(consumer.id) is not consumer:
            return  # it is being closed, and gives this back
        # These sets spare dispatch to look through thousands of consumers.
        if not consumer.is_synced:
            self.unsynced.add(consumer)
        if len(consumer.buffer) >= consumer.prefetch:
            self.full.add(consumer)
        if piece.batch is not None:
            self.planner.add_destination(topology.work_queue_name(piece.batch.tags))
        self.planner.add(consumer.id)
        self.wake.set()

    def put_back(self, consumer: SeedConsumer) -> None:
        """Give turns to a seed again whose batch was put back into its buffer."""
        if self.consumers.get(consumer.id) is consumer:
            self.full.add(consumer)
            self.planner.add(consumer.id)
            self.wake.set()

    def configure(self, consumer: SeedConsumer, seed: Seed) -> None:
        """Give a consumer its seed's policies."""
        consumer.configure(seed)
        self.planner.add_destination(consumer.queue)
        self.full.add(consumer)
