"""What the API says of seeds, workers, batches and the broker. The OpenAPI description is made from these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from pydantic.alias_generators import to_camel

from coordinator.domain.event_ring import KINDS
from coordinator.models import HeldBatch, Item, Policy, Priority, Transport, WorkerState

Count = Annotated[int, Field(ge=0)]
EventKind = Annotated[str, Field(json_schema_extra={"enum": list(KINDS)})]
"""A client takes a kind that it does not know for what it is: one of a later version."""
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339."""


class Answer(BaseModel):
    """Fields are named as in JSON or as in Python; what a later version adds is ignored."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra={"additionalProperties": False},
    )


class Counts(Answer):
    """Items of a seed by place; `exact` is false where a figure is an estimate."""

    available: Count
    queued: Count
    sent: Count
    taken: Count
    exact: bool


class Progress(Answer):
    """How far a seed is: drained when nothing is available, queued, sent or in a worker's hands; `inHand` in items."""

    drained: bool
    in_hand: Count


class SeedAnswer(Answer):
    """A seed; `owner` is the coordinator that dispatches it."""

    id: str
    state: Literal["running", "released"]
    epoch: Annotated[int, Field(ge=1)]
    priority: Priority
    policies: list[Policy]
    batch_size: Annotated[int, Field(ge=1, le=1000)]
    owner: str | None
    counts: Counts
    since: Moment
    """Since when it is in its state."""
    rate: Annotated[float, Field(ge=0)]
    """Items taken a second, over some 10 s."""
    progress: Progress
    why: str | None
    """Why its items wait, in a sentence; null where none do, or nothing stands in their way."""


class Total(Answer):
    """How many there are in all."""

    total_items: Count


class SeedList(Answer):
    """A part of the seeds, by id."""

    seeds: list[SeedAnswer]
    count: Total


class WorkerAnswer(Answer):
    """A worker and what it holds unacked, as far as it or the coordinator knows."""

    id: str
    tags: list[str]
    transport: Transport
    callback: str | None
    registered: bool
    connected: bool
    capacity: Count | None
    last_seen: Moment
    held: list[HeldBatch]
    state: WorkerState


class Registered(WorkerAnswer):
    """A registered worker, and the AMQP URL of its own broker user: told this once, null for one that speaks HTTP."""

    amqp_url: str | None


class WorkerList(Answer):
    """A part of the known workers, by id."""

    workers: list[WorkerAnswer]
    count: Total


class Holding(Answer):
    """A batch that is held unacked; `worker` and `begun` are null for a client that does not say."""

    worker: str | None
    batch: str
    seed: str
    count: Count
    since: Moment
    begun: bool | None


class HoldingList(Answer):
    """A part of the batches that are held unacked, the longest held first."""

    batches: list[Holding]
    count: Total


class DeadAnswer(Answer):
    """A dead letter; `body` is its beginning where it is not a batch."""

    id: str
    kind: str
    seed: str
    reason: str
    at: str
    attempt: int | None
    count: int | None
    history: list[str]
    body: str | None


class DeadList(Answer):
    """A part of the dead letters, oldest first."""

    dead: list[DeadAnswer]
    count: Total


class DeadWhole(DeadAnswer):
    """A dead letter whole: `items` are those of a batch or page, `body` all of what is neither."""

    items: Annotated[SkipValidation[list[Item]], Field()] | None


class QueueAnswer(Answer):
    """A work queue, in batches; `eligible` are the workers that are there and whose tags fit."""

    name: str
    tags: list[str]
    ready: Count
    unacked: Count
    consumers: Count
    eligible: Count
    warning: str | None
    """What is wrong with it, in a sentence."""


class QueueList(Answer):
    """A part of the work queues, by tags."""

    queues: list[QueueAnswer]
    count: Total


class CoordinatorAnswer(Answer):
    """A coordinator: how many seeds it dispatches, and by how many seconds its event loop was late of late."""

    instance: str
    version: str
    host: str
    since: Moment
    seeds: Count
    lag: Annotated[float, Field(ge=0)]
    you: bool
    """Whether it is the one that answers."""


class CoordinatorList(Answer):
    """A part of the coordinators, the one that answers first."""

    coordinators: list[CoordinatorAnswer]
    count: Total


class NodeAnswer(Answer):
    """A node of the broker: memory used and disk free, in bytes; 0 while the broker has not counted them."""

    name: str
    running: bool
    memory_alarm: bool
    disk_alarm: bool
    memory: Count
    disk_free: Count


class BrokerAnswer(Answer):
    """The broker: `blocked` while it takes no messages, `known` while its management API answers."""

    product: str
    version: str
    nodes: list[NodeAnswer]
    blocked: bool
    known: bool


class Event(Answer):
    """Something that happened; what does not apply is left out, and `reason` says why, or what of it."""

    id: str
    """Its place among all: to be named in `after`, or as `Last-Event-ID`."""
    at: Moment
    kind: EventKind
    seed: str | None = None
    worker: str | None = None
    batch: str | None = None
    items: Count | None = None
    attempt: Annotated[int, Field(ge=1)] | None = None
    reason: str | None = None
    coordinator: str
    """The one that noted it; empty for what was noted by an earlier version."""


class EventList(Answer):
    """A part of the events, newest last."""

    events: list[Event]
    count: Total
