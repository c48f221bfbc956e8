"""The history: what each party outside the coordinator saw, one append-only file of JSON lines for each process.

Nobody shares a file, so nobody waits for another, and a process that is killed leaves all that it wrote. Times are
seconds of CLOCK_MONOTONIC, which all processes of a machine have in common and no clock step moves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import orjson

Outcome = Literal["confirmed", "unknown", "refused"]
How = Literal["acking", "acked", "ack lost", "rejected", "given back", "lost"]

SPOOL = ".spool"
"""Ends the name of the hold under which a worker tells of what an earlier process of it had taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a party saw; `at` is when it was over, in seconds."""

    kind: ClassVar[str]
    at: float = field(default_factory=time.monotonic)
    party: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced(Event):
    """Items were sent to a seed; `unknown` when the answer was lost, so they may be there or not."""

    kind: ClassVar[str] = "produced"
    seed: str
    items: tuple[str, ...]
    begun: float
    outcome: Outcome
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(Event):
    """A batch came to a worker.

    `hold` names this delivery in the whole history. `marked` tells whether the broker's flag or the header says that
    it is a repeat; `attempt` says so by itself.
    """

    kind: ClassVar[str] = "delivered"
    hold: str
    worker: str
    transport: str
    batch: str
    seed: str
    epoch: int
    attempt: int
    flag: bool
    header: bool
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Event):
    """What a worker did with a delivery.

    `acking` is written before the ack is sent: a worker that is killed then may have acked or not. What is `given
    back` names its items, for part of a batch may be. `lost`: the worker itself found that it holds it no more.
    """

    kind: ClassVar[str] = "settled"
    hold: str
    how: How
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Event):
    """A command to one seed or worker, and what was answered.

    `status` is 0 when no answer came: it may be carried out now, later, or never. `numbers` are those of the answer
    (`epoch`, `returned`, `held`, `purged`).
    """

    kind: ClassVar[str] = "command"
    name: str
    target: str
    begun: float
    status: int
    numbers: dict[str, int] = field(default_factory=dict)
    via: str = "amqp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """A fault begins or ends; `name` is its kind, `target` who is struck, `number` counts them in a run."""

    kind: ClassVar[str] = "fault"
    number: int
    name: str
    target: str
    phase: Literal["begun", "ended"]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed(Event):
    """How a seed of the load was set up; `bound` is the longest that it may wait for a turn, in seconds."""

    kind: ClassVar[str] = "seed"
    seed: str
    bound: float
    may_lose: tuple[str, ...] = ()
    """Kinds of fault that truly lose what they strike of this seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead(Event):
    """A dead letter, as it lies in its queue at the end."""

    kind: ClassVar[str] = "dead"
    batch: str
    seed: str
    what: str
    reason: str
    attempt: int
    history: tuple[str, ...]
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left(Event):
    """Messages that lie in a queue after the load ended and all had time to be worked off."""

    kind: ClassVar[str] = "left"
    queue: str
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed(Event):
    """A process ended that nobody had ended."""

    kind: ClassVar[str] = "crashed"
    process: str
    code: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase(Event):
    """A part of the run begins: `load`, `heal`, `end`."""

    kind: ClassVar[str] = "phase"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Event):
    """What a process or the broker uses: memory, tasks, file descriptors, channels, connections."""

    kind: ClassVar[str] = "sample"
    process: str
    numbers: dict[str, float]


KINDS: dict[str, type[Event]] = {
    one.kind: one for one in (Produced, Delivered, Settled, Command, Fault, Seed, Dead, Left, Crashed, Phase, Sample)
}

E = TypeVar("E", bound=Event)


class Recorder:
    """One party's file; an event is on it, whole, before `write` returns."""

    def __init__(self, folder: Path, party: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.party = party
        path = folder / f"{file_name(party)}.{os.getpid()}.{time.monotonic_ns()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, event: Event) -> None:
        """Append an event, signed by this party."""
        told = {one.name: getattr(event, one.name) for one in fields(event)}
        os.write(self._file, orjson.dumps({**told, "kind": event.kind, "party": self.party}) + b"\n")

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


def file_name(party: str) -> str:
    """How the names of a party's files begin."""
    return "".join(sign if sign.isalnum() else "_" for sign in party)


def read(folder: Path) -> list[Event]:
    """All that all parties wrote, in the order of time.

    Raises:
        ValueError: a line is none of a history; a last line that was cut off by a kill is not counted as one.
    """
    events = [event for path in sorted(folder.glob("*.jsonl")) for event in _events(path)]
    return sorted(events, key=lambda event: event.at)


def of(kind: type[E], events: list[Event]) -> list[E]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def _events(path: Path) -> Iterator[Event]:
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return
        try:
            told: dict[str, Any] = orjson.loads(line)
            kind = KINDS[told.pop("kind")]
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in told.items()
            }
            yield kind(**values)
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}, line {number}: {error!r}") from error
