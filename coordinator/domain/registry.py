"""Seeds, policies and known workers, as the fold of the events that the registry's stream holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from coordinator.domain.registry_events import (
    Event,
    SeedCreated,
    SeedEntry,
    SeedPurged,
    SeedReleased,
    SeedResumed,
    SeedSet,
    SeedsSpent,
    Snapshot,
    Standing,
    WorkerDrained,
    WorkerDraining,
    WorkerEntry,
    WorkerRegistered,
    WorkerReleased,
    WorkerRemoved,
    WorkerSeen,
)
from coordinator.domain.tags import TagSet
from coordinator.domain.throttle import SECONDS, Spending, is_recorded, keep_spending
from coordinator.models import SeedSpec, WorkerSpec

WORKER_MEMORY = 7 * 86_400.0
"""Seconds of silence after which a worker is no longer known."""
FORGOTTEN_SEEDS = 10_000
"""Of how many purged seeds the epoch is remembered, so that a batch of theirs that comes back late stays stale."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One configured crawl start; it has been in its state `since` (Unix time in seconds)."""

    id: str
    state: Literal["running", "released"] = "running"
    epoch: int = 1
    spec: SeedSpec = field(default_factory=SeedSpec)
    spent: tuple[Spending, ...] = ()
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A known worker; `seen` is Unix time in seconds, `address` where it registered from."""

    id: str
    spec: WorkerSpec = field(default_factory=WorkerSpec)
    user: str | None = None
    registered: bool = False
    seen: float = 0.0
    address: str | None = None
    standing: Standing = "free"

    @property
    def is_draining(self) -> bool:
        """Whether it was asked to take no more."""
        return self.standing in {"draining", "drained"}


class State:
    """What all events up to `offset` amount to; folding an event twice changes nothing."""

    def __init__(self) -> None:
        self.seeds: dict[str, Seed] = {}
        self.workers: dict[str, Worker] = {}
        self.tag_sets: set[TagSet] = {()}
        self.forgotten: dict[str, int] = {}
        self.offset = -1
        self.is_complete = False
        self.since_snapshot = 0
        self._first: int | None = None
        self._early: list[tuple[int, Event]] = []

    def fold(self, offset: int, event: Event) -> bool:
        """Take the event at this offset of the stream in; whether it was new.

        Retention cuts the stream's head, so a replay may begin in its middle: then events wait until a snapshot
        comes that covers all before the first that is there.
        """
        if offset <= self.offset:
            return False
        if self._first is None:
            self._first = offset
        if offset == 0:
            self.is_complete = True
        self.offset = offset
        if isinstance(event, Snapshot):
            self.since_snapshot = 0
            if not self.is_complete:
                self._begin_at(event)
        elif self.is_complete:
            self.since_snapshot += 1
            self._apply(event)
        else:
            self._early.append((offset, event))
        return True

    def snapshot(self, ident: str, at: float) -> Snapshot:
        """All of it, as an event."""
        return Snapshot(
            id=ident,
            at=at,
            upto=self.offset,
            seeds=tuple(
                SeedEntry(
                    id=seed.id,
                    state=seed.state,
                    epoch=seed.epoch,
                    spec=seed.spec,
                    spent=seed.spent,
                    since=seed.since,
                )
                for seed in self.seeds.values()
            ),
            workers=tuple(
                WorkerEntry(
                    id=one.id,
                    spec=one.spec,
                    user=one.user,
                    registered=one.registered,
                    seen=one.seen,
                    address=one.address,
                    standing=one.standing,
                )
                for one in self.workers.values()
                if at - one.seen < WORKER_MEMORY
            ),
            tag_sets=tuple(sorted(self.tag_sets)),
            forgotten=self.forgotten,
        )

    def is_stale(self, seed: str, epoch: int) -> bool:
        """Whether a batch of this seed and epoch may no longer be handed out."""
        known = self.seeds.get(seed)
        return known is None or epoch < known.epoch or known.state == "released"

    def worker(self, ident: str, now: float) -> Worker | None:
        """A known worker: neither removed nor silent for a week."""
        found = self.workers.get(ident)
        return found if found is not None and now - found.seen < WORKER_MEMORY else None

    def is_draining(self, worker: str) -> bool:
        """Whether a worker was asked to take no more."""
        found = self.workers.get(worker)
        return found is not None and found.is_draining

    def _begin_at(self, snapshot: Snapshot) -> None:
        if self._first is None or self._first > snapshot.upto + 1:
            return  # what lay between the snapshot's last event and the first that is there was cut off with the head
        early, self._early = self._early, []
        self.is_complete = True
        self.seeds = {
            one.id: Seed(one.id, one.state, one.epoch, one.spec, one.spent, one.since) for one in snapshot.seeds
        }
        self.workers = {
            one.id: Worker(one.id, one.spec, one.user, one.registered, one.seen, one.address, one.standing)
            for one in snapshot.workers
        }
        self.tag_sets = {(), *snapshot.tag_sets}
        self.forgotten = dict(snapshot.forgotten)
        for offset, event in early:
            if offset > snapshot.upto:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        match event:
            case SeedCreated(seed=ident, at=at):
                self.seeds.setdefault(ident, self._new(ident, at))
            case SeedSet(seed=ident, spec=spec, at=at):
                self.seeds[ident] = replace(self.seeds.get(ident) or self._new(ident, at), spec=spec)
                self.tag_sets.add(spec.tags)
            case SeedReleased(seed=ident, at=at) if ident in self.seeds:
                seed = self.seeds[ident]
                since = seed.since if seed.state == "released" else at
                self.seeds[ident] = replace(seed, state="released", epoch=seed.epoch + 1, since=since)
            case SeedResumed(seed=ident, at=at) if ident in self.seeds:
                self.seeds[ident] = replace(self.seeds[ident], state="running", since=at)
            case SeedPurged(seed=ident) if ident in self.seeds:
                self.forgotten[ident] = self.seeds.pop(ident).epoch
                while len(self.forgotten) > FORGOTTEN_SEEDS:
                    del self.forgotten[next(iter(self.forgotten))]
            case SeedsSpent(items=items, at=at):
                self._spend(items, at)
            case WorkerSeen() | WorkerRegistered() | WorkerRemoved():
                self._apply_worker(event)
            case WorkerReleased() | WorkerDraining() | WorkerDrained():
                self._stand(event)
            case _:
                pass

    def _new(self, ident: str, at: float) -> Seed:
        return Seed(ident, epoch=self.forgotten.pop(ident, 0) + 1, since=at)

    def _stand(self, event: WorkerReleased | WorkerDraining | WorkerDrained) -> None:
        known = self.workers.get(event.worker)
        if known is None:
            return
        standing: Standing
        match event:
            case WorkerReleased(fenced=fenced):
                standing = "fenced" if fenced else "free"
            case WorkerDraining():
                standing = "draining"
            case WorkerDrained():
                standing = "drained"
        self.workers[event.worker] = replace(known, standing=standing)

    def _spend(self, items: dict[str, int], at: float) -> None:
        for ident, count in items.items():
            seed = self.seeds.get(ident)
            if seed is None:
                continue
            periods = [SECONDS[throttle.period] for throttle in seed.spec.throttles]
            longest = max((period for period in periods if is_recorded(period)), default=0.0)
            spent = keep_spending(seed.spent, (at, count), longest) if longest else ()
            self.seeds[ident] = replace(seed, spent=spent)

    def _apply_worker(self, event: WorkerSeen | WorkerRegistered | WorkerRemoved) -> None:
        # A worker that was silent for too long begins anew, as at a replica whose snapshot does not hold it.
        known = self.worker(event.worker, event.at) or Worker(event.worker)
        match event:
            case WorkerSeen(worker=ident, tags=tags, transport=transport, at=at, back=back):
                changes = {"tags": tags, "transport": transport}
                spec = known.spec if known.registered else known.spec.model_copy(update=changes)
                standing = "free" if back else known.standing
                self.workers[ident] = replace(known, spec=spec, seen=max(known.seen, at), standing=standing)
            case WorkerRegistered(worker=ident, spec=spec, user=user, at=at, address=address):
                seen = max(known.seen, at)
                self.workers[ident] = Worker(ident, spec, user, registered=True, seen=seen, address=address)
            case WorkerRemoved(worker=ident):
                self.workers.pop(ident, None)
