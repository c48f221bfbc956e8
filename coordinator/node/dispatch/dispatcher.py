"""Dispatch: the pages of the seeds owned here become batches in the work queues, in fair turns."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

import structlog

from coordinator.domain.registry_events import SeedsSpent
from coordinator.errors import CoordinatorError
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.dispatch.planner import PlannedBatch
from coordinator.node.registry import Registry
from coordinator.node.seeds.seed_queue import settle
from coordinator.node.work_queues.outcome import Outcome
from coordinator.node.work_queues.publisher import Publisher

log = structlog.get_logger(__name__)

BURST = 64
"""Batches planned at once."""
MOST_IN_FLIGHT = 256
"""Batches whose confirms are awaited at most."""


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """The loop that publishes in bursts.

    Attributes:
        seeds: the seeds owned here, with their pages at hand.
        registry: where throttled spending is recorded.
        publisher: publishes.
    """

    seeds: OwnedSeeds
    registry: Registry
    publisher: Publisher
    _confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: CoordinatorError | None = None
    _looking: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Publish what may go, until cancelled."""
        standstill = self.publisher.standstill
        async with asyncio.TaskGroup() as looking:
            while True:
                await standstill.is_over.wait()
                while self.publisher.in_flight.planned > MOST_IN_FLIGHT - BURST:
                    self._confirmed.clear()
                    await self._confirmed.wait()
                count = await self.burst()
                self._look_ahead(looking)
                if not count and standstill.is_over.is_set():
                    await self._rest()

    def wake(self) -> None:
        """Look for work again: a batch may go now that could not go before."""
        self.seeds.wake.set()

    async def burst(self) -> int:
        """Plan and publish some batches; returns how many. Their confirms come while the next ones go.

        Raises:
            BrokerUnavailableError: an earlier batch has no outcome, since the connection is gone.
        """
        if self._lost:
            raise self._lost
        self.seeds.wake.clear()
        async with self.seeds.bursting:
            await self._sync()
            # A standstill may have begun meanwhile, and the coordinator that asked for it relies on nothing in flight.
            batches = self.seeds.planner.plan(BURST) if self.publisher.standstill.is_over.is_set() else []
            if batches:
                await self._record(batches)
                began = time.monotonic()
                for one in batches:
                    self.publisher.start(
                        one.batch,
                        partial(self.on_outcome, one, began),
                        redelivered=one.pieces[0].redelivered,
                        planned=one.in_flight,
                    )
        for consumer in [one.consumer for one in batches if not len(one.consumer.buffer)]:
            self.seeds.planner.remove(consumer.id)
        return len(batches)

    def on_outcome(self, planned: PlannedBatch, began: float, outcome: Outcome, error: CoordinatorError | None) -> None:
        """Ack the pages of a batch that was published; put any other batch back into its seed's buffer.

        A release of the seed waits until this is done, and then finds the pages in the buffer.
        """
        self._confirmed.set()
        if outcome is Outcome.PUBLISHED:
            self.publisher.counters.bursts.add(time.monotonic() - began)
            settle(planned.pieces)
        elif outcome is Outcome.LOST:
            self._lost = error
            self.wake()
        else:
            batch, pieces = planned.batch, planned.pieces
            log.info("batch.kept", batch=batch.id, seed=batch.seed, reason=str(error or outcome.name.lower()))
            planned.consumer.buffer.put_back([one.again() for one in pieces] if outcome.may_have_arrived else pieces)
            self.seeds.put_back(planned.consumer)

    async def _sync(self) -> None:
        """Before a consumer's first batch: read the registry up to now, so that no release before it goes unseen."""
        if self.seeds.unsynced:
            unsynced = list(self.seeds.unsynced)
            await self.registry.sync()
            for consumer in unsynced:
                self.seeds.unsynced.discard(consumer)
                seed = self.registry.state.seeds.get(consumer.id)
                if seed is not None:
                    await self.publisher.depth.declare(seed.spec.tags)
                    self.seeds.configure(consumer, seed)
                    consumer.is_synced = True

    async def _record(self, batches: list[PlannedBatch]) -> None:
        """Record throttled spending before it happens, so that a next owner cannot spend it again."""
        items: defaultdict[str, int] = defaultdict(int)
        for one in batches:
            if one.consumer.meter.is_recorded:
                items[one.consumer.id] += one.batch.count
        if items:
            await self.registry.append(SeedsSpent, items=dict(items))

    def _look_ahead(self, group: asyncio.TaskGroup) -> None:
        """Look at the queues that are short of room, while what is left of it is used up."""
        now = time.monotonic()
        for queue in self.seeds.planner.short - self._looking:
            if self.publisher.depth.look_due(queue) <= now:
                self._looking.add(queue)
                group.create_task(self._look(queue))

    async def _look(self, queue: str) -> None:
        try:
            await self.publisher.depth.look(queue)
        finally:
            self._looking.discard(queue)
            self.wake()

    async def _rest(self) -> None:
        """Wait until something may have changed: a page, room in a full queue, a throttle, or a page's linger."""
        while self.seeds.full:
            if (consumer := self.seeds.full.pop()).is_cramped:
                await consumer.widen()
        looks = (self.publisher.depth.look_due(queue) for queue in self.seeds.planner.short - self._looking)
        until = min([self.seeds.planner.next_look, *looks], default=math.inf)
        now = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until == math.inf else max(0.0, until - now)):
                await self.seeds.wake.wait()
