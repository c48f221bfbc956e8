"""Fair turns among seeds: deficit round robin, weighted, counted in items.

After M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995): each seed
in the ring is credited a quantum at its turn and served while its credit lasts, so a decision costs the same
however many seeds wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from coordinator.models import Priority

WEIGHTS: dict[Priority, int] = {"low": 1, "medium": 4, "high": 16}
QUANTUM = 25
"""Items credited to a seed of weight 1 at each turn: a turn of a `medium` seed is one batch of the default size."""


class Turns:
    """The ring of seeds that have something to send.

    A seed leaves the ring when it has nothing left, and comes back at its end without credit: being idle earns nothing.
    """

    def __init__(self) -> None:
        self._ring: deque[str] = deque()
        self._credit: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, seed: str) -> None:
        """Let a seed take part; harmless when it does already."""
        if seed not in self._credit:
            self._credit[seed] = 0
            self._ring.append(seed)

    def remove(self, seed: str) -> None:
        """Take a seed out, and its credit with it."""
        if self._credit.pop(seed, None) is not None:
            self._ring.remove(seed)

    def next(self, cost: Callable[[str], int | None], weight: Callable[[str], int]) -> str | None:
        """Whose turn it is, already charged; None when nobody can send now.

        Args:
            cost: items of a seed's next batch; 0 when it has none to send now, which costs it its credit; None when
                there is no room for it, which is not its fault: it keeps its credit, or where places get free one by
                one the first in the ring would get them all.
            weight: a seed's share.
        """
        passed = 0
        while passed < len(self._ring):
            seed = self._ring[0]
            price = cost(seed)
            if not price:
                if price == 0:
                    self._credit[seed] = 0
                self._ring.rotate(-1)
                passed += 1
                continue
            passed = 0
            if self._credit[seed] >= price:
                self._credit[seed] -= price
                return seed
            # Credited as it leaves, for its next visit: credited on the spot, the first in the ring would never leave.
            self._credit[seed] += QUANTUM * weight(seed)
            self._ring.rotate(-1)
        return None
