"""Queues that are left alone for a while: to ask one for a message ends the connection, or it confirms none."""

from __future__ import annotations

FIRST, MOST = 5.0, 60.0
"""Seconds for which such a queue is left alone: twice as long each time, until it was well for as long as the most.

To try it again costs no more than a connection of its own."""


class Quarantine:
    """Which those are. A broken queue of RabbitMQ may tell how many messages it holds, and yet give none out."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._for: dict[str, float] = {}

    def struck(self, queue: str, now: float) -> float:
        """It has done so; returns for how many seconds it is left alone now."""
        is_old = now > self._until.get(queue, now) + MOST
        self._for[queue] = FIRST if is_old else min(MOST, self._for.get(queue, FIRST / 2) * 2)
        self._until[queue] = now + self._for[queue]
        return self._for[queue]

    def is_well(self, queue: str) -> None:
        """It has given something out, or confirmed something."""
        self._for.pop(queue, None)

    def holds(self, queue: str, now: float) -> bool:
        """Whether it is to be left alone."""
        return now < self._until.get(queue, 0.0)
