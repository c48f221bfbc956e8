"""Figures of the whole cluster: where a seed's items are, and who holds what."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coordinator import topology
from coordinator.domain.pages import Traffic
from coordinator.domain.registry import Seed
from coordinator.domain.tags import TagSet
from coordinator.domain.why import Crew, Obstacle, Standing, is_drained, why
from coordinator.models import HeldBatch
from coordinator.node.dispatcher import Dispatcher
from coordinator.node.leases import Leases
from coordinator.node.peers import Peers
from coordinator.node.presence import Roster
from coordinator.node.pulse import Pulse
from coordinator.node.registry import Registry
from coordinator.node.seeds import Seeds
from coordinator.node.suspects import Suspects
from coordinator.node.talk import Body
from coordinator.node.work import Work


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
class Holding:
    """A batch that was delivered and not acked; `worker` is None for what a client holds that does not say."""

    worker: str | None
    held: HeldBatch


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


class Figures:
    """Asks all coordinators, this one included."""

    def __init__(
        self,
        *,
        registry: Registry,
        seeds: Seeds,
        dispatcher: Dispatcher,
        work: Work,
        leases: Leases,
        suspects: Suspects,
        roster: Roster,
        pulse: Pulse,
        peers: Peers,
    ) -> None:
        self._registry = registry
        self._pulse = pulse
        self._seeds = seeds
        self._dispatcher = dispatcher
        self._work = work
        self._leases = leases
        self._suspects = suspects
        self._roster = roster
        self._peers = peers
        peers.answer("figures.seeds", self._shares_for_peer)
        peers.answer("figures.held", self._held_for_peer)

    async def of(self, seeds: Sequence[str]) -> dict[str, Counts]:
        """The counts of these seeds."""
        found, _ = await self._ask(seeds)
        return {seed: counts for seed, (counts, _) in found.items()}

    async def views(self, seeds: Sequence[Seed]) -> list[SeedView]:
        """These seeds, with all that is known of how they go."""
        asked, leases = await self._ask([seed.id for seed in seeds])
        tag_sets = {seed.spec.tags for seed in seeds}
        consumers = {tags: self._work.consumers(topology.work_queue_name(tags)) for tags in tag_sets}
        crews = self._crews(consumers, leases)
        strange = {tags: await self._work.strange(topology.work_queue_name(tags)) for tags in tag_sets}
        is_told = bool(self._roster.present())
        in_hand, held = self._roster.items_by_seed()
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
                is_certain=not strange[tags] and (not is_told or all(part.settled for part in parts)),
            )
            told = next((part.obstacle for part in parts if part.obstacle is not None), None)
            obstacle = None if told is None else Obstacle(*told, is_paused=not self._work.is_open.is_set())
            rate = sum(part.rate for part in parts)
            views.append(SeedView(seed, counts, rate, standing, why(standing, tags, crews[tags], obstacle)))
        return views

    async def crews(self, consumers: Mapping[TagSet, int]) -> dict[TagSet, Crew]:
        """Who may take batches with these tags, where so many consume each of their queues."""
        _, leases = await self._ask([])
        return self._crews(consumers, leases)

    def _crews(self, consumers: Mapping[TagSet, int], leases: Mapping[str, int]) -> dict[TagSet, Crew]:
        state = self._registry.state
        able = [
            (heard.presence.tags, len(heard.presence.held))
            for heard in self._roster.present()
            if not heard.presence.draining
        ]
        callers = (state.workers.get(ident) for ident in leases)
        able += [(one.spec.tags, leases[one.id]) for one in callers if one is not None and not one.is_draining]
        return {
            tags: Crew(len(fit), sum(fit), count)
            for tags, count in consumers.items()
            for fit in [[held for own, held in able if set(tags).issubset(own)]]
        }

    async def callers(self) -> tuple[list[Holding], dict[str, float]]:
        """What HTTP workers hold, and when each fetched last (Unix time in seconds), if that is recent."""
        answers = await self._peers.ask("figures.held", {})
        called = self._roster.called()
        for body in answers.given.values():
            for worker, at in body.get("called", {}).items():
                called[worker] = max(at, called.get(worker, 0.0))
        return [*self._leased_here(), *_read(answers.given.values(), "leases")], called

    async def _ask(self, seeds: Sequence[str]) -> tuple[dict[str, tuple[Counts, list[_Share]]], Mapping[str, int]]:
        """The counts and shares of these seeds; and of each worker that speaks HTTP, how many batches it holds."""
        answers = await self._peers.ask("figures.seeds", {"seeds": list(seeds)})
        shares = self._shares(seeds)
        found = {}
        for seed, pages in (await self._waiting_pages(seeds)).items():
            parts = [shares[seed], *(_Share(*body["seeds"][seed]) for body in answers.given.values())]
            traffic = sum((Traffic(*part.traffic) for part in parts), Traffic())
            waiting, is_counted = traffic.waiting(pages)
            counts = Counts(
                available=waiting + sum(part.at_hand for part in parts),
                queued=sum(part.queued + part.suspected for part in parts),
                sent=sum(part.sent for part in parts),
                taken=sum(part.taken for part in parts),
                exact=is_counted and all(part.exact for part in parts) and not answers.missing,
            )
            found[seed] = (counts, parts)
        leases = self._callers_here()
        for body in answers.given.values():
            leases.update(body["callers"])
        return found, leases

    def _callers_here(self) -> Counter[str]:
        """How many batches are held here for each worker that speaks HTTP; those that hold none count too."""
        leases = Counter(lease.worker for lease in self._leases.held())
        leases.update(dict.fromkeys(self._roster.called(), 0))
        return leases

    async def _waiting_pages(self, seeds: Sequence[str]) -> dict[str, int]:
        return {seed: await self._seeds.waiting_pages(seed) for seed in seeds}

    async def held(self) -> list[Holding]:
        """Who holds which batch, the longest first."""
        answers = await self._peers.ask("figures.held", {})
        leases = [*self._leased_here(), *_read(answers.given.values(), "leases")]
        named = [
            *(Holding(heard.presence.worker, one) for heard in self._roster.present() for one in heard.presence.held),
            *leases,
        ]
        known = {one.held.batch for one in named}
        sent = [*self._sent_here(), *_read(answers.given.values(), "sent")]
        return sorted([*named, *(one for one in sent if one.held.batch not in known)], key=lambda one: one.held.since)

    async def leased(self) -> list[Holding]:
        """What HTTP workers hold."""
        leases, _ = await self.callers()
        return leases

    def _shares(self, seeds: Sequence[str]) -> dict[str, _Share]:
        bound_by_capacity(self._work, self._leases, self._roster)
        counts, suspected = self._work.ledger.counts(), self._suspects.waiting()
        known = self._roster.held() | {lease.batch.id for lease in self._leases.held()}
        leased: Counter[str] = Counter()
        for lease in self._leases.held():
            leased[lease.batch.seed] += lease.batch.count
        strangers = {one.seed for one in self._work.ledger.sent() if one.batch not in known}
        return {
            seed: _Share(
                self._dispatcher.buffered(seed)[0],
                *counts.get(seed, (0, 0)),
                self._work.ledger.taken(seed),
                seed not in strangers,
                suspected[seed],
                dataclasses.astuple(self._seeds.traffic(seed)),
                leased[seed],
                self._pulse.rate(seed),
                self._pulse.is_settled(seed),
                _tuple(self._dispatcher.obstacle(seed)),
            )
            for seed in seeds
        }

    async def _shares_for_peer(self, body: Body) -> Body:
        shares = self._shares([str(seed) for seed in body["seeds"]])
        told = {seed: dataclasses.astuple(share) for seed, share in shares.items()}
        return {"seeds": told, "callers": self._callers_here()}

    async def _held_for_peer(self, _: Body) -> Body:
        called = self._roster.called()
        return {"leases": _write(self._leased_here()), "sent": _write(self._sent_here()), "called": called}

    def _leased_here(self) -> list[Holding]:
        return [
            Holding(
                lease.worker,
                HeldBatch(
                    batch=lease.batch.id,
                    seed=lease.batch.seed,
                    count=lease.batch.count,
                    since=_rfc3339(lease.since),
                    begun=True,
                ),
            )
            for lease in self._leases.held()
        ]

    def _sent_here(self) -> list[Holding]:
        ago = time.time() - time.monotonic()
        return [
            Holding(
                None,
                HeldBatch(batch=one.batch, seed=one.seed, count=one.count, since=_rfc3339(one.at + ago), begun=None),
            )
            for one in self._work.ledger.sent()
        ]


def _tuple(obstacle: Obstacle | None) -> tuple[float | None, bool] | None:
    return None if obstacle is None else (obstacle.throttled_until, obstacle.is_full)


def _write(holdings: Iterable[Holding]) -> list[Body]:
    return [{"worker": one.worker, **one.held.model_dump()} for one in holdings]


def _read(bodies: Iterable[Body], name: str) -> list[Holding]:
    return [Holding(one["worker"], HeldBatch.model_validate(one)) for body in bodies for one in body.get(name, ())]


def _rfc3339(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="milliseconds")


def bound_by_capacity(work: Work, leases: Leases, roster: Roster) -> None:
    """Where all consumers of a work queue are library workers, what is sent is bounded by what they can hold."""
    leased = {lease.batch.id for lease in leases.held()}
    # The broker counts what was fetched and is not settled as a consumer each.
    fetches = Counter(topology.work_queue_name(lease.batch.tags) for lease in leases.held())
    for queue in work.ledger.busy():
        tags = set(topology.tags_of_work_queue(queue))
        speaking = [heard.presence for heard in roster.present() if heard.presence.transport == "amqp"]
        able = [presence for presence in speaking if tags.issubset(presence.tags)]
        if work.consumers(queue) - fetches[queue] <= len(able):
            work.bound(queue, sum(presence.capacity for presence in able), leased)
