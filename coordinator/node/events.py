"""Events: what this coordinator noted and what the registry holds, read together with what the others noted."""

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
from coordinator.node.replicas.messages import Body

EVERY: Final = 0.5
"""Seconds between two looks for those who follow."""
HOLDERS: Final = 20_000
"""Batches of which it is remembered who told that they hold them."""
MOST: Final = 1000
"""Events that a coordinator tells another at once; what came before these is left out, and counted."""
BEHIND: Final = 5000
"""Events that may wait for one who follows and does not read."""

View = dict[str, Any]


@dataclass(eq=False)
class Follower:
    """One who follows the events: `news` are those that came, `left_out` how many could not be kept for it.

    From when `begun` is set it misses nothing, whichever coordinator notes it.
    """

    wanted: Wanted
    news: asyncio.Queue[View | None] = field(default_factory=lambda: asyncio.Queue(BEHIND))
    left_out: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, view: View | None) -> None:
        """Let it have an event, or None for the end."""
        if view is None and self.news.full():
            self.news.get_nowait()
        try:
            self.news.put_nowait(view)
        except asyncio.QueueFull:
            self.left_out += 1


class Events:
    """Notes what happens to batches, and tells what happened to anything.

    Nothing is sent anywhere until somebody asks, and all who follow share one look at the others.
    """

    def __init__(self, *, ring: EventRing, registry: Registry, replicas: Replicas) -> None:
        self._ring = ring
        self._instance = replicas.instance
        self._registry = registry
        self._replicas = replicas
        self._followers: dict[Follower, None] = {}
        self._wake = asyncio.Event()
        self._holders: OrderedDict[str, str] = OrderedDict()
        self._hunches = PresumedAcks()
        self._in_hand: Callable[[], Collection[str]] = frozenset

    def in_hand_by(self, held: Callable[[], Collection[str]]) -> None:
        """Ask here for the ids of the batches that workers say they hold."""
        self._in_hand = held

    def batch(self, kind: str, batch: Batch, worker: str | None = None, reason: str | None = None) -> None:
        """Something happened to a batch."""
        by = self._instance
        if kind == "batch.returned":
            self._hunches.drop(batch.id)
        self._ring.add((time.time(), kind, batch.seed, worker, batch.id, batch.count, batch.attempt, reason, by))

    def seed(self, kind: str, seed: str, reason: str | None = None) -> None:
        """Something happened to a seed."""
        self._ring.add(Entry(time.time(), kind, seed, reason=reason, by=self._instance))

    def held(self, worker: str, before: Iterable[HeldBatch], now: Iterable[HeldBatch], *, is_mine: bool) -> None:
        """A worker tells what it holds; `is_mine` says whether it falls to this coordinator to note what is new."""
        old = {one.batch for one in before}
        for one in now:
            if one.batch in old:
                continue
            self._holders[one.batch] = worker
            if is_mine:
                entry = Entry(time.time(), "batch.held", one.seed, worker, one.batch, one.count, by=self._instance)
                self._ring.add(entry)
        while len(self._holders) > HOLDERS:
            self._holders.popitem(last=False)

    def holder(self, batch: str) -> str | None:
        """The worker that told last that it holds a batch, as far as that is remembered."""
        return self._holders.get(batch)

    def acked(self, sendings: Iterable[PublishedBatch]) -> None:
        """These are taken to be acked, for the broker tells how many are, not which."""
        self._hunches.suppose(sendings, time.time())
        self._note_acked()

    def _note_acked(self) -> None:
        """Note the acks that no worker has contradicted."""
        for at, one in self._hunches.certain(time.time(), self._in_hand):
            worker = self._holders.get(one.batch)
            self._ring.add(
                Entry(at, "batch.acked", one.seed, worker, one.batch, one.count, one.attempt, by=self._instance)
            )

    async def read(self, wanted: Wanted, after: Key | None, limit: int) -> tuple[list[View], int]:
        """The wanted events, newest last, and how many there are.

        Args:
            wanted: which.
            after: only those after this place, and then the first ones; else the last ones.
            limit: how many at most.
        """
        question = {"wanted": _write(wanted), "after": str(after) if after else None, "limit": limit}
        answers = await self._replicas.ask("events.find", question)
        self._note_acked()
        noted, how_many = self._ring.find(wanted, after, limit)
        past, of_past = self._registry.past.find(wanted, after, limit)
        events = [one.view() for one in (*noted, *past)]
        for body in answers.given.values():
            events += body.get("events", ())
        events.sort(key=lambda view: Key.parse(view["id"]))
        total = how_many + of_past + answers.total("total")
        return (events[:limit] if after else events[-limit:]), total

    @contextlib.contextmanager
    def following(self, wanted: Wanted) -> Iterator[Follower]:
        """Have each wanted event that comes while in the block; None when this coordinator's session ends."""
        follower = Follower(wanted)
        self._followers[follower] = None
        self._wake.set()
        try:
            yield follower
        finally:
            del self._followers[follower]

    async def run(self) -> None:
        """Bring those who follow what is new, until cancelled; does nothing while nobody follows."""
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
        own, past = self._ring.added, self._registry.past.added
        seen: dict[str, int] = {}
        await self._ask(seen)  # the first question tells only where each of the others stands
        while self._followers:
            for follower in self._followers:
                follower.begun.set()
            await asyncio.sleep(EVERY)
            self._note_acked()
            news = self._ring.since(own) + self._registry.past.since(past)
            own, past = self._ring.added, self._registry.past.added
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
        """What the other coordinators noted since the last look; `seen` is how far each was read."""
        if not self._replicas.others:
            return []
        wanted = list({follower.wanted for follower in self._followers})
        question = {"since": seen, "wanted": [_write(one) for one in wanted]}
        try:
            answers = await self._replicas.ask("events.since", question, self._replicas.others)
        except BrokerUnavailableError:  # the session is about to end, and says so itself
            return []
        found: list[View] = []
        for instance, body in answers.given.items():
            if "upto" in body:
                seen[instance] = int(body["upto"])
                found += body["events"]
                for follower in self._followers:
                    follower.left_out += int(body["left_out"])
        return found

    async def find_for_peer(self, body: Body) -> Body:
        """Answer another replica: the wanted events that this one noted."""
        self._note_acked()
        after = Key.parse(body["after"]) if body["after"] else None
        found, total = self._ring.find(_read(body["wanted"]), after, int(body["limit"]))
        return {"events": [one.view() for one in found], "total": total}

    async def since_for_peer(self, body: Body) -> Body:
        """Answer another replica: the wanted events that this one noted since the last question."""
        self._note_acked()
        wanted = [_read(one) for one in body["wanted"]]
        since = body["since"].get(self._replicas.instance, self._ring.added)
        found = [one for one in self._ring.since(int(since)) if any(each.takes(one.entry) for each in wanted)]
        told = [one.view() for one in found[-MOST:]]
        return {"events": told, "upto": self._ring.added, "left_out": len(found) - len(told)}


def _entry(view: View) -> Entry:
    """As much of an event as filters look at."""
    return Entry(0.0, view["kind"], view.get("seed"), view.get("worker"), view.get("batch"))


def _write(wanted: Wanted) -> Body:
    return {"seed": wanted.seed, "worker": wanted.worker, "batch": wanted.batch, "kinds": sorted(wanted.kinds)}


def _read(body: Body) -> Wanted:
    return Wanted(body["seed"], body["worker"], body["batch"], frozenset(body["kinds"]))
