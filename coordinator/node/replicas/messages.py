"""What replicas send each other, so that replicas of two versions work beside each other.

A field that this version does not know is ignored; a field that is missing reads as what promises least. Names and
the order of arrays never change: a new field is an object's, and has a default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_serializer, model_validator

from coordinator.domain.seed_traffic import Traffic
from coordinator.models import HeldBatch

VERSION: Final = 1
"""Written into each message. Version 0 wrote none."""

Body = dict[str, Any]


class Content(BaseModel):
    """The content of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Array(BaseModel):
    """Content that is an array on the wire: what comes after the known fields is ignored, what is missing is default.

    Version 0 reads exactly as many values as there are fields, so none can be added.
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return dict(zip(cls.model_fields, value, strict=False))
        return value

    @model_serializer
    def _write(self) -> list[Any]:
        return [getattr(self, name) for name in type(self).model_fields]


class Envelope(Content):
    """A message between replicas. `type` is a `Type`, or one that a later version added."""

    type: str
    version: int = 0
    sender: str
    id: str = ""
    about: str = ""
    body: Body = {}


Type = Literal["beat", "barrier", "question", "answer", "error", "notice"]
"""`error` answers a question that failed. Version 0 cannot read it, so to it the replica does not answer."""


def _read_traffic(value: object) -> object:
    if isinstance(value, list | tuple):
        return dict(zip((each.name for each in dataclasses.fields(Traffic)), value, strict=False))
    return value


TrafficArray = Annotated[Traffic, BeforeValidator(_read_traffic), PlainSerializer(dataclasses.astuple)]


class QueueLoad(Array):
    """What a replica does with a work queue.

    Attributes:
        demand: the weight of its seeds that wait.
        rate: the batches a second that it publishes.
        published: how many it has published in all.
        queued: its batches that wait in the queue.
        sent: its batches that workers hold.
    """

    demand: float = 0.0
    rate: float = 0.0
    published: int = 0
    queued: int = 0
    sent: int = 0


class Description(Content):
    """What a replica is, for whoever lists the replicas."""

    instance: str = ""
    version: str = ""
    host: str = ""
    since: str = ""
    seeds: int = 0
    lag: float = 0.0


class ReplicaHeartbeat(Content):
    """The sign of life of a replica.

    Attributes:
        leaving: whether it stops, so that its seeds are the others' from now on.
        greeting: whether it has just joined, and wants to hear the others at once.
        work: its load by work queue.
        coordinator: what it is.
    """

    leaving: bool = False
    greeting: bool = False
    work: dict[str, QueueLoad] = {}
    coordinator: Description | None = None


class Empty(Content):
    """No content."""


class WantedEvents(Content):
    """A filter of events; see `event_ring.Wanted`."""

    seed: str | None = None
    worker: str | None = None
    batch: str | None = None
    kinds: tuple[str, ...] = ()


class FindEvents(Content):
    """Asks for the wanted events after a place, or for the last ones."""

    wanted: WantedEvents = WantedEvents()
    after: str | None = None
    limit: int = 0


class FoundEvents(Content):
    """The events as they are shown, and how many there are in all."""

    events: tuple[Body, ...] = ()
    total: int = 0


class EventsSince(Content):
    """Asks for events that are newer than the last answer: `since` has its `upto`, by instance."""

    since: dict[str, int] = {}
    wanted: tuple[WantedEvents, ...] = ()


class NewEvents(Content):
    """The newest events, how many were left out before them, and where the next answer begins."""

    events: tuple[Body, ...] = ()
    upto: int | None = None
    left_out: int = 0


class ObstacleArray(Array):
    """What holds a seed up; see `diagnosis.Obstacle`."""

    throttled_until: float | None = None
    is_full: bool = False


class SeedShare(Array):
    """What one replica has of a seed, in items.

    Attributes:
        at_hand: in pages that it has consumed.
        queued: in batches of its own that wait in work queues.
        sent: in batches of its own that workers hold.
        taken: in batches of its own that were acked.
        exact: whether these figures are exact.
        suspected: in batches that wait to be tried alone.
        traffic: its traffic with the seed's queue.
        leased: in batches that it holds for HTTP workers.
        rate: items a second that were taken.
        settled: whether nothing was taken for a while.
        obstacle: what holds the seed up; None where this replica does not dispatch it, or nothing does.
    """

    at_hand: int = 0
    queued: int = 0
    sent: int = 0
    taken: int = 0
    exact: bool = False
    suspected: int = 0
    traffic: TrafficArray = Traffic()
    leased: int = 0
    rate: float = 0.0
    settled: bool = False
    obstacle: ObstacleArray | None = None


class SeedList(Content):
    """Asks about these seeds."""

    seeds: tuple[str, ...]


class SeedShares(Content):
    """Shares by seed; `callers` are the batches that each HTTP worker holds."""

    seeds: dict[str, SeedShare] = {}
    callers: dict[str, int] = {}


class HeldRow(HeldBatch):
    """A batch that is held; `worker` is None where the holder is not known."""

    worker: str | None = None


class HeldHere(Content):
    """What HTTP workers hold, what is sent, and when each HTTP worker fetched last (Unix time in seconds)."""

    leases: tuple[HeldRow, ...] = ()
    sent: tuple[HeldRow, ...] = ()
    called: dict[str, float] = {}


class SettleLeases(Content):
    """Asks to settle leases; `worker` is their only holder where one is named."""

    handles: tuple[str, ...]
    how: str = "give back"
    worker: str | None = None


class SettledLeases(Content):
    """The handles that were held."""

    found: tuple[str, ...] = ()


class StopSeed(Content):
    """Asks to stop a seed; `offset` is the registry event that says so."""

    seed: str
    offset: int


class OneSeed(Content):
    """Asks about a seed."""

    seed: str


class SeedItems(Content):
    """What was found of a seed: items, ids of batches that waited in work queues, traffic with the seed's queue."""

    items: int = 0
    batches: tuple[str, ...] = ()
    traffic: TrafficArray = Traffic()


