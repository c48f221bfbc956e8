"""What replicas send each other, so that replicas of two versions work beside each other.

A field that this version does not know is ignored; a field that is missing reads as what promises least. Names and
the order of arrays never change: a new field is an object's, and has a default.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from coordinator.domain.seed_traffic import Traffic
from coordinator.models import HeldBatch
from coordinator.node.replicas.arrays import QueueLoad, SeedShare, TrafficArray

VERSION: Final = 1
"""Written into each message. Version 0 wrote none."""

Body = dict[str, Any]


class Content(BaseModel):
    """The content of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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


class Description(Content):
    """What a replica is, for the list of replicas."""

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
