"""Seeds that were purged, but not to the end: their queues still take items, and nobody knows of them."""

from __future__ import annotations

import asyncio

import structlog

from coordinator import topology
from coordinator.broker.management import Management
from coordinator.domain.entries import Event, SeedPurged
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError, ManagementError
from coordinator.node.peers import Peers
from coordinator.node.registry import Registry
from coordinator.node.seeds import Seeds

log = structlog.get_logger(__name__)

SETTLE = 2.0
"""Seconds until a queue is looked for that should be gone, and until it is looked for again where that failed."""


async def adopt_leftovers(seeds: Seeds, registry: Registry, peers: Peers, management: Management) -> None:
    """Have each such seed again, after every purge and whenever coordinators have come or gone, until cancelled.

    The coordinator that purges may end in between. What its producers add from then on would lie there for ever.
    """
    changed = asyncio.Event()
    changed.set()

    def notice(event: Event) -> None:
        if isinstance(event, SeedPurged):
            changed.set()

    registry.listen(notice)
    peers.on_change(changed.set)
    while True:
        await changed.wait()
        changed.clear()
        await asyncio.sleep(SETTLE)
        try:
            for queue in await management.totals():
                ident = topology.seed_of_queue(queue)
                if ident is not None and ident not in registry.state.seeds and peers.owns(ident):
                    await seeds.adopt(ident)
        except (ManagementError, BrokerUnavailableError, BrokerRefusedError) as error:
            log.warning("seed.not_adopted", problem=str(error))
            changed.set()
