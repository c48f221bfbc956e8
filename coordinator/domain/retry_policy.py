"""What becomes of a batch that came back."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from coordinator.models import Batch

SUSPECT_AFTER = 2
"""A batch that failed more often than this goes out again one at a time, so that it takes few neighbours along."""
LAST_OFFERS = 10
"""So many offers a batch gets beyond the limit, should it never be alone to the end: then it is dead all the same."""


class Verdict(Enum):
    """Where a returned batch goes."""

    AVAILABLE = "back to its seed's queue"
    RESEND = "to its work queue at once"
    SUSPECT = "to its work queue, one suspect at a time"
    ALONE = "to its work queue, with nothing else in any worker's hands"
    DEAD = "to the dead letters"


def judge(batch: Batch, *, failed: bool, alone: bool, stale: bool, limit: int) -> Verdict:
    """Decide where a returned batch goes.

    Args:
        batch: as it was delivered, its attempt not yet raised.
        failed: rejected, or lost with its worker; else given back without fault.
        alone: this delivery was a last offer, and had nothing beside it to its end.
        stale: its seed was released or purged since.
        limit: the attempt limit.
    """
    if failed and (alone or batch.attempt >= limit + LAST_OFFERS):
        return Verdict.DEAD
    if stale:
        return Verdict.AVAILABLE
    if not failed:
        return Verdict.RESEND
    if batch.attempt >= limit:
        return Verdict.ALONE
    return Verdict.SUSPECT if batch.attempt > SUSPECT_AFTER else Verdict.RESEND


class Memory:
    """The latest publications that came back: a broker that crashes repeats its dead letters."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._known: OrderedDict[str, None] = OrderedDict()

    def add(self, publication: str) -> bool:
        """Note one; whether it is new."""
        if publication in self._known:
            return False
        self._known[publication] = None
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return True
