"""What happened to seeds, workers and batches: small entries, kept in rings and shown as events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple
from zlib import crc32

from coordinator.domain.registry import State
from coordinator.domain.registry_events import (
    Event,
    SeedCreated,
    SeedPurged,
    SeedReleased,
    SeedResumed,
    SeedSet,
    WorkerDrained,
    WorkerDraining,
    WorkerRegistered,
    WorkerReleased,
    WorkerRemoved,
    WorkerSeen,
)
from coordinator.errors import InvalidInputError
from coordinator.times import rfc3339

KINDS: Final = (
    "seed.created",
    "seed.changed",
    "seed.released",
    "seed.resumed",
    "seed.purged",
    "seed.drained",
    "seed.owner",
    "worker.seen",
    "worker.registered",
    "worker.released",
    "worker.fenced",
    "worker.removed",
    "worker.draining",
    "worker.drained",
    "batch.sent",
    "batch.held",
    "batch.acked",
    "batch.returned",
    "batch.dead",
)
GROUPS: Final = ("seed", "worker", "batch")
"""Each stands for all kinds that begin so."""
DURABLE: Final = "registry"
"""The source of what the registry's stream holds: the same at every coordinator."""
MICRO: Final = 1_000_000


Plain = tuple[float, str, str | None, str | None, str | None, int | None, int | None, str | None, str]
"""The values of an `Entry`. Where there are thousands a second a plain tuple is kept: it is made in a third of the
time, and the garbage collector soon leaves it alone."""
KIND, SEED, WORKER, BATCH = 1, 2, 3, 4


class Entry(NamedTuple):
    """Something that happened; `at` is Unix time in seconds, `items` how many it concerns."""

    at: float
    kind: str
    seed: str | None = None
    worker: str | None = None
    batch: str | None = None
    items: int | None = None
    attempt: int | None = None
    reason: str | None = None
    by: str = ""
    """The replica that recorded it."""


class Key(NamedTuple):
    """Where an event stands among all: by time first, so that the events of several replicas can be merged."""

    micros: int
    source: str
    number: int

    def __str__(self) -> str:
        """The event's id."""
        return f"{self.micros:x}-{self.source}-{self.number:x}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read the id of an event.

        Raises:
            InvalidInputError: the id is not valid.
        """
        try:
            micros, source, number = text.split("-")
            return cls(int(micros, 16), source, int(number, 16))
        except ValueError as error:
            raise InvalidInputError([("after", f"{text!r} is not the id of an event")]) from error


@dataclass(frozen=True, slots=True)
class Happened:
    """An entry with its place."""

    key: Key
    entry: Entry

    def view(self) -> dict[str, Any]:
        """Return the event as it is shown: what does not apply is left out."""
        shown = {name: value for name, value in self.entry._asdict().items() if value is not None}
        by = shown.pop("by")
        return {"id": str(self.key), **shown, "at": rfc3339(self.entry.at), "coordinator": by}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: those of a seed, a worker, a batch, of certain kinds; None and no kinds take all."""

    seed: str | None = None
    worker: str | None = None
    batch: str | None = None
    kinds: frozenset[str] = frozenset()

    @classmethod
    def of(cls, seed: str | None, worker: str | None, batch: str | None, kind: str | None) -> Wanted:
        """From a query, where `kind` may be several with commas between, and `batch` stands for all of `batch.…`.

        Raises:
            InvalidInputError: there is no such kind.
        """
        kinds: set[str] = set()
        for word in filter(None, (kind or "").split(",")):
            found = {one for one in KINDS if word == one or (word in GROUPS and one.startswith(f"{word}."))}
            if not found:
                raise InvalidInputError([("kind", f"{word!r} is none of {', '.join((*GROUPS, *KINDS))}")])
            kinds |= found
        return cls(seed or None, worker or None, batch or None, frozenset(kinds))

    def takes(self, entry: Plain) -> bool:
        """Whether this is one of them."""
        return (
            (self.seed is None or entry[SEED] == self.seed)
            and (self.worker is None or entry[WORKER] == self.worker)
            and (self.batch is None or entry[BATCH] == self.batch)
            and (not self.kinds or entry[KIND] in self.kinds)
        )


