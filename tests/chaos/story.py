"""A history made ready to be asked: who held which item from when to when, what was commanded, what was struck."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.history import SPOOL, Command, Dead, Delivered, Event, Fault, Left, Produced, Seed, Settled, of

KILLS = frozenset({"worker-kill", "poison"})
"""Faults that end a worker's process, and with it all that it holds."""
HARMLESS = frozenset(
    {"memory-alarm", "disk-alarm", "clock-step", "commands-repeated", "commands-reordered", "worker-slow"}
)
"""Faults that slow things down and must make no delivery fail."""
RETURNS = frozenset({"given back", "rejected"})
"""What a worker may do with a batch that it took: then it is no longer the worker's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the checker takes for granted; times are in seconds.

    Attributes:
        grace: how long a delivery that left the broker may be on its way to the eyes of a worker.
        aftermath: how long after its end a fault may still make deliveries fail: a dead connection is found by its
            heartbeats.
        ack_timeout: the coordinators' own, for batches held over HTTP.
        attempt_limit: the coordinators' own.
        strikes: how often each kind of fault must have struck work in flight.
        starved_cap: the longest that any seed may wait for a turn, whatever happens.
    """

    grace: float = 1.0
    aftermath: float = 35.0
    ack_timeout: float = 10.0
    attempt_limit: int = 5
    strikes: int = 5
    starved_cap: float = 120.0


