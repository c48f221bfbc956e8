"""Deletes the empty queues of purged seeds. A queue with items belongs to a purge that was cut short."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field

import structlog

from coordinator import topology
from coordinator.broker.management import Management
from coordinator.broker.management_answers import Totals
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

A broker needs up to a minute to notice that a node is gone (its `net_ticktime`), and a queue that is deleted while one
is away comes back with that node."""


@dataclass(slots=True, kw_only=True)
class PurgedQueues:
    """Looks at the queues after every purge, and whenever replicas have come or gone.

    A seed whose queue holds items is created again: the replica that purged it has ended in between, and what its
    producers add would lie there for ever.
    """

    catalog: SeedCatalog
    registry: Registry
    replicas: Replicas
    management: Management
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _whole_since: dict[str, float] = field(default_factory=dict, init=False)

    def on_event(self, event: Event) -> None:
        """Look again after a purge."""
        if isinstance(event, SeedPurged):
            self._changed.set()

    def on_change(self) -> None:
        """Look again after replicas have come or gone."""
        self._changed.set()

    async def run(self) -> None:
        """Look until cancelled."""
        is_left = False
        self._changed.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN if is_left else None):
                    await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(SETTLE)
            try:
                is_left = await self._look()
            except* (ManagementError, BrokerUnavailableError, BrokerRefusedError) as errors:
                log.warning("seed.not_revived", problem=str(errors.exceptions[0]))
                self._changed.set()

    async def _look(self) -> bool:
        """Revive seeds and delete queues; returns whether queues are left that must be deleted later."""
        found = self._find(await self.management.totals())
        for ident in [ident for ident, one in found.items() if not one.is_empty]:
            await self.catalog.revive(ident)
        # A seed that is not forgotten is just coming into being, or was never known.
        empty = [ident for ident, one in found.items() if one.is_empty and ident in self.registry.state.forgotten]
        due = self._due(found, empty)[:AT_ONCE]
        async with asyncio.TaskGroup() as group:
            for ident in due:
                group.create_task(self.catalog.delete_queue(ident))
        return len(due) < len(empty)

    def _find(self, totals: dict[str, Totals]) -> dict[str, Totals]:
        """Return by seed the queues of unknown seeds that belong to this replica."""
        seed_queues = ((topology.seed_of_queue(queue), one) for queue, one in totals.items())
        mine = ((ident, one) for ident, one in seed_queues if ident is not None and self.replicas.owns(ident))
        return {ident: one for ident, one in mine if ident not in self.registry.state.seeds}

    def _due(self, found: dict[str, Totals], empty: list[str]) -> list[str]:
        """Return the seeds whose queue can be deleted now: no node of the broker can bring it back."""
        now = time.monotonic()
        self._whole_since = {ident: self._whole_since.get(ident, now) for ident, one in found.items() if not one.away}
        whole_since = self._whole_since
        return [
            ident for ident in empty if found[ident].members == 1 or now - whole_since.get(ident, math.inf) >= WHOLE_FOR
        ]
