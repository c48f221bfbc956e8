"""The handler of our worker in benchmarks: it does nothing but count."""

from __future__ import annotations

import time
from typing import Any

from tests.benchmarks.payload import Tally

_tally = Tally.of_environment()


async def note(item: dict[str, Any], _context: object) -> None:
    """Count one item, and note how long ago it was submitted, if it says so."""
    if "at" in item:
        _tally.latencies.append(time.monotonic() - item["at"])
    _tally.number(item["n"])
