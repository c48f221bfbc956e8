"""Fair turns among seeds: deficit round robin, weighted, counted in items; who is new goes first, once.

After M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995): each seed
in the ring is credited a quantum at its turn and served while its credit lasts, so a decision costs the same
however many seeds wait. That newcomers are served before the ring is after RFC 8290, section 4.2: a small seed
would else wait until each of a thousand large ones had its turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from coordinator.models import Priority

WEIGHTS: dict[Priority, int] = {"low": 1, "medium": 4, "high": 16}
QUANTUM = 25
"""Items credited to a seed of weight 1 at each turn: a turn of a `medium` seed is one batch of the default size."""

NEWCOMERS = 4
"""So many of them are served for each turn of the ring: however many there are, the others get a fifth."""

Cost = Callable[[str], int | None]
Weight = Callable[[str], int]


class Turns:
    """The seeds that have something to send: newcomers, and a ring of those who had their first turn.

    A seed leaves when it has nothing left, and its credit with it: being idle earns nothing. Nor does leaving: until
    the ring has gone round, a seed that comes back is no newcomer but joins the ring at its end.
    """

    def __init__(self) -> None:
        self._ring: OrderedDict[str, None] = OrderedDict()
        self._newcomers: OrderedDict[str, None] = OrderedDict()
        self._credit: dict[str, int] = {}
        self._turns_given = 0
        self._left: dict[str, int] = {}
        """When seeds left the ring, in turns given until then; the earliest first."""
        self._newcomers_in_a_row = 0

    def __len__(self) -> int:
        return len(self._ring) + len(self._newcomers)

    def add(self, seed: str) -> None:
        """Let a seed take part; harmless when it does already."""
        if seed not in self._credit:
            self._credit[seed] = 0
            (self._ring if self._left_lately(seed) else self._newcomers)[seed] = None

    def remove(self, seed: str) -> None:
        """Take a seed out, and its credit with it."""
        if self._credit.pop(seed, None) is None:
            return
        if seed in self._newcomers:
            del self._newcomers[seed]
            return
        del self._ring[seed]
        self._left.pop(seed, None)
        self._left[seed] = self._turns_given

    def next(self, cost: Cost, weight: Weight) -> str | None:
        """Whose turn it is, already charged; None when no seed can publish now.

        Args:
            cost: items of a seed's next batch; 0 when it has none to send now, which costs it its credit; None when
                there is no room for it, which is not its fault: it keeps its credit, or where places get free one by
                one the first in the ring would get them all.
            weight: a seed's share.
        """
        asked = min(1, len(self._newcomers)) if self._newcomers_in_a_row < NEWCOMERS else 0
        seed = self._next_newcomer(asked, cost, weight)
        if seed is not None:
            self._newcomers_in_a_row += 1
            return seed
        self._newcomers_in_a_row = 0
        seed = self._next_of_ring(cost, weight)
        if seed is None and len(self._newcomers) > asked:
            seed = self._next_newcomer(len(self._newcomers) - asked, cost, weight) or self._next_of_ring(cost, weight)
        return seed

    def _next_newcomer(self, most: int, cost: Cost, weight: Weight) -> str | None:
        """The first of so many newcomers that can send, which is then none any more; the others keep their order."""
        for _ in range(most):
            seed = next(iter(self._newcomers))
            price = cost(seed)
            if not price:
                self._newcomers.move_to_end(seed)
                continue
            del self._newcomers[seed]
            self._ring[seed] = None
            self._credit[seed] = QUANTUM * weight(seed)
            if self._credit[seed] >= price:
                self._credit[seed] -= price
                return seed
        return None

    def _next_of_ring(self, cost: Cost, weight: Weight) -> str | None:
        passed = 0
        while passed < len(self._ring):
            seed = next(iter(self._ring))
            price = cost(seed)
            if not price:
                if price == 0:
                    self._credit[seed] = 0
                self._ring.move_to_end(seed)
                passed += 1
                continue
            passed = 0
            if self._credit[seed] >= price:
                self._credit[seed] -= price
                return seed
            # Credited as it leaves, for its next visit: credited on the spot, the first in the ring would never leave.
            self._credit[seed] += QUANTUM * weight(seed)
            self._ring.move_to_end(seed)
            self._turns_given += 1
        return None

    def _left_lately(self, seed: str) -> bool:
        """Whether it left the ring and some seed there had no turn since; forgets the seeds that left earlier."""
        while self._left:
            earliest = next(iter(self._left))
            if self._turns_given - self._left[earliest] < len(self._ring):
                break
            del self._left[earliest]
        return seed in self._left
