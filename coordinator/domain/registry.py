"""Seeds, policies and known workers, as the fold of the events that the registry's stream holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from coordinator.domain.tags import TagSet
from coordinator.domain.throttle import SECONDS, Spending, is_recorded, keep_spending
from coordinator.models import SeedSpec, Transport, WorkerSpec

WORKER_MEMORY = 7 * 86_400.0
"""Seconds of silence after which a worker is no longer known."""
FORGOTTEN_SEEDS = 10_000
"""Of how many purged seeds the epoch is remembered, so that a batch of theirs that comes back late stays stale."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    at: float
    """Unix time in seconds."""


class SeedCreated(_Event):
    """A seed came into being with its first items."""

    type: Literal["seed.created"] = "seed.created"
    seed: str


class SeedSet(_Event):
    """A manager set a seed's policies; it comes into being if need be."""

    type: Literal["seed.set"] = "seed.set"
    seed: str
    spec: SeedSpec


class SeedReleased(_Event):
    """Its epoch goes up, and nothing of it is handed out until it is resumed."""

    type: Literal["seed.released"] = "seed.released"
    seed: str


class SeedResumed(_Event):
    """A released seed runs again."""

    type: Literal["seed.resumed"] = "seed.resumed"
    seed: str


class SeedPurged(_Event):
    """A seed is forgotten, all but its epoch."""

    type: Literal["seed.purged"] = "seed.purged"
    seed: str


class SeedsSpent(_Event):
    """Items about to be dispatched under throttles that outlive a change of owner."""

    type: Literal["seeds.spent"] = "seeds.spent"
    items: dict[str, int]


class WorkerSeen(_Event):
    """A sign of life of a worker: the first one, and then now and again."""

    type: Literal["worker.seen"] = "worker.seen"
    worker: str
    tags: tuple[str, ...] = ()
    transport: Transport = "amqp"


class WorkerRegistered(_Event):
    """A worker registered, from the IP address `address`; `user` is its own broker user."""

    type: Literal["worker.registered"] = "worker.registered"
    worker: str
    spec: WorkerSpec
    user: str | None = None
    address: str | None = None


class WorkerRemoved(_Event):
    """A worker is no longer known."""

    type: Literal["worker.removed"] = "worker.removed"
    worker: str


class Marker(_Event):
    """Written to be read back: whoever reads it has read all that came before."""

    type: Literal["marker"] = "marker"


class SeedEntry(BaseModel):
    """A seed as a snapshot holds it."""

    id: str
    state: Literal["running", "released"]
    epoch: int
    spec: SeedSpec
    spent: tuple[Spending, ...] = ()


class WorkerEntry(BaseModel):
    """A worker as a snapshot holds it."""

    id: str
    spec: WorkerSpec
    user: str | None
    registered: bool
    seen: float
    address: str | None = None


class Snapshot(_Event):
    """The whole state after the event at offset `upto`; what lies between it and the snapshot still counts."""

    type: Literal["snapshot"] = "snapshot"
    upto: int
    seeds: tuple[SeedEntry, ...]
    workers: tuple[WorkerEntry, ...]
    tag_sets: tuple[TagSet, ...]
    forgotten: dict[str, int]


Event = Annotated[
    SeedCreated
    | SeedSet
    | SeedReleased
    | SeedResumed
    | SeedPurged
    | SeedsSpent
    | WorkerSeen
    | WorkerRegistered
    | WorkerRemoved
    | Marker
    | Snapshot,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class Seed:
    """One configured crawl start."""

    id: str
    state: Literal["running", "released"] = "running"
    epoch: int = 1
    spec: SeedSpec = field(default_factory=SeedSpec)
    spent: tuple[Spending, ...] = ()


@dataclass(frozen=True, slots=True)
class Worker:
    """A known worker; `seen` is Unix time in seconds, `address` where it registered from."""

    id: str
    spec: WorkerSpec = field(default_factory=WorkerSpec)
    user: str | None = None
    registered: bool = False
    seen: float = 0.0
    address: str | None = None


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
                SeedEntry(id=seed.id, state=seed.state, epoch=seed.epoch, spec=seed.spec, spent=seed.spent)
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

    def _begin_at(self, snapshot: Snapshot) -> None:
        if self._first is None or self._first > snapshot.upto + 1:
            return  # what lay between the snapshot's last event and the first that is there was cut off with the head
        early, self._early = self._early, []
        self.is_complete = True
        self.seeds = {one.id: Seed(one.id, one.state, one.epoch, one.spec, one.spent) for one in snapshot.seeds}
        self.workers = {
            one.id: Worker(one.id, one.spec, one.user, one.registered, one.seen, one.address)
            for one in snapshot.workers
        }
        self.tag_sets = {(), *snapshot.tag_sets}
        self.forgotten = dict(snapshot.forgotten)
        for offset, event in early:
            if offset > snapshot.upto:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        match event:
            case SeedCreated(seed=ident):
                self.seeds.setdefault(ident, self._new(ident))
            case SeedSet(seed=ident, spec=spec):
                self.seeds[ident] = replace(self.seeds.get(ident) or self._new(ident), spec=spec)
                self.tag_sets.add(spec.tags)
            case SeedReleased(seed=ident) if ident in self.seeds:
                seed = self.seeds[ident]
                self.seeds[ident] = replace(seed, state="released", epoch=seed.epoch + 1)
            case SeedResumed(seed=ident) if ident in self.seeds:
                self.seeds[ident] = replace(self.seeds[ident], state="running")
            case SeedPurged(seed=ident) if ident in self.seeds:
                self.forgotten[ident] = self.seeds.pop(ident).epoch
                while len(self.forgotten) > FORGOTTEN_SEEDS:
                    del self.forgotten[next(iter(self.forgotten))]
            case SeedsSpent(items=items, at=at):
                self._spend(items, at)
            case WorkerSeen() | WorkerRegistered() | WorkerRemoved():
                self._apply_worker(event)
            case _:
                pass

    def _new(self, ident: str) -> Seed:
        return Seed(ident, epoch=self.forgotten.pop(ident, 0) + 1)

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
        # One that was silent for too long begins anew, as it does for whoever starts from a snapshot without it.
        known = self.worker(event.worker, event.at) or Worker(event.worker)
        match event:
            case WorkerSeen(worker=ident, tags=tags, transport=transport, at=at):
                said = {"tags": tags, "transport": transport}
                spec = known.spec if known.registered else known.spec.model_copy(update=said)
                self.workers[ident] = replace(known, spec=spec, seen=max(known.seen, at))
            case WorkerRegistered(worker=ident, spec=spec, user=user, at=at, address=address):
                seen = max(known.seen, at)
                self.workers[ident] = Worker(ident, spec, user, registered=True, seen=seen, address=address)
            case WorkerRemoved(worker=ident):
                self.workers.pop(ident, None)
