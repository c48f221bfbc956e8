"""Since when no coordinator can have sent anything, as far as the one knows that asked them all."""

from __future__ import annotations


class Stillness:
    """What agreements to send nothing for a while add up to: times are monotonic seconds of whoever asked.

    Each agreement holds until some seconds after it was asked for, for the others heard the question later than that.
    One that is renewed before the last one ends prolongs it; after a gap, in which anybody may have sent something,
    it begins anew.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._until = 0.0

    def agreed(self, asked: float, answered: float, seconds: float) -> None:
        """All have agreed by `answered` to send nothing until `asked + seconds`, and had nothing on its way."""
        if answered >= self._until:
            self._since = answered
        self._until = asked + seconds

    def broken(self) -> None:
        """Somebody may send, or has something on its way."""
        self._until = 0.0

    def lasts(self, begun: float, now: float) -> bool:
        """Whether it holds now, and has done so since `begun` at least."""
        return self._since <= begun and now < self._until
