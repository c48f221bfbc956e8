"""Seeds: how they come into being, what is known of them, what is set."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel, Delivery
from coordinator.broker.connection import Connection
from coordinator.domain.entries import SeedCreated, SeedSet
from coordinator.domain.pages import Pages, Traffic
from coordinator.domain.registry import Seed
from coordinator.errors import InvalidInputError, NotFoundError, UnroutableError
from coordinator.models import MAX_ITEMS, SeedSpec
from coordinator.node.available import Available
from coordinator.node.dead import DeadLetters
from coordinator.node.peers import Peers
from coordinator.node.registry import Registry
from coordinator.node.talk import Body
from coordinator.parsing import check_seed_id, parse_items
from coordinator.topology import Header

log = structlog.get_logger(__name__)

PREFETCH = 100
COUNTED = 2000
"""Pages that a purge takes out to count their items."""
COUNTING, COUNTING_ON = 5.0, 0.1
"""Seconds that it waits for a page that should be there, and for one more."""


class Seeds:
    """The seeds of the cluster, through the registry."""

    def __init__(
        self, connection: Connection, declaring: Channel, registry: Registry, pages: Pages, peers: Peers
    ) -> None:
        self._connection = connection
        self._peers = peers
        self._declaring = declaring
        self._registry = registry
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pages = pages
        self._purging: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        peers.answer("seed.purged", self._wait_for_purge)

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
        """Have a seed again whose purge was not carried to its end, if it has a queue that nobody else deletes."""
        async with self._changing[ident]:
            await self._until_purged(ident)
            if await self.is_left_over(ident):
                await self._declaring.declare_queue(topology.seed_queue(ident))
                await self._registry.append(SeedCreated, seed=ident)
                log.warning("seed.adopted", seed=ident)

    async def is_left_over(self, ident: str) -> bool:
        """Whether nobody knows the seed, and yet it has a queue."""
        is_known = ident in self._registry.state.seeds
        return not is_known and await self._connection.depth(topology.seed_queue_name(ident)) is not None

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
            answers = await self._peers.ask("seed.purged", {"seed": ident})
            while answers.missing:
                answers = await self._peers.ask("seed.purged", {"seed": ident})

    async def _wait_for_purge(self, body: Body) -> Body:
        async with self._purging[str(body["seed"])]:
            return {}

    def forget(self, ident: str) -> None:
        """Drop what was noted of a purged seed."""
        self._pages.forget(ident)

    async def discard_queue(self, ident: str, traffic: Traffic) -> int:
        """Delete the queue of a seed that nobody consumes any more; returns how many items were in it.

        Where the traffic with it does not tell, what waits is taken out to be counted, up to a bound, and the size of
        the rest is taken from that.
        """
        queue = topology.seed_queue_name(ident)
        depth = await self._connection.depth(queue)
        if depth is None:
            return 0
        channel = await self._connection.channel()
        counted = Traffic()
        try:
            await channel.unbind(queue, topology.ITEMS, ident)
            items, is_exact = traffic.waiting(depth.ready)
            must_count = not is_exact or traffic.misses(depth.ready)
            if must_count:
                counted = await self._count(channel, queue, min(depth.ready, COUNTED))
            pages = await channel.delete_queue(queue)
        finally:
            await channel.close()
        return counted.took_items + counted.waiting(pages)[0] if must_count else items

    async def _count(self, channel: Channel, queue: str, pages: int) -> Traffic:
        taken: asyncio.Queue[Delivery] = asyncio.Queue()
        await channel.consume(queue, taken.put_nowait, prefetch=COUNTED, on_cancel=lambda: None)
        counted = Traffic()
        with contextlib.suppress(TimeoutError):
            while counted.took_pages < COUNTED:
                # The broker's figure lags what it has confirmed, so more may come than it told.
                async with asyncio.timeout(COUNTING if counted.took_pages < pages else COUNTING_ON):
                    delivery = await taken.get()
                counted += Traffic(took_pages=1, took_items=_count_of(delivery))
        return counted

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

    def __init__(self, seeds: Seeds, available: Available, dead: DeadLetters, trusted: frozenset[str]) -> None:
        self._seeds = seeds
        self._available = available
        self._dead = dead
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
            await self._seeds.ensure(seed)
        except InvalidInputError as error:
            await self._dead.bury_message(delivery, "page", seed, str(error))
        else:
            await self._relay(seed, delivery)
        await delivery.ack()

    async def _relay(self, seed: str, delivery: Delivery) -> None:
        trusted = delivery.user_id in self._trusted
        try:
            await self._available.relay(seed, delivery, trusted=trusted)
        except UnroutableError:  # it was purged elsewhere, and this coordinator has yet to hear of it
            await self._seeds.renew(seed)
            await self._available.relay(seed, delivery, trusted=trusted)
