"""How many items wait in seeds' queues, where the broker counts messages alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """The pages, with their items, that replicas put into a seed's queue and consumed from it."""

    put_pages: int = 0
    put_items: int = 0
    took_pages: int = 0
    took_items: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.put_pages + other.put_pages,
            self.put_items + other.put_items,
            self.took_pages + other.took_pages,
            self.took_items + other.took_items,
        )

    def misses(self, pages: int) -> bool:
        """Return whether so many pages are fewer than were put there: the broker's figure lags what goes back."""
        return self.put_pages - self.took_pages > pages

    def waiting(self, pages: int) -> tuple[int, bool]:
        """Return how many items so many waiting pages hold, and whether that is exact.

        It is exact where replicas put all these pages there. Pages of producers that no replica has read yet are
        estimated to be as large as the pages that were read are on average.
        """
        strange = pages - (self.put_pages - self.took_pages)
        average = self.took_items / self.took_pages if self.took_pages else 1.0
        items = self.put_items - self.took_items + round(strange * average)
        return (max(items, pages), strange == 0) if pages else (0, True)


class Pages:
    """The traffic of one replica with the queues of seeds."""

    def __init__(self) -> None:
        self._traffic: defaultdict[str, Traffic] = defaultdict(Traffic)

    def put(self, seed: str, items: int) -> None:
        """Count a page that is about to be published."""
        self._traffic[seed] += Traffic(put_pages=1, put_items=items)

    def failed(self, seed: str, items: int) -> None:
        """Uncount a page that was not published."""
        self._traffic[seed] += Traffic(put_pages=-1, put_items=-items)

    def took(self, seed: str, items: int) -> None:
        """Count a page that was delivered to this replica."""
        self._traffic[seed] += Traffic(took_pages=1, took_items=items)

    def of(self, seed: str) -> Traffic:
        """Return the traffic with a seed's queue."""
        return self._traffic.get(seed, Traffic())

    def forget(self, seed: str) -> None:
        """Drop the traffic of a purged seed."""
        self._traffic.pop(seed, None)
