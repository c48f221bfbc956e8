"""The handler of our worker in benchmarks: it does nothing but count."""

from __future__ import annotations

import time
from typing import Any

from tests.benchmarks.payload import Tally

_tally = Tally.of_environment()
_numbers: list[int] = []


async def note(item: dict[str, Any], _context: object) -> None:
    """Count one item, and note how long ago it was submitted, if it says so.

    It is called for each item, where a peer's task counts a batch: so it does no more than keep a number.
    """
    if "at" in item:
        _tally.latencies.append(time.monotonic() - item["at"])
    if not _numbers:
        _tally.begin()
    _numbers.append(item["n"])
    if len(_numbers) >= _tally.expected:
        _tally.numbers(_numbers)
        _numbers.clear()
