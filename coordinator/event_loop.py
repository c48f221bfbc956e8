"""The event loop of programs that run for long."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import uvloop


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, as `asyncio.run` does, on uvloop: asyncio's own loop takes more time for each piece of data."""
    uvloop.run(work)
