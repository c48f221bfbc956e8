"""Renews consumers of seeds' queues that the broker has forgotten: their queues hold pages and deliver none."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.management import Management
from coordinator.errors import ManagementError
from coordinator.node.dispatch.owned_seeds import OwnedSeeds

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 15.0
"""Seconds between two looks, where the broker's figures lag by less; a healthy queue delivers at once what it holds."""


async def renew_consumers(owned_seeds: OwnedSeeds, management: Management, tick: float) -> None:
    """Renew the consumer of each queue that held pages at two looks in a row and brought none in between.

    Seen on 3.10.8 after nodes were killed: the consumer is there and is not served, until another takes its place.

    Args:
        owned_seeds: has the consumers.
        management: knows what the queues hold.
        tick: seconds by which that lags.
    """
    before: dict[str, int] = {}
    while True:
        await asyncio.sleep(max(LOOK_EVERY, 2 * tick))
        try:
            totals = await management.totals() if owned_seeds.consumers else {}
        except ManagementError as error:
            log.info("management.failed", problem=str(error))
            continue
        waiting = {topology.seed_of_queue(queue): total.ready for queue, total in totals.items() if total.ready > 0}
        now = {seed: pages for seed, pages in owned_seeds.unfed() if seed in waiting}
        for seed in [seed for seed, pages in now.items() if before.get(seed) == pages]:
            log.warning("seed.not_served", seed=seed, pages=waiting[seed])
            await owned_seeds.renew(seed)
        before = now
