"""What the API says of seeds, workers, batches and the broker. The OpenAPI description is made from these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from pydantic.alias_generators import to_camel

from coordinator.domain.event_ring import KINDS
from coordinator.models import HeldBatch, Item, Policy, Priority, Transport, WorkerState

Count = Annotated[int, Field(ge=0)]
EventKind = Annotated[str, Field(json_schema_extra={"enum": list(KINDS)})]
"""A client accepts a kind that it does not know: a later version may have added it."""
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339."""


class Answer(BaseModel):
    """The base of all answers. Fields can be given by their names in JSON or in Python; unknown fields are ignored."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra={"additionalProperties": False},
    )


class Counts(Answer):
    """Items of a seed by place; `exact` is false if a figure is an estimate."""

    available: Count
    queued: Count
    sent: Count
    taken: Count
    exact: bool


class Progress(Answer):
    """`drained`: no item is available, queued, sent or in hand. `inHand`: items acked but not finished by workers."""

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
    """The time when the seed entered its state."""
    rate: Annotated[float, Field(ge=0)]
    """Items taken per second, over the last 10 s."""
    progress: Progress
    why: str | None
    """Why its items wait, in a sentence; null if no item waits, or nothing blocks them."""


class Total(Answer):
    """The number of entries in the whole list."""

    total_items: Count


class SeedList(Answer):
    """A part of the seeds, by id."""

    seeds: list[SeedAnswer]
    count: Total


class WorkerAnswer(Answer):
    """A worker, and the unacked batches that it or the coordinator reports."""

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
    """A registered worker. Only this answer holds `amqpUrl`, the URL of its broker user; null for an HTTP worker."""

    amqp_url: str | None


class WorkerList(Answer):
    """A part of the known workers, by id."""

    workers: list[WorkerAnswer]
    count: Total


class Holding(Answer):
    """An unacked batch; `worker` and `begun` are null if the client does not report them."""

    worker: str | None
    batch: str
    seed: str
    count: Count
    since: Moment
    begun: bool | None


class HoldingList(Answer):
    """A part of the unacked batches, the longest held first."""

    batches: list[Holding]
    count: Total


class DeadAnswer(Answer):
    """A dead letter; if it is not a batch, `body` is the beginning of its body."""

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
    """A dead letter in full: `items` for a batch or a page, `body` for anything else."""

    items: Annotated[SkipValidation[list[Item]], Field()] | None


class QueueAnswer(Answer):
    """A work queue, in batches; `eligible` counts the present workers whose tags fit."""

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
    """A coordinator: the number of seeds that it dispatches, and the recent delay of its event loop in seconds."""

    instance: str
    version: str
    host: str
    since: Moment
    seeds: Count
    lag: Annotated[float, Field(ge=0)]
    you: bool
    """Whether this coordinator sent the answer."""


class CoordinatorList(Answer):
    """A part of the coordinators. The coordinator that answers comes first."""

    coordinators: list[CoordinatorAnswer]
    count: Total


class NodeAnswer(Answer):
    """A node of the broker: used memory and free disk in bytes; 0 until the broker has measured them."""

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
    """An event; fields that do not apply are left out, and `reason` gives the cause or a detail."""

    id: str
    """Its position among all events, for `after` and `Last-Event-ID`."""
    at: Moment
    kind: EventKind
    seed: str | None = None
    worker: str | None = None
    batch: str | None = None
    items: Count | None = None
    attempt: Annotated[int, Field(ge=1)] | None = None
    reason: str | None = None
    coordinator: str
    """The coordinator that recorded it; empty for an event of an earlier version."""


class EventList(Answer):
    """A part of the events, newest last."""

    events: list[Event]
    count: Total
