"""Planning: which pages of the lines become batches next, in fair turns, as far as there is room for them."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from coordinator import topology
from coordinator.domain.diagnosis import Obstacle
from coordinator.domain.fairness import WEIGHTS, Turns
from coordinator.domain.packing import Piece
from coordinator.models import Batch
from coordinator.node.dispatch.seed_consumer import SeedConsumer
from coordinator.node.registry import Registry
from coordinator.node.work_queues.publisher import Publisher
from coordinator.times import rfc3339


@dataclass(slots=True)
class PlannedBatch:
    """A batch, and what it was made of."""

    line: SeedConsumer
    pieces: list[Piece]
    batch: Batch


class Planner:
    """The turns of the seeds that have pages at hand; it decides, and sends nothing."""

    def __init__(self, lines: Mapping[str, SeedConsumer], registry: Registry, work: Publisher, linger: float) -> None:
        self.short: set[str] = set()
        """Work queues that the last plan found short of room."""
        self.next_look = math.inf
        """When a page's patience or a throttle's wait is over that the last plan met, by the monotonic clock."""
        self._lines = lines
        self._registry = registry
        self._publisher = work
        self._linger = linger
        self._turns = Turns()
        self._destinations: set[str] = set()
        """Work queues that batches of the lines may go to; some, perhaps, to which no more will."""

    def add(self, ident: str) -> None:
        """Give a seed turns: it has pages at hand."""
        self._turns.add(ident)

    def remove(self, ident: str) -> None:
        """Give a seed no more turns, if it had any."""
        self._turns.remove(ident)

    def note(self, queue: str) -> None:
        """Know of a work queue that batches may go to. One that was not noted counts as one without room."""
        self._destinations.add(queue)

    def plan(self, most: int) -> list[PlannedBatch]:
        """Take what goes now out of the lines, so many batches at most, each with its place in its queue reserved."""
        self.short.clear()
        self.next_look = math.inf
        now, created = time.monotonic(), rfc3339(time.time())
        parcels: list[PlannedBatch] = []
        while len(parcels) < most and len(self._turns) and self._find_room():
            ident = self._turns.next(lambda seed: self._cost(seed, now), self._weight)
            if ident is None:
                break
            line = self._lines[ident]
            pieces = line.buffer.take(line.largest)
            batch = line.make_batch(pieces, self._registry.state.seeds[ident].epoch, created)
            line.meter.spend(now, batch.count)
            self._publisher.reserve(topology.work_queue_name(batch.tags))
            parcels.append(PlannedBatch(line, pieces, batch))
        return parcels

    def demands(self) -> dict[str, float]:
        """The weight of the seeds that could send now if there were room, by work queue."""
        demands: defaultdict[str, float] = defaultdict(float)
        now = time.monotonic()
        for line in self._lines.values():
            if len(line.buffer) and line.meter.allows(now, line.buffer.next_count(line.largest)):
                demands[line.next_queue()] += WEIGHTS[line.spec.priority]
        return demands

    def obstacle(self, ident: str) -> Obstacle | None:
        """What stands in the way of a seed's next batch; None where another coordinator dispatches it, or nobody."""
        line = self._lines.get(ident)
        if line is None:
            return None
        if not len(line.buffer):
            return Obstacle()
        wait = line.meter.wait(time.monotonic(), line.buffer.next_count(line.largest))
        until = time.time() + wait if wait > 0 else None
        return Obstacle(until, is_full=self._publisher.room(line.next_queue()) <= 0)

    def _find_room(self) -> bool:
        """Whether any work queue has room, else all who have pages would be asked in vain; notes which have none."""
        if any(self._publisher.room(queue) > 0 for queue in self._destinations):
            return True
        self.short.update(filter(self._publisher.is_short, self._destinations))
        return False

    def _weight(self, seed: str) -> int:
        return WEIGHTS[self._lines[seed].spec.priority]

    def _cost(self, ident: str, now: float) -> int | None:
        """Items of the seed's next batch, 0 when it cannot go now, None for want of room; notes what to wait for."""
        line = self._lines.get(ident)
        seed = self._registry.state.seeds.get(ident)
        if line is None or seed is None or seed.state != "running":
            return 0
        size = line.largest
        if not line.buffer.is_ripe(size, now, self._linger) and not line.is_cramped:
            self.next_look = min(self.next_look, line.buffer.ripens_at(self._linger))
            return 0
        queue = line.next_queue()
        if self._publisher.is_short(queue):
            self.short.add(queue)
            if self._publisher.room(queue) <= 0:
                return None
        count = line.buffer.next_count(size)
        if not line.meter.allows(now, count):
            self.next_look = min(self.next_look, now + line.meter.wait(now, count))
            return 0
        return count
