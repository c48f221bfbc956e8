"""The seeds: how they come into being, and what is known and set of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Depth
from coordinator.domain.registry import Seed
from coordinator.domain.registry_events import SeedCreated, SeedSet
from coordinator.domain.seed_traffic import Pages, Traffic
from coordinator.errors import InvalidInputError, NotFoundError, QueueSilentError, UnroutableError
from coordinator.models import MAX_ITEMS, SeedSpec
from coordinator.node.registry import Registry
from coordinator.node.replicas.messages import Empty, OneSeed
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import SEED_PURGED
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.topology import Header
from coordinator.validation import check_seed_id, parse_items

log = structlog.get_logger(__name__)

PREFETCH = 100
COUNTED = 2000
"""Pages that a purge reads to count their items."""
COUNTING, COUNTING_ON = 5.0, 0.1
"""Seconds that a purge waits for a page that should be there, and for one more."""
UNCONSUMED, LOOK = 10.0, 0.02
"""Seconds that a purge waits until all that was delivered is back, and between two looks."""
CHANGE = 0.5
"""Seconds in which a seed comes into being, once no purge stands in its way."""
ASK_AGAIN = 0.1
"""Seconds between two questions to replicas that failed to say whether they purge a seed."""


@dataclass(slots=True, kw_only=True)
class SeedCatalog:
    """The seeds of the cluster, through the registry.

    Attributes:
        connection: reads the queues of seeds.
        declaring: the channel on which they are made and deleted.
        registry: knows the seeds.
        pages: the traffic of this replica with their queues.
        rpc: asks the other replicas whether a purge runs.
    """

    connection: Connection
    declaring: Channel
    registry: Registry
    pages: Pages
    rpc: Rpc
    _changing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock), init=False)
    _purging: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock), init=False)

    def get(self, ident: str) -> Seed:
        """Return a seed.

        Raises:
            NotFoundError: it was never seen, or is purged.
        """
        seed = self.registry.state.seeds.get(ident)
        if seed is None:
            raise NotFoundError("seed", ident)
        return seed

    def all(self) -> list[Seed]:
        """Return all seeds, by id."""
        return [seed for _, seed in sorted(self.registry.state.seeds.items())]

    async def ensure(self, ident: str) -> None:
        """Create a seed and its queue, unless it exists.

        The queue comes before the event: a replica that reads the event may consume the queue at once.

        Raises:
            InvalidInputError: the id is not valid.
        """
        if ident in self.registry.state.seeds:
            return
        check_seed_id(ident, "seed")
        async with self._changing[ident]:
            await self._until_purged(ident)
            if ident not in self.registry.state.seeds:
                await self.declaring.declare_queue(topology.seed_queue(ident))
                await self.registry.append(SeedCreated, seed=ident)
                log.info("seed.created", seed=ident)

    async def revive(self, ident: str) -> None:
        """Create a seed again whose purge was cut short, if its queue has items and no replica purges it."""
        async with self._changing[ident]:
            await self._until_purged(ident)
            if await self.has_leftovers(ident):
                await self.declaring.declare_queue(topology.seed_queue(ident))
                await self.registry.append(SeedCreated, seed=ident)
                log.warning("seed.revived", seed=ident)

    async def has_leftovers(self, ident: str) -> bool:
        """Return whether the seed is not known, and yet its queue has items."""
        if ident in self.registry.state.seeds:
            return False
        depth = await self.connection.depth(topology.seed_queue_name(ident))
        return depth is not None and depth != Depth(0, 0)

    async def delete_queue(self, ident: str) -> None:
        """Delete the empty queue of a purged seed, unless something has come to it."""
        queue = topology.seed_queue_name(ident)
        async with self.purging(ident):
            await asyncio.sleep(
                CHANGE
            )  # a replica that was about to create the seed has done so by then, and others wait
            await self.registry.sync()
            if ident in self.registry.state.seeds:
                return
            await self.declaring.unbind(queue, topology.ITEMS, ident)
            if await self.connection.depth(queue) == Depth(0, 0):
                await self.declaring.delete_queue(queue)
                log.info("seed.queue_deleted", seed=ident)

    async def renew(self, ident: str) -> None:
        """Create a seed whose queue was found missing: another replica purged it, or a client deleted its queue."""
        await self.registry.sync()
        await self.ensure(ident)
        await self.declaring.declare_queue(topology.seed_queue(ident))

    async def set(self, ident: str, spec: SeedSpec) -> Seed:
        """Create a seed or replace its policies.

        Raises:
            InvalidInputError: the id is not valid, or the tags make too long a queue name.
        """
        check_seed_id(ident)
        topology.work_queue_name(spec.tags)
        async with self._changing[ident]:
            await self._until_purged(ident)
            await self.declaring.declare_queue(topology.seed_queue(ident))
            await self.registry.append(SeedSet, seed=ident, spec=spec)
            return self.get(ident)

    @contextlib.asynccontextmanager
    async def purging(self, ident: str) -> AsyncIterator[None]:
        """Keep a seed from coming into being anew while it is purged: else the purge would delete the new queue."""
        async with self._changing[ident], self._purging[ident]:
            yield

    async def _until_purged(self, ident: str) -> None:
        """Wait until no other replica is about to delete the queue of a seed that was purged.

        Each answers once it is not, or is cut off if it hangs. A queue that is made anew while it is deleted may lose
        what it holds, or deliver it twice.
        """
        if ident in self.registry.state.forgotten:
            answers = await self.rpc.ask(SEED_PURGED, OneSeed(seed=ident))
            while answers.missing:
                await asyncio.sleep(ASK_AGAIN)
                answers = await self.rpc.ask(SEED_PURGED, OneSeed(seed=ident))

    async def wait_for_purge(self, question: OneSeed) -> Empty:
        """Answer another replica once no purge of this seed runs here."""
        async with self._purging[question.seed]:
            return Empty()

    def forget(self, ident: str) -> None:
        """Drop the traffic of a purged seed."""
        self.pages.forget(ident)

    async def discard_items(self, ident: str, traffic: Traffic) -> int:
        """Empty a purged seed's queue, which accepts no more from then on; returns how many items were in it.

        Where the traffic does not say how many, pages are read and counted up to a bound, and the rest is estimated
        from them.

        The queue itself stays, for `purged_queues.py` to delete: if it were made anew while one of the broker's nodes
        is away, that node would bring back what it held before, as new, or leave a queue that accepts no messages.

        Raises:
            QueueSilentError: a consumer still holds pages of it.
        """
        queue = topology.seed_queue_name(ident)
        if await self.connection.depth(queue) is None:
            return 0
        channel = await self.connection.channel()
        try:
            await channel.unbind(queue, topology.ITEMS, ident)
            ready = await self._until_unconsumed(queue)
            items, is_exact = traffic.waiting(ready)
            if is_exact and not traffic.misses(ready):
                await channel.purge_queue(queue)
                return items
            counted = await self._count(channel, queue, min(ready, COUNTED))
            await self._until_unconsumed(queue)
            pages = await channel.purge_queue(queue)
            return counted.took_items + counted.waiting(pages)[0]
        finally:
            await channel.close()

    async def _until_unconsumed(self, queue: str) -> int:
        """Wait until no consumer holds a page of a queue; returns how many are ready.

        A quorum queue counts a cancelled consumer for as long as that has not settled all its deliveries.
        """
        try:
            async with asyncio.timeout(UNCONSUMED):
                while (depth := await self.connection.depth(queue)) is not None:
                    if not depth.consumers:
                        return depth.ready
                    await asyncio.sleep(LOOK)
        except TimeoutError as error:
            raise QueueSilentError(f"a consumer still holds pages of the queue {queue!r}") from error
        return 0

    async def _count(self, channel: Channel, queue: str, pages: int) -> Traffic:
        """Consume pages of a queue for good, and return how many they and their items were."""
        taken: asyncio.Queue[Delivery] = asyncio.Queue()
        tag = await channel.consume(queue, taken.put_nowait, prefetch=COUNTED, on_cancel=lambda: None)
        deliveries: list[Delivery] = []
        with contextlib.suppress(TimeoutError):
            while len(deliveries) < COUNTED:
                # The broker's figure lags what it has confirmed, so more may come.
                async with asyncio.timeout(COUNTING if len(deliveries) < pages else COUNTING_ON):
                    deliveries.append(await taken.get())
        await channel.cancel(tag)
        deliveries += [taken.get_nowait() for _ in range(taken.qsize())]
        for delivery in deliveries:
            await delivery.ack()
        return Traffic(took_pages=len(deliveries), took_items=sum(map(_count_of, deliveries)))

    def traffic(self, ident: str) -> Traffic:
        """Return the traffic of this replica with a seed's queue."""
        return self.pages.of(ident)

    async def waiting_pages(self, ident: str) -> int:
        """Return the pages in a seed's queue that its owner has not consumed yet."""
        depth = await self.connection.depth(topology.seed_queue_name(ident))
        return depth.ready if depth else 0


