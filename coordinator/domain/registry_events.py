"""What the registry's stream holds: an entry for each thing that happened to a seed or a worker, and snapshots."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from coordinator.domain.tags import TagSet
from coordinator.domain.throttle import Spending
from coordinator.models import SeedSpec, Transport, WorkerSpec


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    at: float
    """Unix time in seconds."""
    by: str = ""
    """The coordinator that wrote it."""


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
    back: bool = False
    """Whether it has connected anew, after it was cut off or asked to drain."""


class WorkerRegistered(_Event):
    """A worker registered, from the IP address `address`; `user` is its own broker user."""

    type: Literal["worker.registered"] = "worker.registered"
    worker: str
    spec: WorkerSpec
    user: str | None = None
    address: str | None = None


class WorkerReleased(_Event):
    """A worker was cut off: by command, or because it had fallen silent (`fenced`)."""

    type: Literal["worker.released"] = "worker.released"
    worker: str
    fenced: bool = False


class WorkerDraining(_Event):
    """A worker was asked to finish what it has and take no more, until it registers again."""

    type: Literal["worker.draining"] = "worker.draining"
    worker: str


class WorkerDrained(_Event):
    """A worker that was asked to drain has nothing left."""

    type: Literal["worker.drained"] = "worker.drained"
    worker: str


class WorkerRemoved(_Event):
    """A worker is no longer known."""

    type: Literal["worker.removed"] = "worker.removed"
    worker: str


class Marker(_Event):
    """Is appended to be read back: a replica that reads it has read all that came before."""

    type: Literal["marker"] = "marker"


Standing = Literal["free", "fenced", "draining", "drained"]
"""What was done to a worker: it was cut off, or asked to take no more, and then had nothing left."""


class SeedEntry(BaseModel):
    """A seed as a snapshot holds it."""

    id: str
    state: Literal["running", "released"]
    epoch: int
    spec: SeedSpec
    spent: tuple[Spending, ...] = ()
    since: float = 0.0


class WorkerEntry(BaseModel):
    """A worker as a snapshot holds it."""

    id: str
    spec: WorkerSpec
    user: str | None
    registered: bool
    seen: float
    address: str | None = None
    standing: Standing = "free"


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
    | WorkerReleased
    | WorkerDraining
    | WorkerDrained
    | WorkerRemoved
    | Marker
    | Snapshot,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
