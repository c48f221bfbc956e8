"""The unsent window of a work queue: how full it may be, how fast it empties, when to look at it again."""

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
    """How full a work queue may be, how fast it empties, and how many batches may be added until the next look."""

    waiting: int
    """Batches that waited at the last look: this coordinator's, where others fill the queue as well."""
    consumers: int
    at: float
    asked: float = 0.0
    """When the broker was asked for these figures; 0 before its first answer."""
    sent: int = 0
    taken: int = 0
    """Batches that were fetched here since then: they left as well, and made room at once."""
    rate: float = 0.0
    pause: float = SHORTEST_LOOK
    allowance: int = LEAST
    flying: int = 0
    """Batches on their way to it: whether they are in the broker's figure yet, nobody knows."""
    published: int = 0
    strange: int = 0
    """Batches that waited at the last look and that no coordinator accounts for."""
    refused_for: float = 0.0
    """Seconds for which it is left alone, because it refused a batch; 0 once it has taken one."""

    def saw(self, waiting: int, consumers: int, now: float) -> None:
        """The broker was asked: so many wait and so many consume."""
        drained = max(0, self.waiting + self.sent + self.taken - waiting)
        elapsed = max(now - self.at, 1e-3)
        weight = min(1.0, elapsed / 0.2)
        self.rate += weight * (drained / elapsed - self.rate)
        self.pause = max(self.refused_for, SHORTEST_LOOK if drained else min(LONGEST_LOOK, self.pause * 2))
        self.waiting, self.consumers, self.at = waiting, consumers, now

    def went_silent(self, now: float) -> None:
        """It gave no answer: it gets no batch before the next look."""
        self.at, self.pause = now, LONGEST_LOOK
        self.allow(0)

    def refused(self, now: float) -> None:
        """It refused a batch: whoever sent it would try again at once, and again."""
        if self.allowance:
            self.refused_for = min(LONGEST_REFUSAL, max(LONGEST_LOOK, self.refused_for * 2))
        self.at, self.pause = now, self.refused_for
        self.allow(0)

    def took(self) -> None:
        """It has taken a batch."""
        self.published += 1
        self.refused_for = 0.0

    @property
    def likely(self) -> int:
        """How many batches it is likely to hold now, as far as is known here."""
        return max(0, self.waiting + self.sent)

    def allow(self, batches: int) -> None:
        """Grant so many until the next look."""
        self.allowance, self.sent, self.taken = max(0, batches), 0, 0
