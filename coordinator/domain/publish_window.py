"""The window of a work queue: how full it may be, how fast it empties, when to look at it again."""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 4
"""Batches that a work queue may always hold, so that a consumer that comes finds something."""
SHORTEST_LOOK, LONGEST_LOOK = 0.005, 0.2
"""Seconds between two looks at a full work queue: longer and longer while nothing leaves it."""
LONGEST_REFUSAL = 2.0
"""Seconds for which a work queue that refuses is left alone at most: without a leader it does so for a while."""


@dataclass(slots=True)
class Window:
    """How full a work queue may be, how fast it empties, and how many batches may be added until the next look.

    `begun`, wherever it is passed, is how many batches were ever planned for this queue (`InFlight.begun`).
    """

    waiting: int
    """Batches that waited at the last look: this coordinator's, where others fill the queue as well."""
    consumers: int
    at: float
    asked: float = 0.0
    """When the broker was asked for these figures; 0 before its first answer."""
    begun: int = 0
    """Batches that were ever planned for it, at the last look."""
    fetched: int = 0
    """Batches that were fetched here since the last look: they left it and made room at once."""
    rate: float = 0.0
    pause: float = SHORTEST_LOOK
    allowance: int = LEAST
    published: int = 0
    foreign: int = 0
    """Batches that waited at the last look and that no coordinator accounts for."""
    refused_for: float = 0.0
    """Seconds for which it is left alone because it refused a batch; 0 once it has confirmed one."""

    def saw(self, waiting: int, consumers: int, begun: int, now: float) -> None:
        """Use the broker's answer: so many batches wait and so many consumers consume."""
        drained = max(0, self.waiting + begun - self.begun - waiting)
        elapsed = max(now - self.at, 1e-3)
        weight = min(1.0, elapsed / 0.2)
        self.rate += weight * (drained / elapsed - self.rate)
        self.pause = max(self.refused_for, SHORTEST_LOOK if drained else min(LONGEST_LOOK, self.pause * 2))
        self.waiting, self.consumers, self.at = waiting, consumers, now

    def went_silent(self, begun: int, now: float) -> None:
        """Close the window: the broker does not answer for this queue."""
        self.at, self.pause = now, LONGEST_LOOK
        self.allow(0, begun)

    def refused(self, begun: int, now: float) -> None:
        """Close the window for a while: the queue refused a batch and would refuse the next one too."""
        if self.allowance:
            self.refused_for = min(LONGEST_REFUSAL, max(LONGEST_LOOK, self.refused_for * 2))
        self.at, self.pause = now, self.refused_for
        self.allow(0, begun)

    def confirmed(self) -> None:
        """Count a batch that the queue has confirmed."""
        self.published += 1
        self.refused_for = 0.0

    def room(self, begun: int) -> int:
        """How many more batches may be planned until the next look."""
        return self.allowance - begun + self.begun + self.fetched

    def likely(self, begun: int) -> int:
        """How many batches it probably holds now."""
        return max(0, self.waiting + begun - self.begun - self.fetched)

    def allow(self, batches: int, begun: int) -> None:
        """Grant so many batches until the next look."""
        self.allowance, self.begun, self.fetched = max(0, batches), begun, 0
