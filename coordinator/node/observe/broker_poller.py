"""Asks the broker at intervals what waits, what is unacked, and who is connected."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from coordinator import topology
from coordinator.broker.management import Management
from coordinator.errors import ManagementError
from coordinator.node.leases import Leases
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.node.workers.workers import Workers

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5
ASK_EVERY = 2.0


@dataclass(slots=True, kw_only=True)
class BrokerPoller:
    """Keeps the ledger and the list of connected workers up to date.

    Attributes:
        publisher: its ledger is kept.
        workers: gets the list of connections.
        leases: what HTTP workers hold.
        heartbeats: what library workers hold.
        management: the figures of the broker.
        broker_tick: seconds by which these figures lag.
    """

    publisher: Publisher
    workers: Workers
    leases: Leases
    heartbeats: Heartbeats
    management: Management
    broker_tick: float

    async def watch_queues(self) -> None:
        """Look at the work queues with batches of this replica, or with a fetch that waits, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for queue in self.publisher.depth.queues if self.leases.is_awaited else self.publisher.ledger.busy():
                await self.publisher.depth.look(queue)
            self._bound_by_capacity()

    async def watch_workers(self) -> None:
        """Settle the ledger by the broker's figures, and look who is connected, until cancelled."""
        is_failing = False
        seen: dict[str, int] = {}
        while True:
            try:
                await self.workers.look()
                await self.workers.record_drained()
                seen = await self._settle_ledger(seen) if self.publisher.ledger.busy() else {}
                is_failing = False
            except ManagementError as error:
                if not is_failing:
                    log.warning("management.failed", problem=str(error))
                is_failing = True
            await asyncio.sleep(ASK_EVERY)

    async def _settle_ledger(self, seen: dict[str, int]) -> dict[str, int]:
        """Count as acked what is no longer unacked at two looks in a row; returns what this look has seen.

        A broker under load reports on its queues later than it should. Believed at once, what workers hold would count
        as acked.
        """
        asked = time.monotonic()
        unacked = {queue: total.unacked for queue, total in (await self.management.totals()).items()}
        held = self.heartbeats.held() | {lease.batch.id for lease in self.leases.held()}
        for queue in self.publisher.ledger.busy():
            if queue in unacked and queue in seen:
                most = max(unacked[queue], seen[queue])
                self.publisher.saw_unacked(queue, most, held, before=asked - self.broker_tick)
        return unacked

    def _bound_by_capacity(self) -> None:
        """Bound what is sent by what the consumers of a work queue can hold, where all of them are library workers."""
        leased = {lease.batch.id for lease in self.leases.held()}
        present = [one.presence for one in self.heartbeats.present() if one.presence.transport == "amqp"]
        for queue in self.publisher.ledger.busy():
            tags = set(topology.tags_of_work_queue(queue))
            able = [presence for presence in present if tags.issubset(presence.tags)]
            # The broker counts what was fetched and is not settled as a consumer each, from then on.
            # A queue without consumers just lost its leader or its only worker: its batches come back, none is acked.
            fetched = self.leases.fetched(queue, self.publisher.depth.asked(queue))
            if able and self.publisher.depth.consumers(queue) - fetched <= len(able):
                self.publisher.bound(queue, sum(presence.capacity for presence in able), leased)
