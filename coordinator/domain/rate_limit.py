"""How often each client may do something: a token bucket for each, with a bound on how many are kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

BURST_SECONDS: Final = 2.0
REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Rates:
    """Lets each key through `rate` times a second, and twice as often for a moment.

    Args:
        rate: how often; 0 for any number of times.
        remembered: how many keys are kept. Beyond that the key that was used longest ago is forgotten.
    """

    def __init__(self, rate: float, remembered: int = REMEMBERED) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * BURST_SECONDS)
        self._remembered = remembered
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> float:
        """Let one through, and return 0; or return how many seconds to wait for the next.

        Args:
            key: who.
            now: seconds by a clock that never goes back.
        """
        if not self._rate:
            return 0.0
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / self._rate
        bucket.left -= 1
        return 0.0
