"""The monitor: asks the broker, now and again, what waits, what is unacked, and who is connected."""

from __future__ import annotations

import asyncio
import time

import structlog

from coordinator.broker.management import Management
from coordinator.errors import ManagementError
from coordinator.node.leases import Leases
from coordinator.node.observe.seed_stats import bound_by_capacity
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.node.workers.workers import Workers

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5
ASK_EVERY = 2.0


async def watch_queues(work: Publisher, leases: Leases, heartbeats: Heartbeats) -> None:
    """Look at the work queues that matter to somebody, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        for queue in work.queues if leases.is_awaited else work.ledger.busy():
            await work.look(queue)
        bound_by_capacity(work, leases, heartbeats)


async def watch_workers(
    *, work: Publisher, workers: Workers, leases: Leases, heartbeats: Heartbeats, api: Management, tick: float
) -> None:
    """Keep the account of what is sent, and the list of who is connected, until cancelled.

    Args:
        work: whose ledger is kept.
        workers: who is connected.
        leases: what HTTP workers hold.
        heartbeats: what library workers hold.
        api: the broker's figures.
        tick: seconds by which those figures lag.
    """
    is_failing = False
    seen: dict[str, int] = {}
    while True:
        try:
            await workers.look()
            await workers.note_drained()
            seen = await _settle_ledger(work, leases, heartbeats, api, tick, seen) if work.ledger.busy() else {}
            is_failing = False
        except ManagementError as error:
            if not is_failing:
                log.warning("management.failed", problem=str(error))
            is_failing = True
        await asyncio.sleep(ASK_EVERY)


async def _settle_ledger(
    work: Publisher, leases: Leases, heartbeats: Heartbeats, api: Management, tick: float, seen: dict[str, int]
) -> dict[str, int]:
    """Note what is no longer unacked, once two looks in a row have seen so; returns what this one has seen.

    A broker under load tells of its queues later than it should: believed at once, what is held would count as taken.
    """
    asked = time.monotonic()
    unacked = {queue: total.unacked for queue, total in (await api.totals()).items()}
    held = heartbeats.held() | {lease.batch.id for lease in leases.held()}
    for queue in work.ledger.busy():
        if queue in unacked and queue in seen:
            work.saw_unacked(queue, max(unacked[queue], seen[queue]), held, before=asked - tick)
    return unacked
