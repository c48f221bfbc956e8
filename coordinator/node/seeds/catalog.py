"""Seeds: how they come into being, what is known of them, what is set."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

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
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Body
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.topology import Header
from coordinator.validation import check_seed_id, parse_items

log = structlog.get_logger(__name__)

PREFETCH = 100
COUNTED = 2000
"""Pages that a purge takes out to count their items."""
COUNTING, COUNTING_ON = 5.0, 0.1
"""Seconds that it waits for a page that should be there, and for one more."""
UNCONSUMED, LOOK = 10.0, 0.02
"""Seconds that it waits until all that was delivered is back, and between two looks."""
CHANGE = 0.5
"""Seconds in which a seed comes into being, once no purge stands in its way."""


class SeedCatalog:
    """The seeds of the cluster, through the registry."""

    def __init__(
        self, connection: Connection, declaring: Channel, registry: Registry, pages: Pages, replicas: Replicas
    ) -> None:
        self._connection = connection
        self._replicas = replicas
        self._declaring = declaring
        self._registry = registry
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pages = pages
        self._purging: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def get(self, ident: str) -> Seed:
        """A seed.

        Raises:
            NotFoundError: it was never seen, or is purged.
        """
        seed = self._registry.state.seeds.get(ident)
        if seed is None:
            raise NotFoundError("seed", ident)
        return seed

    def all(self) -> list[Seed]:
        """All seeds, by id."""
        return [seed for _, seed in sorted(self._registry.state.seeds.items())]

    async def ensure(self, ident: str) -> None:
        """Have a seed of this id, with its queue.

        The queue comes before the event: whoever learns of the seed may consume it at once.

        Raises:
            InvalidInputError: the id is none.
        """
        if ident in self._registry.state.seeds:
            return
        check_seed_id(ident, "seed")
        async with self._changing[ident]:
            await self._until_purged(ident)
            if ident not in self._registry.state.seeds:
                await self._declaring.declare_queue(topology.seed_queue(ident))
                await self._registry.append(SeedCreated, seed=ident)
                log.info("seed.created", seed=ident)

    async def adopt(self, ident: str) -> None:
        """Have a seed again whose purge was not carried to its end, if it has items and nobody else purges it."""
        async with self._changing[ident]:
            await self._until_purged(ident)
            if await self.has_leftovers(ident):
                await self._declaring.declare_queue(topology.seed_queue(ident))
                await self._registry.append(SeedCreated, seed=ident)
                log.warning("seed.adopted", seed=ident)

    async def has_leftovers(self, ident: str) -> bool:
        """Whether nobody knows the seed, and yet it has items."""
        if ident in self._registry.state.seeds:
            return False
        depth = await self._connection.depth(topology.seed_queue_name(ident))
        return depth is not None and depth != Depth(0, 0)

    async def delete_queue(self, ident: str) -> None:
        """Delete the empty queue of a purged seed, unless something has come to it."""
        queue = topology.seed_queue_name(ident)
        async with self.purging(ident):
            await asyncio.sleep(CHANGE)  # who was about to create the seed before is through then, and others wait
            await self._registry.sync()
            if ident in self._registry.state.seeds:
                return
            await self._declaring.unbind(queue, topology.ITEMS, ident)
            if await self._connection.depth(queue) == Depth(0, 0):
                await self._declaring.delete_queue(queue)
                log.info("seed.queue_deleted", seed=ident)

    async def renew(self, ident: str) -> None:
        """Have a seed whose queue was found missing: purged elsewhere, or its queue deleted behind our back."""
        await self._registry.sync()
        await self.ensure(ident)
        await self._declaring.declare_queue(topology.seed_queue(ident))

    async def set(self, ident: str, spec: SeedSpec) -> Seed:
        """Create a seed or replace its policies.

        Raises:
            InvalidInputError: the id is none, or the tags make too long a queue name.
        """
        check_seed_id(ident)
        topology.work_queue_name(spec.tags)
        async with self._changing[ident]:
            await self._until_purged(ident)
            await self._declaring.declare_queue(topology.seed_queue(ident))
            await self._registry.append(SeedSet, seed=ident, spec=spec)
            return self.get(ident)

    @contextlib.asynccontextmanager
    async def purging(self, ident: str) -> AsyncIterator[None]:
        """While a seed is purged, here or at any other coordinator, it does not come into being anew.

        Else the purge would delete the new one's queue.
        """
        async with self._changing[ident], self._purging[ident]:
            yield

    async def _until_purged(self, ident: str) -> None:
        """Wait until no other coordinator is about to delete the queue of a seed that was purged.

        Each answers once it is not, or is cut off if it hangs. A queue that is made anew while it is deleted may lose
        what it holds, or give it out twice.
        """
        if ident in self._registry.state.forgotten:
            answers = await self._replicas.ask("seed.purged", {"seed": ident})
            while answers.missing:
                answers = await self._replicas.ask("seed.purged", {"seed": ident})

    async def wait_for_purge(self, body: Body) -> Body:
        """Answer another replica once no purge of this seed runs here."""
        async with self._purging[str(body["seed"])]:
            return {}

    def forget(self, ident: str) -> None:
        """Drop what was noted of a purged seed."""
        self._pages.forget(ident)

    async def discard_items(self, ident: str, traffic: Traffic) -> int:
        """Empty a purged seed's queue, which takes no more from then on; returns how many items were in it.

        Where the traffic with it does not tell, what waits is taken out to be counted, up to a bound, and the size of
        the rest is taken from that.

        The queue itself stays, for `leftovers.py` to delete: if it were made anew while one of the broker's nodes is
        away, that node would bring back what it held before, as new, or leave a queue that nobody can publish to.

        Raises:
            QueueSilentError: somebody still holds pages of it.
        """
        queue = topology.seed_queue_name(ident)
        if await self._connection.depth(queue) is None:
            return 0
        channel = await self._connection.channel()
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
        """Wait until nobody holds any page of a queue; returns how many are ready.

        A quorum queue counts a consumer that was cancelled for as long as it has not settled all that it was given.
        """
        try:
            async with asyncio.timeout(UNCONSUMED):
                while (depth := await self._connection.depth(queue)) is not None:
                    if not depth.consumers:
                        return depth.ready
                    await asyncio.sleep(LOOK)
        except TimeoutError as error:
            raise QueueSilentError(f"somebody still holds pages of the queue {queue!r}") from error
        return 0

    async def _count(self, channel: Channel, queue: str, pages: int) -> Traffic:
        """Take pages out of a queue for good, and tell what they were."""
        taken: asyncio.Queue[Delivery] = asyncio.Queue()
        tag = await channel.consume(queue, taken.put_nowait, prefetch=COUNTED, on_cancel=lambda: None)
        deliveries: list[Delivery] = []
        with contextlib.suppress(TimeoutError):
            while len(deliveries) < COUNTED:
                # The broker's figure lags what it has confirmed, so more may come than it told.
                async with asyncio.timeout(COUNTING if len(deliveries) < pages else COUNTING_ON):
                    deliveries.append(await taken.get())
        await channel.cancel(tag)
        deliveries += [taken.get_nowait() for _ in range(taken.qsize())]
        for delivery in deliveries:
            await delivery.ack()
        return Traffic(took_pages=len(deliveries), took_items=sum(map(_count_of, deliveries)))

    def traffic(self, ident: str) -> Traffic:
        """This coordinator's traffic with a seed's queue."""
        return self._pages.of(ident)

    async def waiting_pages(self, ident: str) -> int:
        """Pages in a seed's queue that its owner has not taken yet."""
        depth = await self._connection.depth(topology.seed_queue_name(ident))
        return depth.ready if depth else 0


