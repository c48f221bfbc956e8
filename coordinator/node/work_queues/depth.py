"""How deep the work queues are, and how many more batches each should get.

Coordinators share the work queues: each fills as much of what is free as its seeds' weights are of all that wait.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Depth, OnDelivery
from coordinator.domain.ledger import Ledger
from coordinator.domain.membership import share
from coordinator.domain.publish_window import LEAST, LONGEST_LOOK, Window
from coordinator.domain.tags import TagSet
from coordinator.errors import QueueMissingError, QueueSilentError
from coordinator.node.replicas.arrays import QueueLoad
from coordinator.node.work_queues.in_flight import InFlight
from coordinator.node.work_queues.peer_load import PeerLoads
from coordinator.node.work_queues.queue_channels import QueueChannels

log = structlog.get_logger(__name__)

LOOKAHEAD = 0.25
"""Seconds of its consumers' work that a work queue should hold."""


@dataclass(slots=True, kw_only=True)
class QueueDepths:
    """The depth of all work queues, and the room in them, as one coordinator sees it.

    Attributes:
        connection: asks the broker.
        publishing: declares work queues.
        channels: knows which queues are broken, and which have shown life.
        in_flight: what is on its way.
        ledger: what this coordinator has published.
        peer_loads: what the others have published.
        most: batches that a work queue may hold at most.
    """

    connection: Connection
    publishing: Channel
    channels: QueueChannels
    in_flight: InFlight
    ledger: Ledger
    peer_loads: PeerLoads
    most: int
    _demands: Callable[[], Mapping[str, float]] = dict
    _windows: dict[str, Window] = field(default_factory=dict)
    _on_queued: list[Callable[[str], None]] = field(default_factory=list)
    _on_room: list[Callable[[], None]] = field(default_factory=list)

    def demanded_by(self, demands: Callable[[], Mapping[str, float]]) -> None:
        """Set where to ask for the weight of the seeds that wait, by work queue."""
        self._demands = demands

    def on_queued(self, listener: Callable[[str], None]) -> None:
        """Call this with the name of each work queue that holds something, as soon as it is known."""
        self._on_queued.append(listener)

    def on_room(self, listener: Callable[[], None]) -> None:
        """Call this when a batch was fetched here: the broker would show its room only at the next look."""
        self._on_room.append(listener)

    async def declare(self, tags: TagSet) -> None:
        """Declare the work queue for these tags, once."""
        name = topology.work_queue_name(tags)
        if name not in self._windows:
            await self.publishing.declare_queue(topology.work_queue(tags))
            self._windows[name] = Window(0, 0, time.monotonic(), begun=self.in_flight.begun(name))

    @property
    def queues(self) -> list[str]:
        """The work queues that are known, by name."""
        return list(self._windows)

    def published(self, queue: str) -> None:
        """Count a batch that the queue has confirmed."""
        self._windows[queue].confirmed()
        for listener in self._on_queued:
            listener(queue)

    def refused(self, queue: str) -> None:
        """Leave a queue that refused a batch alone for a while."""
        self._windows[queue].refused(self.in_flight.begun(queue), time.monotonic())

    def fetched(self, queue: str) -> None:
        """Count a batch that was fetched here: there is room for another at once."""
        self._windows[queue].fetched += 1
        for listener in self._on_room:
            listener()

    def room(self, queue: str) -> int:
        """How many more batches this work queue should get now."""
        window = self._windows.get(queue)
        if window is None or self.channels.is_broken(queue):
            return 0
        room = window.room(self.in_flight.begun(queue))
        if self.channels.health.is_alive(queue):
            return room
        # A queue that has shown no life yet is looked at first, and then gets one batch after the other.
        return min(room, 1 - self.in_flight.in_queue(queue)) if window.asked else 0

    def is_short(self, queue: str) -> bool:
        """Whether it is about to have no room: time to ask the broker how much there is by now."""
        return self.room(queue) * 2 <= self._windows[queue].allowance if queue in self._windows else False

    def is_silent(self, queue: str, seconds: float) -> bool:
        """Whether this queue has given no answer for so many seconds."""
        return self.channels.health.silent_for(queue, time.monotonic()) >= seconds

    async def likely(self, queue: str) -> int:
        """How many batches probably wait in this work queue; another coordinator may just have fetched some.

        To ask an empty one for a message costs the broker as much as to deliver one. To ask one that is silent would
        hang, and one that has lost its leader ends the whole connection with an internal error.
        """
        if queue not in self._windows:  # another coordinator has made it
            await self.declare(topology.tags_of_work_queue(queue))
        window = self._windows[queue]
        is_fresh = window.asked and time.monotonic() - window.at < LONGEST_LOOK
        likely = window.likely(self.in_flight.begun(queue))
        is_known = is_fresh and likely and not self.channels.health.is_silent(queue)
        return likely if is_known else await self.look(queue)

    def look_due(self, queue: str) -> float:
        """When to look at a full work queue again, by the monotonic clock."""
        window = self._windows[queue]
        return window.at + window.pause

    async def look(self, queue: str, *, must_answer: bool = False) -> int:
        """Ask the broker how many batches wait in this work queue; a queue without an answer gets no more batches.

        Raises:
            QueueSilentError: it must answer and does not.
        """
        asked, window = time.monotonic(), self._windows[queue]
        try:
            depth = await self._ask(queue)
        except QueueSilentError as error:
            if self.channels.health.is_new_silence(queue):
                log.warning("work.queue_silent", queue=queue, problem=str(error))
            window.went_silent(self.in_flight.begun(queue), time.monotonic())
            if must_answer:
                raise
            return 0
        if depth != Depth(0, 0):  # the broker says that of a queue without a leader too
            self.channels.health.showed_life(queue)
        self._saw(queue, window, depth, asked)
        if depth.ready:
            for listener in self._on_queued:
                listener(queue)
        return depth.ready

    def _saw(self, queue: str, window: Window, depth: Depth, asked: float) -> None:
        """Move the ledger and the window to the broker's answer."""
        now, peer_loads = time.monotonic(), self.peer_loads.of(queue)
        window.asked = asked
        theirs = sum(load.queued for load in peer_loads)
        self.ledger.saw_depth(queue, depth.ready, asked, now, self.peer_loads.published(queue))
        mine, _ = self.ledger.batches(queue)
        in_flight, begun = self.in_flight.in_queue(queue), self.in_flight.begun(queue)
        # What was confirmed after the question is in the ledger and not in the figure: it has not been delivered.
        waiting = in_flight + (mine if peer_loads else max(mine, depth.ready))
        window.saw(waiting, depth.consumers, begun, now)
        rate = window.rate + sum(load.rate for load in peer_loads)
        target = min(self.most, max(LEAST, math.ceil(rate * LOOKAHEAD)))
        # Each has its part of the whole window, not of what happens to be free when it looks: else the coordinator
        # that looks most often gets each place that becomes free. Foreign batches use up room as well.
        part = share(self._demands().get(queue, 0.0), (load.demand for load in peer_loads)) if peer_loads else 1.0
        window.foreign = max(0, depth.ready - in_flight - mine - theirs)
        window.allow(math.ceil(part * (target - window.foreign)) - in_flight - mine, begun)

    async def surely_waiting(self, queue: str, on_delivery: OnDelivery) -> int:
        """How many batches wait in this work queue; a queue that seems empty is tested, for it may have no leader.

        Args:
            queue: its name.
            on_delivery: is given a batch that comes during the test.

        Raises:
            QueueSilentError: it cannot be known now.
        """
        ready = await self.look(queue, must_answer=True)
        if not ready and not self._windows[queue].consumers:
            try:
                await self.connection.must_answer(queue, on_delivery)
            except QueueMissingError:
                return 0
            ready = await self.look(queue, must_answer=True)
        return ready

    async def _ask(self, queue: str) -> Depth:
        if self.channels.is_broken(queue):
            raise QueueSilentError(f"the queue {queue!r} gives nothing out")
        return await self.connection.depth(queue) or Depth(0, 0)

    def consumers(self, queue: str) -> int:
        """How many consumed this queue when it was last looked at."""
        window = self._windows.get(queue)
        return window.consumers if window else 0

    def asked(self, queue: str) -> float:
        """When the broker was last asked about this queue (monotonic seconds): its answer shows nothing later."""
        window = self._windows.get(queue)
        return window.asked if window else 0.0

    async def foreign(self, queue: str) -> int:
        """Batches that wait in this queue and that no coordinator accounts for, as after all of them ended."""
        if queue in self._windows and queue not in self.ledger.busy():  # a busy one is looked at all the time
            await self.look(queue)
        window = self._windows.get(queue)
        return window.foreign if window else 0

    def peer_load(self) -> dict[str, QueueLoad]:
        """Return the load of this replica by work queue, for the other replicas."""
        demands = self._demands()
        busy = {*demands, *self.ledger.busy()}.intersection(self._windows)
        return {queue: self._load(queue, demands.get(queue, 0.0)) for queue in self._windows if queue in busy}

    def _load(self, queue: str, demand: float) -> QueueLoad:
        window = self._windows[queue]
        queued, sent = self.ledger.batches(queue)
        return QueueLoad(
            demand=demand, rate=round(window.rate, 2), published=window.published, queued=queued, sent=sent
        )
