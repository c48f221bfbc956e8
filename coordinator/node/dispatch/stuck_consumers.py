"""Consumers of seeds' queues that the broker has forgotten are renewed: their queues hold pages and bring none."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.management import Management
from coordinator.errors import ManagementError
from coordinator.node.dispatch.dispatcher import Dispatcher

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 15.0
"""Seconds between two looks, where the broker's figures lag by less; what a healthy queue holds it brings at once."""


async def renew_consumers(dispatcher: Dispatcher, management: Management, tick: float) -> None:
    """Renew the consumer of each queue that held pages at two looks in a row and brought none in between.

    Seen on 3.10.8 after nodes were killed: the consumer is there and is not served, until another takes its place.

    Args:
        dispatcher: has the consumers.
        management: tells what the queues hold.
        tick: seconds by which that lags.
    """
    before: dict[str, int] = {}
    while True:
        await asyncio.sleep(max(LOOK_EVERY, 2 * tick))
        try:
            totals = await management.totals() if dispatcher.lines else {}
        except ManagementError as error:
            log.info("management.failed", problem=str(error))
            continue
        waiting = {topology.seed_of_queue(queue): total.ready for queue, total in totals.items() if total.ready > 0}
        now = {seed: pages for seed, pages in dispatcher.unfed() if seed in waiting}
        for seed in [seed for seed, pages in now.items() if before.get(seed) == pages]:
            log.warning("seed.not_served", seed=seed, pages=waiting[seed])
            await dispatcher.renew(seed)
        before = now
