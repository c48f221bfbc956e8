"""What happened: events of this replica, of the other replicas, and of the registry, read as one list."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.domain.event_ring import Entry, EventRing, Key, Wanted
from coordinator.domain.ledger import PublishedBatch
from coordinator.domain.presumed_acks import PresumedAcks
from coordinator.errors import BrokerUnavailableError
from coordinator.models import Batch, HeldBatch
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import EventsSince, FindEvents, FoundEvents, NewEvents, WantedEvents
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import EVENTS_FIND, EVENTS_SINCE

EVERY: Final = 0.5
"""Seconds between two looks for followers."""
HOLDERS: Final = 20_000
"""Batches whose last holder is remembered."""
MOST: Final = 1000
"""Events in one answer to another replica; older ones are left out, and counted."""
BEHIND: Final = 5000
"""Events that may wait for a follower that does not read."""

View = dict[str, Any]


@dataclass(eq=False)
class Follower:
    """A reader that follows events as they happen.

    Attributes:
        wanted: which events it gets.
        news: the events that came; None at the end.
        left_out: how many could not be kept for it.
        begun: is set once it misses no further event of any replica.
    """

    wanted: Wanted
    news: asyncio.Queue[View | None] = field(default_factory=lambda: asyncio.Queue(BEHIND))
    left_out: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, view: View | None) -> None:
        """Queue an event, or None for the end."""
        if view is None and self.news.full():
            self.news.get_nowait()
        try:
            self.news.put_nowait(view)
        except asyncio.QueueFull:
            self.left_out += 1


@dataclass(slots=True, kw_only=True)
class Events:
    """Records what happens to batches, and reads what happened to anything.

    Replicas send each other no events until a client asks for some, and all followers share one look at the others.

    Attributes:
        ring: the events of this replica.
        registry: the events of the registry.
        replicas: the replicas that have events.
        rpc: asks them.
        held_by_workers: gives the ids of the batches that workers report as held.
    """

    ring: EventRing
    registry: Registry
    replicas: Replicas
    rpc: Rpc
    held_by_workers: Callable[[], Collection[str]] = field(default=frozenset, init=False)
    _followers: dict[Follower, None] = field(default_factory=dict, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _holders: OrderedDict[str, str] = field(default_factory=OrderedDict, init=False)
    _presumed: PresumedAcks = field(default_factory=PresumedAcks, init=False)

    def batch(self, kind: str, batch: Batch, worker: str | None = None, reason: str | None = None) -> None:
        """Record what happened to a batch."""
        by = self.replicas.instance
        if kind == "batch.returned":
            self._presumed.drop(batch.id)
        self.ring.add((time.time(), kind, batch.seed, worker, batch.id, batch.count, batch.attempt, reason, by))

    def seed(self, kind: str, seed: str, reason: str | None = None) -> None:
        """Record what happened to a seed."""
        self.ring.add(Entry(time.time(), kind, seed, reason=reason, by=self.replicas.instance))

    def held(self, worker: str, before: Iterable[HeldBatch], now: Iterable[HeldBatch], *, is_mine: bool) -> None:
        """Keep what a worker reports as held; `is_mine` says whether this replica records what is new."""
        old = {one.batch for one in before}
        for one in now:
            if one.batch in old:
                continue
            self._holders[one.batch] = worker
            if is_mine:
                entry = Entry(
                    time.time(), "batch.held", one.seed, worker, one.batch, one.count, by=self.replicas.instance
                )
                self.ring.add(entry)
        while len(self._holders) > HOLDERS:
            self._holders.popitem(last=False)

    def holder(self, batch: str) -> str | None:
        """Return the worker that last reported a batch as held; None where that is not remembered."""
        return self._holders.get(batch)

    def acked(self, sendings: Iterable[PublishedBatch]) -> None:
        """Presume that these are acked: the broker counts acks, and does not say which batches they were for."""
        self._presumed.suppose(sendings, time.time())
        self._record_acked()

    def _record_acked(self) -> None:
        """Record the acks that no worker has contradicted."""
        for at, one in self._presumed.certain(time.time(), self.held_by_workers):
            worker = self._holders.get(one.batch)
            self.ring.add(
                Entry(at, "batch.acked", one.seed, worker, one.batch, one.count, one.attempt, by=self.replicas.instance)
            )

    async def read(self, wanted: Wanted, after: Key | None, limit: int) -> tuple[list[View], int]:
        """Return the wanted events, newest last, and how many there are.

        Args:
            wanted: which.
            after: only those after this place, and then the first ones; else the last ones.
            limit: how many at most.
        """
        question = FindEvents(wanted=_write(wanted), after=str(after) if after else None, limit=limit)
        answers = await self.rpc.ask(EVENTS_FIND, question)
        self._record_acked()
        own, of_own = self.ring.find(wanted, after, limit)
        past, of_past = self.registry.past.find(wanted, after, limit)
        events = [one.view() for one in (*own, *past)]
        for answer in answers.given.values():
            events += answer.events
        events.sort(key=lambda view: Key.parse(view["id"]))
        total = of_own + of_past + sum(answer.total for answer in answers.given.values())
        return (events[:limit] if after else events[-limit:]), total

    @contextlib.contextmanager
    def following(self, wanted: Wanted) -> Iterator[Follower]:
        """Follow the wanted events while in the block; None comes when the session of this replica ends."""
        follower = Follower(wanted)
        self._followers[follower] = None
        self._wake.set()
        try:
            yield follower
        finally:
            del self._followers[follower]

    async def run(self) -> None:
        """Bring new events to the followers, until cancelled; does nothing while there are none."""
        try:
            while True:
                self._wake.clear()
                if not self._followers:
                    await self._wake.wait()
                await self._follow()
        finally:
            for follower in self._followers:
                follower.offer(None)
                follower.begun.set()

    async def _follow(self) -> None:
        own, past = self.ring.added, self.registry.past.added
        seen: dict[str, int] = {}
        await self._ask(seen)  # the first answer says only where each of the others stands
        while self._followers:
            for follower in self._followers:
                follower.begun.set()
            await asyncio.sleep(EVERY)
            self._record_acked()
            news = self.ring.since(own) + self.registry.past.since(past)
            own, past = self.ring.added, self.registry.past.added
            views = [(one.key, one.view(), one.entry) for one in news if self._is_wanted(one.entry)]
            theirs = await self._ask(seen)
            views += [(Key.parse(view["id"]), view, _entry(view)) for view in theirs]
            for _, view, entry in sorted(views, key=lambda one: one[0]):
                for follower in self._followers:
                    if follower.wanted.takes(entry):
                        follower.offer(view)

    def _is_wanted(self, entry: Entry) -> bool:
        return any(follower.wanted.takes(entry) for follower in self._followers)

    async def _ask(self, seen: dict[str, int]) -> list[View]:
        """Return the events of the other replicas since the last look; `seen` is how far each was read."""
        if not self.replicas.others:
            return []
        wanted = list({follower.wanted for follower in self._followers})
        question = EventsSince(since=seen, wanted=tuple(_write(one) for one in wanted))
        try:
            answers = await self.rpc.ask(EVENTS_SINCE, question, self.replicas.others)
        except BrokerUnavailableError:  # the session is about to end, and says so itself
            return []
        found: list[View] = []
        for instance, answer in answers.given.items():
            if answer.upto is not None:
                seen[instance] = answer.upto
                found += answer.events
                for follower in self._followers:
                    follower.left_out += answer.left_out
        return found

    async def find_for_peer(self, question: FindEvents) -> FoundEvents:
        """Answer another replica: the wanted events of this one."""
        self._record_acked()
        after = Key.parse(question.after) if question.after else None
        found, total = self.ring.find(_read(question.wanted), after, question.limit)
        return FoundEvents(events=tuple(one.view() for one in found), total=total)

    async def since_for_peer(self, question: EventsSince) -> NewEvents:
        """Answer another replica: the wanted events of this one since the last question."""
        self._record_acked()
        wanted = [_read(one) for one in question.wanted]
        since = question.since.get(self.replicas.instance, self.ring.added)
        found = [one for one in self.ring.since(since) if any(each.takes(one.entry) for each in wanted)]
        newest = tuple(one.view() for one in found[-MOST:])
        return NewEvents(events=newest, upto=self.ring.added, left_out=len(found) - len(newest))


def _entry(view: View) -> Entry:
    """Return the part of an event that filters look at."""
    return Entry(0.0, view["kind"], view.get("seed"), view.get("worker"), view.get("batch"))


def _write(wanted: Wanted) -> WantedEvents:
    kinds = tuple(sorted(wanted.kinds))
    return WantedEvents(seed=wanted.seed, worker=wanted.worker, batch=wanted.batch, kinds=kinds)


def _read(wanted: WantedEvents) -> Wanted:
    return Wanted(wanted.seed, wanted.worker, wanted.batch, frozenset(wanted.kinds))
