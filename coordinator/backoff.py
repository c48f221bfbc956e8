"""The pause before something that failed is tried again."""

from __future__ import annotations

import random

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


def pause(failures: int) -> float:
    """Seconds to wait after this many failures in a row. They are random, so that clients do not retry together."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
