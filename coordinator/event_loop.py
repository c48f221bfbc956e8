"""The event loop of programs that run for long."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any

import uvloop

# How many more objects there must be than at the last look, and how many looks at the young come to one at the older.
# Batches on their way are alive for long: with Python's own 700 they are looked through again and again.
_COLLECT_AFTER = (20_000, 20, 50)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, as `asyncio.run` does, on uvloop: asyncio's own loop takes more time for each piece of data.

    What was made until now, modules above all, lives as long as the program: the garbage collector looks at it no more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    uvloop.run(work)
