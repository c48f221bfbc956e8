"""Seeds: how they come into being, what is known of them, what is set."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

import structlog

from coordinator import topology
from coordinator.broker.connection import Channel, Connection, Delivery
from coordinator.domain.registry import Seed, SeedCreated, SeedSet
from coordinator.errors import InvalidInputError, NotFoundError
from coordinator.models import SeedSpec, check_seed_id
from coordinator.node.available import Available
from coordinator.node.dead import DeadLetters
from coordinator.node.registry import Registry

log = structlog.get_logger(__name__)

PREFETCH = 100


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What was seen of a seed's pages, to estimate those that nobody has looked at."""

    pages: int = 0
    items: int = 0

    def estimate(self, pages: int, default: int) -> int:
        """How many items so many pages hold."""
        return round(pages * (self.items / self.pages if self.pages else default))


class Seeds:
    """The seeds of the cluster, through the registry."""

    def __init__(self, connection: Connection, declaring: Channel, registry: Registry) -> None:
        self._connection = connection
        self._declaring = declaring
        self._registry = registry
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._arrivals: dict[str, Arrivals] = {}

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
        async with self._making[ident]:
            if ident not in self._registry.state.seeds:
                await self._declaring.declare_queue(topology.seed_queue(ident))
                await self._registry.append(SeedCreated, seed=ident)
                log.info("seed.created", seed=ident)
        self._making.pop(ident, None)

    async def set(self, ident: str, spec: SeedSpec) -> Seed:
        """Create a seed or replace its policies.

        Raises:
            InvalidInputError: the id is none, or the tags make too long a queue name.
        """
        check_seed_id(ident)
        topology.work_queue_name(spec.tags)
        await self._declaring.declare_queue(topology.seed_queue(ident))
        await self._registry.append(SeedSet, seed=ident, spec=spec)
        return self.get(ident)

    def saw_pages(self, ident: str, pages: int, items: int) -> None:
        """Note pages that went into a seed's queue or came out of it."""
        seen = self._arrivals.get(ident, Arrivals())
        self._arrivals[ident] = Arrivals(seen.pages + pages, seen.items + items)

    def forget(self, ident: str) -> None:
        """Drop what was noted of a purged seed."""
        self._arrivals.pop(ident, None)

    def estimate(self, ident: str, pages: int) -> int:
        """How many items so many unseen pages of a seed hold."""
        return self._arrivals.get(ident, Arrivals()).estimate(pages, default=1)

    async def waiting_pages(self, ident: str) -> int:
        """Pages in a seed's queue that its owner has not taken yet."""
        depth = await self._connection.depth(topology.seed_queue_name(ident))
        return depth.ready if depth else 0


class Intake:
    """Takes the items that `items` could not route: the first ones of new seeds."""

    def __init__(self, seeds: Seeds, available: Available, dead: DeadLetters, trusted: frozenset[str]) -> None:
        self._seeds = seeds
        self._available = available
        self._dead = dead
        self._trusted = trusted
        self._inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def run(self, channel: Channel) -> None:
        """Deal with what comes until cancelled."""
        await channel.consume(topology.NEW_SEEDS, self._inbox.put_nowait, prefetch=PREFETCH)
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
            await self._available.relay(seed, delivery, trusted=delivery.user_id in self._trusted)
        await delivery.ack()
