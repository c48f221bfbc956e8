"""When coordinators publish nothing, for a last offer, and how long they must dispatch afterwards."""

from __future__ import annotations

import asyncio
import time
from typing import Final

WORK_SHARE: Final = 4
"""Dispatch runs this many times longer than it stood still for a last offer, before it does so again."""


class Standstill:
    """One coordinator's part in it. All take part, so each knows what is owed to dispatch, whichever asks next."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()
        self.is_over.set()
        self._end: asyncio.TimerHandle | None = None
        self._begun = 0.0
        self._rest_until = 0.0

    def pause(self, seconds: float) -> None:
        """Publish nothing until `resume`, or for so many seconds: the coordinator that asked for it may die."""
        if self.is_over.is_set():
            self._begun = time.monotonic()
            self.is_over.clear()
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(seconds, self.resume)

    def resume(self) -> None:
        """Go on."""
        if not self.is_over.is_set():
            now = time.monotonic()
            self.owe(WORK_SHARE * (now - self._begun))
            self.is_over.set()

    def owe(self, seconds: float) -> None:
        """Let dispatch run for so long at least."""
        self._rest_until = max(self._rest_until, time.monotonic() + seconds)

    @property
    def owed(self) -> float:
        """Seconds for which dispatch must still run before it stands still again."""
        return max(0.0, self._rest_until - time.monotonic())
