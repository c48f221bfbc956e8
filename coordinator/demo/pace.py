"""A handler that takes its time, so that the crawl of a small tree lasts until it has been broken in all ways."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from worker_stub import filesystem

if TYPE_CHECKING:
    from coordinator.models import Item
    from worker_stub.handlers import Context, Result

VARIABLE: Final = "COORDINATOR_DEMO_PACE"
LASTS: Final = 12.0
QUICK: Final = 0.001


def pace(entries: int, workers: int) -> float:
    """Seconds that each item is to take besides its own work, for the crawl to last some twelve; 0 where it does so."""
    seconds = LASTS * workers / entries
    return seconds if seconds > QUICK else 0.0


def handle(item: Item, context: Context) -> Result:
    """Do as the handler `filesystem`, later."""
    time.sleep(float(os.environ[VARIABLE]))
    return filesystem.handle(item, context)
