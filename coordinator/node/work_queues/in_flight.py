"""The batches that are on their way to the work queues."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

CONFIRM_LAG = 1.0
"""Seconds by which a confirm may come later than the batch itself."""


class InFlight:
    """Sends that have begun and not ended, by seed and by publication."""

    def __init__(self) -> None:
        self._of_seeds: Counter[str] = Counter()
        self._sending: dict[str, asyncio.Future[str]] = {}
        self._idle: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sending)

    def begin(self, seed: str, publication: str) -> asyncio.Future[str]:
        """Count one; gives what shall bring the publication's id, or the error."""
        self._of_seeds[seed] += 1
        sent = self._sending[publication] = asyncio.get_running_loop().create_future()
        return sent

    def end(self, seed: str, publication: str) -> asyncio.Future[str]:
        """Count it no more; gives what `begin` gave, which may be done: then nobody waits for it any more."""
        self._of_seeds[seed] -= 1
        if self._of_seeds[seed] == 0:
            del self._of_seeds[seed]
            for idle in self._idle.pop(seed, []):
                if not idle.done():
                    idle.set_result(None)
        return self._sending.pop(publication)

    async def settled(self, seed: str) -> None:
        """Wait until no send of this seed is under way."""
        if self._of_seeds[seed]:
            idle = asyncio.get_running_loop().create_future()
            self._idle[seed].append(idle)
            await idle

    async def confirmed(self, publication: str) -> None:
        """Wait until a batch that was taken out of its queue is known here to have come there: it can be a moment."""
        sent = self._sending.get(publication)
        if sent is not None:
            await asyncio.wait([sent], timeout=CONFIRM_LAG)
