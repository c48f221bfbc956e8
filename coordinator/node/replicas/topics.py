"""What replicas can ask each other, and notify each other of. The names are on the wire, and never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from coordinator.node.replicas.messages import (
    Content,
    DispatchPause,
    DispatchState,
    Empty,
    EventsSince,
    FindEvents,
    FoundEvents,
    HeldHere,
    NewEvents,
    OnePublication,
    OneSeed,
    OneWorker,
    PauseDispatch,
    ReleasedLeases,
    SeedItems,
    SeedList,
    SeedShares,
    Settled,
    SettledLeases,
    SettleLeases,
    StopSeed,
    WasAlone,
)

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