@dataclass
class Hold:
    """A delivery in the hands of a worker, and what became of it."""

    delivered: Delivered
    settled: list[Settled] = field(default_factory=list)
    killed: float = math.inf

    @property
    def worker(self) -> str:
        """Who holds it."""
        return self.delivered.worker

    @property
    def start(self) -> float:
        """When it came."""
        return self.delivered.at

    @property
    def is_marked(self) -> bool:
        """Whether it says that it is a repeat."""
        return self.delivered.attempt > 1 or self.delivered.flag or self.delivered.header

    @cached_property
    def end(self) -> float:
        """When the worker held it no more, as far as it knows itself; infinity when it never let go."""
        return min(self.killed, *(one.at for one in self.settled), math.inf)

    def rejected(self) -> bool:
        """Whether the worker rejected it."""
        return any(one.how == "rejected" for one in self.settled)

    def given_back(self, item: str) -> bool:
        """Whether this item was given back without fault."""
        return any(one.how == "given back" and item in one.items for one in self.settled)

    def taken(self, item: str, spooled: Iterable[Settled] = ()) -> float | None:
        """When this item was acked and kept; None when it was not.

        Args:
            item: its id.
            spooled: what later processes of its worker found of it in their spool, and did with it.
        """
        when: float | None = None
        for one in (*self.settled, *spooled):
            covers = not one.items or item in one.items
            if covers and one.how in {"acking", "acked", "ack lost"}:
                when = one.at if when is None else when
            elif one.how in RETURNS and item in one.items:
                when = None
        return when


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault from its beginning to its end."""

    number: int
    name: str
    target: str
    begun: float
    ended: float
    detail: str = ""

    @property
    def is_of_worker(self) -> bool:
        """Whether it concerns one worker alone."""
        return self.name in KILLS or self.name.startswith("worker-")

    @property
    def is_of_coordinator(self) -> bool:
        """Whether it concerns coordinators."""
        return self.name.startswith(("coordinator", "kill-", "clock"))

    @property
    def is_of_broker(self) -> bool:
        """Whether it concerns nodes of the broker."""
        return self.name.startswith(("broker-", "node-", "memory-", "disk-"))

    def touches(self, begin: float, end: float, after: float = 0.0) -> bool:
        """Whether it was under way, or had ended less than `after` seconds ago, at any time between these."""
        return self.begun <= end and self.ended + after >= begin


class Story:
    """A whole history, by item, by seed and by what happened."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.end = events[-1].at if events else 0.0
        self.produced: dict[str, Produced] = {}
        self.holds: list[Hold] = []
        self.by_item: defaultdict[str, list[Hold]] = defaultdict(list)
        self.by_batch: defaultdict[str, list[Hold]] = defaultdict(list)
        self.by_worker: defaultdict[str, list[Hold]] = defaultdict(list)
        self.commands: defaultdict[str, list[Command]] = defaultdict(list)
        self.seeds = {one.seed: one for one in of(Seed, events)}
        self.dead = of(Dead, events)
        self.left = {one.queue: one.messages for one in of(Left, events)}
        self.strikes = _strikes(of(Fault, events))
        self.spooled: defaultdict[str, list[Settled]] = defaultdict(list)
        self._index(events)

    def _index(self, events: list[Event]) -> None:
        holds: dict[str, Hold] = {}
        for event in events:
            if isinstance(event, Produced):
                self.produced.update(dict.fromkeys(event.items, event))
            elif isinstance(event, Command):
                self.commands[event.target].append(event)
            elif isinstance(event, Delivered):
                holds[event.hold] = self._add(event)
        for one in of(Settled, events):
            if one.hold in holds:
                holds[one.hold].settled.append(one)
            elif one.hold.endswith(SPOOL):
                for item in one.items:
                    self.spooled[item].append(one)
        self._note_kills()

    def _note_kills(self) -> None:
        kills: defaultdict[str, list[float]] = defaultdict(list)
        for strike in self.strikes:
            if strike.name in KILLS:
                kills[strike.target].append(strike.begun)
        for hold in self.holds:
            hold.killed = min((at for at in kills[hold.worker] if at >= hold.start), default=math.inf)

    @cached_property
    def starts(self) -> list[float]:
        """When each delivery came, in order."""
        return [hold.start for hold in self.holds]

    def _add(self, event: Delivered) -> Hold:
        hold = Hold(event)
        self.holds.append(hold)
        self.by_batch[event.batch].append(hold)
        self.by_worker[event.worker].append(hold)
        for item in event.items:
            self.by_item[item].append(hold)
        return hold

    def is_taken(self, item: str) -> bool:
        """Whether a worker has acked this item, or may have, and has kept it."""
        for hold in self.by_item.get(item, ()):
            own = (one for one in self.spooled.get(item, ()) if one.party == hold.worker and one.at > hold.start)
            if hold.taken(item, own) is not None:
                return True
        return False

    def causes(self, begin: float, end: float, limits: Limits) -> Iterator[Strike]:
        """The faults that may have made deliveries fail between these times."""
        for strike in self.strikes:
            if strike.name not in HARMLESS and strike.touches(begin, end, limits.aftermath):
                yield strike

    def released_worker(self, worker: str, begin: float, end: float) -> bool:
        """Whether this worker was released by command between these times, or may have been."""
        return any(
            one.name == "release.worker" and one.begun <= end and (one.at >= begin or one.status == 0)
            for one in self.commands.get(worker, ())
        )

    def seed_commands(self, seed: str, *names: str) -> list[Command]:
        """The commands of these names to a seed."""
        return [one for one in self.commands.get(seed, ()) if one.name in names]

    def about(self, item: str) -> Iterable[Event]:
        """All that the history holds of an item, with the commands to its seed and the faults of its time."""
        holds = self.by_item.get(item, [])
        names = {hold.delivered.hold for hold in holds}
        produced = self.produced.get(item)
        begin = produced.begun if produced else (holds[0].start if holds else 0.0)
        end = max([begin, *(hold.start for hold in holds)]) + 10.0
        workers = {hold.worker for hold in holds}
        for event in self.events:
            match event:
                case Produced() if event is produced:
                    yield event
                case Delivered(hold=hold) if hold in names:
                    yield event
                case Settled(hold=hold) if hold in names or item in event.items:
                    yield event
                case Command(target=target) if begin <= event.at <= end and (
                    (produced and target == produced.seed) or target in workers
                ):
                    yield event
                case Fault() if begin - 30 <= event.at <= end:
                    yield event
                case Dead(items=items) if item in items:
                    yield event
                case _:
                    pass


def _strikes(faults: list[Fault]) -> list[Strike]:
    """Beginnings and ends put together; a fault without an end lasts."""
    strikes: list[Strike] = []
    ends = {(one.party, one.number, one.name, one.detail): one.at for one in faults if one.phase == "ended"}
    for one in faults:
        if one.phase == "begun":
            ended = ends.get((one.party, one.number, one.name, one.detail), math.inf)
            strikes.append(Strike(one.number, one.name, one.target, one.at, ended, one.detail))
    return strikes
