"""Rates out of totals that only grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

SPAN: Final = 10.0
"""Seconds over which a rate is measured."""
SETTLED: Final = 3.0
"""Seconds after which what was acked shows in the heartbeat of its worker, which comes every two seconds."""


class Pace:
    """How fast totals grow, by key, over the last `SPAN` seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[str, int]]] = deque()
        self._settled: Mapping[str, int] = {}

    def saw(self, now: float, totals: Mapping[str, int]) -> None:
        """Record the totals at this moment (monotonic seconds); the mapping must not change afterwards."""
        self._looks.append((now, totals))
        while len(self._looks) > 1 and self._looks[1][0] <= now - SPAN:
            self._looks.popleft()
        self._settled = next((one for at, one in reversed(self._looks) if at <= now - SETTLED), self._looks[0][1])

    def is_settled(self, key: str, total: int) -> bool:
        """Return whether a total, now this one, has not grown for some `SETTLED` seconds."""
        return total == self._settled.get(key, 0)

    def rate(self, key: str) -> float:
        """Return how much a total grew a second; 0 before the second look."""
        if not self._looks:
            return 0.0
        (begun, first), (ended, last) = self._looks[0], self._looks[-1]
        grown = last.get(key, 0) - first.get(key, 0)
        return max(0.0, grown / (ended - begun)) if ended > begun else 0.0
