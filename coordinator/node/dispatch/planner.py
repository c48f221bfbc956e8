"""Planning: which pages at hand become batches next, in fair turns, while there is room for them."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field

from coordinator import topology
from coordinator.domain.diagnosis import Obstacle
from coordinator.domain.fairness import WEIGHTS, Turns
from coordinator.domain.packing import Piece
from coordinator.models import Batch
from coordinator.node.dispatch.seed_consumer import SeedConsumer
from coordinator.node.registry import Registry
from coordinator.node.work_queues.depth import QueueDepths
from coordinator.node.work_queues.in_flight import InFlight, InFlightBatch
from coordinator.times import rfc3339


@dataclass(slots=True)
class PlannedBatch:
    """A batch, what it was made of, and its place in the count of what is in flight."""

    consumer: SeedConsumer
    pieces: list[Piece]
    batch: Batch
    in_flight: InFlightBatch


@dataclass(slots=True, kw_only=True)
class Planner:
    """The turns of the seeds that have pages at hand; it decides, and publishes nothing.

    Attributes:
        registry: knows which seeds run.
        depth: the room in the work queues.
        in_flight: counts what is planned.
        linger: seconds that a small page may wait for more.
        consumers: the seed consumers of this coordinator, by seed; `OwnedSeeds` adds and removes them.
        short: work queues that the last plan found short of room.
        next_look: when the first linger or throttle that stopped the last plan is over, by the monotonic clock.
    """

    registry: Registry
    depth: QueueDepths
    in_flight: InFlight
    linger: float
    consumers: dict[str, SeedConsumer] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)
    next_look: float = math.inf
    _turns: Turns = field(default_factory=Turns)
    _destinations: set[str] = field(default_factory=set)
    """Work queues that batches may go to; perhaps more than are still used."""

    def add(self, ident: str) -> None:
        """Give a seed turns: it has pages at hand."""
        self._turns.add(ident)

    def remove(self, ident: str) -> None:
        """Give a seed no more turns, if it had any."""
        self._turns.remove(ident)

    def add_destination(self, queue: str) -> None:
        """Add a work queue that batches may go to. One that was not added counts as one without room."""
        self._destinations.add(queue)

    def plan(self, most: int) -> list[PlannedBatch]:
        """Move what goes now out of the buffers, so many batches at most; each counts as in flight from here on."""
        self.short.clear()
        self.next_look = math.inf
        now, created = time.monotonic(), rfc3339(time.time())
        planned: list[PlannedBatch] = []
        while len(planned) < most and len(self._turns) and self._find_room():
            ident = self._turns.next(lambda seed: self._cost(seed, now), self._weight)
            if ident is None:
                break
            consumer = self.consumers[ident]
            pieces = consumer.buffer.take(consumer.largest)
            batch = consumer.make_batch(pieces, self.registry.state.seeds[ident].epoch, created)
            consumer.meter.spend(now, batch.count)
            begun = self.in_flight.begin(ident, topology.work_queue_name(batch.tags), consumer)
            planned.append(PlannedBatch(consumer, pieces, batch, begun))
        return planned

    def demands(self) -> dict[str, float]:
        """The weight of the seeds that could send now if there were room, by work queue."""
        demands: defaultdict[str, float] = defaultdict(float)
        now = time.monotonic()
        for consumer in self.consumers.values():
            if len(consumer.buffer) and consumer.meter.allows(now, consumer.buffer.next_count(consumer.largest)):
                demands[consumer.next_queue()] += WEIGHTS[consumer.spec.priority]
        return demands

    def obstacle(self, ident: str) -> Obstacle | None:
        """What stands in the way of a seed's next batch; None where this coordinator does not dispatch it."""
        consumer = self.consumers.get(ident)
        if consumer is None:
            return None
        if not len(consumer.buffer):
            return Obstacle()
        wait = consumer.meter.wait(time.monotonic(), consumer.buffer.next_count(consumer.largest))
        until = time.time() + wait if wait > 0 else None
        return Obstacle(until, is_full=self.depth.room(consumer.next_queue()) <= 0)

    def _find_room(self) -> bool:
        """Whether any work queue has room: without it, no seed need be asked. Adds those without room to `short`."""
        if any(self.depth.room(queue) > 0 for queue in self._destinations):
            return True
        self.short.update(filter(self.depth.is_short, self._destinations))
        return False

    def _weight(self, seed: str) -> int:
        return WEIGHTS[self.consumers[seed].spec.priority]

    def _cost(self, ident: str, now: float) -> int | None:
        """Items of the seed's next batch, 0 when it cannot go now, None without room; records what to wait for."""
        consumer = self.consumers.get(ident)
        seed = self.registry.state.seeds.get(ident)
        if consumer is None or seed is None or seed.state != "running":
            return 0
        size = consumer.largest
        if not consumer.buffer.is_ripe(size, now, self.linger) and not consumer.is_cramped:
            self.next_look = min(self.next_look, consumer.buffer.ripens_at(self.linger))
            return 0
        queue = consumer.next_queue()
        if self.depth.is_short(queue):
            self.short.add(queue)
            if self.depth.room(queue) <= 0:
                return None
        count = consumer.buffer.next_count(size)
        if not consumer.meter.allows(now, count):
            self.next_look = min(self.next_look, now + consumer.meter.wait(now, count))
            return 0
        return count
