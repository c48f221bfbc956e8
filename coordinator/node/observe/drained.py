"""Finds the moment at which a seed is drained, and records it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.events import Events
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.registry import Registry
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import Publisher

log = structlog.get_logger(__name__)

TICK: Final = 1.0
AT_ONCE: Final = 100
"""Seeds that are looked at in one tick: the broker is asked about each."""


@dataclass(slots=True, kw_only=True)
class DrainWatcher:
    """Looks at the seeds that are dispatched here and that have moved since they were last drained.

    Local counters answer for almost all of them. The broker and the other replicas are asked only where these counters
    say that nothing is left.
    """

    registry: Registry
    owned_seeds: OwnedSeeds
    seed_queues: SeedQueues
    publisher: Publisher
    seed_stats: SeedStats
    events: Events
    _drained: dict[str, int] = field(default_factory=dict, init=False)
    """How many pages of a seed had come when it was last seen drained, or when it left this replica."""
    _maybe: dict[str, int] = field(default_factory=dict, init=False)
    """Seeds that were drained at the last look: a page on its way to its owner is in no count for a moment."""
    _active: dict[str, None] = field(default_factory=dict, init=False)
    """Seeds of which something was left at the last look, the longest unseen first."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        for seed in [one for one in self._active if one not in self.owned_seeds.consumers]:
            del self._active[seed]  # its new owner looks at it; what came so far is no news if it comes back
            self._drained[seed] = self._pages(seed)
        candidates = self._candidates()[:AT_ONCE]
        state = self.registry.state
        for view in await self.seed_stats.views([state.seeds[one] for one in candidates if one in state.seeds]):
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
                self.events.seed("seed.drained", seed)
                log.info("seed.drained", seed=seed, taken=view.counts.taken)

    def _candidates(self) -> list[str]:
        """Return the seeds that may be drained now, and were not at the last look."""
        out = self.publisher.ledger.counts()
        fresh = []
        for seed, line in self.owned_seeds.consumers.items():
            if len(line.buffer) or seed in out:
                self._active.setdefault(seed, None)
            elif seed not in self._active and self._drained.get(seed) != self._pages(seed):
                fresh.append(seed)
        return [*fresh, *(seed for seed in self._active if seed not in out)]

    def _pages(self, seed: str) -> int:
        """Return how many pages of a seed have come to this replica."""
        return self.seed_queues.pages.of(seed).took_pages
