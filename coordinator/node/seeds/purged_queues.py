"""The queues of purged seeds: empty ones are deleted in time; one with items had its purge cut short."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

import structlog

from coordinator import topology
from coordinator.broker.management import Management, Totals
from coordinator.domain.registry_events import Event, SeedPurged
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError, ManagementError
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.seeds.catalog import SeedCatalog

log = structlog.get_logger(__name__)

SETTLE = 2.0
"""Seconds until the queue of a seed that was purged is looked at, and until it is looked at again where that failed."""
AGAIN = 10.0
"""Seconds between two looks while there are queues to be deleted."""
AT_ONCE = 100
"""Queues deleted at a time."""
WHOLE_FOR = 90.0
"""Seconds for which all nodes of a queue must have been there before it is deleted.

A broker takes up to a minute to notice that one is gone (its `net_ticktime`), and a queue that is deleted while one is
away comes back with that node."""


async def tend_leftovers(seeds: SeedCatalog, registry: Registry, replicas: Replicas, management: Management) -> None:
    """Deal with them after every purge and whenever coordinators have come or gone, until cancelled.

    A seed whose queue holds items is known again: the coordinator that purged it has ended in between, and what its
    producers add would lie there for ever.
    """
    changed = asyncio.Event()
    changed.set()

    def notice(event: Event) -> None:
        if isinstance(event, SeedPurged):
            changed.set()

    def find(totals: dict[str, Totals]) -> dict[str, Totals]:
        """The queues of seeds that nobody knows and that fall to this coordinator, by seed."""
        seed_queues = ((topology.seed_of_queue(queue), one) for queue, one in totals.items())
        mine = ((ident, one) for ident, one in seed_queues if ident is not None and replicas.owns(ident))
        return {ident: one for ident, one in mine if ident not in registry.state.seeds}

    registry.listen(notice)
    replicas.on_change(changed.set)
    whole_since: dict[str, float] = {}
    is_left = False
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN if is_left else None):
                await changed.wait()
        changed.clear()
        await asyncio.sleep(SETTLE)
        try:
            found = find(await management.totals())
            now = time.monotonic()
            whole_since = {ident: whole_since.get(ident, now) for ident, one in found.items() if not one.away}
            for ident in [ident for ident, one in found.items() if not one.is_empty]:
                await seeds.adopt(ident)
            # One that is not forgotten is just coming into being, or was never ours.
            empty = [ident for ident, one in found.items() if one.is_empty and ident in registry.state.forgotten]
            due = [
                ident
                for ident in empty
                if found[ident].members == 1 or now - whole_since.get(ident, math.inf) >= WHOLE_FOR
            ][:AT_ONCE]
            async with asyncio.TaskGroup() as group:
                for ident in due:
                    group.create_task(seeds.delete_queue(ident))
            is_left = len(due) < len(empty)
        except* (ManagementError, BrokerUnavailableError, BrokerRefusedError) as errors:
            log.warning("seed.not_adopted", problem=str(errors.exceptions[0]))
            changed.set()
