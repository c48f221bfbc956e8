"""The pulse: how late this process is, and how fast items are taken."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from coordinator.domain.throughput import Pace
from coordinator.node.work_queues.publisher import Publisher

BEAT: Final = 0.5
REMEMBERED: Final = 10
"""Beats of which the slowest is told."""


class Throughput:
    """Looks at the clock and at the ledger twice a second."""

    def __init__(self, work: Publisher) -> None:
        self.since = time.time()
        self._publisher = work
        self._pace = Pace()
        self._lags: deque[float] = deque([0.0], maxlen=REMEMBERED)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            begun = time.monotonic()
            self._pace.saw(begun, self._publisher.ledger.totals())
            await asyncio.sleep(BEAT)
            lag = max(0.0, time.monotonic() - begun - BEAT)
            self._lags.append(lag)
            self._publisher.counters.lag.add(lag)

    @property
    def lag(self) -> float:
        """By how many seconds the event loop was late at the worst of the last beats."""
        return max(self._lags)

    def is_settled(self, seed: str) -> bool:
        """Whether nothing of a seed was taken of late, so that presence tells all that is in hand."""
        return self._pace.is_settled(seed, self._publisher.ledger.taken(seed))

    def rate(self, seed: str) -> float:
        """Items of a seed that were taken a second, of those that this coordinator sent."""
        return self._pace.rate(seed)