def _count_of(delivery: Delivery) -> int:
    """Return how many items a page or batch holds; 0 for a malformed one."""
    for header in (Header.COUNT, Header.CHECKED):
        count = delivery.headers.get(header)
        if isinstance(count, int) and 0 < count <= MAX_ITEMS:
            return count
    try:
        return len(parse_items(delivery.body))
    except InvalidInputError:
        return 0


@dataclass(slots=True, kw_only=True)
class Intake:
    """Accepts the items that the exchange `items` could not route: the first items of new seeds."""

    catalog: SeedCatalog
    seed_queues: SeedQueues
    dead_letters: DeadLetters
    trusted: frozenset[str]
    _inbox: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue, init=False)

    async def run(self, connection: Connection) -> None:
        """Deal with what comes until cancelled."""
        await connection.consume(topology.NEW_SEEDS, self._inbox.put_nowait, prefetch=PREFETCH)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._place(await self._inbox.get()))

    async def _place(self, delivery: Delivery) -> None:
        seed = delivery.routing_key
        try:
            await self.catalog.ensure(seed)
        except InvalidInputError as error:
            await self.dead_letters.keep_message(delivery, "page", seed, str(error))
        else:
            await self._relay(seed, delivery)
        await delivery.ack()

    async def _relay(self, seed: str, delivery: Delivery) -> None:
        trusted = delivery.user_id in self.trusted
        try:
            await self.seed_queues.relay(seed, delivery, trusted=trusted)
        except UnroutableError:  # another replica purged it, and this one has yet to read that
            await self.catalog.renew(seed)
            await self.seed_queues.relay(seed, delivery, trusted=trusted)
