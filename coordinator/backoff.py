"""How long to wait before the next try of something that failed."""

from __future__ import annotations

import random

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: longer each time, and not in step with others."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
