"""A slow handler, so that the crawl of a small tree lasts until all stages have run."""

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
    """Seconds to add to each item so that the crawl lasts about twelve; 0 if it does so anyway."""
    seconds = LASTS * workers / entries
    return seconds if seconds > QUICK else 0.0


def handle(item: Item, context: Context) -> Result:
    """Wait, then run the handler `filesystem`."""
    time.sleep(float(os.environ[VARIABLE]))
    return filesystem.handle(item, context)
