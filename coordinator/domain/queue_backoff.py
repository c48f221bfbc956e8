"""Queues that are left alone for a while: to ask one for a message ends the connection, or it confirms none."""

from __future__ import annotations

FIRST, MOST = 5.0, 60.0
"""Seconds for which a queue is left alone that gave nothing out: to try it again costs no more than a connection."""


class QueueBackoff:
    """Which those are. A broken queue of RabbitMQ may report how many messages it holds, and yet deliver none."""

    def __init__(self, first: float = FIRST, most: float = MOST) -> None:
        """Make it, with no queue in it.

        Args:
            first: seconds for which a queue is left alone at first. It is twice as long each time, until the queue
                was well for as long as the most.
            most: seconds for which it is left alone at most.
        """
        self._first, self._most = first, most
        self._until: dict[str, float] = {}
        self._for: dict[str, float] = {}

    def struck(self, queue: str, now: float) -> float:
        """It has done so; returns for how many seconds it is left alone now."""
        is_old = now > self._until.get(queue, now) + self._most
        last = self._for.get(queue, self._first / 2)
        self._for[queue] = self._first if is_old else min(self._most, last * 2)
        self._until[queue] = now + self._for[queue]
        return self._for[queue]

    def is_well(self, queue: str) -> None:
        """It has given something out, or confirmed something."""
        self._for.pop(queue, None)

    def holds(self, queue: str, now: float) -> bool:
        """Whether it is to be left alone."""
        return self.left(queue, now) > 0

    def left(self, queue: str, now: float) -> float:
        """For how many seconds it is still to be left alone."""
        return max(0.0, self._until.get(queue, 0.0) - now)
