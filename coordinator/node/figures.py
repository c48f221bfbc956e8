"""Figures of the whole cluster: where a seed's items are, and who holds what."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coordinator import topology
from coordinator.domain.pages import Traffic
from coordinator.models import HeldBatch
from coordinator.node.dispatcher import Dispatcher
from coordinator.node.leases import Leases
from coordinator.node.peers import Peers
from coordinator.node.presence import Roster
from coordinator.node.seeds import Seeds
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
class Holding:
    """A batch that was delivered and not acked; `worker` is None for what a client holds that does not say."""

    worker: str | None
    held: HeldBatch


@dataclass(frozen=True, slots=True)
class _Share:
    """What one coordinator has of a seed, in items: pages at hand, batches that it sent; and its traffic."""

    at_hand: int
    queued: int
    sent: int
    taken: int
    exact: bool
    traffic: tuple[int, int, int, int]


class Figures:
    """Asks all coordinators, this one included."""

    def __init__(
        self, *, seeds: Seeds, dispatcher: Dispatcher, work: Work, leases: Leases, roster: Roster, peers: Peers
    ) -> None:
        self._seeds = seeds
        self._dispatcher = dispatcher
        self._work = work
        self._leases = leases
        self._roster = roster
        self._peers = peers
        peers.answer("figures.seeds", self._shares_for_peer)
        peers.answer("figures.held", self._held_for_peer)

    async def of(self, seeds: Sequence[str]) -> dict[str, Counts]:
        """The counts of these seeds."""
        answers = await self._peers.ask("figures.seeds", {"seeds": list(seeds)})
        shares = self._shares(seeds)
        counts = {}
        for seed in seeds:
            parts = [shares[seed], *(_Share(*body["seeds"][seed]) for body in answers.given.values())]
            traffic = sum((Traffic(*part.traffic) for part in parts), Traffic())
            waiting, is_counted = traffic.waiting(await self._seeds.waiting_pages(seed))
            counts[seed] = Counts(
                available=waiting + sum(part.at_hand for part in parts),
                queued=sum(part.queued for part in parts),
                sent=sum(part.sent for part in parts),
                taken=sum(part.taken for part in parts),
                exact=is_counted and all(part.exact for part in parts) and not answers.missing,
            )
        return counts

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
        answers = await self._peers.ask("figures.held", {})
        return [*self._leased_here(), *_read(answers.given.values(), "leases")]

    def _shares(self, seeds: Sequence[str]) -> dict[str, _Share]:
        bound_by_capacity(self._work, self._leases, self._roster)
        counts = self._work.ledger.counts()
        known = self._roster.held() | {lease.batch.id for lease in self._leases.held()}
        strangers = {one.seed for one in self._work.ledger.sent() if one.batch not in known}
        return {
            seed: _Share(
                self._dispatcher.buffered(seed)[0],
                *counts.get(seed, (0, 0)),
                self._work.ledger.taken(seed),
                seed not in strangers,
                dataclasses.astuple(self._seeds.traffic(seed)),
            )
            for seed in seeds
        }

    async def _shares_for_peer(self, body: Body) -> Body:
        shares = self._shares([str(seed) for seed in body["seeds"]])
        return {"seeds": {seed: dataclasses.astuple(share) for seed, share in shares.items()}}

    async def _held_for_peer(self, _: Body) -> Body:
        return {"leases": _write(self._leased_here()), "sent": _write(self._sent_here())}

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


def _write(holdings: Iterable[Holding]) -> list[Body]:
    return [{"worker": one.worker, **one.held.model_dump()} for one in holdings]


def _read(bodies: Iterable[Body], name: str) -> list[Holding]:
    return [Holding(one["worker"], HeldBatch.model_validate(one)) for body in bodies for one in body.get(name, ())]


def _rfc3339(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="milliseconds")


def bound_by_capacity(work: Work, leases: Leases, roster: Roster) -> None:
    """Where all consumers of a work queue are library workers, what is sent is bounded by what they can hold."""
    leased = {lease.batch.id for lease in leases.held()}
    for queue in work.ledger.busy():
        tags = set(topology.tags_of_work_queue(queue))
        speaking = [heard.presence for heard in roster.present() if heard.presence.transport == "amqp"]
        able = [presence for presence in speaking if tags.issubset(presence.tags)]
        if work.consumers(queue) <= len(able):
            work.ledger.bound(queue, sum(presence.capacity for presence in able), leased)
