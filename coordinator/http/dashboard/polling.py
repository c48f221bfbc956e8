"""The cache between the dashboards and the API: ten open pages cost what one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from coordinator.errors import BusyError, CoordinatorError
from coordinator.http.responses import Json, answer_to
from coordinator.http.seeds import Handler
from coordinator.node.coordinator import Coordinator

PERIOD: Final = 1.0
"""Seconds for which an answer is kept."""
DEAD_PERIOD: Final = 5.0
"""The same for dead letters: to read them, the coordinator takes all of them out of their queue and puts them back."""
SHARE: Final = 10.0
"""A slow answer is kept for this many times its duration, so that reading takes a tenth of the time at most."""


@dataclass(eq=False, slots=True)
class _Kept:
    """The last answer to one read; the lock is held while it is read."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    answer: Response | None = None
    fresh_until: float = 0.0
    until: float = 0.0


class Polls:
    """The answers that are kept now.

    Args:
        most: how many different reads may be kept at once.
        clock: gives seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = clock
        self._kept: dict[tuple[bytes, bytes], _Kept] = {}

    async def answer(self, request: Request, read: Handler, period: float) -> Response:
        """Return the answer that is kept for this path and query, or read it if there is none or it is too old.

        A caller that sends `Cache-Control: no-cache` gets an answer of at most a second ago, so that a page shows
        what its action did. A slow read is kept for longer all the same.

        Raises:
            BusyError: dashboards poll too many different reads already.
        """
        kept = self._find((request.scope["raw_path"], request.scope["query_string"]))
        is_fresh_wanted = "no-cache" in request.headers.get("cache-control", "")
        async with kept.lock:
            begun = self._now()
            if kept.answer is None or begun >= (kept.fresh_until if is_fresh_wanted else kept.until):
                kept.answer = await _read(request, read)
                ended = self._now()
                slow = ended + (ended - begun) * SHARE
                kept.fresh_until, kept.until = max(begun + PERIOD, slow), max(begun + period, slow)
            return kept.answer

    def _find(self, key: tuple[bytes, bytes]) -> _Kept:
        kept = self._kept.get(key)
        if kept is None:
            now = self._now()
            self._kept = {one: entry for one, entry in self._kept.items() if entry.lock.locked() or entry.until > now}
            if len(self._kept) >= self._most:
                raise BusyError("reads that dashboards poll", self._most, "MAX_WATCHES")
            kept = self._kept[key] = _Kept()
        return kept


def polled(read: Handler, period: float = PERIOD) -> Handler:
    """Serve a read through the cache. The answer must be the same for every caller who may read it."""

    async def serve(request: Request) -> Response:
        polls: Polls = request.app.state.polls
        return await polls.answer(request, read, period)

    return serve


async def _read(request: Request, read: Handler) -> Response:
    """Read anew. An error is an answer too, so that it is kept and logged once for all pages."""
    node: Coordinator = request.app.state.node
    if not node.is_ready:  # not an error here: each page asks every second, and each error is logged
        return Json({"message": f"not connected to the broker: {node.problem}"}, 503)
    try:
        return await read(request)
    except CoordinatorError as error:
        return answer_to(error)
