"""Figures of a seed over all replicas: where its items are, and why they do not move."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.management import Management
from coordinator.broker.management_answers import Totals
from coordinator.domain.diagnosis import EligibleWorkers, Obstacle, Standing, is_drained, why
from coordinator.domain.registry import Seed
from coordinator.domain.seed_traffic import Traffic
from coordinator.domain.tags import TagSet
from coordinator.errors import ManagementError, QueueSilentError
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.observe.throughput import Throughput
from coordinator.node.registry import Registry
from coordinator.node.replicas.arrays import ObstacleArray, SeedShare
from coordinator.node.replicas.messages import SeedList, SeedShares
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import SEED_SHARES
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.heartbeats import Heartbeats

log = structlog.get_logger(__name__)

FRESH: Final = 2.0
"""Seconds for which an answer of the management API is used again: it counts no more often itself."""
PATIENCE: Final = 2.0
"""Seconds that its answer may need: it is slow when many workers are cut off at once."""
COUNTED: Final = 200
"""Up to so many seeds, the broker is asked for the pages of each; for more seeds it is asked once."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a seed's items are; not exact where a figure is an estimate, or a replica has not answered."""

    available: int
    queued: int
    sent: int
    taken: int
    exact: bool


@dataclass(frozen=True, slots=True)
class SeedView:
    """A seed as it is shown: `rate` is items acked a second, `why` says why it does not move."""

    seed: Seed
    counts: Counts
    rate: float
    standing: Standing
    why: str | None

    @property
    def is_drained(self) -> bool:
        """Whether all of it is done."""
        return is_drained(self.standing)