def _count_of(delivery: Delivery) -> int:
    """How many items a page or batch holds that is about to be discarded; a malformed one none."""
    for header in (Header.COUNT, Header.CHECKED):
        count = delivery.headers.get(header)
        if isinstance(count, int) and 0 < count <= MAX_ITEMS:
            return count
    try:
        return len(parse_items(delivery.body))
    except InvalidInputError:
        return 0


class Intake:
    """Takes the items that `items` could not route: the first ones of new seeds."""

    def __init__(self, seeds: SeedCatalog, available: SeedQueues, dead: DeadLetters, trusted: frozenset[str]) -> None:
        self._catalog = seeds
        self._seed_queues = available
        self._dead_letters = dead
        self._trusted = trusted
        self._inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def run(self, connection: Connection) -> None:
        """Deal with what comes until cancelled."""
        await connection.consume(topology.NEW_SEEDS, self._inbox.put_nowait, prefetch=PREFETCH)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._place(await self._inbox.get()))

    async def _place(self, delivery: Delivery) -> None:
        seed = delivery.routing_key
        try:
            await self._catalog.ensure(seed)
        except InvalidInputError as error:
            await self._dead_letters.bury_message(delivery, "page", seed, str(error))
        else:
            await self._relay(seed, delivery)
        await delivery.ack()

    async def _relay(self, seed: str, delivery: Delivery) -> None:
        trusted = delivery.user_id in self._trusted
        try:
            await self._seed_queues.relay(seed, delivery, trusted=trusted)
        except UnroutableError:  # it was purged elsewhere, and this coordinator has yet to hear of it
            await self._catalog.renew(seed)
            await self._seed_queues.relay(seed, delivery, trusted=trusted)