class EventRing:
    """The last entries of one source; to add one costs as good as nothing, and all else is done by who reads."""

    def __init__(self, source: str, limit: int) -> None:
        self.source = source
        self.added = 0
        self._entries: deque[Plain] = deque(maxlen=limit)

    def add(self, entry: Plain) -> None:
        """Note that something happened."""
        self._entries.append(entry)
        self.added += 1

    def since(self, number: int) -> list[Happened]:
        """All entries from this number on that are still there, oldest first."""
        missing = min(self.added - number, len(self._entries))
        newest = zip(range(self.added - 1, -1, -1), reversed(self._entries), strict=False)
        return [self._told(*one) for one in islice(newest, max(0, missing))][::-1]

    def find(self, wanted: Wanted, after: Key | None, limit: int) -> tuple[list[Happened], int]:
        """Some of the wanted entries, oldest first, and how many there are.

        Args:
            wanted: which.
            after: only those after this place, and then the first ones; else the last ones.
            limit: how many at most: all others are only counted.
        """
        found: deque[tuple[int, Plain]] = deque(maxlen=limit)
        total, number = 0, self.added
        for entry in reversed(self._entries):
            number -= 1
            if wanted.takes(entry) and (after is None or self._key(number, entry) > after):
                total += 1
                if after is not None or total <= limit:
                    found.append((number, entry))
        return [self._told(*one) for one in reversed(found)], total

    def _key(self, number: int, entry: Plain) -> Key:
        return Key(int(entry[0] * MICRO), self.source, number)

    def _told(self, number: int, entry: Plain) -> Happened:
        return Happened(self._key(number, entry), Entry(*entry))


class Past(EventRing):
    """The last entries that are in the registry's stream: each has the same place at every coordinator.

    To count them would not do: a coordinator that has begun later, when the stream's head was cut, has counted fewer.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(DURABLE, limit)

    def _key(self, number: int, entry: Plain) -> Key:  # noqa: ARG002 - that is what differs
        what = f"{entry[KIND]} {entry[SEED]} {entry[WORKER]}"
        return super()._key(crc32(what.encode()), entry)


def entry_of(event: Event, before: State) -> Entry | None:
    """Return the entry for an event of the registry; None where the event changes nothing of interest.

    Args:
        event: the event.
        before: the state that it is about to be folded into.
    """
    found = _seed_entry(event, before) or _worker_entry(event, before)
    return found._replace(by=event.by) if found else None


def _seed_entry(event: Event, before: State) -> Entry | None:
    match event:
        case SeedCreated(seed=seed, at=at) if seed not in before.seeds:
            return Entry(at, "seed.created", seed)
        case SeedSet(seed=seed, at=at):
            return Entry(at, "seed.changed" if seed in before.seeds else "seed.created", seed)
        case SeedReleased(seed=seed, at=at) if seed in before.seeds:
            return Entry(at, "seed.released", seed, reason=f"epoch {before.seeds[seed].epoch + 1}")
        case SeedResumed() | SeedPurged() if event.seed in before.seeds:
            return Entry(event.at, event.type, event.seed)
        case _:
            return None


def _worker_entry(event: Event, before: State) -> Entry | None:
    match event:
        case WorkerSeen(worker=worker, at=at, back=back) if back or before.worker(worker, at) is None:
            return Entry(at, "worker.seen", worker=worker, reason="connected anew" if back else None)
        case WorkerReleased(worker=worker, at=at, fenced=True):
            return Entry(at, "worker.fenced", worker=worker, reason="it had fallen silent")
        case WorkerRegistered() | WorkerReleased() | WorkerDraining() | WorkerDrained() | WorkerRemoved():
            return Entry(event.at, event.type, worker=event.worker)
        case _:
            return None
