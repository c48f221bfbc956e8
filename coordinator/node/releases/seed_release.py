"""Recall: takes a seed's items back from wherever no worker has begun them, at all coordinators."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field

from coordinator.domain.seed_traffic import Traffic
from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.registry import Registry
from coordinator.node.releases.sweep import Sweeper
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Body
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
        missing: coordinators that neither answered nor could be cut off.
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


class SeedReleases:
    """First every coordinator stops the seed, then the work queues are swept: so what is swept does not come again."""

    def __init__(
        self,
        *,
        registry: Registry,
        seeds: SeedCatalog,
        dispatcher: Dispatcher,
        work: Publisher,
        sweeper: Sweeper,
        leases: Leases,
        isolation: Isolation,
        replicas: Replicas,
    ) -> None:
        self._registry = registry
        self._catalog = seeds
        self._dispatcher = dispatcher
        self._publisher = work
        self._sweeper = sweeper
        self._leases = leases
        self._isolation = isolation
        self._replicas = replicas

    async def stop(self, seed: str, offset: int) -> ReleasedItems:
        """Have all coordinators stop a seed and give back what they have of it; one that is silent is cut off.

        Args:
            seed: its id.
            offset: where the registry says that it is released or purged.

        Raises:
            BrokerUnavailableError: not all is known to be done; calling again is harmless.
        """
        own, answers = await asyncio.gather(
            self._stop_here(seed), self._replicas.ask("recall", {"seed": seed, "offset": offset})
        )
        own = sum(map(_from, answers.given.values()), own)
        missing = [instance for instance in answers.missing if not await self._replicas.cut_off(instance)]
        return own + ReleasedItems(missing=missing)

    async def sweep(self, seed: str) -> ReleasedItems:
        """Take its batches out of the work queues; what others took out of them meanwhile counts as well."""
        swept = await self._sweeper.sweep(seed)
        own, answers = await asyncio.gather(
            self._met_here(seed), self._replicas.ask("recall.met", {"seed": seed}, self._replicas.others)
        )
        met = [_from(body) for body in answers.given.values()]
        return sum(met, _of(swept) + own)

    async def _stop_here(self, seed: str) -> ReleasedItems:
        await self._dispatcher.tend(seed)
        await self._publisher.in_flight.settled(seed)
        swept = await self._sweeper.finish(seed)
        leased = await self._leases.take_back(seed)
        suspected = await self._isolation.take_back(seed)
        traffic = self._catalog.traffic(seed)
        if seed not in self._registry.state.seeds:
            self._publisher.ledger.forget(seed)
            self._catalog.forget(seed)
        return _of(swept) + ReleasedItems(leased + suspected, traffic=traffic)

    async def stop_for_peer(self, body: Body) -> Body:
        """Answer another replica: stop a seed here, and give back what is at hand."""
        await self._registry.reach(int(body["offset"]))
        return _told(await self._stop_here(str(body["seed"])))

    async def _met_here(self, seed: str) -> ReleasedItems:
        """What sweeps for other seeds, and fetches, have met of it here."""
        return _of(await self._sweeper.finish(seed)) + _of(await self._leases.met(seed))

    async def met_for_peer(self, body: Body) -> Body:
        """Answer another replica: what sweeps and fetches met of a seed here."""
        return _told(await self._met_here(str(body["seed"])))


def _of(swept: Swept) -> ReleasedItems:
    return ReleasedItems(swept.returned + swept.discarded, swept.batches)


def _told(recalled: ReleasedItems) -> Body:
    """For the coordinator that asked."""
    return {"items": recalled.items, "batches": recalled.batches, "traffic": dataclasses.astuple(recalled.traffic)}


def _from(body: Body) -> ReleasedItems:
    return ReleasedItems(int(body["items"]), list(body["batches"]), Traffic(*body["traffic"]))