class OnePublication(Content):
    """Asks about a publication."""

    publication: str


class WasAlone(Content):
    """Whether a publication was the last offer of this replica, and nothing else was out beside it."""

    alone: bool = False


class PauseDispatch(Content):
    """Asks to publish nothing for so long."""

    seconds: float


class DispatchState(Content):
    """Whether all that this replica sent is settled, and whether something is about to be sent."""

    quiet: bool = False
    leaving: bool = True


class DispatchPause(Content):
    """Whether this replica publishes nothing now, and for how many seconds it must dispatch before the next pause."""

    paused: bool = False
    owed: float = 0.0


class OneWorker(Content):
    """Asks about a worker."""

    worker: str


class ReleasedLeases(Content):
    """How many leases of a worker were released."""

    leases: int = 0


class Settled(Content):
    """A batch was acked (`taken`), or came back."""

    publication: str
    taken: bool = False


Q = TypeVar("Q", bound=Content)
A = TypeVar("A", bound=Content)


@dataclass(frozen=True, slots=True)
class Topic(Generic[Q, A]):
    """What replicas can ask each other."""

    name: str
    question: type[Q]
    answer: type[A]


@dataclass(frozen=True, slots=True)
class NoticeTopic(Generic[Q]):
    """What replicas can notify each other of."""

    name: str
    content: type[Q]


@dataclass(frozen=True, slots=True)
class Answers(Generic[A]):
    """The answers to a question by instance; `missing` are those that failed or did not answer in time."""

    given: Mapping[str, A] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


EVENTS_FIND: Final = Topic("events.find", FindEvents, FoundEvents)
EVENTS_SINCE: Final = Topic("events.since", EventsSince, NewEvents)
SEED_SHARES: Final = Topic("figures.seeds", SeedList, SeedShares)
HELD_BATCHES: Final = Topic("holdings", Empty, HeldHere)
LEASES_SETTLE: Final = Topic("leases.settle", SettleLeases, SettledLeases)
SEED_STOP: Final = Topic("recall", StopSeed, SeedItems)
SEED_FOUND: Final = Topic("recall.met", OneSeed, SeedItems)
SEED_PURGED: Final = Topic("seed.purged", OneSeed, Empty)
WORK_ALONE: Final = Topic("work.alone", OnePublication, WasAlone)
WORK_PAUSE: Final = Topic("work.pause", PauseDispatch, DispatchState)
WORK_PAUSED: Final = Topic("work.paused", Empty, DispatchPause)
WORK_RESUME: Final = Topic("work.resume", Empty, Empty)
WORKER_RELEASE: Final = Topic("worker.release", OneWorker, ReleasedLeases)

BATCH_SETTLED: Final = NoticeTopic("settled", Settled)
CUT_OFF: Final = NoticeTopic("cut off", Empty)
