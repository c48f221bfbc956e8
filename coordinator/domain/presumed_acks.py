"""Batches that are presumed acked: the broker says how many are, not which, so a worker that holds one may say so."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from coordinator.domain.ledger import PublishedBatch

GRACE: Final = 3.0
"""Seconds in which a worker may contradict: it reports every two seconds what it holds."""


class PresumedAcks:
    """What is presumed acked and may be contradicted; all times are in the same clock's seconds."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[float, PublishedBatch]] = OrderedDict()
        """By batch: when it becomes certain, the first first."""

    def suppose(self, sendings: Iterable[PublishedBatch], now: float) -> None:
        """Presume these acked."""
        for one in sendings:
            self._open[one.batch] = (now + GRACE, one)
            self._open.move_to_end(one.batch)

    def drop(self, batch: str) -> None:
        """This one came back, so it was not acked."""
        self._open.pop(batch, None)

    def certain(self, now: float, held: Callable[[], Collection[str]]) -> Iterator[tuple[float, PublishedBatch]]:
        """Those that no worker has contradicted by now, once each, and since when they are certain.

        Args:
            now: the time.
            held: gives the batches that workers say they hold, which are checked again later.
        """
        named: Collection[str] | None = None
        while self._open:
            at, one = next(iter(self._open.values()))
            if at > now:
                return
            named = held() if named is None else named
            if one.batch in named:
                self.suppose([one], now)
            else:
                del self._open[one.batch]
                yield at, one
