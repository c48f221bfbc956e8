"""What a coordinator counts as it works: plain numbers, read when metrics are asked for.

Thousands of batches a second pass here, so each of them costs an addition of integers and nothing more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Durations:
    """How often something took how many seconds, by upper bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[int]:
        """How many took at most each of the bounds, and in the end how many there are."""
        return list(accumulate(self._counts))


@dataclass(slots=True)
class Counters:
    """The counts of one process, through all its sessions."""

    published: int = 0
    """Batches put into work queues and confirmed."""
    published_items: int = 0
    acked: int = 0
    acked_items: int = 0
    returned: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Batches that came back, by where they went and whether that was a failure."""
    dead: Counter[str] = field(default_factory=Counter)
    """Dead letters made, by kind."""
    sessions: int = 0
    silent: int = 0
    """Workers whose presence stopped."""
    bursts: Durations = field(default_factory=lambda: Durations(FAST))
    """From the first publication of some batches at once to the last confirm."""
    releases: defaultdict[str, Durations] = field(default_factory=lambda: defaultdict(lambda: Durations(SLOW)))
    """From a release's beginning to its reply, by command."""
    lag: Durations = field(default_factory=lambda: Durations(FAST))
    """How late the event loop woke who slept."""
