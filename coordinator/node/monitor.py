"""The monitor: asks the broker, now and again, what waits, what is unacked, and who is connected."""

from __future__ import annotations

import asyncio
import time

import structlog

from coordinator.broker.management import Management
from coordinator.errors import ManagementError
from coordinator.node.figures import bound_by_capacity
from coordinator.node.leases import Leases
from coordinator.node.presence import Roster
from coordinator.node.work import Work
from coordinator.node.workers import Workers

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5
ASK_EVERY = 2.0


async def watch_queues(work: Work, leases: Leases, roster: Roster) -> None:
    """Look at the work queues that matter to somebody, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        for queue in work.queues if leases.is_awaited else work.ledger.busy():
            await work.look(queue)
        bound_by_capacity(work, leases, roster)


async def watch_workers(
    *, work: Work, workers: Workers, leases: Leases, roster: Roster, api: Management, tick: float
) -> None:
    """Keep the account of what is sent, and the list of who is connected, until cancelled.

    Args:
        work: whose ledger is kept.
        workers: who is connected.
        leases: what HTTP workers hold.
        roster: what library workers hold.
        api: the broker's figures.
        tick: seconds by which those figures lag.
    """
    is_failing = False
    while True:
        try:
            await workers.look()
            await workers.note_drained()
            if work.ledger.busy():
                await _settle_ledger(work, leases, roster, api, tick)
            is_failing = False
        except ManagementError as error:
            if not is_failing:
                log.warning("management.failed", problem=str(error))
            is_failing = True
        await asyncio.sleep(ASK_EVERY)


async def _settle_ledger(work: Work, leases: Leases, roster: Roster, api: Management, tick: float) -> None:
    asked = time.monotonic()
    totals = await api.totals()
    held = roster.held() | {lease.batch.id for lease in leases.held()}
    for queue in work.ledger.busy():
        if queue in totals:
            work.saw_unacked(queue, totals[queue].unacked, held, before=asked - tick)
