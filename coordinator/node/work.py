"""The door through which batches leave for the work queues, and the account of what has left."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import structlog

from coordinator import topology
from coordinator.broker.connection import Channel, Connection, Depth
from coordinator.broker.messages import batch_message
from coordinator.domain.ledger import Ledger, Sending
from coordinator.domain.tags import TagSet
from coordinator.errors import CoordinatorError
from coordinator.models import Batch
from coordinator.node.registry import Registry

log = structlog.get_logger(__name__)

LEAST = 4
"""Batches that a work queue may always hold, so that a consumer that comes finds something."""
LOOKAHEAD = 0.25
"""Seconds of its consumers' work that a work queue should hold."""
SHORTEST_LOOK, LONGEST_LOOK = 0.005, 0.2
"""Seconds between two looks at a full work queue: longer and longer while nothing leaves it."""


class StaleBatchError(CoordinatorError):
    """The batch's seed was released or purged: it must not be handed out."""


@dataclass(slots=True)
class _Window:
    """How full a work queue may be, and how fast it empties."""

    depth: Depth
    at: float
    sent: int = 0
    rate: float = 0.0
    pause: float = SHORTEST_LOOK

    def saw(self, depth: Depth, now: float) -> None:
        drained = max(0, self.depth.ready + self.sent - depth.ready)
        elapsed = max(now - self.at, 1e-3)
        share = min(1.0, elapsed / 0.2)
        self.rate += share * (drained / elapsed - self.rate)
        self.pause = SHORTEST_LOOK if drained else min(LONGEST_LOOK, self.pause * 2)
        self.depth, self.at, self.sent = depth, now, 0


class Work:
    """All work queues as one coordinator sees them."""

    def __init__(self, connection: Connection, publishing: Channel, registry: Registry, most: int) -> None:
        self.ledger = Ledger()
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._connection = connection
        self._publishing = publishing
        self._registry = registry
        self._most = most
        self._windows: dict[str, _Window] = {}
        self._leaving: Counter[str] = Counter()
        self._idle: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self._arrivals: list[Callable[[str], None]] = []

    def on_arrival(self, listener: Callable[[str], None]) -> None:
        """Be told of the name of each work queue that has something, as soon as it is known."""
        self._arrivals.append(listener)

    async def declare(self, tags: TagSet) -> None:
        """Have the work queue for these tags."""
        name = topology.work_queue_name(tags)
        if name not in self._windows:
            await self._publishing.declare_queue(topology.work_queue(tags))
            self._windows[name] = _Window(Depth(0, 0), time.monotonic())

    @property
    def queues(self) -> list[str]:
        """The work queues that are known, by name."""
        return list(self._windows)

    async def send(self, batch: Batch, *, redelivered: bool = False, alone: bool = False) -> str:
        """Publish a batch to its work queue and wait for the confirm; returns the publication's id.

        A release waits for every send of its seed that has begun, and none begins after it: the check and the
        count are one step of the event loop.

        Raises:
            StaleBatchError: its seed was released or purged since.
            QueueFullError: the work queue refuses more.
            BrokerUnavailableError: it may have arrived or not.
        """
        if self._registry.state.is_stale(batch.seed, batch.epoch):
            raise StaleBatchError(f"batch {batch.id} of seed {batch.seed!r} is stale")
        publication = uuid4().hex
        queue = topology.work_queue_name(batch.tags)
        self._leaving[batch.seed] += 1
        try:
            if queue not in self._windows:
                await self.declare(batch.tags)
            message = batch_message(batch, publication, redelivered=redelivered, alone=alone)
            await self._publishing.publish("", queue, message, mandatory=True)
        finally:
            self._left(batch.seed)
        self.ledger.published(
            queue, Sending(publication, batch.id, batch.seed, batch.count, batch.attempt, time.time())
        )
        for listener in self._arrivals:
            listener(queue)
        return publication

    @property
    def is_leaving(self) -> bool:
        """Whether any send is under way."""
        return bool(self._leaving)

    async def settled(self, seed: str) -> None:
        """Wait until no send of this seed is under way."""
        if self._leaving[seed]:
            idle = asyncio.get_running_loop().create_future()
            self._idle[seed].append(idle)
            await idle

    def reserve(self, queue: str) -> None:
        """Count a batch that is about to be sent against the queue's room."""
        if queue in self._windows:
            self._windows[queue].sent += 1

    def room(self, queue: str) -> int:
        """How many more batches this work queue should get now."""
        window = self._windows.get(queue)
        if window is None:
            return LEAST
        target = min(self._most, max(LEAST, math.ceil(window.rate * LOOKAHEAD)))
        return target - window.depth.ready - window.sent

    def fetched(self, queue: str, publication: str) -> None:
        """A batch was taken out of this work queue here, so there is room for another at once."""
        self._windows[queue].sent -= 1
        self.ledger.left_queue(publication, time.time())

    def look_due(self, queue: str) -> float:
        """When to look at a full work queue again, by the monotonic clock."""
        window = self._windows[queue]
        return window.at + window.pause

    async def look(self, queue: str) -> int:
        """Ask the broker how many batches wait in this work queue."""
        asked = time.time()
        depth = await self._connection.depth(queue) or Depth(0, 0)
        self._windows[queue].saw(depth, time.monotonic())
        self.ledger.saw_depth(queue, depth.ready, asked, time.time())
        if depth.ready:
            for listener in self._arrivals:
                listener(queue)
        return depth.ready

    def consumers(self, queue: str) -> int:
        """How many consumed this queue when it was last looked at."""
        window = self._windows.get(queue)
        return window.depth.consumers if window else 0

    def _left(self, seed: str) -> None:
        self._leaving[seed] -= 1
        if self._leaving[seed] == 0:
            del self._leaving[seed]
            for idle in self._idle.pop(seed, []):
                if not idle.done():
                    idle.set_result(None)
