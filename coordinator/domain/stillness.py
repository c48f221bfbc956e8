"""Since when no replica can have published anything, by the answers that one of them got."""

from __future__ import annotations


class Stillness:
    """The sum of agreements to publish nothing for a while. Times are monotonic seconds of the replica that asked.

    Each agreement holds until some seconds after it was asked for, for the others heard the question later than that.
    An agreement that is renewed before it ends goes on; after a gap, in which any replica may have published, it begins
    anew.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._until = 0.0

    def agreed(self, asked: float, answered: float, seconds: float) -> None:
        """Count an agreement: by `answered` all had nothing on its way, and publish nothing until `asked + seconds`."""
        if answered >= self._until:
            self._since = answered
        self._until = asked + seconds

    def broken(self) -> None:
        """End the agreement: a replica may publish, or has something on its way."""
        self._until = 0.0

    def lasts(self, begun: float, now: float) -> bool:
        """Return whether the agreement holds now, and has held since `begun` at least."""
        return self._since <= begun and now < self._until