@dataclass(slots=True, kw_only=True)
class SeedStats:
    """Asks all replicas, this one included. Nothing that it looks at changes by that."""

    registry: Registry
    catalog: SeedCatalog
    owned_seeds: OwnedSeeds
    publisher: Publisher
    leases: Leases
    isolation: Isolation
    heartbeats: Heartbeats
    throughput: Throughput
    rpc: Rpc
    management: Management
    _totals: tuple[float, dict[str, Totals]] = field(default=(-math.inf, {}), init=False)
    """The last totals of all queues from the management API, and when they came (monotonic seconds)."""

    async def of(self, seeds: Sequence[str]) -> dict[str, Counts]:
        """Return the counts of these seeds."""
        found, _ = await self._ask(seeds)
        return {seed: counts for seed, (counts, _) in found.items()}

    async def ranks(self, seeds: Sequence[str], figure: str) -> dict[str, float]:
        """Return a figure of each of these seeds to sort them by: the items in a place, or the rate.

        The broker is asked once for all seeds, and its figures may lag by some seconds.
        """
        found, _ = await self._ask(seeds, (await self._pages_at_once(seeds) or {}) if figure == "available" else {})
        if figure == "rate":
            return {seed: sum(part.rate for part in parts) for seed, (_, parts) in found.items()}
        return {seed: float(getattr(counts, figure)) for seed, (counts, _) in found.items()}

    async def _pages_at_once(self, seeds: Sequence[str]) -> dict[str, int] | None:
        """Return the pages in these seeds' queues, some seconds late; None where the management API does not answer."""
        at, totals = self._totals
        if time.monotonic() - at > FRESH:
            try:
                async with asyncio.timeout(PATIENCE):
                    totals = await self.management.totals()
            except (ManagementError, TimeoutError) as error:
                log.info("management.failed", problem=str(error) or type(error).__name__)
                return None
            self._totals = time.monotonic(), totals
        queues = {seed: topology.seed_queue_name(seed) for seed in seeds}
        return {seed: totals[queue].ready for seed, queue in queues.items() if queue in totals}

    async def views(self, seeds: Sequence[Seed]) -> list[SeedView]:
        """Return these seeds with their figures; for many seeds, what is available is an estimate."""
        ids = [seed.id for seed in seeds]
        asked, leases = await self._ask(ids, await self._pages_at_once(ids) if len(seeds) > COUNTED else None)
        tag_sets = {seed.spec.tags for seed in seeds}
        consumers = {tags: self.publisher.depth.consumers(topology.work_queue_name(tags)) for tags in tag_sets}
        eligible = self._eligible(consumers, leases)
        strange = {tags: await self.publisher.depth.foreign(topology.work_queue_name(tags)) for tags in tag_sets}
        has_heartbeats = bool(self.heartbeats.present())
        in_hand, held = self.heartbeats.items_by_seed()
        views = []
        for seed in seeds:
            counts, parts = asked[seed.id]
            leased = sum(part.leased for part in parts)
            tags = seed.spec.tags
            standing = Standing(
                state=seed.state,
                available=counts.available,
                queued=counts.queued,
                sent=counts.sent,
                in_hand=in_hand[seed.id],
                held=held[seed.id] + leased,
                suspected=sum(part.suspected for part in parts),
                is_certain=counts.exact
                and not strange[tags]
                and (not has_heartbeats or all(part.settled for part in parts)),
            )
            reason = why(standing, tags, eligible[tags], self._obstacle(parts))
            views.append(SeedView(seed, counts, sum(part.rate for part in parts), standing, reason))
        return views

    def _obstacle(self, parts: Iterable[SeedShare]) -> Obstacle | None:
        """Return what holds a seed up according to the replica that dispatches it."""
        for part in parts:
            if part.obstacle is not None:
                is_paused = not self.publisher.standstill.is_over.is_set()
                return Obstacle(part.obstacle.throttled_until, part.obstacle.is_full, is_paused=is_paused)
        return None

    async def eligible(self, consumers: Mapping[TagSet, int]) -> dict[TagSet, EligibleWorkers]:
        """Return who can get batches with these tags, given how many consume each of their queues."""
        _, leases = await self._ask([])
        return self._eligible(consumers, leases)

    def _eligible(self, consumers: Mapping[TagSet, int], leases: Mapping[str, int]) -> dict[TagSet, EligibleWorkers]:
        state = self.registry.state
        able = [
            (heard.presence.tags, len(heard.presence.held))
            for heard in self.heartbeats.present()
            if not heard.presence.draining
        ]
        callers = (state.workers.get(ident) for ident in leases)
        able += [(one.spec.tags, leases[one.id]) for one in callers if one is not None and not one.is_draining]
        return {
            tags: EligibleWorkers(len(fit), sum(fit), count)
            for tags, count in consumers.items()
            for fit in [[held for own, held in able if set(tags).issubset(own)]]
        }

    async def _ask(
        self, seeds: Sequence[str], pages: Mapping[str, int] | None = None
    ) -> tuple[dict[str, tuple[Counts, list[SeedShare]]], Mapping[str, int]]:
        """Return the counts and shares of these seeds, and how many batches each HTTP worker holds.

        `pages` are those in the seeds' queues, some seconds late; where they are None, the broker is asked for each.
        """
        answers = await self.rpc.ask(SEED_SHARES, SeedList(seeds=tuple(seeds)))
        shares = self._shares(seeds)
        found = {}
        waiting_pages = await self._waiting_pages(seeds) if pages is None else pages
        for seed in seeds:
            parts = [shares[seed], *(answer.seeds.get(seed, SeedShare()) for answer in answers.given.values())]
            traffic = sum((part.traffic for part in parts), Traffic())
            in_queue = waiting_pages.get(seed)
            waiting, is_counted = traffic.waiting(in_queue or 0)
            is_known = in_queue is not None and pages is None
            counts = Counts(
                available=waiting + sum(part.at_hand for part in parts),
                queued=sum(part.queued + part.suspected for part in parts),
                sent=sum(part.sent for part in parts),
                taken=sum(part.taken for part in parts),
                exact=is_known and is_counted and all(part.exact for part in parts) and not answers.missing,
            )
            found[seed] = (counts, parts)
        leases = self._callers_here()
        for answer in answers.given.values():
            leases.update(answer.callers)
        return found, leases

    def _callers_here(self) -> Counter[str]:
        """Return how many batches each HTTP worker holds here; workers that hold none are in it too."""
        leases = Counter(lease.worker for lease in self.leases.held())
        leases.update(dict.fromkeys(self.heartbeats.called(), 0))
        return leases

    async def _waiting_pages(self, seeds: Sequence[str]) -> dict[str, int]:
        """Return the pages in these seeds' queues, without the seeds whose queue does not answer now."""
        found = {}
        for seed in seeds:
            try:
                found[seed] = await self.catalog.waiting_pages(seed)
            except QueueSilentError as error:
                log.debug("seed.queue_silent", seed=seed, problem=str(error))
        return found

    def _shares(self, seeds: Sequence[str]) -> dict[str, SeedShare]:
        """Return what this replica has of these seeds."""
        counts, suspected = self.publisher.ledger.counts(), self.isolation.waiting()
        known = self.heartbeats.held() | {lease.batch.id for lease in self.leases.held()}
        leased: Counter[str] = Counter()
        for lease in self.leases.held():
            leased[lease.batch.seed] += lease.batch.count
        strangers = {one.seed for one in self.publisher.ledger.delivered() if one.batch not in known}
        return {
            seed: SeedShare(
                at_hand=self.owned_seeds.buffered(seed)[0],
                queued=queued,
                sent=sent,
                taken=self.publisher.ledger.taken(seed),
                exact=seed not in strangers,
                suspected=suspected[seed],
                traffic=self.catalog.traffic(seed),
                leased=leased[seed],
                rate=self.throughput.rate(seed),
                settled=self.throughput.is_settled(seed),
                obstacle=_array(self.owned_seeds.planner.obstacle(seed)),
            )
            for seed in seeds
            for queued, sent in [counts.get(seed, (0, 0))]
        }

    async def shares_for_peer(self, question: SeedList) -> SeedShares:
        """Answer another replica: what this one has of these seeds."""
        return SeedShares(seeds=self._shares(question.seeds), callers=dict(self._callers_here()))


def _array(obstacle: Obstacle | None) -> ObstacleArray | None:
    if obstacle is None:
        return None
    return ObstacleArray(throttled_until=obstacle.throttled_until, is_full=obstacle.is_full)
