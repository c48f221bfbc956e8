"""Figures of the whole cluster: where a seed's items are, and why they do not move."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.management import Management, Totals
from coordinator.domain.diagnosis import EligibleWorkers, Obstacle, Standing, is_drained, why
from coordinator.domain.registry import Seed
from coordinator.domain.seed_traffic import Traffic
from coordinator.domain.tags import TagSet
from coordinator.errors import ManagementError, QueueSilentError
from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.observe.throughput import Throughput
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Body
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.heartbeats import Heartbeats

log = structlog.get_logger(__name__)

FRESH: Final = 2.0
"""Seconds for which what the management API told is told again: it counts no more often itself."""
PATIENCE: Final = 2.0
"""Seconds that it may take, for it is slow when many workers are cut off at once."""
COUNTED: Final = 200
"""Of so many seeds at most the broker is asked one by one how much is available. For more it is asked once for all."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a seed's items are; not exact where a figure is an estimate, or a coordinator has not answered."""

    available: int
    queued: int
    sent: int
    taken: int
    exact: bool


@dataclass(frozen=True, slots=True)
class SeedView:
    """A seed as it is read: `rate` in items taken a second, `why` it does not move, if it does not."""

    seed: Seed
    counts: Counts
    rate: float
    standing: Standing
    why: str | None

    @property
    def is_drained(self) -> bool:
        """Whether all of it is done."""
        return is_drained(self.standing)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one coordinator has of a seed, in items: pages at hand, batches that it sent, suspects; and its traffic."""

    at_hand: int
    queued: int
    sent: int
    taken: int
    exact: bool
    suspected: int
    traffic: tuple[int, int, int, int]
    leased: int
    rate: float
    settled: bool
    obstacle: tuple[float | None, bool] | None


class SeedStats:
    """Asks all coordinators, this one included."""

    def __init__(
        self,
        *,
        registry: Registry,
        seeds: SeedCatalog,
        dispatcher: Dispatcher,
        work: Publisher,
        leases: Leases,
        isolation: Isolation,
        heartbeats: Heartbeats,
        throughput: Throughput,
        replicas: Replicas,
        management: Management,
    ) -> None:
        self._registry = registry
        self._throughput = throughput
        self._catalog = seeds
        self._dispatcher = dispatcher
        self._publisher = work
        self._leases = leases
        self._isolation = isolation
        self._heartbeats = heartbeats
        self._replicas = replicas
        self._management = management
        self._totals: tuple[float, dict[str, Totals]] = (-math.inf, {})
        """What the management API told last of all queues, and when (monotonic seconds)."""

    async def of(self, seeds: Sequence[str]) -> dict[str, Counts]:
        """The counts of these seeds."""
        found, _ = await self._ask(seeds)
        return {seed: counts for seed, (counts, _) in found.items()}

    async def ranks(self, seeds: Sequence[str], figure: str) -> dict[str, float]:
        """A figure of each of these seeds, to sort them by: how many items are in a place, or the rate.

        The broker is asked once for all, and its figures may lag by some seconds; nothing else is asked of it.
        """
        found, _ = await self._ask(seeds, (await self._pages_at_once(seeds) or {}) if figure == "available" else {})
        if figure == "rate":
            return {seed: sum(part.rate for part in parts) for seed, (_, parts) in found.items()}
        return {seed: float(getattr(counts, figure)) for seed, (counts, _) in found.items()}

    async def _pages_at_once(self, seeds: Sequence[str]) -> dict[str, int] | None:
        """Pages that wait in these seeds' queues, some seconds late; None where the management API does not answer."""
        at, totals = self._totals
        if time.monotonic() - at > FRESH:
            try:
                async with asyncio.timeout(PATIENCE):
                    totals = await self._management.totals()
            except (ManagementError, TimeoutError) as error:
                log.info("management.failed", problem=str(error) or type(error).__name__)
                return None
            self._totals = time.monotonic(), totals
        queues = {seed: topology.seed_queue_name(seed) for seed in seeds}
        return {seed: totals[queue].ready for seed, queue in queues.items() if queue in totals}

    async def views(self, seeds: Sequence[Seed]) -> list[SeedView]:
        """These seeds, with all that is known of how they go; of many, what is available is an estimate."""
        ids = [seed.id for seed in seeds]
        asked, leases = await self._ask(ids, await self._pages_at_once(ids) if len(seeds) > COUNTED else None)
        tag_sets = {seed.spec.tags for seed in seeds}
        consumers = {tags: self._publisher.consumers(topology.work_queue_name(tags)) for tags in tag_sets}
        crews = self._crews(consumers, leases)
        strange = {tags: await self._publisher.strange(topology.work_queue_name(tags)) for tags in tag_sets}
        is_told = bool(self._heartbeats.present())
        in_hand, held = self._heartbeats.items_by_seed()
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
                is_certain=counts.exact and not strange[tags] and (not is_told or all(part.settled for part in parts)),
            )
            told = next((part.obstacle for part in parts if part.obstacle is not None), None)
            obstacle = (
                None if told is None else Obstacle(*told, is_paused=not self._publisher.standstill.is_over.is_set())
            )
            rate = sum(part.rate for part in parts)
            views.append(SeedView(seed, counts, rate, standing, why(standing, tags, crews[tags], obstacle)))
        return views

    async def crews(self, consumers: Mapping[TagSet, int]) -> dict[TagSet, EligibleWorkers]:
        """Who may take batches with these tags, where so many consume each of their queues."""
        _, leases = await self._ask([])
        return self._crews(consumers, leases)

    def _crews(self, consumers: Mapping[TagSet, int], leases: Mapping[str, int]) -> dict[TagSet, EligibleWorkers]:
        state = self._registry.state
        able = [
            (heard.presence.tags, len(heard.presence.held))
            for heard in self._heartbeats.present()
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
    ) -> tuple[dict[str, tuple[Counts, list[_Share]]], Mapping[str, int]]:
        """The counts and shares of these seeds; and of each worker that speaks HTTP, how many batches it holds.

        `pages` are those that wait in their queues, as was known some seconds ago; else the broker is asked for each.
        """
        answers = await self._replicas.ask("figures.seeds", {"seeds": list(seeds)})
        shares = self._shares(seeds)
        found = {}
        waiting_pages = await self._waiting_pages(seeds) if pages is None else pages
        for seed in seeds:
            parts = [shares[seed], *(_Share(*body["seeds"][seed]) for body in answers.given.values())]
            traffic = sum((Traffic(*part.traffic) for part in parts), Traffic())
            told = waiting_pages.get(seed)
            waiting, is_counted = traffic.waiting(told or 0)
            is_known = told is not None and pages is None
            counts = Counts(
                available=waiting + sum(part.at_hand for part in parts),
                queued=sum(part.queued + part.suspected for part in parts),
                sent=sum(part.sent for part in parts),
                taken=sum(part.taken for part in parts),
                exact=is_known and is_counted and all(part.exact for part in parts) and not answers.missing,
            )
            found[seed] = (counts, parts)
        leases = self._callers_here()
        for body in answers.given.values():
            leases.update(body["callers"])
        return found, leases

    def _callers_here(self) -> Counter[str]:
        """How many batches are held here for each worker that speaks HTTP; those that hold none count too."""
        leases = Counter(lease.worker for lease in self._leases.held())
        leases.update(dict.fromkeys(self._heartbeats.called(), 0))
        return leases

    async def _waiting_pages(self, seeds: Sequence[str]) -> dict[str, int]:
        """Pages that wait in these seeds' queues; those of which the broker tells nothing now are left out."""
        found = {}
        for seed in seeds:
            try:
                found[seed] = await self._catalog.waiting_pages(seed)
            except QueueSilentError as error:
                log.debug("seed.queue_silent", seed=seed, problem=str(error))
        return found

    def _shares(self, seeds: Sequence[str]) -> dict[str, _Share]:
        bound_by_capacity(self._publisher, self._leases, self._heartbeats)
        counts, suspected = self._publisher.ledger.counts(), self._isolation.waiting()
        known = self._heartbeats.held() | {lease.batch.id for lease in self._leases.held()}
        leased: Counter[str] = Counter()
        for lease in self._leases.held():
            leased[lease.batch.seed] += lease.batch.count
        strangers = {one.seed for one in self._publisher.ledger.sent() if one.batch not in known}
        return {
            seed: _Share(
                self._dispatcher.buffered(seed)[0],
                *counts.get(seed, (0, 0)),
                self._publisher.ledger.taken(seed),
                seed not in strangers,
                suspected[seed],
                dataclasses.astuple(self._catalog.traffic(seed)),
                leased[seed],
                self._throughput.rate(seed),
                self._throughput.is_settled(seed),
                _tuple(self._dispatcher.planner.obstacle(seed)),
            )
            for seed in seeds
        }

    async def shares_for_peer(self, body: Body) -> Body:
        """Answer another replica: this one's part of the figures of these seeds."""
        shares = self._shares([str(seed) for seed in body["seeds"]])
        told = {seed: dataclasses.astuple(share) for seed, share in shares.items()}
        return {"seeds": told, "callers": self._callers_here()}


def _tuple(obstacle: Obstacle | None) -> tuple[float | None, bool] | None:
    return None if obstacle is None else (obstacle.throttled_until, obstacle.is_full)


def bound_by_capacity(work: Publisher, leases: Leases, heartbeats: Heartbeats) -> None:
    """Where all consumers of a work queue are library workers, what is sent is bounded by what they can hold."""
    leased = {lease.batch.id for lease in leases.held()}
    for queue in work.ledger.busy():
        tags = set(topology.tags_of_work_queue(queue))
        speaking = [heard.presence for heard in heartbeats.present() if heard.presence.transport == "amqp"]
        able = [presence for presence in speaking if tags.issubset(presence.tags)]
        # The broker counts what was fetched and is not settled as a consumer each, from then on.
        # Of a queue that just lost its leader, or its only worker, what was sent is not taken: it comes back.
        if able and work.consumers(queue) - leases.fetched(queue, work.asked(queue)) <= len(able):
            work.bound(queue, sum(presence.capacity for presence in able), leased)
