"""The release of a seed: takes its items back, at all replicas, from wherever no worker has begun them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from coordinator.domain.seed_traffic import Traffic
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.registry import Registry
from coordinator.node.releases.sweep import Sweeper
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import OneSeed, SeedItems, StopSeed
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import SEED_FOUND, SEED_STOP
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.stale_batches import Swept
from coordinator.node.work_queues.publisher import Publisher


@dataclass(frozen=True, slots=True)
class ReleasedItems:
    """What was taken back of a seed.

    Attributes:
        items: how many were made available again, or discarded if the seed is purged.
        batches: ids of the batches that were still in a work queue.
        traffic: with the seed's queue.
        missing: replicas that neither answered nor could be cut off.
    """

    items: int = 0
    batches: list[str] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    missing: list[str] = field(default_factory=list)

    def __add__(self, other: ReleasedItems) -> ReleasedItems:
        return ReleasedItems(
            self.items + other.items,
            [*self.batches, *other.batches],
            self.traffic + other.traffic,
            [*self.missing, *other.missing],
        )


@dataclass(slots=True, kw_only=True)
class SeedReleases:
    """Stops the seed at every replica first, then sweeps the work queues: so what is swept does not come again."""

    registry: Registry
    catalog: SeedCatalog
    owned_seeds: OwnedSeeds
    publisher: Publisher
    sweeper: Sweeper
    leases: Leases
    isolation: Isolation
    replicas: Replicas
    rpc: Rpc

    async def stop(self, seed: str, offset: int) -> ReleasedItems:
        """Have all replicas stop a seed and give back what they have of it. A replica that fails to is cut off.

        Args:
            seed: its id.
            offset: the place in the registry at which it is released or purged.

        Raises:
            BrokerUnavailableError: not all is known to be done; calling again is harmless.
        """
        own, answers = await asyncio.gather(
            self._stop_here(seed), self.rpc.ask(SEED_STOP, StopSeed(seed=seed, offset=offset))
        )
        own = sum(map(_read, answers.given.values()), own)
        missing = [instance for instance in answers.missing if not await self.replicas.cut_off(instance)]
        return own + ReleasedItems(missing=missing)

    async def sweep(self, seed: str) -> ReleasedItems:
        """Take its batches out of the work queues; what others took out of them meanwhile counts as well."""
        swept = await self.sweeper.sweep(seed)
        own, answers = await asyncio.gather(
            self._found_here(seed), self.rpc.ask(SEED_FOUND, OneSeed(seed=seed), self.replicas.others)
        )
        return sum(map(_read, answers.given.values()), _of(swept) + own)

    async def _stop_here(self, seed: str) -> ReleasedItems:
        await self.owned_seeds.update(seed)
        await self.publisher.in_flight.seed_is_idle(seed)
        swept = await self.sweeper.finish(seed)
        leased = await self.leases.take_back(seed)
        suspected = await self.isolation.take_back(seed)
        traffic = self.catalog.traffic(seed)
        if seed not in self.registry.state.seeds:
            self.publisher.ledger.forget(seed)
            self.catalog.forget(seed)
        return _of(swept) + ReleasedItems(leased + suspected, traffic=traffic)

    async def stop_for_peer(self, question: StopSeed) -> SeedItems:
        """Answer another replica: stop a seed here, and give back what is at hand."""
        await self.registry.reach(question.offset)
        return _write(await self._stop_here(question.seed))

    async def _found_here(self, seed: str) -> ReleasedItems:
        """Return what sweeps for other seeds, and fetches, have found of this seed here."""
        return _of(await self.sweeper.finish(seed)) + _of(await self.leases.found_stale(seed))

    async def found_for_peer(self, question: OneSeed) -> SeedItems:
        """Answer another replica: what sweeps and fetches found of a seed here."""
        return _write(await self._found_here(question.seed))


def _of(swept: Swept) -> ReleasedItems:
    return ReleasedItems(swept.returned + swept.discarded, swept.batches)


def _write(released: ReleasedItems) -> SeedItems:
    return SeedItems(items=released.items, batches=tuple(released.batches), traffic=released.traffic)


def _read(found: SeedItems) -> ReleasedItems:
    return ReleasedItems(found.items, list(found.batches), found.traffic)
