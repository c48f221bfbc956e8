"""Batches that failed again and again go out one at a time, and the last time with nothing else in any worker's hands.

So a batch that kills its worker takes few neighbours along, and in the end none.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import structlog

from coordinator.broker.connection import Delivery
from coordinator.broker.management import Management
from coordinator.errors import ManagementError, QueueFullError
from coordinator.models import Batch
from coordinator.node.available import Available
from coordinator.node.work import StaleBatchError, Work

log = structlog.get_logger(__name__)

SUSPECT_PAUSE = 0.2
"""Seconds that a suspect has to kill its worker before the next one goes out."""
LOOK_EVERY = 0.1
WORK_SHARE = 4
"""Dispatch runs this many times longer than it stood still for a last offer, before it does so again."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A batch that failed often, its attempt raised already; `delivery` is the return it came by, not yet acked."""

    batch: Batch
    delivery: Delivery
    alone: bool


class Suspects:
    """The lane for suspects: one at a time."""

    def __init__(
        self, *, work: Work, available: Available, management: Management, patience: float, broker_tick: float
    ) -> None:
        """Make the lane.

        Args:
            work: where batches leave.
            available: where they go when their seed was released meanwhile.
            management: knows what is unacked.
            patience: seconds that dispatch may stand still, before a last offer and again during it.
            broker_tick: seconds by which the broker's figures may lag.
        """
        self._work = work
        self._available = available
        self._management = management
        self._patience = patience
        self._tick = broker_tick
        self._inbox: asyncio.Queue[Suspect] = asyncio.Queue()
        self._awaited = ""
        self._back = asyncio.Event()

    def put(self, suspect: Suspect) -> None:
        """Let a suspect wait for its turn."""
        self._inbox.put_nowait(suspect)

    def came_back(self, publication: str) -> None:
        """This publication was returned."""
        if publication and publication == self._awaited:
            self._back.set()

    async def run(self) -> None:
        """Offer the suspects until cancelled."""
        while True:
            suspect = await self._inbox.get()
            if not suspect.alone:
                await self._offer(suspect, alone=False)
                await self._wait_back(SUSPECT_PAUSE)
                continue
            begun = time.monotonic()
            await self._offer_alone(suspect)
            if not self._inbox.empty():
                await asyncio.sleep(WORK_SHARE * (time.monotonic() - begun))

    async def _offer_alone(self, suspect: Suspect) -> None:
        self._work.is_open.clear()
        try:
            quiet = await self._until_quiet()
            await self._offer(suspect, alone=quiet)
            if quiet:
                await self._until_settled()
        finally:
            self._work.is_open.set()

    async def _offer(self, suspect: Suspect, *, alone: bool) -> None:
        """Send it; a batch that could not be made alone is sent all the same, and dies of no such offer."""
        batch = suspect.batch
        self._back.clear()
        try:
            self._awaited = await self._work.send(batch, alone=alone)
            log.info("batch.offered", batch=batch.id, seed=batch.seed, attempt=batch.attempt, alone=alone)
        except (StaleBatchError, QueueFullError):
            self._awaited = ""
            await self._available.put_batch(batch)
        await suspect.delivery.ack()

    async def _wait_back(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._back.wait()
        return self._back.is_set()

    async def _until_quiet(self) -> bool:
        """Wait until no batch is queued or unacked anywhere; False when patience ran out."""
        begun = time.monotonic()
        while time.monotonic() - begun < self._patience:
            if not self._work.is_leaving and self._work.ledger.is_empty:
                return True
            if time.monotonic() - begun > self._tick and await self._is_nothing_out():
                return True
            await asyncio.sleep(LOOK_EVERY)
        log.warning("suspect.not_alone", waited=self._patience)
        return False

    async def _until_settled(self) -> None:
        begun = time.monotonic()
        while self._awaited and time.monotonic() - begun < self._patience:
            if await self._wait_back(LOOK_EVERY) or not self._work.ledger.is_out(self._awaited):
                return

    async def _is_nothing_out(self) -> bool:
        try:
            totals = await self._management.totals()
        except ManagementError as error:
            log.warning("management.failed", problem=str(error))
            return False
        out = [totals[queue] for queue in self._work.queues if queue in totals]
        return not self._work.is_leaving and all(queue.ready == queue.unacked == 0 for queue in out)
