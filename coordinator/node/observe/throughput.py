"""How late the event loop of this process is, and how fast items are acked."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from coordinator.domain.throughput import Pace
from coordinator.node.work_queues.publisher import Publisher

LOOK_EVERY: Final = 0.5
REMEMBERED: Final = 10
"""Looks whose worst lag is reported."""


@dataclass(slots=True, kw_only=True)
class Throughput:
    """Looks at the clock and at the ledger twice a second."""

    publisher: Publisher
    since: float = field(default_factory=time.time, init=False)
    _pace: Pace = field(default_factory=Pace, init=False)
    _lags: deque[float] = field(default_factory=lambda: deque([0.0], maxlen=REMEMBERED), init=False)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            begun = time.monotonic()
            self._pace.saw(begun, self.publisher.ledger.totals())
            await asyncio.sleep(LOOK_EVERY)
            lag = max(0.0, time.monotonic() - begun - LOOK_EVERY)
            self._lags.append(lag)
            self.publisher.counters.lag.add(lag)

    @property
    def lag(self) -> float:
        """The worst lag of the event loop at the last looks, in seconds."""
        return max(self._lags)

    def is_settled(self, seed: str) -> bool:
        """Return whether nothing of a seed was acked of late, so that heartbeats report all that is in hand."""
        return self._pace.is_settled(seed, self.publisher.ledger.taken(seed))

    def rate(self, seed: str) -> float:
        """Return the items of a seed that were acked a second, among those that this replica published."""
        return self._pace.rate(seed)
