"""Progress: finds the moment at which a seed is drained, and notes it."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.events import Events
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.registry import Registry
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import Publisher

log = structlog.get_logger(__name__)

TICK: Final = 1.0
AT_ONCE: Final = 100
"""Seeds that are looked at in one tick: of each the broker is asked."""


class DrainWatcher:
    """Looks at the seeds that are dispatched here and that have moved since they were last drained.

    Almost all of that is told by counters at hand. Only where these say that nothing is left are the broker and the
    other coordinators asked.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        dispatcher: Dispatcher,
        available: SeedQueues,
        work: Publisher,
        seed_stats: SeedStats,
        events: Events,
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._seed_queues = available
        self._publisher = work
        self._seed_stats = seed_stats
        self._events = events
        self._drained: dict[str, int] = {}
        """How many pages had come of a seed when it was last seen to be drained, or when it left this coordinator."""
        self._maybe: dict[str, int] = {}
        """Seeds that were drained at the last look: a page on its way to its owner is in no count for a moment."""
        self._active: dict[str, None] = {}
        """Seeds of which something was left at the last look, the longest unseen first."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        for seed in [one for one in self._active if one not in self._dispatcher.lines]:
            del self._active[seed]  # whoever has it now looks at it; what came so far is no news if it comes back
            self._drained[seed] = self._pages(seed)
        candidates = self._candidates()[:AT_ONCE]
        state = self._registry.state
        for view in await self._seed_stats.views([state.seeds[one] for one in candidates if one in state.seeds]):
            seed, pages = view.seed.id, self._pages(view.seed.id)
            if not view.is_drained:
                self._maybe.pop(seed, None)
                self._active.pop(seed, None)
                self._active[seed] = None
                continue
            is_news = seed in self._active or pages != self._drained.get(seed, 0)
            if is_news and self._maybe.get(seed) != pages:
                self._maybe[seed] = pages
                continue
            self._maybe.pop(seed, None)
            self._active.pop(seed, None)
            self._drained[seed] = pages
            if is_news:
                self._events.seed("seed.drained", seed)
                log.info("seed.drained", seed=seed, taken=view.counts.taken)

    def _candidates(self) -> list[str]:
        """Seeds that may be drained, and were not when they were last seen."""
        out = self._publisher.ledger.counts()
        fresh = []
        for seed, line in self._dispatcher.lines.items():
            if len(line.buffer) or seed in out:
                self._active.setdefault(seed, None)
            elif seed not in self._active and self._drained.get(seed) != self._pages(seed):
                fresh.append(seed)
        return [*fresh, *(seed for seed in self._active if seed not in out)]

    def _pages(self, seed: str) -> int:
        """How many pages of a seed have come to this coordinator."""
        return self._seed_queues.pages.of(seed).took_pages
